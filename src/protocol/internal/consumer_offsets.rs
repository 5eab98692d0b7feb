//! `__consumer_offsets`: committed offsets and the metadata of classic groups.

use super::{InternalRecordError, KEY_VERSION, Value};
use crate::wire::{Struct, Wire};
use crate::{DecodeError, Reader, TopicId, Version, Writer};

/// What a record of the topic is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetsKey<'a> {
    Offset(OffsetKey<'a>),
    /// A classic group, by its id.
    Group(&'a str),
    /// A record of another kind of group (KIP-848, share, streams), by its type.
    Other(i16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetKey<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub partition: i32,
}

/// Written before Kafka 0.9 or so; the same fields as type 1.
const LEGACY_OFFSET: i16 = 0;
const OFFSET: i16 = 1;
const GROUP: i16 = 2;

impl<'a> OffsetsKey<'a> {
    pub fn decode(bytes: &'a [u8]) -> Result<OffsetsKey<'a>, InternalRecordError> {
        let read = || {
            let mut reader = Reader::new(bytes);
            Ok(match reader.i16()? {
                LEGACY_OFFSET | OFFSET => OffsetsKey::Offset(OffsetKey {
                    group: Wire::read(&mut reader, KEY_VERSION)?,
                    topic: Wire::read(&mut reader, KEY_VERSION)?,
                    partition: reader.i32()?,
                }),
                GROUP => OffsetsKey::Group(Wire::read(&mut reader, KEY_VERSION)?),
                other => OffsetsKey::Other(other),
            })
        };
        read().map_err(|source| InternalRecordError::Damaged { what: "a key of __consumer_offsets", source })
    }
}

impl OffsetKey<'_> {
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.i16(OFFSET);
        self.group.write(&mut writer, KEY_VERSION);
        self.topic.write(&mut writer, KEY_VERSION);
        writer.i32(self.partition);
        writer.into_bytes()
    }
}

/// The key of a classic group's metadata.
pub fn encode_group_key(group: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.i16(GROUP);
    group.write(&mut writer, KEY_VERSION);
    writer.into_bytes()
}

/// A committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetValue<'a> {
    pub offset: i64,
    /// From version 3; -1 when not known.
    pub leader_epoch: i32,
    pub metadata: &'a str,
    pub commit_timestamp: i64,
    /// Version 1 only; -1 when the broker's retention rules.
    pub expire_timestamp: i64,
    /// From version 4; zero when not known.
    pub topic_id: TopicId,
}

impl<'a> OffsetValue<'a> {
    pub const VERSION_MAX: i16 = 4;

    pub fn decode(bytes: &'a [u8]) -> Result<OffsetValue<'a>, InternalRecordError> {
        Value::decode_value(bytes)
    }
    pub fn encode(&self, version: i16) -> Vec<u8> {
        self.encode_value(version)
    }
}

impl<'a> Value<'a> for OffsetValue<'a> {
    const WHAT: &'static str = "a committed offset";
    const VERSION_MAX: i16 = OffsetValue::VERSION_MAX;
    const FLEXIBLE_FROM: i16 = 4;
}

impl<'a> Wire<'a> for OffsetValue<'a> {
    const MIN_BYTES: usize = 17;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let mut value = OffsetValue {
            offset: reader.i64()?,
            leader_epoch: if version.number >= 3 { reader.i32()? } else { -1 },
            metadata: Wire::read(reader, version)?,
            commit_timestamp: reader.i64()?,
            expire_timestamp: if version.number == 1 { reader.i64()? } else { -1 },
            topic_id: TopicId::ZERO,
        };
        if version.flexible {
            reader.tags(|tag, field| {
                if tag == 0 {
                    value.topic_id = field.topic_id()?;
                }
                Ok(())
            })?;
        }
        Ok(value)
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.i64(self.offset);
        if version.number >= 3 {
            writer.i32(self.leader_epoch);
        }
        self.metadata.write(writer, version);
        writer.i64(self.commit_timestamp);
        if version.number == 1 {
            writer.i64(self.expire_timestamp);
        }
        if version.flexible {
            let mut tags = writer.tags();
            if !self.topic_id.is_zero() {
                tags.put(0, |field| field.topic_id(self.topic_id));
            }
        }
    }
}

/// A classic group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupValue<'a> {
    pub protocol_type: &'a str,
    pub generation: i32,
    pub protocol: Option<&'a str>,
    pub leader: Option<&'a str>,
    /// From version 2; -1 when not known.
    pub state_timestamp: i64,
    pub members: Vec<MemberValue<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberValue<'a> {
    pub member_id: &'a str,
    /// From version 3.
    pub group_instance_id: Option<&'a str>,
    pub client_id: &'a str,
    pub client_host: &'a str,
    /// From version 1; -1 when not known.
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: &'a [u8],
    pub assignment: &'a [u8],
}

impl<'a> GroupValue<'a> {
    pub const VERSION_MAX: i16 = 4;

    pub fn decode(bytes: &'a [u8]) -> Result<GroupValue<'a>, InternalRecordError> {
        Value::decode_value(bytes)
    }
    pub fn encode(&self, version: i16) -> Vec<u8> {
        self.encode_value(version)
    }
}

impl<'a> Value<'a> for GroupValue<'a> {
    const WHAT: &'static str = "the metadata of a group";
    const VERSION_MAX: i16 = GroupValue::VERSION_MAX;
    const FLEXIBLE_FROM: i16 = 4;
}

impl<'a> Wire<'a> for GroupValue<'a> {
    const MIN_BYTES: usize = 8;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let value = GroupValue {
            protocol_type: Wire::read(reader, version)?,
            generation: reader.i32()?,
            protocol: Wire::read(reader, version)?,
            leader: Wire::read(reader, version)?,
            state_timestamp: if version.number >= 2 { reader.i64()? } else { -1 },
            members: Wire::read(reader, version)?,
        };
        if version.flexible {
            reader.skip_tags()?;
        }
        Ok(value)
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        self.protocol_type.write(writer, version);
        writer.i32(self.generation);
        self.protocol.write(writer, version);
        self.leader.write(writer, version);
        if version.number >= 2 {
            writer.i64(self.state_timestamp);
        }
        self.members.write(writer, version);
        if version.flexible {
            writer.no_tags();
        }
    }
}

impl<'a> Struct<'a> for MemberValue<'a> {}

impl<'a> Wire<'a> for MemberValue<'a> {
    const MIN_BYTES: usize = 9;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let value = MemberValue {
            member_id: Wire::read(reader, version)?,
            group_instance_id: if version.number >= 3 { Wire::read(reader, version)? } else { None },
            client_id: Wire::read(reader, version)?,
            client_host: Wire::read(reader, version)?,
            rebalance_timeout_ms: if version.number >= 1 { reader.i32()? } else { -1 },
            session_timeout_ms: reader.i32()?,
            subscription: Wire::read(reader, version)?,
            assignment: Wire::read(reader, version)?,
        };
        if version.flexible {
            reader.skip_tags()?;
        }
        Ok(value)
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        self.member_id.write(writer, version);
        if version.number >= 3 {
            self.group_instance_id.write(writer, version);
        }
        self.client_id.write(writer, version);
        self.client_host.write(writer, version);
        if version.number >= 1 {
            writer.i32(self.rebalance_timeout_ms);
        }
        writer.i32(self.session_timeout_ms);
        self.subscription.write(writer, version);
        self.assignment.write(writer, version);
        if version.flexible {
            writer.no_tags();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bytes_of;
    use super::*;

    /// Bytes as Kafka 4.3.1's own classes write them (`LegacyOffsetCommitKey`, `OffsetCommitKey`, `GroupMetadataKey`).
    #[test]
    fn keys_are_kafkas() {
        let key = OffsetKey { group: "g1", topic: "orders", partition: 7 };
        assert_eq!(key.encode(), bytes_of("00010002673100066f726465727300000007"));
        assert_eq!(encode_group_key("g1"), bytes_of("000200026731"));

        assert_eq!(OffsetsKey::decode(&key.encode()), Ok(OffsetsKey::Offset(key)));
        assert_eq!(
            OffsetsKey::decode(&bytes_of("00000002673100066f726465727300000007")),
            Ok(OffsetsKey::Offset(key)),
            "keys of type 0 are as old as Kafka 0.8 and still in compacted logs"
        );
        assert_eq!(OffsetsKey::decode(&bytes_of("000200026731")), Ok(OffsetsKey::Group("g1")));
        assert_eq!(OffsetsKey::decode(&bytes_of("00030002")), Ok(OffsetsKey::Other(3)));
        assert!(OffsetsKey::decode(&bytes_of("0001000267")).is_err());
    }

    /// Bytes as Kafka 4.3.1 writes `OffsetCommitValue`: a consumer that resumes at a misread offset loses or repeats records.
    #[test]
    fn committed_offsets_are_kafkas() {
        let golden = [
            (0, "0000000000000000002a00016d0000018bcfe56800"),
            (1, "0001000000000000002a00016d0000018bcfe568000000018bcfe56be8"),
            (2, "0002000000000000002a00016d0000018bcfe56800"),
            (3, "0003000000000000002a0000000500016d0000018bcfe56800"),
            (4, "0004000000000000002a00000005026d0000018bcfe568000100100102030405060708090a0b0c0d0e0f10"),
        ];
        for (version, hex) in golden {
            let value = OffsetValue {
                offset: 42,
                leader_epoch: if version >= 3 { 5 } else { -1 },
                metadata: "m",
                commit_timestamp: 1_700_000_000_000,
                expire_timestamp: if version == 1 { 1_700_000_001_000 } else { -1 },
                topic_id: if version == 4 { TopicId(std::array::from_fn(|i| i as u8 + 1)) } else { TopicId::ZERO },
            };
            assert_eq!(value.encode(version), bytes_of(hex), "version {version}");
            assert_eq!(OffsetValue::decode(&bytes_of(hex)), Ok(value), "version {version}");
        }
        let without_id = bytes_of("0004000000000000002a00000005026d0000018bcfe5680000");
        let value = OffsetValue::decode(&without_id).unwrap();
        assert!(value.topic_id.is_zero());
        assert_eq!(value.encode(4), without_id);
        assert!(matches!(
            OffsetValue::decode(&bytes_of("0005")),
            Err(InternalRecordError::UnknownVersion { known: 4, found: 5, .. })
        ));
    }

    /// Bytes as Kafka 4.3.1 writes `GroupMetadataValue`, with one member and empty.
    #[test]
    fn group_metadata_is_kafkas() {
        let golden = [
            (
                0,
                "00000008636f6e73756d657200000003000572616e676500036d2d310000000100036d2d31000163000a2f3132372e302e302e31\
                 0000afc80000000301020300000000",
                "0000000000000000ffffffff00000000",
            ),
            (
                1,
                "00010008636f6e73756d657200000003000572616e676500036d2d310000000100036d2d31000163000a2f3132372e302e302e31\
                 000493e00000afc80000000301020300000000",
                "0001000000000000ffffffff00000000",
            ),
            (
                2,
                "00020008636f6e73756d657200000003000572616e676500036d2d310000018bcfe568000000000100036d2d31000163000a2f31\
                 32372e302e302e31000493e00000afc80000000301020300000000",
                "0002000000000000ffffffffffffffffffffffff00000000",
            ),
            (
                3,
                "00030008636f6e73756d657200000003000572616e676500036d2d310000018bcfe568000000000100036d2d3100016900016300\
                 0a2f3132372e302e302e31000493e00000afc80000000301020300000000",
                "0003000000000000ffffffffffffffffffffffff00000000",
            ),
            (
                4,
                "000409636f6e73756d6572000000030672616e6765046d2d310000018bcfe5680002046d2d31026902630b2f3132372e302e302e\
                 31000493e00000afc804010203010000",
                "000401000000000000ffffffffffffffff0100",
            ),
        ];
        for (version, one_member, empty) in golden {
            let value = GroupValue {
                protocol_type: "consumer",
                generation: 3,
                protocol: Some("range"),
                leader: Some("m-1"),
                state_timestamp: if version >= 2 { 1_700_000_000_000 } else { -1 },
                members: vec![MemberValue {
                    member_id: "m-1",
                    group_instance_id: (version >= 3).then_some("i"),
                    client_id: "c",
                    client_host: "/127.0.0.1",
                    rebalance_timeout_ms: if version >= 1 { 300_000 } else { -1 },
                    session_timeout_ms: 45_000,
                    subscription: &[1, 2, 3],
                    assignment: &[],
                }],
            };
            assert_eq!(value.encode(version), bytes_of(one_member), "version {version}");
            assert_eq!(GroupValue::decode(&bytes_of(one_member)), Ok(value), "version {version}");

            let bytes = bytes_of(empty);
            let value = GroupValue::decode(&bytes).unwrap();
            assert_eq!((value.protocol, value.leader, value.members.len()), (None, None, 0));
            assert_eq!(value.encode(version), bytes, "version {version}");
        }
    }
}
