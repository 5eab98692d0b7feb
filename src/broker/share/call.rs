//! How a connection shard asks share partitions, on whatever shards they live.

use super::read;
use super::session::{ConnectionName, SessionAsked, SessionTold};
use super::watch::{self, Waiting};
use crate::coordinator::partition_of;
use crate::mesh::{Reply, ShardReply, ShardRequest};
use crate::shard::Shard;
use crate::task::start;
use bytes::Bytes;
use futures::future::join_all;
use ringlane_coordinator::share_partition::{AcknowledgementBatch, AcquireMode, AcquiredRecords};
use ringlane_partition::{ReadTicket, TopicPartition};
use ringlane_protocol::ErrorCode;
use ringlane_runtime::{ShardId, shard_count};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub struct ShareCall {
    pub group: Arc<str>,
    pub member: Arc<str>,
    pub work: ShareWork,
}

pub enum ShareWork {
    Fetch(ShareFetchCall),
    Acknowledge(Vec<AcknowledgeEntry>),
    /// The member has gone.
    Release(Vec<TopicPartition>),
    /// The group has no more consumers on this broker.
    ForgetGroup,
    Watch(WatchCall),
    EndWatch(ReadTicket),
}

pub enum ShareWorked {
    Fetched(Vec<FetchedPartition>),
    /// In the order of the entries.
    Acknowledged(Vec<(ErrorCode, Option<String>)>),
    Done,
}

pub struct ShareFetchCall {
    /// In the order in which they are to be read.
    pub entries: Vec<TopicPartition>,
    pub records_max: i64,
    pub bytes_max: i32,
    pub batch_size: i64,
    pub mode: AcquireMode,
    /// How long it may wait for share partitions that are being loaded; for records it does not wait.
    pub max_wait_ms: i32,
}

pub struct FetchedPartition {
    pub at: TopicPartition,
    pub error: ErrorCode,
    pub slices: Vec<Bytes>,
    pub acquired: Vec<AcquiredRecords>,
}

impl FetchedPartition {
    pub fn failed(at: TopicPartition, error: ErrorCode) -> FetchedPartition {
        FetchedPartition { at, error, slices: Vec::new(), acquired: Vec::new() }
    }
}

#[derive(Clone)]
pub struct AcknowledgeEntry {
    pub at: TopicPartition,
    pub batches: Vec<AcknowledgementBatch>,
}

#[derive(Clone)]
pub struct WatchCall {
    pub ticket: ReadTicket,
    pub entries: Vec<TopicPartition>,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
}

impl Shard {
    /// Asks the shard that keeps the group's sessions.
    pub async fn ask_share_session(self: &Rc<Self>, group: &str, asked: SessionAsked) -> Option<SessionTold> {
        let to = ShardId(partition_of(group, shard_count()) as u16);
        match self.ask(to, ShardRequest::ShareSession(asked)).await {
            Some(ShardReply::ShareSession(told)) => Some(told),
            _ => None,
        }
    }

    /// Ends a session; what its consumer had, others may have.
    pub async fn end_share_session(
        self: &Rc<Self>,
        group: &Arc<str>,
        member: &Arc<str>,
        connection: Option<ConnectionName>,
    ) {
        let asked = SessionAsked::End { group: group.clone(), member: member.clone(), connection };
        if let Some(SessionTold::Ended(Some((partitions, is_last)))) = self.ask_share_session(group, asked).await {
            release_all(self, group, member, partitions, is_last).await;
        }
    }

    /// The connection is gone, and with it the sessions that were made on it.
    pub fn end_share_sessions(self: &Rc<Self>, connection: u64, sessions: BTreeSet<(Arc<str>, Arc<str>)>) {
        if sessions.is_empty() {
            return;
        }
        let (shard, connection) = (self.clone(), (self.id.0, connection));
        start("end of share sessions", async move {
            for (group, member) in sessions {
                shard.end_share_session(&group, &member, Some(connection)).await;
            }
        });
    }

    /// The home shard's side.
    pub fn serve_share(self: &Rc<Self>, call: ShareCall, reply: Reply) {
        let ShareCall { group, member, work } = call;
        let done = |reply: Reply| reply.send(ShardReply::Share(ShareWorked::Done));
        match work {
            ShareWork::Fetch(call) => {
                let shard = self.clone();
                start("share fetch", async move {
                    let fetched = read::fetch(&shard, &group, &member, call).await;
                    reply.send(ShardReply::Share(ShareWorked::Fetched(fetched)));
                });
            }
            ShareWork::Acknowledge(entries) => self.acknowledge_here(&group, &member, entries, reply),
            ShareWork::Release(entries) => {
                let hosts = entries.into_iter().filter_map(|at| self.shares.find(&group, at));
                hosts.for_each(|host| host.release(self, &member));
                done(reply);
            }
            ShareWork::ForgetGroup => {
                self.shares.forget_group(&group);
                done(reply);
            }
            ShareWork::Watch(call) => {
                watch::keep(self, group, call);
                done(reply);
            }
            ShareWork::EndWatch(ticket) => {
                self.shares.watches.end(ticket);
                done(reply);
            }
        }
    }

    /// The steps are taken now, in the order of arrival; their writes are waited for together.
    fn acknowledge_here(self: &Rc<Self>, group: &Arc<str>, member: &str, entries: Vec<AcknowledgeEntry>, reply: Reply) {
        let one = |entry: AcknowledgeEntry| match self.shares.find(group, entry.at) {
            Some(host) => host.acknowledge(self, member, &entry.batches).map_err(|refused| {
                let message = refused.to_string();
                (refused.code(), Some(message))
            }),
            None => Err((ErrorCode::UnknownTopicOrPartition, None)),
        };
        let begun: Vec<_> = entries.into_iter().map(one).collect();
        start("share acknowledge", async move {
            let answers = begun.into_iter().map(|begun| async move {
                match begun {
                    Ok(None) => (ErrorCode::None, None),
                    Ok(Some(written)) => (written.await.unwrap_or(ErrorCode::NotLeaderOrFollower), None),
                    Err(refused) => refused,
                }
            });
            let answers = join_all(answers).await;
            reply.send(ShardReply::Share(ShareWorked::Acknowledged(answers)));
        });
    }

    async fn ask_share(
        self: &Rc<Self>,
        to: ShardId,
        group: &Arc<str>,
        member: &Arc<str>,
        work: ShareWork,
    ) -> Option<ShareWorked> {
        let call = ShareCall { group: group.clone(), member: member.clone(), work };
        match self.ask(to, ShardRequest::Share(call)).await {
            Some(ShardReply::Share(worked)) => Some(worked),
            _ => None,
        }
    }
}

/// Entries by home shard; shards in the order of their first entry.
fn by_home<T>(shard: &Shard, entries: Vec<T>, at: impl Fn(&T) -> TopicPartition) -> Vec<(ShardId, Vec<T>)> {
    let mut parts: Vec<(ShardId, Vec<T>)> = Vec::new();
    for entry in entries {
        let at = at(&entry);
        let home = shard.placement.home(at.topic_id, at.partition);
        match parts.iter_mut().find(|(to, _)| *to == home) {
            Some((_, entries)) => entries.push(entry),
            None => parts.push((home, vec![entry])),
        }
    }
    parts
}

/// What there is now, from one shard after the other, until the member has enough.
pub async fn fetch_all(
    shard: &Rc<Shard>,
    group: &Arc<str>,
    member: &Arc<str>,
    call: ShareFetchCall,
) -> Vec<FetchedPartition> {
    let ShareFetchCall { entries, mut records_max, mut bytes_max, batch_size, mode, max_wait_ms } = call;
    let mut fetched = Vec::new();
    for (to, entries) in by_home(shard, entries, |at| *at) {
        if records_max <= 0 || (bytes_max <= 0 && !fetched.is_empty()) {
            break;
        }
        let asked = entries.clone();
        let part = ShareFetchCall { entries, records_max, bytes_max, batch_size, mode, max_wait_ms };
        match shard.ask_share(to, group, member, ShareWork::Fetch(part)).await {
            Some(ShareWorked::Fetched(part)) => {
                for partition in &part {
                    records_max -= partition.acquired.iter().map(AcquiredRecords::count).sum::<i64>();
                    bytes_max = bytes_max.saturating_sub(partition.slices.iter().map(|slice| slice.len() as i32).sum());
                }
                fetched.extend(part);
            }
            // That shard is stopping.
            _ => {
                fetched.extend(asked.into_iter().map(|at| FetchedPartition::failed(at, ErrorCode::NotLeaderOrFollower)))
            }
        }
    }
    fetched
}

/// Waits until one of the partitions may have something, or time is up.
pub async fn watch_all(
    shard: &Rc<Shard>,
    group: &Arc<str>,
    member: &Arc<str>,
    entries: Vec<TopicPartition>,
    time: Duration,
    min_bytes: i32,
) {
    let mut waiting = Waiting::new(shard, group, member);
    let ticket = waiting.ticket();
    let max_wait_ms = time.as_millis().min(i32::MAX as u128) as i32;
    for (to, entries) in by_home(shard, entries, |at| *at) {
        waiting.watch(to, WatchCall { ticket, entries, max_wait_ms, min_bytes }).await;
    }
    waiting.until(time).await;
}

/// All home shards at the same time. Answers by partition.
pub async fn acknowledge_all(
    shard: &Rc<Shard>,
    group: &Arc<str>,
    member: &Arc<str>,
    entries: Vec<AcknowledgeEntry>,
) -> BTreeMap<TopicPartition, (ErrorCode, Option<String>)> {
    let parts = by_home(shard, entries, |entry| entry.at);
    let asked = parts.into_iter().map(|(to, entries)| async move {
        let names: Vec<TopicPartition> = entries.iter().map(|entry| entry.at).collect();
        let answers = match shard.ask_share(to, group, member, ShareWork::Acknowledge(entries)).await {
            Some(ShareWorked::Acknowledged(answers)) => answers,
            _ => Vec::new(),
        };
        // No answer: that shard is stopping.
        let answers = answers.into_iter().chain(std::iter::repeat((ErrorCode::NotLeaderOrFollower, None)));
        names.into_iter().zip(answers).collect::<Vec<_>>()
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// The member has gone. `is_last`: and with it the group, on this broker.
async fn release_all(
    shard: &Rc<Shard>,
    group: &Arc<str>,
    member: &Arc<str>,
    entries: Vec<TopicPartition>,
    is_last: bool,
) {
    for (to, entries) in by_home(shard, entries, |at| *at) {
        shard.ask_share(to, group, member, ShareWork::Release(entries)).await;
    }
    if is_last {
        for to in 0..shard_count() {
            shard.ask_share(ShardId(to as u16), group, member, ShareWork::ForgetGroup).await;
        }
    }
}
