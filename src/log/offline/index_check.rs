//! Compares the two indexes of a segment with its batches, as they pass. Pure.
//!
//! What an index must never do is send a reader past what it looks for. So an entry of `.index` must name the start of a batch that begins at
//! or before its offset; an entry of `.timeindex` must have no larger timestamp before its offset. How dense they are is nobody's promise.

use super::index_files::{OffsetIndexEntry, TimeIndexEntry, offset_entries, time_entries};
use super::walk::StoredBatch;
use crate::index::{OFFSET_ENTRY_BYTES, TIME_ENTRY_BYTES};

/// Where in the index file, and what.
pub(super) type Mismatch = (u64, String);

pub(super) struct OffsetIndexCheck {
    entries: Vec<OffsetIndexEntry>,
    next: usize,
}

impl OffsetIndexCheck {
    /// `may_be_padded`: the segment was being written, and Kafka sets aside space for its index.
    pub fn new(content: &[u8], base_offset: i64, may_be_padded: bool) -> Result<OffsetIndexCheck, Mismatch> {
        let entries = offset_entries(content, base_offset);
        check_length(content.len(), entries.len(), OFFSET_ENTRY_BYTES, may_be_padded)?;
        for (at, pair) in entries.windows(2).enumerate() {
            if pair[1].offset <= pair[0].offset || pair[1].position <= pair[0].position {
                return Err((
                    (at + 1) as u64 * OFFSET_ENTRY_BYTES as u64,
                    "this entry is not behind the one before it".into(),
                ));
            }
        }
        Ok(OffsetIndexCheck { entries, next: 0 })
    }

    /// Takes the next batch of the segment.
    pub fn batch(&mut self, batch: &StoredBatch) -> Result<(), Mismatch> {
        while let Some(entry) = self.entries.get(self.next) {
            if u64::from(entry.position) > batch.position {
                return Ok(());
            }
            if u64::from(entry.position) < batch.position {
                return Err(self.mismatch(entry, "where no batch begins"));
            }
            if batch.header.base_offset > entry.offset {
                return Err(self.mismatch(entry, &format!("where offset {} begins", batch.header.base_offset)));
            }
            self.next += 1;
        }
        Ok(())
    }

    pub fn finish(&self) -> Result<(), Mismatch> {
        match self.entries.get(self.next) {
            Some(entry) => Err(self.mismatch(entry, "which is behind the segment's last batch")),
            None => Ok(()),
        }
    }

    fn mismatch(&self, entry: &OffsetIndexEntry, what: &str) -> Mismatch {
        let at = self.next as u64 * OFFSET_ENTRY_BYTES as u64;
        (at, format!("offset {} is said to be at byte {}, {what}", entry.offset, entry.position))
    }
}

pub(super) struct TimeIndexCheck {
    entries: Vec<TimeIndexEntry>,
    next: usize,
    largest: i64,
    last_offset: Option<i64>,
}

impl TimeIndexCheck {
    pub fn new(content: &[u8], base_offset: i64, may_be_padded: bool) -> Result<TimeIndexCheck, Mismatch> {
        let entries = time_entries(content, base_offset);
        check_length(content.len(), entries.len(), TIME_ENTRY_BYTES, may_be_padded)?;
        for (at, pair) in entries.windows(2).enumerate() {
            if pair[1].timestamp <= pair[0].timestamp || pair[1].offset < pair[0].offset {
                return Err((
                    (at + 1) as u64 * TIME_ENTRY_BYTES as u64,
                    "this entry is not behind the one before it".into(),
                ));
            }
        }
        Ok(TimeIndexCheck { entries, next: 0, largest: -1, last_offset: None })
    }

    pub fn batch(&mut self, batch: &StoredBatch) -> Result<(), Mismatch> {
        while let Some(entry) = self.entries.get(self.next) {
            if entry.offset > batch.header.last_offset() {
                break;
            }
            if self.largest > entry.timestamp {
                let found = format!(
                    "up to offset {} the largest timestamp is said to be {}, but {} comes before",
                    entry.offset, entry.timestamp, self.largest
                );
                return Err((self.next as u64 * TIME_ENTRY_BYTES as u64, found));
            }
            self.next += 1;
        }
        self.largest = self.largest.max(batch.header.max_timestamp);
        self.last_offset = Some(batch.header.last_offset());
        Ok(())
    }

    /// `sealed`: the last entry must be the segment's largest timestamp, by which retention goes.
    pub fn finish(&self, sealed: bool) -> Result<(), Mismatch> {
        if let Some(entry) = self.entries.get(self.next) {
            let found = format!("offset {} is behind the segment's last batch", entry.offset);
            return Err((self.next as u64 * TIME_ENTRY_BYTES as u64, found));
        }
        let last = self.entries.last().map_or(-1, |last| last.timestamp);
        if sealed && self.last_offset.is_some() && last != self.largest {
            let at = self.entries.len().saturating_sub(1) as u64 * TIME_ENTRY_BYTES as u64;
            return Err((at, format!("it ends with timestamp {last}, the segment's largest is {}", self.largest)));
        }
        Ok(())
    }
}

fn check_length(bytes: usize, used: usize, entry_bytes: usize, may_be_padded: bool) -> Result<(), Mismatch> {
    // One entry of zeros is an entry: offset and position 0, or timestamp 0.
    let padding = bytes - used * entry_bytes;
    if !padding.is_multiple_of(entry_bytes) {
        return Err(((bytes - bytes % entry_bytes) as u64, format!("its size is no multiple of {entry_bytes} bytes")));
    }
    if padding > entry_bytes && !may_be_padded {
        return Err(((used * entry_bytes) as u64, "zeros follow its last entry".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{IndexedBatch, SegmentIndex};
    use ringlane_protocol::records::{BatchBuilder, BatchHeader, Compression};

    const BASE: i64 = 1_000;

    /// Batches of ten records and about 20 KB, timestamps up and down; and the index that a log makes of them.
    fn segment() -> (Vec<StoredBatch>, SegmentIndex) {
        let (mut batches, mut index, mut position) = (Vec::new(), SegmentIndex::default(), 0);
        for n in 0..40i64 {
            let mut builder = BatchBuilder::new(Compression::None).base_offset(BASE + n * 10);
            for _ in 0..10 {
                builder.push(5_000 + (n ^ 1), None, Some(&[7; 2_000]), &[]);
            }
            let header = BatchHeader::parse(&builder.finish().unwrap()).unwrap();
            batches.push(StoredBatch { position, header });
            let last_offset = (header.last_offset() - BASE) as u32;
            let bytes = header.size() as u32;
            let max_timestamp = header.max_timestamp;
            index.push(IndexedBatch { last_offset, position: position as u32, bytes, max_timestamp }, 4096);
            position += u64::from(bytes);
        }
        index.seal();
        (batches, index)
    }

    fn check_offsets(content: &[u8], batches: &[StoredBatch]) -> Result<(), Mismatch> {
        let mut check = OffsetIndexCheck::new(content, BASE, false)?;
        batches.iter().try_for_each(|batch| check.batch(batch))?;
        check.finish()
    }

    fn check_times(content: &[u8], batches: &[StoredBatch]) -> Result<(), Mismatch> {
        let mut check = TimeIndexCheck::new(content, BASE, false)?;
        batches.iter().try_for_each(|batch| check.batch(batch))?;
        check.finish(true)
    }

    /// An index that agrees must pass, whatever distance its entries have: a false alarm makes people rebuild what is sound.
    #[test]
    fn what_a_log_writes_passes() {
        let (batches, index) = segment();
        assert!(index.encode_offsets().len() > 8 * OFFSET_ENTRY_BYTES);
        assert_eq!(check_offsets(&index.encode_offsets(), &batches), Ok(()));
        assert_eq!(check_times(&index.encode_times(), &batches), Ok(()));
        assert_eq!(check_offsets(&[], &batches), Ok(()), "a lookup then reads from the start");
        let padded = [index.encode_offsets(), vec![0; 800]].concat();
        assert!(OffsetIndexCheck::new(&padded, BASE, true).is_ok(), "Kafka's active segment");
        assert_eq!(check_offsets(&padded, &batches).unwrap_err().0, index.encode_offsets().len() as u64);
    }

    /// An index of another segment, or a flipped bit, would make a fetch skip records without a word.
    #[test]
    fn an_entry_that_leads_past_its_offset_is_found() {
        let (batches, index) = segment();
        let offsets = index.encode_offsets();
        let mut swapped = offsets.clone();
        swapped.rotate_left(OFFSET_ENTRY_BYTES);
        assert!(check_offsets(&swapped, &batches).is_err());
        assert!(check_offsets(&offsets[..offsets.len() - 1], &batches).unwrap_err().1.contains("no multiple"));
        assert!(check_offsets(&offsets, &batches[..10]).unwrap_err().1.contains("behind the segment's last batch"));
        for at in 4..offsets.len() {
            let in_position = at % OFFSET_ENTRY_BYTES >= 4;
            let mut damaged = offsets.clone();
            damaged[at] ^= 0x04;
            if in_position {
                assert!(check_offsets(&damaged, &batches).is_err(), "byte {at}");
            }
        }
    }

    /// A search by time that starts too late answers a later record; a wrong largest timestamp deletes a segment before its time.
    #[test]
    fn a_timestamp_that_hides_a_larger_one_is_found() {
        let (batches, index) = segment();
        let times = index.encode_times();
        let mut too_small = times.clone();
        let last = times.len() - TIME_ENTRY_BYTES;
        too_small[last + 7] -= 1;
        assert!(check_times(&too_small, &batches).is_err());
        let without_last = &times[..last];
        assert!(check_times(without_last, &batches).unwrap_err().1.contains("the segment's largest is 5039"));
    }
}
