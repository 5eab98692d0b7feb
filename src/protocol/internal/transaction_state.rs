//! `__transaction_state`: one record per transactional id.

use super::{InternalRecordError, KEY_VERSION, Value};
use crate::wire::{Struct, Wire};
use crate::{DecodeError, Reader, Version, Writer};

/// The only kind of key: a transactional id.
const TRANSACTION: i16 = 0;

pub fn encode_transaction_key(transactional_id: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.i16(TRANSACTION);
    transactional_id.write(&mut writer, KEY_VERSION);
    writer.into_bytes()
}

/// The transactional id of a key; `None` for keys of other kinds, which a later broker may write.
pub fn decode_transaction_key(bytes: &[u8]) -> Result<Option<&str>, InternalRecordError> {
    let read = || {
        let mut reader = Reader::new(bytes);
        match reader.i16()? {
            TRANSACTION => Wire::read(&mut reader, KEY_VERSION).map(Some),
            _ => Ok(None),
        }
    };
    read().map_err(|source| InternalRecordError::Damaged { what: "a key of __transaction_state", source })
}

/// The state of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionValue<'a> {
    pub producer_id: i64,
    /// From version 1, -1 when there is none, like the two below.
    pub previous_producer_id: i64,
    pub next_producer_id: i64,
    pub producer_epoch: i16,
    pub next_producer_epoch: i16,
    pub timeout_ms: i32,
    /// Kafka's number of the state: 0 Empty, 1 Ongoing, 2 PrepareCommit, ... (`protocol.md` 2.9).
    pub status: i8,
    pub partitions: Option<Vec<TransactionTopic<'a>>>,
    pub last_update_ms: i64,
    pub start_ms: i64,
    /// From version 1: the `transaction.version` that the client speaks.
    pub client_transaction_version: i16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionTopic<'a> {
    pub topic: &'a str,
    pub partitions: Vec<i32>,
}

const PREVIOUS_PRODUCER_ID: u32 = 0;
const NEXT_PRODUCER_ID: u32 = 1;
const CLIENT_TRANSACTION_VERSION: u32 = 2;
const NEXT_PRODUCER_EPOCH: u32 = 3;

impl<'a> TransactionValue<'a> {
    pub const VERSION_MAX: i16 = 1;

    pub fn decode(bytes: &'a [u8]) -> Result<TransactionValue<'a>, InternalRecordError> {
        Value::decode_value(bytes)
    }
    pub fn encode(&self, version: i16) -> Vec<u8> {
        self.encode_value(version)
    }
}

impl<'a> Value<'a> for TransactionValue<'a> {
    const WHAT: &'static str = "the state of a transactional id";
    const VERSION_MAX: i16 = TransactionValue::VERSION_MAX;
    const FLEXIBLE_FROM: i16 = 1;
}

impl<'a> Wire<'a> for TransactionValue<'a> {
    const MIN_BYTES: usize = 33;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let mut value = TransactionValue {
            producer_id: reader.i64()?,
            previous_producer_id: -1,
            next_producer_id: -1,
            producer_epoch: reader.i16()?,
            next_producer_epoch: -1,
            timeout_ms: reader.i32()?,
            status: reader.i8()?,
            partitions: Wire::read(reader, version)?,
            last_update_ms: reader.i64()?,
            start_ms: reader.i64()?,
            client_transaction_version: 0,
        };
        if version.flexible {
            reader.tags(|tag, field| {
                match tag {
                    PREVIOUS_PRODUCER_ID => value.previous_producer_id = field.i64()?,
                    NEXT_PRODUCER_ID => value.next_producer_id = field.i64()?,
                    CLIENT_TRANSACTION_VERSION => value.client_transaction_version = field.i16()?,
                    NEXT_PRODUCER_EPOCH => value.next_producer_epoch = field.i16()?,
                    _ => {}
                }
                Ok(())
            })?;
        }
        Ok(value)
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        writer.i64(self.producer_id);
        writer.i16(self.producer_epoch);
        writer.i32(self.timeout_ms);
        writer.i8(self.status);
        self.partitions.write(writer, version);
        writer.i64(self.last_update_ms);
        writer.i64(self.start_ms);
        if !version.flexible {
            return;
        }
        let mut tags = writer.tags();
        if self.previous_producer_id != -1 {
            tags.put(PREVIOUS_PRODUCER_ID, |field| field.i64(self.previous_producer_id));
        }
        if self.next_producer_id != -1 {
            tags.put(NEXT_PRODUCER_ID, |field| field.i64(self.next_producer_id));
        }
        if self.client_transaction_version != 0 {
            tags.put(CLIENT_TRANSACTION_VERSION, |field| field.i16(self.client_transaction_version));
        }
        if self.next_producer_epoch != -1 {
            tags.put(NEXT_PRODUCER_EPOCH, |field| field.i16(self.next_producer_epoch));
        }
    }
}

impl<'a> Struct<'a> for TransactionTopic<'a> {}

impl<'a> Wire<'a> for TransactionTopic<'a> {
    const MIN_BYTES: usize = 2;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let value = TransactionTopic { topic: Wire::read(reader, version)?, partitions: Wire::read(reader, version)? };
        if version.flexible {
            reader.skip_tags()?;
        }
        Ok(value)
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        self.topic.write(writer, version);
        self.partitions.write(writer, version);
        if version.flexible {
            writer.no_tags();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bytes_of;
    use super::*;

    /// Bytes as Kafka 4.3.1 writes `TransactionLogKey` and `TransactionLogValue`: a coordinator that misreads a state commits what was
    /// aborted.
    #[test]
    fn keys_and_values_are_kafkas() {
        assert_eq!(encode_transaction_key("tx-9"), bytes_of("0000000474782d39"));
        assert_eq!(decode_transaction_key(&bytes_of("0000000474782d39")), Ok(Some("tx-9")));
        assert_eq!(decode_transaction_key(&bytes_of("0001")), Ok(None));

        let plain = TransactionValue {
            producer_id: 4_000,
            previous_producer_id: -1,
            next_producer_id: -1,
            producer_epoch: 2,
            next_producer_epoch: -1,
            timeout_ms: 60_000,
            status: 1,
            partitions: Some(vec![TransactionTopic { topic: "orders", partitions: vec![0, 7] }]),
            last_update_ms: 1_700_000_000_000,
            start_ms: 1_699_999_999_000,
            client_transaction_version: 0,
        };
        let tagged = TransactionValue {
            previous_producer_id: 3_999,
            next_producer_id: 4_001,
            next_producer_epoch: 1,
            client_transaction_version: 2,
            ..plain.clone()
        };
        let empty = TransactionValue {
            producer_id: 1,
            producer_epoch: 0,
            timeout_ms: 1,
            status: 0,
            partitions: None,
            last_update_ms: 1,
            start_ms: -1,
            ..plain.clone()
        };
        let golden = [
            (
                &plain,
                0,
                "00000000000000000fa000020000ea60010000000100066f72646572730000000200000000000000070000018bcfe568000000018b\
                 cfe56418",
            ),
            (
                &plain,
                1,
                "00010000000000000fa000020000ea600102076f7264657273030000000000000007000000018bcfe568000000018bcfe5641800",
            ),
            (
                &tagged,
                1,
                "00010000000000000fa000020000ea600102076f7264657273030000000000000007000000018bcfe568000000018bcfe5641804\
                 00080000000000000f9f01080000000000000fa10202000203020001",
            ),
            (&empty, 0, "0000000000000000000100000000000100ffffffff0000000000000001ffffffffffffffff"),
            (&empty, 1, "0001000000000000000100000000000100000000000000000001ffffffffffffffff00"),
        ];
        for (value, version, hex) in golden {
            assert_eq!(value.encode(version), bytes_of(hex), "version {version}");
            assert_eq!(TransactionValue::decode(&bytes_of(hex)).as_ref(), Ok(value), "version {version}");
        }
    }
}
