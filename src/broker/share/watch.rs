//! Waits until there may be something to get from one of some share partitions: the home shard's side, and who waits for it.
//!
//! A watch holds no credit: it is acknowledged at once, and its end comes as a message of its own. It ends when records arrive or come back, when
//! its time is up, or when nobody waits for it any more.

use super::call::{ShareCall, ShareWork, WatchCall};
use super::config::group_settings;
use super::host::ShareHost;
use crate::mesh::ShardRequest;
use crate::shard::Shard;
use crate::task::start;
use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt};
use ringlane_partition::{Isolation, ReadEntry, ReadRequest, ReadTicket};
use ringlane_runtime::{OneshotReceiver, OneshotSender, ShardId, now, oneshot, timeout};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Watches of a shard. Beyond it whoever waits looks again by itself.
const WATCHES_MAX: usize = 20_000;

/// Of a shard: those that it keeps for others, and those that it waits for.
#[derive(Default)]
pub struct Watches {
    kept: RefCell<BTreeMap<ReadTicket, OneshotSender<()>>>,
    waiting: RefCell<BTreeMap<u64, OneshotSender<()>>>,
}

impl Watches {
    /// Somebody has something to get.
    pub fn wake(&self, number: u64) {
        let waiting = self.waiting.borrow_mut().remove(&number);
        if let Some(waiting) = waiting {
            let _ = waiting.send(());
        }
    }

    /// Nobody waits for it any more.
    pub fn end(&self, ticket: ReadTicket) {
        // Its task sees that the sender is gone.
        drop(self.kept.borrow_mut().remove(&ticket));
    }

    fn keep(&self, ticket: ReadTicket) -> Option<OneshotReceiver<()>> {
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= WATCHES_MAX {
            return None;
        }
        let (sender, ended) = oneshot();
        kept.insert(ticket, sender);
        Some(ended)
    }
}

/// A wait of a connection shard, with what it has asked of home shards. They are told when it ends.
pub struct Waiting<'a> {
    shard: &'a Rc<Shard>,
    number: u64,
    woken: OneshotReceiver<()>,
    watched: Vec<ShardId>,
    group: Arc<str>,
    member: Arc<str>,
}

impl<'a> Waiting<'a> {
    pub fn new(shard: &'a Rc<Shard>, group: &Arc<str>, member: &Arc<str>) -> Waiting<'a> {
        let (sender, woken) = oneshot();
        let number = shard.next_ticket().number;
        shard.shares.watches.waiting.borrow_mut().insert(number, sender);
        Waiting { shard, number, woken, watched: Vec::new(), group: group.clone(), member: member.clone() }
    }

    pub fn ticket(&self) -> ReadTicket {
        ReadTicket { shard: self.shard.id.0, number: self.number }
    }

    pub async fn watch(&mut self, to: ShardId, call: WatchCall) {
        self.watched.push(to);
        let work = ShareWork::Watch(call);
        let call = ShareCall { group: self.group.clone(), member: self.member.clone(), work };
        drop(self.shard.ask(to, ShardRequest::Share(call)).await);
    }

    /// Until one of them has something, or time is up.
    pub async fn until(&mut self, time: Duration) {
        let _ = timeout(time, &mut self.woken).await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shard.shares.watches.waiting.borrow_mut().remove(&self.number);
        let ticket = self.ticket();
        for to in std::mem::take(&mut self.watched) {
            let (shard, group, member) = (self.shard.clone(), self.group.clone(), self.member.clone());
            start("end of a share watch", async move {
                let call = ShareCall { group, member, work: ShareWork::EndWatch(ticket) };
                drop(shard.call(to, ShardRequest::Share(call)).await);
            });
        }
    }
}

/// Begins a watch.
pub fn keep(shard: &Rc<Shard>, group: Arc<str>, call: WatchCall) {
    let ticket = call.ticket;
    let Some(ended) = shard.shares.watches.keep(ticket) else { return };
    let shard = shard.clone();
    start("share watch", async move {
        let watching = pin!(watch(&shard, &group, call));
        if let Either::Left(((), _)) = select(watching, ended).await {
            drop(shard.shares.watches.kept.borrow_mut().remove(&ticket));
            let to = ShardId(ticket.shard);
            drop(shard.call(to, ShardRequest::ShareWake(ticket.number)).await);
        }
    });
}

/// Until there may be something to get.
async fn watch(shard: &Rc<Shard>, group: &Arc<str>, call: WatchCall) {
    let deadline = now() + Duration::from_millis(call.max_wait_ms.max(0) as u64);
    let settings = group_settings(shard, group);
    let hosts: Vec<Rc<ShareHost>> =
        call.entries.iter().filter_map(|at| shard.shares.find_or_load(shard, group, *at).ok()).collect();
    loop {
        if hosts.len() < call.entries.len() || hosts.iter().any(|host| host.failure().is_some()) {
            // An error is an answer.
            return;
        }
        let mut changes: FuturesUnordered<_> = hosts.iter().map(|host| host.changed.listen()).collect();
        let entry = |host: &Rc<ShareHost>| {
            let fetch_offset = host.fetch_offset(&settings)?;
            let max_bytes = call.min_bytes.max(1);
            Some(ReadEntry { at: host.at, fetch_offset, max_bytes, current_leader_epoch: -1, last_fetched_epoch: -1 })
        };
        let entries: Vec<ReadEntry> = hosts.iter().filter_map(entry).collect();
        let wait_ms = deadline.since(now()).as_millis() as i32;
        if wait_ms <= 0 {
            return;
        }
        let arrives = arrives(shard, entries, call.min_bytes.max(1), wait_ms, settings.isolation);
        match select(pin!(arrives), changes.next()).await {
            Either::Left(_) => return,
            Either::Right(_) => {}
        }
    }
}

/// Until so many bytes can be read there. For ever if there is nothing to read from.
async fn arrives(shard: &Rc<Shard>, entries: Vec<ReadEntry>, min_bytes: i32, max_wait_ms: i32, isolation: Isolation) {
    if entries.is_empty() {
        ringlane_runtime::sleep(Duration::from_millis(max_wait_ms as u64)).await;
        return;
    }
    let request = ReadRequest {
        ticket: None,
        max_wait_ms,
        min_bytes,
        max_bytes: min_bytes,
        at_least_one: true,
        isolation,
        entries,
    };
    drop(shard.home.read(request).await);
}
