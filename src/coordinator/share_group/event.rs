//! What changes a group, and the records that it is written down as.

use super::group::{Current, Profile};
use super::states::States;
use crate::NewRecord;
use crate::consumer_group::Target;
use ringlane_protocol::internal::InternalRecordError;
use ringlane_protocol::internal::share_group::{
    ShareCurrentValue, ShareGroupKey, ShareGroupValue, ShareMemberValue, StatePartitionsValue, TargetMemberValue,
    TargetMetadataValue, TargetTopicValue,
};
use std::sync::Arc;

/// Kafka's number for a member that is where its target is: members of share groups always are.
const STABLE: i8 = 0;

/// One change. [`super::ShareGroup::apply`] is the only place that makes it, for a live group as in replay.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Epoch {
        epoch: i32,
        metadata_hash: i64,
    },
    /// The last record of a group that is deleted.
    EpochGone,
    Member(Arc<str>, Profile),
    MemberGone(Arc<str>),
    TargetEpoch {
        epoch: i32,
        timestamp: i64,
    },
    TargetEpochGone,
    Target(Arc<str>, Target),
    TargetGone(Arc<str>),
    Current(Arc<str>, Current),
    CurrentGone(Arc<str>),
    States(States),
    StatesGone,
}

/// What a replayed record did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    Applied,
    /// The group is no more: its owner forgets it.
    Deleted,
}

impl Event {
    pub fn encode(&self, group: &str) -> NewRecord {
        let (key, value) = match self {
            Event::Epoch { epoch, metadata_hash } => (
                ShareGroupKey::Group { group },
                Some(ShareGroupValue { epoch: *epoch, metadata_hash: *metadata_hash }.encode()),
            ),
            Event::EpochGone => (ShareGroupKey::Group { group }, None),
            Event::Member(member, profile) => (ShareGroupKey::Member { group, member }, Some(encode_profile(profile))),
            Event::MemberGone(member) => (ShareGroupKey::Member { group, member }, None),
            Event::TargetEpoch { epoch, timestamp } => (
                ShareGroupKey::TargetMetadata { group },
                Some(TargetMetadataValue { assignment_epoch: *epoch, assignment_timestamp: *timestamp }.encode()),
            ),
            Event::TargetEpochGone => (ShareGroupKey::TargetMetadata { group }, None),
            Event::Target(member, target) => (
                ShareGroupKey::TargetMember { group, member },
                Some(TargetMemberValue { topics: values_of(target) }.encode()),
            ),
            Event::TargetGone(member) => (ShareGroupKey::TargetMember { group, member }, None),
            Event::Current(member, current) => {
                (ShareGroupKey::CurrentAssignment { group, member }, Some(encode_current(current)))
            }
            Event::CurrentGone(member) => (ShareGroupKey::CurrentAssignment { group, member }, None),
            Event::States(states) => (ShareGroupKey::StatePartitions { group }, Some(states.encode())),
            Event::StatesGone => (ShareGroupKey::StatePartitions { group }, None),
        };
        NewRecord { key: key.encode(), value }
    }

    pub fn decode(key: ShareGroupKey<'_>, value: Option<&[u8]>) -> Result<Event, InternalRecordError> {
        Ok(match (key, value) {
            (ShareGroupKey::Group { .. }, Some(value)) => {
                let ShareGroupValue { epoch, metadata_hash } = ShareGroupValue::decode(value)?;
                Event::Epoch { epoch, metadata_hash }
            }
            (ShareGroupKey::Group { .. }, None) => Event::EpochGone,
            (ShareGroupKey::Member { member, .. }, Some(value)) => {
                let value = ShareMemberValue::decode(value)?;
                let profile = Profile {
                    rack_id: value.rack_id.map(Arc::from),
                    client_id: value.client_id.into(),
                    client_host: value.client_host.into(),
                    topics: value.subscribed_topic_names.into_iter().map(Arc::from).collect(),
                };
                Event::Member(member.into(), profile)
            }
            (ShareGroupKey::Member { member, .. }, None) => Event::MemberGone(member.into()),
            (ShareGroupKey::TargetMetadata { .. }, Some(value)) => {
                let value = TargetMetadataValue::decode(value)?;
                Event::TargetEpoch { epoch: value.assignment_epoch, timestamp: value.assignment_timestamp }
            }
            (ShareGroupKey::TargetMetadata { .. }, None) => Event::TargetEpochGone,
            (ShareGroupKey::TargetMember { member, .. }, Some(value)) => {
                Event::Target(member.into(), target_of(TargetMemberValue::decode(value)?.topics))
            }
            (ShareGroupKey::TargetMember { member, .. }, None) => Event::TargetGone(member.into()),
            (ShareGroupKey::CurrentAssignment { member, .. }, Some(value)) => {
                let value = ShareCurrentValue::decode(value)?;
                let current = Current {
                    epoch: value.member_epoch,
                    previous_epoch: value.previous_member_epoch,
                    assigned: target_of(value.assigned),
                };
                Event::Current(member.into(), current)
            }
            (ShareGroupKey::CurrentAssignment { member, .. }, None) => Event::CurrentGone(member.into()),
            (ShareGroupKey::StatePartitions { .. }, Some(value)) => {
                Event::States(States::of_record(StatePartitionsValue::decode(value)?))
            }
            (ShareGroupKey::StatePartitions { .. }, None) => Event::StatesGone,
        })
    }
}

fn encode_profile(profile: &Profile) -> Vec<u8> {
    ShareMemberValue {
        rack_id: profile.rack_id.as_deref(),
        client_id: &profile.client_id,
        client_host: &profile.client_host,
        subscribed_topic_names: profile.topics.iter().map(|topic| &**topic).collect(),
    }
    .encode()
}

fn encode_current(current: &Current) -> Vec<u8> {
    ShareCurrentValue {
        member_epoch: current.epoch,
        previous_member_epoch: current.previous_epoch,
        state: STABLE,
        assigned: values_of(&current.assigned),
    }
    .encode()
}

fn values_of(target: &Target) -> Vec<TargetTopicValue> {
    let value = |(topic_id, partitions): (&ringlane_protocol::TopicId, &std::collections::BTreeSet<i32>)| {
        TargetTopicValue { topic_id: *topic_id, partitions: partitions.iter().copied().collect() }
    };
    target.iter().map(value).collect()
}

fn target_of(topics: Vec<TargetTopicValue>) -> Target {
    topics.into_iter().map(|topic| (topic.topic_id, topic.partitions.into_iter().collect())).collect()
}
