//! What becomes of a group's share partitions: their states are made, set elsewhere, deleted. The share coordinator does it; the group writes
//! down before and after, so that whoever comes later knows what is missing.

use super::event::Event;
use super::states::{StateTopic, States};
use super::{ShareContext, ShareGroup, ShareGroupError};
use crate::NewRecord;
use crate::consumer_group::Topics;
use ringlane_protocol::{ErrorCode, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPartitions {
    pub topic_id: TopicId,
    pub partitions: Vec<i32>,
}

/// Where the partitions of a topic shall begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterTopic {
    pub name: String,
    /// Partition and start offset.
    pub partitions: Vec<(i32, i64)>,
}

/// States that are to be made, and which of the requested partitions there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Altered {
    pub state_epoch: i32,
    pub topics: Vec<AlteredTopic>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlteredTopic {
    pub name: String,
    /// Zero of a topic that is not there.
    pub topic_id: TopicId,
    /// Partition, start offset, and NONE if it exists.
    pub partitions: Vec<(i32, i64, ErrorCode)>,
}

/// States that are to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeletePlan {
    pub topics: Vec<(Arc<str>, TopicPartitions)>,
    /// Topics of the request that have nothing to delete, and why.
    pub refused: Vec<(String, &'static str)>,
}

impl ShareGroup {
    /// The share coordinator has made these states.
    pub fn are_initialized(
        &mut self,
        done: &[TopicPartitions],
        context: &ShareContext<'_>,
        records: &mut Vec<NewRecord>,
    ) {
        let mut states = self.states.clone().unwrap_or_default();
        states.are_initialized(done, context.topics, context.now_ms);
        self.set_states(states, records);
    }

    /// It has not: the next heartbeat asks again.
    pub fn not_initialized(&mut self, topics: &[TopicPartitions], records: &mut Vec<NewRecord>) {
        let Some(mut states) = self.states.clone() else { return };
        states.not_initializing(topics);
        self.set_states(states, records);
    }

    /// Partitions that have a state.
    pub fn initialized(&self) -> Vec<TopicPartitions> {
        let initialized = self.states.iter().flat_map(|states| &states.initialized);
        initialized.map(|(id, topic)| partitions_of(*id, topic)).collect()
    }

    /// Begins to set start offsets. Only of a group without members: theirs would be under their feet.
    pub fn alter(
        &mut self,
        wanted: Vec<AlterTopic>,
        context: &ShareContext<'_>,
        records: &mut Vec<NewRecord>,
    ) -> Result<Altered, ShareGroupError> {
        self.check_empty()?;
        self.begin_input();
        let mut states = self.states.clone().unwrap_or_default();
        let mut topics = Vec::with_capacity(wanted.len());
        for AlterTopic { name, partitions } in wanted {
            let topic_id = context.topics.id(&name);
            let count = topic_id.and_then(|id| context.topics.partition_count(id)).unwrap_or(0);
            let code = |partition: i32| match (0..count).contains(&partition) {
                true => ErrorCode::None,
                false => ErrorCode::UnknownTopicOrPartition,
            };
            let partitions: Vec<(i32, i64, ErrorCode)> =
                partitions.into_iter().map(|(partition, offset)| (partition, offset, code(partition))).collect();
            if let Some(id) = topic_id {
                let there = partitions.iter().filter(|(_, _, code)| *code == ErrorCode::None);
                let there: BTreeSet<i32> = there.map(|(partition, _, _)| *partition).collect();
                if !there.is_empty() {
                    states.begin_initializing(id, &name.as_str().into(), &there, context.now_ms);
                }
            }
            topics.push(AlteredTopic { name, topic_id: topic_id.unwrap_or_default(), partitions });
        }
        self.set_states(states, records);
        Ok(Altered { state_epoch: self.epoch, topics })
    }

    /// Begins to delete the states of these topics.
    pub fn begin_delete(
        &mut self,
        names: Vec<String>,
        context: &ShareContext<'_>,
        records: &mut Vec<NewRecord>,
    ) -> Result<DeletePlan, ShareGroupError> {
        self.check_empty()?;
        self.begin_input();
        let mut plan = DeletePlan::default();
        let Some(mut states) = self.states.clone() else { return Ok(plan) };
        for name in names {
            let Some(id) = context.topics.id(&name) else {
                plan.refused.push((name, "This server does not host this topic-partition."));
                continue;
            };
            let shared: Arc<str> = name.as_str().into();
            if let Some(topic) = states.initialized.remove(&id) {
                plan.topics.push((shared.clone(), partitions_of(id, &topic)));
                states.deleting.insert(id, shared);
            } else if states.deleting.contains_key(&id) {
                plan.topics.push((shared, all_partitions(id, context.topics)));
            } else {
                plan.refused.push((name, "There is no offset information to delete."));
            }
        }
        self.set_states(states, records);
        Ok(plan)
    }

    /// Begins to delete everything, since the group itself is about to go.
    pub fn begin_delete_all(
        &mut self,
        context: &ShareContext<'_>,
        records: &mut Vec<NewRecord>,
    ) -> Result<DeletePlan, ShareGroupError> {
        self.check_empty()?;
        self.begin_input();
        let mut plan = DeletePlan::default();
        let Some(states) = self.states.clone() else { return Ok(plan) };
        let mut topics: BTreeMap<TopicId, StateTopic> = states.initialized;
        for (id, topic) in states.initializing {
            topics.entry(id).or_default().name = topic.name;
            topics.entry(id).or_default().partitions.extend(topic.partitions);
        }
        // An earlier attempt may have stopped half way. Topics that are gone have taken their states with them.
        for (id, name) in states.deleting {
            if context.topics.partition_count(id).is_some() {
                topics.entry(id).or_default().name = name;
                topics.entry(id).or_default().partitions.extend(all_partitions(id, context.topics).partitions);
            }
        }
        let deleting = topics.iter().map(|(id, topic)| (*id, topic.name.clone())).collect();
        plan.topics = topics.iter().map(|(id, topic)| (topic.name.clone(), partitions_of(*id, topic))).collect();
        self.set_states(States { deleting, ..States::default() }, records);
        Ok(plan)
    }

    /// The share coordinator has deleted the states of these topics.
    pub fn end_delete(&mut self, topics: &[TopicId], records: &mut Vec<NewRecord>) {
        let Some(mut states) = self.states.clone() else { return };
        topics.iter().for_each(|id| drop(states.deleting.remove(id)));
        self.set_states(states, records);
    }

    /// These topics are no more; the share coordinator forgets them by itself.
    pub fn topics_deleted(&mut self, gone: &[TopicId], records: &mut Vec<NewRecord>) {
        let Some(mut states) = self.states.clone() else { return };
        if states.forget_topics(gone) {
            self.begin_input();
            self.set_states(states, records);
        }
    }

    fn set_states(&mut self, states: States, records: &mut Vec<NewRecord>) {
        if self.states.as_ref() != Some(&states) {
            self.change(Event::States(states), records);
        }
    }

    fn check_empty(&self) -> Result<(), ShareGroupError> {
        if self.is_empty() { Ok(()) } else { Err(ShareGroupError::NonEmptyGroup) }
    }
}

fn partitions_of(topic_id: TopicId, topic: &StateTopic) -> TopicPartitions {
    TopicPartitions { topic_id, partitions: topic.partitions.iter().copied().collect() }
}

fn all_partitions(topic_id: TopicId, topics: &dyn Topics) -> TopicPartitions {
    TopicPartitions { topic_id, partitions: (0..topics.partition_count(topic_id).unwrap_or(0)).collect() }
}
