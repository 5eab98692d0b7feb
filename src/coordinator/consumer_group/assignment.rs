//! Sets of partitions, as assignments are made of them.

use ringlane_protocol::TopicId;
use std::collections::{BTreeMap, BTreeSet};

/// What a member shall own.
pub type Target = BTreeMap<TopicId, BTreeSet<i32>>;

/// What a member owns, or has still to give back: each partition with the member epoch at which it was assigned.
pub type Owned = BTreeMap<TopicId, BTreeMap<i32, i32>>;

pub fn contains(owned: &Owned, topic: TopicId, partition: i32) -> bool {
    owned.get(&topic).is_some_and(|partitions| partitions.contains_key(&partition))
}

pub fn partitions(owned: &Owned) -> impl Iterator<Item = (TopicId, i32)> + '_ {
    owned.iter().flat_map(|(topic, partitions)| partitions.keys().map(|partition| (*topic, *partition)))
}

pub fn target_partitions(target: &Target) -> impl Iterator<Item = (TopicId, i32)> + '_ {
    target.iter().flat_map(|(topic, partitions)| partitions.iter().map(|partition| (*topic, *partition)))
}

pub fn target_count(target: &Target) -> usize {
    target.values().map(BTreeSet::len).sum()
}

/// As responses carry it.
pub fn listed(owned: &Owned) -> Vec<(TopicId, Vec<i32>)> {
    owned.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect())).collect()
}
