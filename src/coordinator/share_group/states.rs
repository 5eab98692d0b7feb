//! Which share partitions of a group have a state with the share coordinator, and which are about to get it or to lose it.

use super::offsets::TopicPartitions;
use crate::consumer_group::Topics;
use ringlane_protocol::TopicId;
use ringlane_protocol::internal::share_group::{DeletingTopicValue, StatePartitionsValue, StateTopicValue};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Partitions of one topic.
#[derive(Debug, Clone, Default)]
pub struct StateTopic {
    pub name: Arc<str>,
    pub partitions: BTreeSet<i32>,
    /// When their state was asked for; not in the log.
    pub asked_ms: i64,
}

/// Equal when their records are.
impl PartialEq for StateTopic {
    fn eq(&self, other: &StateTopic) -> bool {
        self.name == other.name && self.partitions == other.partitions
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct States {
    pub initializing: BTreeMap<TopicId, StateTopic>,
    pub initialized: BTreeMap<TopicId, StateTopic>,
    pub deleting: BTreeMap<TopicId, Arc<str>>,
}

impl States {
    pub fn encode(&self) -> Vec<u8> {
        let values = |topics: &BTreeMap<TopicId, StateTopic>| -> Vec<(TopicId, Arc<str>, Vec<i32>)> {
            let value = |(id, topic): (&TopicId, &StateTopic)| {
                (*id, topic.name.clone(), topic.partitions.iter().copied().collect())
            };
            topics.iter().map(value).collect()
        };
        let (initializing, initialized) = (values(&self.initializing), values(&self.initialized));
        StatePartitionsValue {
            initializing: initializing.iter().map(wire).collect(),
            initialized: initialized.iter().map(wire).collect(),
            deleting: self
                .deleting
                .iter()
                .map(|(topic_id, topic_name)| DeletingTopicValue { topic_id: *topic_id, topic_name })
                .collect(),
        }
        .encode()
    }

    pub fn of_record(value: StatePartitionsValue<'_>) -> States {
        let topics = |values: Vec<StateTopicValue<'_>>| {
            let topic = |value: StateTopicValue<'_>| {
                let partitions = value.partitions.into_iter().collect();
                (value.topic_id, StateTopic { name: value.topic_name.into(), partitions, asked_ms: 0 })
            };
            values.into_iter().map(topic).collect()
        };
        States {
            initializing: topics(value.initializing),
            initialized: topics(value.initialized),
            deleting: value.deleting.into_iter().map(|topic| (topic.topic_id, topic.topic_name.into())).collect(),
        }
    }

    /// Subscribed partitions for which nobody has asked for a state, or not lately.
    pub fn missing<'a>(
        &self,
        names: impl Iterator<Item = &'a Arc<str>>,
        topics: &dyn Topics,
        asked_since_ms: i64,
    ) -> BTreeMap<TopicId, (Arc<str>, BTreeSet<i32>)> {
        let mut missing = BTreeMap::new();
        for name in names {
            let Some(id) = topics.id(name) else { continue };
            let mut partitions: BTreeSet<i32> = (0..topics.partition_count(id).unwrap_or(0)).collect();
            if let Some(topic) = self.initialized.get(&id) {
                partitions.retain(|partition| !topic.partitions.contains(partition));
            }
            if let Some(topic) = self.initializing.get(&id).filter(|topic| topic.asked_ms > asked_since_ms) {
                partitions.retain(|partition| !topic.partitions.contains(partition));
            }
            if !partitions.is_empty() {
                missing.insert(id, (name.clone(), partitions));
            }
        }
        missing
    }

    pub fn begin_initializing(&mut self, id: TopicId, name: &Arc<str>, partitions: &BTreeSet<i32>, now_ms: i64) {
        let topic = self.initializing.entry(id).or_default();
        topic.name = name.clone();
        topic.partitions.extend(partitions);
        topic.asked_ms = now_ms;
        self.deleting.remove(&id);
    }

    /// Their states are there.
    pub fn are_initialized(&mut self, done: &[TopicPartitions], topics: &dyn Topics, now_ms: i64) {
        self.not_initializing(done);
        for TopicPartitions { topic_id, partitions } in done {
            // A topic that was deleted meanwhile has no state either.
            let Some(name) = topics.name(*topic_id) else { continue };
            let topic = self.initialized.entry(*topic_id).or_default();
            topic.name = name;
            topic.partitions.extend(partitions);
            topic.asked_ms = now_ms;
        }
    }

    /// It did not work, or is done.
    pub fn not_initializing(&mut self, topics: &[TopicPartitions]) {
        for TopicPartitions { topic_id, partitions } in topics {
            let Some(topic) = self.initializing.get_mut(topic_id) else { continue };
            topic.partitions.retain(|partition| !partitions.contains(partition));
            if topic.partitions.is_empty() {
                self.initializing.remove(topic_id);
            }
        }
    }

    /// True if it knew of them.
    pub fn forget_topics(&mut self, gone: &[TopicId]) -> bool {
        let mut forgot = false;
        for id in gone {
            forgot |= self.initializing.remove(id).is_some();
            forgot |= self.initialized.remove(id).is_some();
            forgot |= self.deleting.remove(id).is_some();
        }
        forgot
    }
}

fn wire((topic_id, topic_name, partitions): &(TopicId, Arc<str>, Vec<i32>)) -> StateTopicValue<'_> {
    StateTopicValue { topic_id: *topic_id, topic_name, partitions: partitions.clone() }
}
