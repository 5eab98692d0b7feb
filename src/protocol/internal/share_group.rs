//! `__consumer_offsets`: the records of share groups (KIP-932).
//!
//! As a consumer group's, a share group is many records: one with its epoch (11), one a member with what it said of itself (10), one a member
//! with what it shall read (13) and one with what it reads (14), one that says for which epoch the former were computed (12). One more (15) says
//! which share partitions have their state with the share coordinator, or are about to get it or to lose it.

use super::{InternalRecordError, KEY_VERSION, Value};
use crate::wire::Wire;
use crate::{DecodeError, Reader, TopicId, Version, Writer};

const MEMBER: i16 = 10;
const GROUP: i16 = 11;
const TARGET_METADATA: i16 = 12;
const TARGET_MEMBER: i16 = 13;
const CURRENT_ASSIGNMENT: i16 = 14;
const STATE_PARTITIONS: i16 = 15;

/// What a record of a share group is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareGroupKey<'a> {
    Member { group: &'a str, member: &'a str },
    Group { group: &'a str },
    TargetMetadata { group: &'a str },
    TargetMember { group: &'a str, member: &'a str },
    CurrentAssignment { group: &'a str, member: &'a str },
    StatePartitions { group: &'a str },
}

impl<'a> ShareGroupKey<'a> {
    /// `None` for a record of another kind.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<ShareGroupKey<'a>>, InternalRecordError> {
        let read = || {
            let mut reader = Reader::new(bytes);
            let kind = reader.i16()?;
            if !(MEMBER..=STATE_PARTITIONS).contains(&kind) {
                return Ok(None);
            }
            let group = Wire::read(&mut reader, KEY_VERSION)?;
            let mut second = || Wire::read(&mut reader, KEY_VERSION);
            Ok(Some(match kind {
                MEMBER => ShareGroupKey::Member { group, member: second()? },
                GROUP => ShareGroupKey::Group { group },
                TARGET_METADATA => ShareGroupKey::TargetMetadata { group },
                TARGET_MEMBER => ShareGroupKey::TargetMember { group, member: second()? },
                CURRENT_ASSIGNMENT => ShareGroupKey::CurrentAssignment { group, member: second()? },
                _ => ShareGroupKey::StatePartitions { group },
            }))
        };
        read().map_err(|source| InternalRecordError::Damaged { what: "a key of a share group", source })
    }

    pub fn group(&self) -> &'a str {
        match *self {
            ShareGroupKey::Member { group, .. }
            | ShareGroupKey::Group { group }
            | ShareGroupKey::TargetMetadata { group }
            | ShareGroupKey::TargetMember { group, .. }
            | ShareGroupKey::CurrentAssignment { group, .. }
            | ShareGroupKey::StatePartitions { group } => group,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let (kind, group, second) = match *self {
            ShareGroupKey::Member { group, member } => (MEMBER, group, Some(member)),
            ShareGroupKey::Group { group } => (GROUP, group, None),
            ShareGroupKey::TargetMetadata { group } => (TARGET_METADATA, group, None),
            ShareGroupKey::TargetMember { group, member } => (TARGET_MEMBER, group, Some(member)),
            ShareGroupKey::CurrentAssignment { group, member } => (CURRENT_ASSIGNMENT, group, Some(member)),
            ShareGroupKey::StatePartitions { group } => (STATE_PARTITIONS, group, None),
        };
        let mut writer = Writer::new();
        writer.i16(kind);
        group.write(&mut writer, KEY_VERSION);
        if let Some(second) = second {
            second.write(&mut writer, KEY_VERSION);
        }
        writer.into_bytes()
    }
}

/// All values have version 0 only, which is flexible.
macro_rules! value {
    ($type:ident $(<$life:lifetime>)?, $what:literal) => {
        impl<'a> Value<'a> for $type $(<$life>)? {
            const WHAT: &'static str = $what;
            const VERSION_MAX: i16 = 0;
            const FLEXIBLE_FROM: i16 = 0;
        }

        impl<'a> $type $(<$life>)? {
            pub fn decode(bytes: &'a [u8]) -> Result<Self, InternalRecordError> {
                Value::decode_value(bytes)
            }
            pub fn encode(&self) -> Vec<u8> {
                self.encode_value(0)
            }
        }
    };
}

value!(ShareGroupValue, "the epoch of a share group");
value!(ShareMemberValue<'a>, "a member of a share group");
value!(ShareCurrentValue, "what a member of a share group reads");
value!(StatePartitionsValue<'a>, "the share partitions of a share group");

/// Types 12 and 13 are the same as a consumer group's.
pub use super::consumer_group::{TargetMemberValue, TargetMetadataValue, TargetTopicValue};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareGroupValue {
    pub epoch: i32,
    /// Over all topics that the group subscribes to; 0 when there are none.
    pub metadata_hash: i64,
}

impl<'a> Wire<'a> for ShareGroupValue {
    const MIN_BYTES: usize = 13;

    fn read(reader: &mut Reader<'a>, _: Version) -> Result<Self, DecodeError> {
        let value = ShareGroupValue { epoch: reader.i32()?, metadata_hash: reader.i64()? };
        reader.skip_tags()?;
        Ok(value)
    }

    fn write(&self, writer: &mut Writer, _: Version) {
        writer.i32(self.epoch);
        writer.i64(self.metadata_hash);
        writer.no_tags();
    }
}

/// What a member said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareMemberValue<'a> {
    pub rack_id: Option<&'a str>,
    pub client_id: &'a str,
    pub client_host: &'a str,
    pub subscribed_topic_names: Vec<&'a str>,
}

impl<'a> Wire<'a> for ShareMemberValue<'a> {
    const MIN_BYTES: usize = 5;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let value = ShareMemberValue {
            rack_id: Wire::read(reader, version)?,
            client_id: Wire::read(reader, version)?,
            client_host: Wire::read(reader, version)?,
            subscribed_topic_names: Wire::read(reader, version)?,
        };
        reader.skip_tags()?;
        Ok(value)
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        self.rack_id.write(writer, version);
        self.client_id.write(writer, version);
        self.client_host.write(writer, version);
        self.subscribed_topic_names.write(writer, version);
        writer.no_tags();
    }
}

/// What a member reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareCurrentValue {
    pub member_epoch: i32,
    pub previous_member_epoch: i32,
    /// Kafka's number: always 0, Stable.
    pub state: i8,
    pub assigned: Vec<TargetTopicValue>,
}

impl<'a> Wire<'a> for ShareCurrentValue {
    const MIN_BYTES: usize = 11;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let value = ShareCurrentValue {
            member_epoch: reader.i32()?,
            previous_member_epoch: reader.i32()?,
            state: reader.i8()?,
            assigned: Wire::read(reader, version)?,
        };
        reader.skip_tags()?;
        Ok(value)
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.i32(self.member_epoch);
        writer.i32(self.previous_member_epoch);
        writer.i8(self.state);
        self.assigned.write(writer, version);
        writer.no_tags();
    }
}

/// Which share partitions have a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePartitionsValue<'a> {
    pub initializing: Vec<StateTopicValue<'a>>,
    pub initialized: Vec<StateTopicValue<'a>>,
    pub deleting: Vec<DeletingTopicValue<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateTopicValue<'a> {
    pub topic_id: TopicId,
    pub topic_name: &'a str,
    pub partitions: Vec<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletingTopicValue<'a> {
    pub topic_id: TopicId,
    pub topic_name: &'a str,
}

impl<'a> Wire<'a> for StatePartitionsValue<'a> {
    const MIN_BYTES: usize = 4;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let value = StatePartitionsValue {
            initializing: Wire::read(reader, version)?,
            initialized: Wire::read(reader, version)?,
            deleting: Wire::read(reader, version)?,
        };
        reader.skip_tags()?;
        Ok(value)
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        self.initializing.write(writer, version);
        self.initialized.write(writer, version);
        self.deleting.write(writer, version);
        writer.no_tags();
    }
}

impl<'a> Wire<'a> for StateTopicValue<'a> {
    const MIN_BYTES: usize = 19;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let value = StateTopicValue {
            topic_id: reader.topic_id()?,
            topic_name: Wire::read(reader, version)?,
            partitions: Wire::read(reader, version)?,
        };
        reader.skip_tags()?;
        Ok(value)
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.topic_id(self.topic_id);
        self.topic_name.write(writer, version);
        self.partitions.write(writer, version);
        writer.no_tags();
    }
}

impl<'a> Wire<'a> for DeletingTopicValue<'a> {
    const MIN_BYTES: usize = 18;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let value = DeletingTopicValue { topic_id: reader.topic_id()?, topic_name: Wire::read(reader, version)? };
        reader.skip_tags()?;
        Ok(value)
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.topic_id(self.topic_id);
        self.topic_name.write(writer, version);
        writer.no_tags();
    }
}

#[cfg(test)]
mod tests {
    use super::super::bytes_of;
    use super::*;

    /// Bytes as Kafka 4.3.1's own classes write the keys: a key that differs in a byte is another record, which no tombstone deletes.
    #[test]
    fn keys_are_kafkas() {
        let (group, member) = ("g1", "m-1");
        let golden = [
            (ShareGroupKey::Member { group, member }, "000a0002673100036d2d31"),
            (ShareGroupKey::Group { group }, "000b00026731"),
            (ShareGroupKey::TargetMetadata { group }, "000c00026731"),
            (ShareGroupKey::TargetMember { group, member }, "000d0002673100036d2d31"),
            (ShareGroupKey::CurrentAssignment { group, member }, "000e0002673100036d2d31"),
            (ShareGroupKey::StatePartitions { group }, "000f00026731"),
        ];
        for (key, hex) in golden {
            assert_eq!(key.encode(), bytes_of(hex), "{key:?}");
            assert_eq!(ShareGroupKey::decode(&bytes_of(hex)), Ok(Some(key)));
            assert_eq!(key.group(), "g1");
        }
        assert_eq!(ShareGroupKey::decode(&bytes_of("000300026731")), Ok(None), "a consumer group is not ours");
        assert!(ShareGroupKey::decode(&bytes_of("000a0002673100036d2d")).is_err());
    }

    /// Bytes as Kafka 4.3.1 writes the values: what is misread here are partitions that nobody reads, or a state that is never deleted.
    #[test]
    fn values_are_kafkas() {
        let topic_id = TopicId(std::array::from_fn(|i| i as u8 + 1));
        let epoch = ShareGroupValue { epoch: 7, metadata_hash: 0x0102030405060708 };
        let hex = "000000000007010203040506070800";
        assert_eq!(epoch.encode(), bytes_of(hex));
        assert_eq!(ShareGroupValue::decode(&bytes_of(hex)), Ok(epoch));

        let member = ShareMemberValue {
            rack_id: Some("r"),
            client_id: "c",
            client_host: "/127.0.0.1",
            subscribed_topic_names: vec!["a", "b"],
        };
        let hex = "0000027202630b2f3132372e302e302e31030261026200";
        assert_eq!(member.encode(), bytes_of(hex));
        assert_eq!(ShareMemberValue::decode(&bytes_of(hex)), Ok(member));

        let assigned = vec![TargetTopicValue { topic_id, partitions: vec![0, 1] }];
        let current = ShareCurrentValue { member_epoch: 7, previous_member_epoch: 6, state: 0, assigned };
        let hex = "0000000000070000000600020102030405060708090a0b0c0d0e0f100300000000000000010000";
        assert_eq!(current.encode(), bytes_of(hex));
        assert_eq!(ShareCurrentValue::decode(&bytes_of(hex)), Ok(current));

        let topic = |partitions| StateTopicValue { topic_id, topic_name: "a", partitions };
        let states = StatePartitionsValue {
            initializing: vec![topic(vec![2])],
            initialized: vec![topic(vec![0, 1])],
            deleting: vec![DeletingTopicValue { topic_id, topic_name: "d" }],
        };
        let hex = "0000020102030405060708090a0b0c0d0e0f100261020000000200020102030405060708090a0b0c0d0e0f1002610300000000\
                   0000000100020102030405060708090a0b0c0d0e0f1002640000";
        assert_eq!(states.encode(), bytes_of(hex));
        assert_eq!(StatePartitionsValue::decode(&bytes_of(hex)), Ok(states));
    }
}
