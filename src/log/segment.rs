//! What one segment is: which offsets and bytes it holds, its index, its file while that is open.
//!
//! Pure but for the file handle, which it only keeps. Owned by `state`; one segment takes appends, those before it are sealed, or on
//! their way to be: a sealed one has neither index nor file in memory, `handles` opens both when a reader comes.

use crate::aborted::Aborted;
use crate::index::{IndexedBatch, SegmentIndex};
use crate::{AppendBatch, LogOptions};
use ringlane_protocol::records::{BatchHeader, NO_TIMESTAMP};
use ringlane_protocol::storage::producer_snapshot::ProducerEntry;
use ringlane_runtime::File;

/// Offsets in a segment's index are 32 bit, relative to its base.
const OFFSET_DELTA_MAX: i64 = i32::MAX as i64;

pub(crate) struct Segment {
    pub base_offset: i64,
    /// Appended bytes, written or not.
    pub bytes: u64,
    /// Bytes that the device has. Never more than `bytes`.
    pub written_bytes: u64,
    /// Space set aside in the file; writes below it do not change the file's size.
    pub reserved_bytes: u64,
    /// Largest timestamp of the first batch: Kafka measures `segment.ms` from there.
    pub first_timestamp: Option<i64>,
    /// Largest timestamp, and the last offset of the first batch that has it.
    pub max_timestamp: Option<(i64, i64)>,
    /// Whether the two above are right. Of a segment that was sealed before the start they are read when needed.
    pub timestamps_known: bool,
    pub index: Option<SegmentIndex>,
    pub file: Option<File>,
    /// Transactions that were aborted in it.
    pub aborted: Aborted,
    /// The partition's producers as of its base, until they are in its snapshot.
    pub producers: Option<Vec<ProducerEntry>>,
    /// Nobody writes to its files any more: retention may take it.
    pub is_sealed: bool,
}

impl Segment {
    pub fn new(base_offset: i64) -> Segment {
        Segment {
            base_offset,
            bytes: 0,
            written_bytes: 0,
            reserved_bytes: 0,
            first_timestamp: None,
            max_timestamp: None,
            timestamps_known: true,
            index: Some(SegmentIndex::default()),
            file: None,
            aborted: Aborted::default(),
            producers: None,
            is_sealed: false,
        }
    }

    /// A segment that is complete and whose files tell the rest when somebody asks.
    pub fn sealed(base_offset: i64, bytes: u64) -> Segment {
        Segment { bytes, written_bytes: bytes, index: None, timestamps_known: false, ..Segment::new(base_offset) }
    }

    /// Kafka's rules for a new segment (`LogSegment.shouldRoll`).
    pub fn must_roll(&self, batch: &AppendBatch, options: &LogOptions) -> bool {
        let too_far = batch.last_offset - self.base_offset > OFFSET_DELTA_MAX;
        let too_large = self.bytes + batch.bytes.len() as u64 > u64::from(options.segment_bytes);
        let too_old = self.first_timestamp.is_some_and(|first| {
            batch.max_timestamp >= 0 && batch.max_timestamp.saturating_sub(first) > options.segment_ms
        });
        let index_full = self.index.as_ref().is_some_and(|index| index.is_full(options.segment_index_bytes));
        too_far || (self.bytes > 0 && (too_large || too_old || index_full))
    }

    /// Takes the next batch into account; its position is the segment's size before.
    pub fn push(&mut self, last_offset: i64, max_timestamp: i64, batch_bytes: usize, index_interval_bytes: u32) {
        let batch = IndexedBatch {
            last_offset: self.relative(last_offset),
            position: self.bytes as u32,
            bytes: batch_bytes as u32,
            max_timestamp,
        };
        if let Some(index) = &mut self.index {
            index.push(batch, index_interval_bytes);
            self.max_timestamp =
                index.largest_timestamp().map(|(timestamp, offset)| (timestamp, self.base_offset + i64::from(offset)));
        }
        if self.bytes == 0 && max_timestamp >= 0 {
            self.first_timestamp = Some(max_timestamp);
        }
        self.bytes += batch_bytes as u64;
    }

    /// The same for a batch found on disk.
    pub fn push_found(&mut self, header: &BatchHeader, index_interval_bytes: u32) {
        // A batch that compaction emptied keeps its times, but nobody finds a record by them.
        let max_timestamp = if header.records_count == 0 { NO_TIMESTAMP } else { header.max_timestamp };
        self.push(header.last_offset(), max_timestamp, header.size(), index_interval_bytes);
        self.written_bytes = self.bytes;
    }

    /// `offset` as the index counts it; offsets outside of the segment go to its ends.
    pub fn relative(&self, offset: i64) -> u32 {
        offset.saturating_sub(self.base_offset).clamp(0, OFFSET_DELTA_MAX) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn batch(base_offset: i64, bytes: usize, max_timestamp: i64) -> AppendBatch {
        AppendBatch { bytes: Bytes::from(vec![0; bytes]), base_offset, last_offset: base_offset + 9, max_timestamp }
    }

    fn rolls(segment: &Segment, batch: &AppendBatch) -> bool {
        segment.must_roll(batch, &LogOptions { segment_bytes: 1_000, segment_ms: 60_000, ..LogOptions::default() })
    }

    /// Kafka's four reasons to roll, each with the value just before it; retention counts on them.
    #[test]
    fn a_segment_rolls_by_size_time_and_offset() {
        let mut segment = Segment::new(100);
        assert!(!rolls(&segment, &batch(100, 5_000, 0)), "a batch larger than a segment gets one of its own");
        segment.push(109, 1_000_000, 600, 4096);

        assert!(!rolls(&segment, &batch(110, 400, 1_060_000)));
        assert!(rolls(&segment, &batch(110, 401, 1_060_000)), "size");
        assert!(rolls(&segment, &batch(110, 400, 1_060_001)), "time by record timestamps");
        assert!(!rolls(&segment, &batch(110, 400, -1)), "no timestamp, no age");
        assert!(!rolls(&segment, &batch(100 + OFFSET_DELTA_MAX - 9, 10, 0)));
        assert!(rolls(&segment, &batch(100 + OFFSET_DELTA_MAX - 8, 10, 0)), "offsets out of the index's reach");
    }
}
