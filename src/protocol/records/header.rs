//! The 61 bytes in front of every batch: parsed view, checks, and the fields that a broker sets in place.

use super::{BatchError, ProducerStamp};
use crate::compression::Compression;

/// Bytes in front of the records.
pub const HEADER_BYTES: usize = 61;
/// Base offset and length: what the length field does not count.
pub const LENGTH_PREFIX_BYTES: usize = 12;
pub const NO_PRODUCER_ID: i64 = -1;
pub const NO_PRODUCER_EPOCH: i16 = -1;
pub const NO_SEQUENCE: i32 = -1;
pub const NO_TIMESTAMP: i64 = -1;

const MAGIC: i8 = 2;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;

/// A batch's header. Plain values, so that it can travel between shards without its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes of the batch after this field; [`BatchHeader::size`] is what callers want.
    pub length: i32,
    pub leader_epoch: i32,
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub records_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`. Checks length field and magic, nothing behind the header.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::TooShort { have: bytes.len(), need: HEADER_BYTES });
        };
        let header = BatchHeader {
            base_offset: i64::from_be_bytes(field(head, 0)),
            length: i32::from_be_bytes(field(head, 8)),
            leader_epoch: i32::from_be_bytes(field(head, LEADER_EPOCH_AT)),
            crc: u32::from_be_bytes(field(head, CRC_AT)),
            attributes: Attributes(i16::from_be_bytes(field(head, ATTRIBUTES_AT))),
            last_offset_delta: i32::from_be_bytes(field(head, 23)),
            base_timestamp: i64::from_be_bytes(field(head, 27)),
            max_timestamp: i64::from_be_bytes(field(head, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(field(head, 43)),
            producer_epoch: i16::from_be_bytes(field(head, 51)),
            base_sequence: i32::from_be_bytes(field(head, 53)),
            records_count: i32::from_be_bytes(field(head, 57)),
        };
        if (header.length as i64) < (HEADER_BYTES - LENGTH_PREFIX_BYTES) as i64 {
            return Err(BatchError::BadLength(header.length));
        }
        match head[MAGIC_AT] as i8 {
            MAGIC => Ok(header),
            other => Err(BatchError::UnsupportedMagic(other)),
        }
    }

    /// Bytes of the whole batch.
    pub fn size(&self) -> usize {
        LENGTH_PREFIX_BYTES + self.length as usize
    }
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }
    pub fn has_producer(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }
    /// Sequence of the last record; sequences wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence {
            NO_SEQUENCE => NO_SEQUENCE,
            base => sequence_after(base, self.last_offset_delta),
        }
    }
    pub fn is_control(&self) -> bool {
        self.attributes.is_control()
    }
    pub fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }
}

/// `base + delta` in the circle of sequences 0 ..= `i32::MAX`.
pub fn sequence_after(base: i32, delta: i32) -> i32 {
    ((i64::from(base) + i64::from(delta)) & i64::from(i32::MAX)) as i32
}

fn field<const N: usize>(head: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    *head[at..].first_chunk().expect("every field lies inside the header")
}

/// Who set the timestamps of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

/// Attribute bits of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    pub(super) const DELETE_HORIZON: i16 = 0x40;

    pub fn new(compression: Compression, timestamps: TimestampType, transactional: bool, control: bool) -> Attributes {
        let mut bits = compression as i16;
        if timestamps == TimestampType::LogAppendTime {
            bits |= Self::LOG_APPEND_TIME;
        }
        if transactional {
            bits |= Self::TRANSACTIONAL;
        }
        if control {
            bits |= Self::CONTROL;
        }
        Attributes(bits)
    }
    /// `None` for the numbers 5 to 7, which name no codec.
    pub fn compression(self) -> Option<Compression> {
        Compression::from_number((self.0 & Self::CODEC) as u8)
    }
    pub fn with_compression(self, codec: Compression) -> Attributes {
        Attributes((self.0 & !Self::CODEC) | codec as i16)
    }
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME != 0 { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
    }
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }
    /// The base timestamp is the time from which tombstones and markers of this batch may go (compaction).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// The batch at the start of `bytes`: whole, format 2, CRC right. `header.size()` says where it ends; more may follow.
pub fn check_batch(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(bytes)?;
    let Some(batch) = bytes.get(..header.size()) else {
        return Err(BatchError::TooShort { have: bytes.len(), need: header.size() });
    };
    check_crc(&header, batch)?;
    Ok(header)
}

/// Compares the stored CRC32C with that of `batch`, which is exactly one batch whose header is `header`.
pub fn check_crc(header: &BatchHeader, batch: &[u8]) -> Result<(), BatchError> {
    match crc32c::crc32c(&batch[ATTRIBUTES_AT..]) {
        computed if computed == header.crc => Ok(()),
        computed => Err(BatchError::BadCrc { stored: header.crc, computed }),
    }
}

/// Sets the base offset of the batch at the start of `batch`. Outside the CRC.
pub fn patch_base_offset(batch: &mut [u8], base_offset: i64) {
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
}

/// Sets the partition leader epoch. Outside the CRC.
pub fn patch_leader_epoch(batch: &mut [u8], leader_epoch: i32) {
    batch[LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Sets maximal timestamp and timestamp type, then the CRC, of exactly one batch. Returns its header as it now is.
pub fn patch_max_timestamp(batch: &mut [u8], max_timestamp: i64, timestamps: TimestampType) -> BatchHeader {
    let attributes = i16::from_be_bytes([batch[ATTRIBUTES_AT], batch[ATTRIBUTES_AT + 1]]);
    let attributes = match timestamps {
        TimestampType::CreateTime => attributes & !Attributes::LOG_APPEND_TIME,
        TimestampType::LogAppendTime => attributes | Attributes::LOG_APPEND_TIME,
    };
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&max_timestamp.to_be_bytes());
    seal(batch);
    BatchHeader::parse(batch).expect("the batch was sound before")
}

/// Sets producer id, epoch and base sequence, then the CRC, of exactly one batch: a producer that got a new id sends again what was
/// never stored.
pub fn patch_producer(batch: &mut [u8], producer: ProducerStamp) {
    batch[PRODUCER_ID_AT..PRODUCER_ID_AT + 8].copy_from_slice(&producer.id.to_be_bytes());
    batch[PRODUCER_EPOCH_AT..PRODUCER_EPOCH_AT + 2].copy_from_slice(&producer.epoch.to_be_bytes());
    batch[BASE_SEQUENCE_AT..BASE_SEQUENCE_AT + 4].copy_from_slice(&producer.base_sequence.to_be_bytes());
    seal(batch);
}

/// Writes the CRC of exactly one batch.
pub(super) fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::BatchBuilder;

    fn batch() -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        builder.set_producer(ProducerStamp { id: 9, epoch: 1, base_sequence: i32::MAX - 1 }, false);
        for timestamp in [5_000, 7_000, 6_000, 6_500] {
            builder.push(timestamp, Some(b"key"), Some(b"value"), &[]);
        }
        builder.finish().unwrap()
    }

    /// The broker assigns offsets without touching a record: were the two fields inside the CRC, every consumer would refuse the batch.
    #[test]
    fn offset_and_leader_epoch_are_set_without_a_new_crc() {
        let mut bytes = batch();
        let before = check_batch(&bytes).unwrap();
        patch_base_offset(&mut bytes, 1 << 40);
        patch_leader_epoch(&mut bytes, 12);
        let after = check_batch(&bytes).unwrap();
        assert_eq!(after, BatchHeader { base_offset: 1 << 40, leader_epoch: 12, ..before });
        assert_eq!(after.next_offset(), (1 << 40) + 4);
    }

    /// LogAppendTime changes what the CRC covers.
    #[test]
    fn log_append_time_comes_with_a_new_crc_and_can_be_taken_back() {
        let mut bytes = batch();
        let original = bytes.clone();
        assert_eq!(check_batch(&bytes).unwrap().max_timestamp, 7_000);
        let patched = patch_max_timestamp(&mut bytes, 99_000, TimestampType::LogAppendTime);
        assert_eq!(check_batch(&bytes), Ok(patched));
        assert_eq!(
            (patched.max_timestamp, patched.attributes.timestamp_type()),
            (99_000, TimestampType::LogAppendTime)
        );
        assert_eq!(patched.attributes.compression(), Some(Compression::Lz4));
        patch_max_timestamp(&mut bytes, 7_000, TimestampType::CreateTime);
        assert_eq!(bytes, original);
    }

    /// A batch that goes out under a new producer id must be a whole batch again, its records as they were.
    #[test]
    fn a_new_producer_comes_with_a_new_crc() {
        let mut bytes = batch();
        let before = check_batch(&bytes).unwrap();
        patch_producer(&mut bytes, ProducerStamp { id: 77, epoch: 0, base_sequence: 5 });
        let after = check_batch(&bytes).unwrap();
        let expected = BatchHeader { producer_id: 77, producer_epoch: 0, base_sequence: 5, crc: after.crc, ..before };
        assert_eq!(after, expected);
    }

    /// One flipped bit anywhere behind the CRC, or a cut anywhere, must not become a stored batch.
    #[test]
    fn damage_is_found() {
        let bytes = batch();
        for at in CRC_AT..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(matches!(check_batch(&damaged), Err(BatchError::BadCrc { .. })), "byte {at}");
        }
        for cut in 0..bytes.len() {
            assert!(matches!(check_batch(&bytes[..cut]), Err(BatchError::TooShort { .. })), "cut at {cut}");
        }
        for (length, magic) in [(48i32, 2u8), (-1, 2), (i32::MIN, 2), (100, 1)] {
            let mut forged = bytes.clone();
            forged[8..12].copy_from_slice(&length.to_be_bytes());
            forged[MAGIC_AT] = magic;
            assert!(matches!(check_batch(&forged), Err(BatchError::BadLength(_) | BatchError::UnsupportedMagic(1))));
        }
    }

    /// A producer that has sent two billion records goes on at 0 (KIP-98); a broker that counts past the end refuses it for ever.
    #[test]
    fn sequences_wrap_to_zero() {
        let header = check_batch(&batch()).unwrap();
        assert_eq!(header.last_sequence(), 1, "MAX - 1, MAX, 0, 1");
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(BatchHeader { base_sequence: NO_SEQUENCE, ..header }.last_sequence(), NO_SEQUENCE);
    }
}
