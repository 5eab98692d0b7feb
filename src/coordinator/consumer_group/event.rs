//! What changes a group, and the records that it is written down as.

use super::member::{Classic, Current, MemberState, Profile};
use super::{Owned, Target};
use crate::NewRecord;
use ringlane_protocol::internal::InternalRecordError;
use ringlane_protocol::internal::consumer_group::{
    ClassicMemberValue, ClassicProtocolValue, ConsumerGroupKey, CurrentAssignmentValue, GroupEpochValue,
    GroupMemberValue, OwnedTopicValue, RegularExpressionValue, TargetMemberValue, TargetMetadataValue,
    TargetTopicValue,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One change. [`super::ConsumerGroup::apply`] is the only place that makes it, for a live group as in replay.
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
    Regex(Arc<str>, Resolved),
    RegexGone(Arc<str>),
    /// A record of older brokers, which the group's next change deletes.
    PartitionMetadata,
    PartitionMetadataGone,
}

/// The topics that a regular expression matched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolved {
    pub topics: BTreeSet<Arc<str>>,
    pub version: i64,
    pub timestamp: i64,
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
                ConsumerGroupKey::Group { group },
                Some(GroupEpochValue { epoch: *epoch, metadata_hash: *metadata_hash }.encode()),
            ),
            Event::EpochGone => (ConsumerGroupKey::Group { group }, None),
            Event::Member(member, profile) => {
                (ConsumerGroupKey::Member { group, member }, Some(encode_profile(profile)))
            }
            Event::MemberGone(member) => (ConsumerGroupKey::Member { group, member }, None),
            Event::TargetEpoch { epoch, timestamp } => (
                ConsumerGroupKey::TargetMetadata { group },
                Some(TargetMetadataValue { assignment_epoch: *epoch, assignment_timestamp: *timestamp }.encode()),
            ),
            Event::TargetEpochGone => (ConsumerGroupKey::TargetMetadata { group }, None),
            Event::Target(member, target) => {
                (ConsumerGroupKey::TargetMember { group, member }, Some(encode_target(target)))
            }
            Event::TargetGone(member) => (ConsumerGroupKey::TargetMember { group, member }, None),
            Event::Current(member, current) => {
                (ConsumerGroupKey::CurrentAssignment { group, member }, Some(encode_current(current)))
            }
            Event::CurrentGone(member) => (ConsumerGroupKey::CurrentAssignment { group, member }, None),
            Event::Regex(regex, resolved) => (
                ConsumerGroupKey::RegularExpression { group, regex },
                Some(
                    RegularExpressionValue {
                        topics: resolved.topics.iter().map(|topic| &**topic).collect(),
                        version: resolved.version,
                        timestamp: resolved.timestamp,
                    }
                    .encode(),
                ),
            ),
            Event::RegexGone(regex) => (ConsumerGroupKey::RegularExpression { group, regex }, None),
            Event::PartitionMetadata | Event::PartitionMetadataGone => {
                (ConsumerGroupKey::PartitionMetadata { group }, None)
            }
        };
        NewRecord { key: key.encode(), value }
    }

    pub fn decode(key: ConsumerGroupKey<'_>, value: Option<&[u8]>) -> Result<Event, InternalRecordError> {
        Ok(match (key, value) {
            (ConsumerGroupKey::Group { .. }, Some(value)) => {
                let GroupEpochValue { epoch, metadata_hash } = GroupEpochValue::decode(value)?;
                Event::Epoch { epoch, metadata_hash }
            }
            (ConsumerGroupKey::Group { .. }, None) => Event::EpochGone,
            (ConsumerGroupKey::PartitionMetadata { .. }, Some(_)) => Event::PartitionMetadata,
            (ConsumerGroupKey::PartitionMetadata { .. }, None) => Event::PartitionMetadataGone,
            (ConsumerGroupKey::Member { member, .. }, Some(value)) => {
                Event::Member(member.into(), profile(GroupMemberValue::decode(value)?))
            }
            (ConsumerGroupKey::Member { member, .. }, None) => Event::MemberGone(member.into()),
            (ConsumerGroupKey::TargetMetadata { .. }, Some(value)) => {
                let value = TargetMetadataValue::decode(value)?;
                Event::TargetEpoch { epoch: value.assignment_epoch, timestamp: value.assignment_timestamp }
            }
            (ConsumerGroupKey::TargetMetadata { .. }, None) => Event::TargetEpochGone,
            (ConsumerGroupKey::TargetMember { member, .. }, Some(value)) => {
                let topics = TargetMemberValue::decode(value)?.topics;
                let target = topics.into_iter().map(|topic| (topic.topic_id, topic.partitions.into_iter().collect()));
                Event::Target(member.into(), target.collect())
            }
            (ConsumerGroupKey::TargetMember { member, .. }, None) => Event::TargetGone(member.into()),
            (ConsumerGroupKey::CurrentAssignment { member, .. }, Some(value)) => {
                Event::Current(member.into(), current(CurrentAssignmentValue::decode(value)?))
            }
            (ConsumerGroupKey::CurrentAssignment { member, .. }, None) => Event::CurrentGone(member.into()),
            (ConsumerGroupKey::RegularExpression { regex, .. }, Some(value)) => {
                let RegularExpressionValue { topics, version, timestamp } = RegularExpressionValue::decode(value)?;
                let topics = topics.into_iter().map(Arc::from).collect();
                Event::Regex(regex.into(), Resolved { topics, version, timestamp })
            }
            (ConsumerGroupKey::RegularExpression { regex, .. }, None) => Event::RegexGone(regex.into()),
        })
    }
}

fn encode_profile(profile: &Profile) -> Vec<u8> {
    GroupMemberValue {
        instance_id: profile.instance_id.as_deref(),
        rack_id: profile.rack_id.as_deref(),
        client_id: &profile.client_id,
        client_host: &profile.client_host,
        subscribed_topic_names: profile.topics.iter().map(|topic| &**topic).collect(),
        subscribed_topic_regex: Some(&profile.regex),
        rebalance_timeout_ms: profile.rebalance_timeout_ms,
        server_assignor: profile.assignor.as_deref(),
        classic: profile.classic.as_ref().map(|classic| ClassicMemberValue {
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic
                .protocols
                .iter()
                .map(|(name, metadata)| ClassicProtocolValue { name, metadata })
                .collect(),
        }),
    }
    .encode()
}

fn profile(value: GroupMemberValue<'_>) -> Profile {
    Profile {
        instance_id: value.instance_id.map(Arc::from),
        rack_id: value.rack_id.map(Arc::from),
        client_id: value.client_id.into(),
        client_host: value.client_host.into(),
        topics: value.subscribed_topic_names.into_iter().map(Arc::from).collect(),
        regex: value.subscribed_topic_regex.unwrap_or_default().into(),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        assignor: value.server_assignor.map(Arc::from),
        classic: value.classic.map(|classic| Classic {
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic
                .protocols
                .iter()
                .map(|protocol| (protocol.name.into(), protocol.metadata.into()))
                .collect(),
        }),
    }
}

fn encode_target(target: &Target) -> Vec<u8> {
    let topics = target
        .iter()
        .map(|(topic_id, partitions)| TargetTopicValue {
            topic_id: *topic_id,
            partitions: partitions.iter().copied().collect(),
        })
        .collect();
    TargetMemberValue { topics }.encode()
}

fn encode_current(current: &Current) -> Vec<u8> {
    CurrentAssignmentValue {
        member_epoch: current.epoch,
        previous_member_epoch: current.previous_epoch,
        state: current.state.code(),
        assigned: owned_values(&current.assigned),
        pending_revocation: owned_values(&current.revoking),
    }
    .encode()
}

fn owned_values(owned: &Owned) -> Vec<OwnedTopicValue> {
    owned
        .iter()
        .map(|(topic_id, partitions)| OwnedTopicValue {
            topic_id: *topic_id,
            partitions: partitions.keys().copied().collect(),
            assignment_epochs: Some(partitions.values().copied().collect()),
        })
        .collect()
}

fn current(value: CurrentAssignmentValue) -> Current {
    // A static member that is away has epoch -2; what it owns is as of epoch 0.
    let epoch_unknown = value.member_epoch.max(0);
    let owned = |topics: Vec<OwnedTopicValue>| {
        topics
            .into_iter()
            .map(|topic| {
                let count = topic.partitions.len();
                let epochs = topic.assignment_epochs.filter(|epochs| epochs.len() == count);
                let epochs = epochs.unwrap_or_else(|| vec![epoch_unknown; count]);
                (topic.topic_id, topic.partitions.into_iter().zip(epochs).collect())
            })
            .collect()
    };
    Current {
        epoch: value.member_epoch,
        previous_epoch: value.previous_member_epoch,
        state: MemberState::from_code(value.state),
        assigned: owned(value.assigned),
        revoking: owned(value.pending_revocation),
    }
}
