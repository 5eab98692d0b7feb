//! `__share_group_state`: what share groups have done with the records of a partition (KIP-932).
//!
//! A snapshot (0) says all, an update (1) what has changed since. Both have the share partition as their key, so compaction keeps the newest
//! of each kind; an update counts only on top of the snapshot whose epoch it names. A tombstone of the snapshot's key deletes the state.

use super::{InternalRecordError, KEY_VERSION, Value};
use crate::wire::Wire;
use crate::{DecodeError, Reader, TopicId, Version, Writer};

const SNAPSHOT: i16 = 0;
const UPDATE: i16 = 1;
/// "Not known", of a count that records of Kafka before 4.2 do not have.
pub const NO_COUNT: i32 = -1;

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareStateKey<'a> {
    Snapshot { group: &'a str, topic_id: TopicId, partition: i32 },
    Update { group: &'a str, topic_id: TopicId, partition: i32 },
}

impl<'a> ShareStateKey<'a> {
    /// `None` for a record of a kind that a later version writes.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<ShareStateKey<'a>>, InternalRecordError> {
        let read = || {
            let mut reader = Reader::new(bytes);
            let kind = reader.i16()?;
            if kind != SNAPSHOT && kind != UPDATE {
                return Ok(None);
            }
            let group = Wire::read(&mut reader, KEY_VERSION)?;
            let (topic_id, partition) = (reader.topic_id()?, reader.i32()?);
            Ok(Some(match kind {
                SNAPSHOT => ShareStateKey::Snapshot { group, topic_id, partition },
                _ => ShareStateKey::Update { group, topic_id, partition },
            }))
        };
        read().map_err(|source| InternalRecordError::Damaged { what: "a key of a share partition's state", source })
    }

    pub fn encode(&self) -> Vec<u8> {
        let (kind, group, topic_id, partition) = match *self {
            ShareStateKey::Snapshot { group, topic_id, partition } => (SNAPSHOT, group, topic_id, partition),
            ShareStateKey::Update { group, topic_id, partition } => (UPDATE, group, topic_id, partition),
        };
        let mut writer = Writer::new();
        writer.i16(kind);
        group.write(&mut writer, KEY_VERSION);
        writer.topic_id(topic_id);
        writer.i32(partition);
        writer.into_bytes()
    }
}

/// Offsets that share a delivery state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateBatchValue {
    pub first_offset: i64,
    pub last_offset: i64,
    /// 0 available, 2 acknowledged, 4 archived.
    pub delivery_state: i8,
    pub delivery_count: i16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareSnapshotValue {
    pub snapshot_epoch: i32,
    pub state_epoch: i32,
    pub leader_epoch: i32,
    /// -1: not known yet.
    pub start_offset: i64,
    /// Offsets from the start on whose delivery is complete (KIP-1226), or [`NO_COUNT`].
    pub delivery_complete_count: i32,
    pub create_timestamp: i64,
    pub write_timestamp: i64,
    pub batches: Vec<StateBatchValue>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareUpdateValue {
    /// Of the snapshot that this adds to.
    pub snapshot_epoch: i32,
    pub leader_epoch: i32,
    /// -1: as before.
    pub start_offset: i64,
    pub delivery_complete_count: i32,
    pub batches: Vec<StateBatchValue>,
}

macro_rules! value {
    ($type:ident, $what:literal) => {
        impl Value<'_> for $type {
            const WHAT: &'static str = $what;
            const VERSION_MAX: i16 = 0;
            const FLEXIBLE_FROM: i16 = 0;
        }

        impl $type {
            pub fn decode(bytes: &[u8]) -> Result<Self, InternalRecordError> {
                Value::decode_value(bytes)
            }
            pub fn encode(&self) -> Vec<u8> {
                self.encode_value(0)
            }
        }
    };
}

value!(ShareSnapshotValue, "a snapshot of a share partition");
value!(ShareUpdateValue, "an update of a share partition");

impl<'a> Wire<'a> for ShareSnapshotValue {
    const MIN_BYTES: usize = 38;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let mut value = ShareSnapshotValue {
            snapshot_epoch: reader.i32()?,
            state_epoch: reader.i32()?,
            leader_epoch: reader.i32()?,
            start_offset: reader.i64()?,
            delivery_complete_count: NO_COUNT,
            create_timestamp: reader.i64()?,
            write_timestamp: reader.i64()?,
            batches: Wire::read(reader, version)?,
        };
        value.delivery_complete_count = read_count(reader)?;
        Ok(value)
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.i32(self.snapshot_epoch);
        writer.i32(self.state_epoch);
        writer.i32(self.leader_epoch);
        writer.i64(self.start_offset);
        writer.i64(self.create_timestamp);
        writer.i64(self.write_timestamp);
        self.batches.write(writer, version);
        write_count(writer, self.delivery_complete_count);
    }
}

impl<'a> Wire<'a> for ShareUpdateValue {
    const MIN_BYTES: usize = 18;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let mut value = ShareUpdateValue {
            snapshot_epoch: reader.i32()?,
            leader_epoch: reader.i32()?,
            start_offset: reader.i64()?,
            delivery_complete_count: NO_COUNT,
            batches: Wire::read(reader, version)?,
        };
        value.delivery_complete_count = read_count(reader)?;
        Ok(value)
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.i32(self.snapshot_epoch);
        writer.i32(self.leader_epoch);
        writer.i64(self.start_offset);
        self.batches.write(writer, version);
        write_count(writer, self.delivery_complete_count);
    }
}

impl<'a> Wire<'a> for StateBatchValue {
    const MIN_BYTES: usize = 20;

    fn read(reader: &mut Reader<'a>, _: Version) -> Result<Self, DecodeError> {
        let value = StateBatchValue {
            first_offset: reader.i64()?,
            last_offset: reader.i64()?,
            delivery_state: reader.i8()?,
            delivery_count: reader.i16()?,
        };
        reader.skip_tags()?;
        Ok(value)
    }

    fn write(&self, writer: &mut Writer, _: Version) {
        writer.i64(self.first_offset);
        writer.i64(self.last_offset);
        writer.i8(self.delivery_state);
        writer.i16(self.delivery_count);
        writer.no_tags();
    }
}

fn read_count(reader: &mut Reader<'_>) -> Result<i32, DecodeError> {
    let mut count = NO_COUNT;
    reader.tags(|tag, field| {
        if tag == 0 {
            count = field.i32()?;
        }
        Ok(())
    })?;
    Ok(count)
}

fn write_count(writer: &mut Writer, count: i32) {
    let mut tags = writer.tags();
    if count != NO_COUNT {
        tags.put(0, |field| field.i32(count));
    }
}

#[cfg(test)]
mod tests {
    use super::super::bytes_of;
    use super::*;

    /// Bytes as Kafka 4.3.1 writes them: a start offset that is misread delivers again what was acknowledged, or loses what was not.
    #[test]
    fn states_are_kafkas() {
        let topic_id = TopicId(std::array::from_fn(|i| i as u8 + 1));
        let id = "000267310102030405060708090a0b0c0d0e0f1000000003";
        let keys = [
            (ShareStateKey::Snapshot { group: "g1", topic_id, partition: 3 }, format!("0000{id}")),
            (ShareStateKey::Update { group: "g1", topic_id, partition: 3 }, format!("0001{id}")),
        ];
        for (key, hex) in keys {
            assert_eq!(key.encode(), bytes_of(&hex));
            assert_eq!(ShareStateKey::decode(&bytes_of(&hex)), Ok(Some(key)));
        }
        assert_eq!(ShareStateKey::decode(&bytes_of("0002")), Ok(None), "of a later version");

        let batch = |state, count| StateBatchValue {
            first_offset: 12,
            last_offset: 13,
            delivery_state: state,
            delivery_count: count,
        };
        let full = ShareSnapshotValue {
            snapshot_epoch: 1,
            state_epoch: 2,
            leader_epoch: 3,
            start_offset: 10,
            delivery_complete_count: 2,
            create_timestamp: 1_700_000_000_000,
            write_timestamp: 1_700_000_000_001,
            batches: vec![batch(2, 1)],
        };
        let fresh = ShareSnapshotValue {
            snapshot_epoch: 0,
            state_epoch: 2,
            leader_epoch: 0,
            start_offset: -1,
            delivery_complete_count: NO_COUNT,
            create_timestamp: 5,
            write_timestamp: 5,
            batches: Vec::new(),
        };
        let golden = [
            (
                full,
                "0000000000010000000200000003000000000000000a0000018bcfe568000000018bcfe5680102000000000000000c00000000\
                 0000000d0200010001000400000002",
            ),
            (fresh, "0000000000000000000200000000ffffffffffffffff000000000000000500000000000000050100"),
        ];
        for (value, hex) in golden {
            assert_eq!(value.encode(), bytes_of(hex));
            assert_eq!(ShareSnapshotValue::decode(&bytes_of(hex)), Ok(value));
        }

        let update = ShareUpdateValue {
            snapshot_epoch: 1,
            leader_epoch: 3,
            start_offset: -1,
            delivery_complete_count: 2,
            batches: vec![batch(4, 5)],
        };
        let hex = "00000000000100000003ffffffffffffffff02000000000000000c000000000000000d0400050001000400000002";
        assert_eq!(update.encode(), bytes_of(hex));
        assert_eq!(ShareUpdateValue::decode(&bytes_of(hex)), Ok(update));
    }
}
