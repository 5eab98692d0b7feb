//! Which machines of one kind live on this shard: one for each partition of their topic that is at home here and led by this broker.

use super::host::{Host, Make, ReplyFn};
use super::machine::Machine;
use super::topic::CoordinatorTopic;
use crate::shard::Shard;
use ringlane_metadata::Image;
use ringlane_partition::TopicPartition;
use ringlane_protocol::ErrorCode;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub struct HostTable<M: Machine> {
    hosts: RefCell<BTreeMap<TopicPartition, Rc<Host<M>>>>,
}

impl<M: Machine> Default for HostTable<M> {
    fn default() -> HostTable<M> {
        HostTable { hosts: RefCell::default() }
    }
}

impl<M: Machine> HostTable<M> {
    /// A leader that stays one keeps its machine, whatever its epoch is now.
    pub fn follow(
        &self,
        shard: &Shard,
        image: &Image,
        topic: CoordinatorTopic,
        make: impl Fn(TopicPartition) -> Make<M>,
    ) {
        let led: BTreeSet<TopicPartition> = match image.topic_by_name(topic.name()) {
            Some(topic) => shard.led_at_home(topic).collect(),
            None => BTreeSet::new(),
        };
        let ended: Vec<Rc<Host<M>>> = {
            let mut hosts = self.hosts.borrow_mut();
            let ended: Vec<TopicPartition> = hosts.keys().filter(|at| !led.contains(*at)).copied().collect();
            ended.iter().filter_map(|at| hosts.remove(at)).collect()
        };
        ended.iter().for_each(|host| host.close(ErrorCode::NotCoordinator));
        for at in led {
            let is_new = !self.hosts.borrow().contains_key(&at);
            if is_new {
                let host = Host::start(at, shard.home.clone(), make(at));
                self.hosts.borrow_mut().insert(at, host);
            }
        }
    }

    pub fn request(&self, at: TopicPartition, request: M::Request, reply: ReplyFn<M::Reply>) {
        match self.host(at) {
            Some(host) => host.request(request, reply),
            None => reply(Err(ErrorCode::NotCoordinator)),
        }
    }

    pub fn host(&self, at: TopicPartition) -> Option<Rc<Host<M>>> {
        self.hosts.borrow().get(&at).cloned()
    }

    pub fn each(&self, act: impl Fn(&Rc<Host<M>>)) {
        let hosts: Vec<Rc<Host<M>>> = self.hosts.borrow().values().cloned().collect();
        hosts.iter().for_each(act);
    }

    pub fn close(&self, error: ErrorCode) {
        let hosts = self.hosts.take();
        hosts.values().for_each(|host| host.close(error));
    }
}
