//! OffsetFetch.

use super::{Committed, GroupOffsets, Offsets};
use crate::group::reply::{FetchedPartition, FetchedTopic};
use crate::group::request::{FetchOffsets, FetchTopic};
use ringlane_protocol::{ErrorCode, TopicId};
use std::sync::Arc;

/// A group that does not exist has committed nothing, which is no error.
pub fn fetch(offsets: &Offsets, request: &FetchOffsets) -> Vec<FetchedTopic> {
    let group = offsets.by_group.get(request.group.as_str());
    match &request.topics {
        Some(topics) => topics.iter().map(|topic| asked(group, topic, request.require_stable)).collect(),
        None => group.map(|group| all(group, request.require_stable)).unwrap_or_default(),
    }
}

fn asked(group: Option<&GroupOffsets>, topic: &FetchTopic, require_stable: bool) -> FetchedTopic {
    let kept = group.and_then(|group| group.topics.get(topic.name.as_str()));
    let partition = |&partition: &i32| {
        if require_stable && group.is_some_and(|group| group.is_open(&topic.name, partition)) {
            return FetchedPartition::none(partition, ErrorCode::UnstableOffsetCommit);
        }
        match kept.and_then(|kept| kept.get(&partition)).filter(|kept| kept.is_of(topic.id)) {
            Some(committed) => committed.fetched(partition),
            None => FetchedPartition::none(partition, ErrorCode::None),
        }
    };
    FetchedTopic {
        name: topic.name.as_str().into(),
        id: topic.id,
        partitions: topic.partitions.iter().map(partition).collect(),
    }
}

fn all(group: &GroupOffsets, require_stable: bool) -> Vec<FetchedTopic> {
    let topic = |(name, partitions): (&Arc<str>, &std::collections::BTreeMap<i32, Committed>)| FetchedTopic {
        name: name.clone(),
        id: TopicId::ZERO,
        partitions: partitions
            .iter()
            .map(|(&partition, committed)| match require_stable && group.is_open(name, partition) {
                true => FetchedPartition::none(partition, ErrorCode::UnstableOffsetCommit),
                false => committed.fetched(partition),
            })
            .collect(),
    };
    group.topics.iter().map(topic).collect()
}

impl GroupOffsets {
    fn is_open(&self, topic: &str, partition: i32) -> bool {
        self.open.get(topic).is_some_and(|open| open.contains_key(&partition))
    }
}

impl Committed {
    /// An offset of a topic that was deleted says nothing about another of the same name.
    fn is_of(&self, topic_id: TopicId) -> bool {
        self.topic_id.is_zero() || topic_id.is_zero() || self.topic_id == topic_id
    }

    fn fetched(&self, partition: i32) -> FetchedPartition {
        FetchedPartition {
            partition,
            error: ErrorCode::None,
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: self.metadata.clone(),
        }
    }
}
