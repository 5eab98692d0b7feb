//! `OFFSET.snapshot`: the producers of a partition as they were before OFFSET, so that a restart need not read the whole log to know them.
//!
//! Kafka keeps the last batch of each producer only: after a restart the four before it are not known as duplicates any more, there as here.
//!
//! ```text
//! version i16 = 1 | CRC32C u32 of all that follows | count i32 | count times:
//!   producer id i64 | epoch i16 | last sequence i32 | last offset i64 | offset delta i32 | timestamp i64
//!   | coordinator epoch i32 | first offset of the open transaction i64
//! ```

use super::FileError;
use crate::records::{NO_SEQUENCE, NO_TIMESTAMP, sequence_after};
use crate::{Reader, Writer};

pub const VERSION: i16 = 1;
pub const ENTRY_BYTES: usize = 46;
/// Version and CRC: what the CRC does not cover.
const CRC_FROM: usize = 6;
const COUNT_BYTES: usize = 4;
/// "None" in fields that hold an offset, and in the coordinator's epoch.
const NONE: i64 = -1;
const NO_COORDINATOR_EPOCH: i32 = -1;

/// One producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerEntry {
    pub producer_id: i64,
    pub epoch: i16,
    /// `None`: of this epoch there are markers only.
    pub last_batch: Option<LastBatch>,
    /// Largest timestamp of its last batch, or of its last marker; `-1` when it never had one. Kafka expires producers by it.
    pub timestamp: i64,
    /// Epoch of the coordinator that wrote its last marker.
    pub coordinator_epoch: Option<i32>,
    pub open_transaction_from: Option<i64>,
}

/// The last batch with data of a producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastBatch {
    pub last_sequence: i32,
    pub last_offset: i64,
    /// From the batch's first offset to its last, and so from its first sequence to its last.
    pub offset_delta: i32,
}

impl LastBatch {
    pub fn first_sequence(&self) -> i32 {
        sequence_after(self.last_sequence, -self.offset_delta)
    }
}

impl ProducerEntry {
    /// Of a producer that has written nothing yet in `epoch`.
    pub fn new(producer_id: i64, epoch: i16) -> ProducerEntry {
        ProducerEntry {
            producer_id,
            epoch,
            last_batch: None,
            timestamp: NO_TIMESTAMP,
            coordinator_epoch: None,
            open_transaction_from: None,
        }
    }
}

/// The whole file.
pub fn encode(entries: &[ProducerEntry]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(CRC_FROM + COUNT_BYTES + entries.len() * ENTRY_BYTES);
    writer.i16(VERSION);
    writer.u32(0);
    writer.i32(i32::try_from(entries.len()).expect("fewer producers than a partition has offsets in memory"));
    for entry in entries {
        writer.i64(entry.producer_id);
        writer.i16(entry.epoch);
        let last = entry.last_batch;
        writer.i32(last.map_or(NO_SEQUENCE, |last| last.last_sequence));
        writer.i64(last.map_or(NONE, |last| last.last_offset));
        writer.i32(last.map_or(0, |last| last.offset_delta));
        writer.i64(entry.timestamp);
        writer.i32(entry.coordinator_epoch.unwrap_or(NO_COORDINATOR_EPOCH));
        writer.i64(entry.open_transaction_from.unwrap_or(NONE));
    }
    let mut bytes = writer.into_bytes();
    let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
    bytes[CRC_FROM - 4..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    bytes
}

pub fn decode(bytes: &[u8]) -> Result<Vec<ProducerEntry>, FileError> {
    let mut reader = Reader::new(bytes);
    match reader.i16()? {
        VERSION => {}
        found => return Err(FileError::Version { known: VERSION, found }),
    }
    let stored = reader.u32()?;
    // Before anything that it covers is believed.
    let computed = crc32c::crc32c(&bytes[CRC_FROM..]);
    if computed != stored {
        return Err(FileError::Crc { stored, computed });
    }
    let at = reader.position();
    let count =
        reader.count(false, ENTRY_BYTES)?.ok_or(FileError::Entry { at, what: "there is no count of entries" })?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(read_entry(&mut reader)?);
    }
    match reader.remaining() {
        0 => Ok(entries),
        left => Err(FileError::Trailing { at: reader.position(), left }),
    }
}

fn read_entry(reader: &mut Reader<'_>) -> Result<ProducerEntry, FileError> {
    let at = reader.position();
    let (producer_id, epoch) = (reader.i64()?, reader.i16()?);
    let last = LastBatch { last_sequence: reader.i32()?, last_offset: reader.i64()?, offset_delta: reader.i32()? };
    let timestamp = reader.i64()?;
    let (coordinator_epoch, open_from) = (reader.i32()?, reader.i64()?);
    if producer_id < 0 {
        return Err(FileError::Entry { at, what: "a producer id is negative" });
    }
    let has_batch = last.last_offset >= 0;
    if has_batch && (last.last_sequence < 0 || last.offset_delta < 0) {
        return Err(FileError::Entry { at, what: "a producer's last batch has no sequence, or ends before it begins" });
    }
    Ok(ProducerEntry {
        producer_id,
        epoch,
        last_batch: has_batch.then_some(last),
        timestamp,
        coordinator_epoch: (coordinator_epoch >= 0).then_some(coordinator_epoch),
        open_transaction_from: (open_from >= 0).then_some(open_from),
    })
}

#[cfg(test)]
mod tests {
    use super::super::bytes_of;
    use super::*;

    /// Written by Kafka 4.3.1: four idempotent producers that sent 200 records each, and a transactional one whose first transaction was
    /// committed, whose second was aborted and whose third is open.
    const BY_KAFKA: &str = "0001955437b800000005\
        00000000000000000000000000c700000000000001f3000000040000018bd01c5873ffffffffffffffffffffffff\
        00000000000000010000000000c700000000000002bb000000020000018bd05347bbffffffffffffffffffffffff\
        00000000000000020000000000c70000000000000383000000040000018bd08a3703ffffffffffffffffffffffff\
        00000000000000030000000000c7000000000000044b000000080000018bd0c1264bffffffffffffffffffffffff\
        0000000000000004000200000004000000000000045c000000040000018bd12f035a000000000000000000000458";

    fn as_kafka_had_them() -> Vec<ProducerEntry> {
        let idempotent = |producer_id, last_offset, offset_delta, timestamp| ProducerEntry {
            last_batch: Some(LastBatch { last_sequence: 199, last_offset, offset_delta }),
            timestamp,
            ..ProducerEntry::new(producer_id, 0)
        };
        vec![
            idempotent(0, 499, 4, 1_700_003_600_499),
            idempotent(1, 699, 2, 1_700_007_200_699),
            idempotent(2, 899, 4, 1_700_010_800_899),
            idempotent(3, 1099, 8, 1_700_014_401_099),
            ProducerEntry {
                last_batch: Some(LastBatch { last_sequence: 4, last_offset: 1116, offset_delta: 4 }),
                timestamp: 1_700_021_601_114,
                coordinator_epoch: Some(0),
                open_transaction_from: Some(1112),
                ..ProducerEntry::new(4, 2)
            },
        ]
    }

    /// A partition that Kafka wrote is opened here, and its tools read ours: a field off by a byte turns every retry into a second record.
    #[test]
    fn reads_and_writes_kafkas_bytes() {
        let bytes = bytes_of(BY_KAFKA);
        assert_eq!(decode(&bytes).unwrap(), as_kafka_had_them());
        assert_eq!(encode(&as_kafka_had_them()), bytes);
        // Kafka's file for a partition without idempotent producers.
        assert_eq!(encode(&[]), bytes_of("000148674bc700000000"));
    }

    /// After a marker a producer with a new epoch has no batch; read as "offset -1, sequence -1" its next batch would be a gap.
    #[test]
    fn a_producer_without_a_batch_reads_back_as_one() {
        let entry = ProducerEntry { timestamp: 77, coordinator_epoch: Some(3), ..ProducerEntry::new(5, 9) };
        assert_eq!(decode(&encode(&[entry])), Ok(vec![entry]));
    }

    /// A wrong producer state refuses sound producers or stores records twice: a damaged file must be told from a good one.
    #[test]
    fn damage_is_told_and_never_a_panic() {
        let good = bytes_of(BY_KAFKA);
        for cut in 0..good.len() {
            assert!(decode(&good[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..good.len() {
            let mut damaged = good.clone();
            damaged[at] ^= 0x04;
            assert!(decode(&damaged).is_err(), "byte {at}");
        }
        let longer = [good.clone(), vec![0; 3]].concat();
        assert!(matches!(decode(&longer), Err(FileError::Crc { .. })));
        assert!(matches!(decode(&sealed(longer)), Err(FileError::Trailing { at: 240, left: 3 })));
        let mut forged = good.clone();
        forged[6..10].copy_from_slice(&i32::MAX.to_be_bytes());
        assert!(matches!(decode(&sealed(forged)), Err(FileError::Cut(_))), "no memory for entries that are not there");
        let mut later = good;
        later[1] = 2;
        assert_eq!(decode(&later), Err(FileError::Version { known: 1, found: 2 }));
    }

    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        bytes[CRC_FROM - 4..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}
