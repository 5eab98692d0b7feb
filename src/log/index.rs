//! Owns the two indexes of a segment: offset to byte position, timestamp to offset, in memory and in Kafka's file formats.
//!
//! Pure. The open segment's index grows with each append; a sealed one is written once and read back when first needed.
//!
//! ```text
//! .index      relative offset i32 | position i32     of the batch that ends at that offset
//! .timeindex  timestamp i64 | relative offset i32    largest timestamp so far, last offset of its batch
//! ```

use crate::chunks::Chunks;

/// Entries are at least this far apart whatever `index.interval.bytes` says: a read costs at least this much anyway, and an open
/// segment of 1 GiB then needs 640 KiB of index at most.
pub(crate) const INTERVAL_BYTES_MIN: u32 = 32 << 10;
pub(crate) const OFFSET_ENTRY_BYTES: usize = 8;
pub(crate) const TIME_ENTRY_BYTES: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct OffsetEntry {
    offset: u32,
    position: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct TimeEntry {
    timestamp: i64,
    offset: u32,
}

/// Where a batch lies; offsets relative to the segment's base.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexedBatch {
    pub last_offset: u32,
    pub position: u32,
    pub bytes: u32,
    pub max_timestamp: i64,
}

/// Both indexes of one segment, and the largest timestamp in it.
#[derive(Default)]
pub(crate) struct SegmentIndex {
    offsets: Chunks<OffsetEntry>,
    times: Chunks<TimeEntry>,
    bytes_since_entry: u32,
    largest: Option<TimeEntry>,
}

impl SegmentIndex {
    /// Takes the next batch of the segment into account.
    pub fn push(&mut self, batch: IndexedBatch, interval_bytes: u32) {
        if batch.max_timestamp >= 0 && self.largest.is_none_or(|largest| batch.max_timestamp > largest.timestamp) {
            self.largest = Some(TimeEntry { timestamp: batch.max_timestamp, offset: batch.last_offset });
        }
        if self.bytes_since_entry > interval_bytes.max(INTERVAL_BYTES_MIN) {
            self.offsets.push_back(OffsetEntry { offset: batch.last_offset, position: batch.position });
            self.push_largest();
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry = self.bytes_since_entry.saturating_add(batch.bytes);
    }

    /// The segment takes no more batches: Kafka ends its time index with the largest timestamp.
    pub fn seal(&mut self) {
        self.push_largest();
    }

    fn push_largest(&mut self) {
        let Some(largest) = self.largest else { return };
        if self.times.back().is_none_or(|last| largest.timestamp > last.timestamp) {
            self.times.push_back(largest);
        }
    }

    /// A position at or before the batch that contains `offset`, and not far before.
    pub fn position_before(&self, offset: u32) -> u32 {
        let after = self.offsets.partition_point(|entry| entry.offset <= offset);
        after.checked_sub(1).and_then(|at| self.offsets.get(at)).map_or(0, |entry| entry.position)
    }

    /// An offset at or before the first batch whose largest timestamp is `timestamp` or more.
    pub fn offset_before_timestamp(&self, timestamp: i64) -> u32 {
        let after = self.times.partition_point(|entry| entry.timestamp < timestamp);
        after.checked_sub(1).and_then(|at| self.times.get(at)).map_or(0, |entry| entry.offset)
    }

    /// Where a search for the largest timestamp below offset `below` may start: no earlier batch has a larger one.
    pub fn offset_of_largest_before(&self, below: u32) -> u32 {
        let after = self.times.partition_point(|entry| entry.offset < below);
        after.checked_sub(1).and_then(|at| self.times.get(at)).map_or(0, |entry| entry.offset)
    }

    /// Largest timestamp in the segment and the last offset of the first batch that has it.
    pub fn largest_timestamp(&self) -> Option<(i64, u32)> {
        self.largest.map(|largest| (largest.timestamp, largest.offset))
    }

    /// Entries of the offset index.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    pub fn times_len(&self) -> usize {
        self.times.len()
    }

    /// Kafka rolls when either index file would exceed `segment.index.bytes`.
    pub fn is_full(&self, index_bytes_max: u32) -> bool {
        self.offsets.len() >= index_bytes_max as usize / OFFSET_ENTRY_BYTES
            || self.times.len() + 1 >= index_bytes_max as usize / TIME_ENTRY_BYTES
    }

    /// Content of the `.index` file.
    pub fn encode_offsets(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.offsets.len() * OFFSET_ENTRY_BYTES);
        for entry in self.offsets.iter_from(0) {
            bytes.extend_from_slice(&entry.offset.to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
        }
        bytes
    }

    /// Content of the `.timeindex` file.
    pub fn encode_times(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.times.len() * TIME_ENTRY_BYTES);
        for entry in self.times.iter_from(0) {
            bytes.extend_from_slice(&entry.timestamp.to_be_bytes());
            bytes.extend_from_slice(&entry.offset.to_be_bytes());
        }
        bytes
    }

    /// Whether it can be that of a sealed segment of `segment_bytes`: no position behind the end, and a largest timestamp. (Without
    /// timestamps in any batch it is made anew each time: such logs are rare.)
    pub fn fits(&self, segment_bytes: u64) -> bool {
        let last = self.offsets.back();
        self.times.back().is_some() && last.is_none_or(|entry| u64::from(entry.position) < segment_bytes)
    }

    /// The first entries of both files: of an open segment's no more is known to be right.
    pub fn decode_first(offsets: &[u8], offset_count: u32, times: &[u8], time_count: u32) -> Option<SegmentIndex> {
        let offsets = offsets.get(..offset_count as usize * OFFSET_ENTRY_BYTES)?;
        SegmentIndex::decode(offsets, times.get(..time_count as usize * TIME_ENTRY_BYTES)?)
    }

    /// With the largest timestamp, and the offset of its batch, that batches without an entry may have.
    pub fn with_largest(mut self, largest: Option<(i64, u32)>) -> SegmentIndex {
        self.largest = largest.map(|(timestamp, offset)| TimeEntry { timestamp, offset });
        self
    }

    /// Reads both files back. `None` when they cannot be a sealed segment's: odd lengths, or entries out of order.
    pub fn decode(offsets: &[u8], times: &[u8]) -> Option<SegmentIndex> {
        let mut index = SegmentIndex::default();
        let (offset_entries, rest) = offsets.as_chunks::<OFFSET_ENTRY_BYTES>();
        let (time_entries, times_rest) = times.as_chunks::<TIME_ENTRY_BYTES>();
        if !rest.is_empty() || !times_rest.is_empty() {
            return None;
        }
        for [a, b, c, d, e, f, g, h] in offset_entries.iter().copied() {
            let entry =
                OffsetEntry { offset: u32::from_be_bytes([a, b, c, d]), position: u32::from_be_bytes([e, f, g, h]) };
            if index.offsets.back().is_some_and(|last| last.offset >= entry.offset || last.position >= entry.position) {
                return None;
            }
            index.offsets.push_back(entry);
        }
        for entry in time_entries {
            let (timestamp, offset) = entry.split_at(8);
            let entry = TimeEntry {
                timestamp: i64::from_be_bytes(timestamp.try_into().ok()?),
                offset: u32::from_be_bytes(offset.try_into().ok()?),
            };
            if index.times.back().is_some_and(|last| last.timestamp >= entry.timestamp || last.offset > entry.offset) {
                return None;
            }
            index.times.push_back(entry);
        }
        index.largest = index.times.back().copied();
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexed(batches: u32, batch_bytes: u32) -> SegmentIndex {
        let mut index = SegmentIndex::default();
        for n in 0..batches {
            let max_timestamp = 1_000 + i64::from(n ^ 1);
            let batch =
                IndexedBatch { last_offset: n * 10 + 9, position: n * batch_bytes, bytes: batch_bytes, max_timestamp };
            index.push(batch, 4096);
        }
        index
    }

    /// An entry past the wanted batch would make a fetch skip records.
    #[test]
    fn a_lookup_is_never_past_the_batch_and_at_most_an_interval_before() {
        let index = indexed(1_000, 5_000);
        for n in 0..1_000u32 {
            for offset in [n * 10, n * 10 + 9] {
                let position = index.position_before(offset);
                assert!(position <= n * 5_000, "offset {offset}");
                assert!(n * 5_000 - position <= INTERVAL_BYTES_MIN + 2 * 5_000, "offset {offset}");
            }
        }
    }

    /// Timestamps go up and down by one here; a search that starts behind the first match would answer a later offset.
    #[test]
    fn a_timestamp_search_starts_at_or_before_the_first_match() {
        let index = indexed(1_000, 5_000);
        for n in 0..1_000u32 {
            let first_match = (0..1_000u32).find(|m| 1_000 + i64::from(m ^ 1) >= 1_000 + i64::from(n)).unwrap();
            assert!(index.offset_before_timestamp(1_000 + i64::from(n)) <= first_match * 10 + 9);
        }
        assert_eq!(index.largest_timestamp(), Some((1_999, 9_989)));
    }

    /// What a sealed segment's files say must be what the open segment knew, and damage must be seen.
    #[test]
    fn files_give_the_same_answers() {
        let mut index = indexed(1_000, 5_000);
        index.seal();
        let (offsets, times) = (index.encode_offsets(), index.encode_times());
        let again = SegmentIndex::decode(&offsets, &times).unwrap();

        assert_eq!(again.encode_offsets(), offsets);
        assert_eq!(again.encode_times(), times);
        assert_eq!(again.largest_timestamp(), index.largest_timestamp());
        assert_eq!(again.position_before(5_000), index.position_before(5_000));
        assert!(SegmentIndex::decode(&offsets[1..], &times).is_none());
        let mut swapped = offsets;
        swapped.rotate_left(OFFSET_ENTRY_BYTES);
        assert!(SegmentIndex::decode(&swapped, &times).is_none());
    }
}
