//! Committed offsets of all groups of a machine, and those that wait for the end of a transaction.
//!
//! Rooms: `commit`, `fetch`, `delete` (by request, with their topic, by age), and here what is kept. Every change passes through
//! [`Offsets::put`], [`Offsets::remove`] and [`Offsets::end_transaction`], which the replay of the log calls, too: so both end in one state.

mod commit;
mod delete;
mod fetch;

pub use commit::{commit, commit_in_transaction};
pub use delete::{delete_all, delete_requested, expire_group, of_deleted_topics};
pub use fetch::fetch;

use ringlane_protocol::TopicId;
use ringlane_protocol::internal::consumer_offsets::{OffsetKey, OffsetValue};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is written now; version 1 is the one that can say when an offset expires.
const VALUE_VERSION: i16 = 4;
const VALUE_VERSION_WITH_EXPIRY: i16 = 1;

#[derive(Default, Debug)]
pub struct Offsets {
    by_group: BTreeMap<Arc<str>, GroupOffsets>,
    /// By producer id: what its open transaction has committed.
    pending: BTreeMap<i64, BTreeMap<OwnedKey, Committed>>,
    /// Numbers commits in log order.
    next_order: u64,
}

#[derive(Default, Debug)]
struct GroupOffsets {
    topics: BTreeMap<Arc<str>, BTreeMap<i32, Committed>>,
    /// Producers with a pending commit of a partition.
    open: BTreeMap<Arc<str>, BTreeMap<i32, BTreeSet<i64>>>,
}

type OwnedKey = (Arc<str>, Arc<str>, i32);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Arc<str>,
    pub commit_ms: i64,
    /// Set by old clients, which choose for themselves.
    pub expire_ms: Option<i64>,
    pub topic_id: TopicId,
    /// Place in the log among all commits: the later one counts when a transaction ends behind a plain commit.
    order: u64,
}

impl Offsets {
    pub fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&Committed> {
        self.by_group.get(group)?.topics.get(topic)?.get(&partition)
    }

    /// `producer_id`: the commit is part of its transaction.
    pub fn put(&mut self, key: &OffsetKey<'_>, mut committed: Committed, producer_id: Option<i64>) {
        committed.order = self.next_order;
        self.next_order += 1;
        let group = self.group_name(key.group);
        let offsets = self.by_group.entry(group.clone()).or_default();
        match producer_id {
            None => match offsets.topics.get_mut(key.topic) {
                Some(partitions) => drop(partitions.insert(key.partition, committed)),
                None => {
                    offsets.topics.insert(key.topic.into(), BTreeMap::from([(key.partition, committed)]));
                }
            },
            Some(producer_id) => {
                let topic: Arc<str> = key.topic.into();
                let open = offsets.open.entry(topic.clone()).or_default();
                open.entry(key.partition).or_default().insert(producer_id);
                self.pending.entry(producer_id).or_default().insert((group, topic, key.partition), committed);
            }
        }
    }

    /// Also what transactions have pending there.
    pub fn remove(&mut self, key: &OffsetKey<'_>) {
        let Some((group, offsets)) = self.by_group.get_key_value(key.group) else { return };
        let group = group.clone();
        let producers = offsets.open.get(key.topic).and_then(|open| open.get(&key.partition)).cloned();
        for producer_id in producers.unwrap_or_default() {
            if let Some(pending) = self.pending.get_mut(&producer_id) {
                pending.remove(&(group.clone(), key.topic.into(), key.partition));
            }
        }
        let Some(offsets) = self.by_group.get_mut(key.group) else { return };
        if let Some(partitions) = offsets.topics.get_mut(key.topic) {
            partitions.remove(&key.partition);
        }
        if let Some(open) = offsets.open.get_mut(key.topic) {
            open.remove(&key.partition);
        }
        self.tidy(key.group, key.topic);
    }

    /// A marker is in the log: what the producer's transaction has committed counts from now on, or never.
    pub fn end_transaction(&mut self, producer_id: i64, is_commit: bool) {
        let Some(pending) = self.pending.remove(&producer_id) else { return };
        for ((group, topic, partition), committed) in pending {
            let Some(offsets) = self.by_group.get_mut(&group) else { continue };
            if let Some(open) = offsets.open.get_mut(&topic)
                && let Some(producers) = open.get_mut(&partition)
            {
                producers.remove(&producer_id);
                if producers.is_empty() {
                    open.remove(&partition);
                }
            }
            if is_commit {
                let partitions = offsets.topics.entry(topic.clone()).or_default();
                let is_later = partitions.get(&partition).is_none_or(|kept| kept.order < committed.order);
                if is_later {
                    partitions.insert(partition, committed);
                }
            }
            self.tidy(&group, &topic);
        }
    }

    fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        let open = self.by_group.get(group).and_then(|offsets| offsets.open.get(topic));
        open.is_some_and(|partitions| partitions.contains_key(&partition))
    }

    fn tidy(&mut self, group: &str, topic: &str) {
        let Some(offsets) = self.by_group.get_mut(group) else { return };
        if offsets.topics.get(topic).is_some_and(BTreeMap::is_empty) {
            offsets.topics.remove(topic);
        }
        if offsets.open.get(topic).is_some_and(BTreeMap::is_empty) {
            offsets.open.remove(topic);
        }
        if offsets.topics.is_empty() && offsets.open.is_empty() {
            self.by_group.remove(group);
        }
    }

    /// One allocation a group, not one a commit.
    fn group_name(&self, group: &str) -> Arc<str> {
        self.by_group.get_key_value(group).map_or_else(|| group.into(), |(name, _)| name.clone())
    }
}

impl Committed {
    pub fn from_record(value: &OffsetValue<'_>) -> Committed {
        Committed {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.into(),
            commit_ms: value.commit_timestamp,
            expire_ms: Some(value.expire_timestamp).filter(|ms| *ms >= 0),
            topic_id: value.topic_id,
            order: 0,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let value = OffsetValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: &self.metadata,
            commit_timestamp: self.commit_ms,
            expire_timestamp: self.expire_ms.unwrap_or(-1),
            topic_id: self.topic_id,
        };
        value.encode(if self.expire_ms.is_some() { VALUE_VERSION_WITH_EXPIRY } else { VALUE_VERSION })
    }
}

#[cfg(test)]
impl Offsets {
    /// All that counts, for comparisons.
    pub fn dump(&self) -> Vec<(String, String, i32, i64)> {
        let mut all = Vec::new();
        for (group, offsets) in &self.by_group {
            for (topic, partitions) in &offsets.topics {
                let of_topic = partitions.iter().map(|(partition, committed)| (*partition, committed.offset));
                all.extend(
                    of_topic.map(|(partition, offset)| (group.to_string(), topic.to_string(), partition, offset)),
                );
            }
        }
        all
    }
}
