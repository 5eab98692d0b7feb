//! Which share partitions live on a shard, and what else its share groups need.

use super::host::ShareHost;
use super::session::ShareSessions;
use super::watch::Watches;
use crate::shard::Shard;
use ringlane_coordinator::share_state::ShareKey;
use ringlane_metadata::Image;
use ringlane_partition::TopicPartition;
use ringlane_protocol::ErrorCode;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Share partitions of a shard, all groups together: some kilobytes each, with its records in flight.
const SHARE_PARTITIONS_MAX: usize = 100_000;

pub struct Shares {
    hosts: RefCell<BTreeMap<ShareKey, Rc<ShareHost>>>,
    /// Of the groups whose id hashes to this shard.
    pub sessions: RefCell<ShareSessions>,
    pub watches: Watches,
}

impl Shares {
    pub fn new(sessions_max: usize) -> Shares {
        Shares {
            hosts: RefCell::default(),
            sessions: RefCell::new(ShareSessions::new(sessions_max)),
            watches: Watches::default(),
        }
    }

    pub fn find(&self, group: &Arc<str>, at: TopicPartition) -> Option<Rc<ShareHost>> {
        self.hosts.borrow().get(&key_of(group, at)).cloned()
    }

    /// Loads it if it is not there.
    pub fn find_or_load(
        &self,
        shard: &Rc<Shard>,
        group: &Arc<str>,
        at: TopicPartition,
    ) -> Result<Rc<ShareHost>, ErrorCode> {
        if let Some(host) = self.find(group, at) {
            return Ok(host);
        }
        shard.home.log_range(at)?;
        let image = shard.image();
        let partition = image.partition(at.topic_id, at.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if self.hosts.borrow().len() >= SHARE_PARTITIONS_MAX {
            return Err(ErrorCode::UnknownServerError);
        }
        let host = ShareHost::start(shard, key_of(group, at), partition.leader_epoch);
        // It may have failed at once.
        if host.failure().is_none() {
            self.hosts.borrow_mut().insert(host.key.clone(), host.clone());
        }
        Ok(host)
    }

    /// It cannot go on: whoever fetches from it next has it loaded anew.
    pub fn forget(&self, host: &Rc<ShareHost>, error: ErrorCode) {
        let mut hosts = self.hosts.borrow_mut();
        if hosts.get(&host.key).is_some_and(|known| Rc::ptr_eq(known, host)) {
            hosts.remove(&host.key);
        }
        drop(hosts);
        host.fence(error);
    }

    /// The group has no more consumers on this broker.
    pub fn forget_group(&self, group: &Arc<str>) {
        let first = ShareKey { group: group.clone(), topic_id: Default::default(), partition: i32::MIN };
        let hosts = self.hosts.borrow();
        let of_group = hosts.range(first..).take_while(|(key, _)| key.group == *group);
        let of_group: Vec<Rc<ShareHost>> = of_group.map(|(_, host)| host.clone()).collect();
        drop(hosts);
        of_group.iter().for_each(|host| self.forget(host, ErrorCode::UnknownTopicOrPartition));
    }

    /// The metadata has changed: what another broker leads now, or this one anew, ends here.
    pub fn follow(&self, image: &Image, node_id: i32) {
        let is_gone = |host: &Rc<ShareHost>| {
            let partition = image.partition(host.at.topic_id, host.at.partition);
            !partition
                .is_some_and(|partition| partition.leader == node_id && partition.leader_epoch == host.leader_epoch)
        };
        let gone: Vec<Rc<ShareHost>> = self.hosts.borrow().values().filter(|host| is_gone(host)).cloned().collect();
        gone.iter().for_each(|host| self.forget(host, ErrorCode::NotLeaderOrFollower));
    }

    /// The shard stops.
    pub fn close(&self) {
        self.hosts.take().values().for_each(|host| host.fence(ErrorCode::NotLeaderOrFollower));
    }
}

fn key_of(group: &Arc<str>, at: TopicPartition) -> ShareKey {
    ShareKey { group: group.clone(), topic_id: at.topic_id, partition: at.partition }
}
