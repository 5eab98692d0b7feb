//! Owns the newest batches of one log, in memory: those not yet stable, and behind them what the cache budget leaves.
//!
//! Pure. `state` pushes, plans writes from it and reads from it; `cache` tells it when to let go of its oldest batch. Every batch has a
//! sequence number of its own, so that positions in the tail survive what is popped at its front.

use crate::ReadData;
use crate::chunks::Chunks;
use crate::read::ReadRange;
use bytes::Bytes;

/// Memory that a batch costs beside its bytes: this entry, the cache's entry, the shared handle.
const ENTRY_BYTES: usize = 160;

pub(crate) struct TailBatch {
    pub base_offset: i64,
    pub last_offset: i64,
    pub bytes: Bytes,
}

impl TailBatch {
    pub fn memory_bytes(&self) -> usize {
        memory_bytes(self.bytes.len())
    }
}

/// What a batch of `batch_bytes` costs.
pub(crate) fn memory_bytes(batch_bytes: usize) -> usize {
    batch_bytes + ENTRY_BYTES
}

/// Names a batch of this tail for as long as it is in it.
pub(crate) type Sequence = u64;

pub(crate) struct Tail {
    batches: Chunks<TailBatch>,
    front_sequence: Sequence,
    /// Batches from this offset on are in the tail; those before are on disk only.
    start_offset: i64,
}

impl Tail {
    pub fn new(start_offset: i64) -> Tail {
        Tail { batches: Chunks::default(), front_sequence: 0, start_offset }
    }

    pub fn start_offset(&self) -> i64 {
        self.start_offset
    }

    pub fn front_sequence(&self) -> Sequence {
        self.front_sequence
    }

    /// Sequence of the next batch pushed.
    pub fn end_sequence(&self) -> Sequence {
        self.front_sequence + self.batches.len() as u64
    }

    pub fn push(&mut self, batch: TailBatch) -> Sequence {
        self.batches.push_back(batch);
        self.end_sequence() - 1
    }

    pub fn get(&self, sequence: Sequence) -> Option<&TailBatch> {
        self.batches.get(sequence.checked_sub(self.front_sequence)? as usize)
    }

    pub fn from(&self, sequence: Sequence) -> impl Iterator<Item = &TailBatch> {
        self.batches.iter_from(sequence.saturating_sub(self.front_sequence) as usize)
    }

    /// The first batch that ends at `offset` or later.
    pub fn find(&self, offset: i64) -> Sequence {
        self.front_sequence + self.batches.partition_point(|batch| batch.last_offset < offset) as u64
    }

    /// Lets go of the oldest batch: from now on it is on disk only.
    pub fn evict_front(&mut self) -> Option<TailBatch> {
        let batch = self.batches.pop_front()?;
        self.front_sequence += 1;
        self.start_offset = batch.last_offset + 1;
        Some(batch)
    }

    /// Drops every batch that ends at `offset` or later; returns the memory set free. Their sequence numbers are used again.
    pub fn truncate(&mut self, offset: i64) -> usize {
        let mut freed = 0;
        while self.batches.back().is_some_and(|batch| batch.last_offset >= offset) {
            freed += self.batches.pop_back().map_or(0, |batch| batch.memory_bytes());
        }
        self.start_offset = self.start_offset.min(offset);
        freed
    }

    /// Whole batches from the one that contains `from`, within the bounds.
    pub fn read(&self, range: &ReadRange) -> ReadData {
        let mut data = ReadData::default();
        for batch in self.from(self.find(range.from)) {
            let fits = data.bytes + batch.bytes.len() <= range.max_bytes;
            if batch.last_offset >= range.below || !(fits || (range.at_least_one && data.slices.is_empty())) {
                break;
            }
            data.bytes += batch.bytes.len();
            data.slices.push(batch.bytes.clone());
        }
        data
    }

    /// Bytes of the batches that `read` could give, counted until `cap` is reached.
    pub fn readable_bytes(&self, from: i64, below: i64, cap: usize) -> usize {
        let mut bytes = 0;
        for batch in self.from(self.find(from)).take_while(|batch| batch.last_offset < below) {
            bytes += batch.bytes.len();
            if bytes >= cap {
                return cap;
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten batches of ten offsets and 100 bytes each.
    fn ten() -> Tail {
        let mut tail = Tail::new(0);
        for n in 0..10i64 {
            tail.push(TailBatch {
                base_offset: n * 10,
                last_offset: n * 10 + 9,
                bytes: Bytes::from(vec![n as u8; 100]),
            });
        }
        tail
    }

    fn firsts(tail: &Tail, from: i64, below: i64, max_bytes: usize, at_least_one: bool) -> Vec<u8> {
        tail.read(&ReadRange { from, below, max_bytes, at_least_one }).slices.iter().map(|slice| slice[0]).collect()
    }

    /// A consumer must get whole batches only, nothing at or past the bound, and progress even with a tiny limit.
    #[test]
    fn a_read_gives_whole_batches_within_its_bounds() {
        let tail = ten();
        assert_eq!(firsts(&tail, 25, 100, 250, true), [2, 3]);
        assert_eq!(firsts(&tail, 25, 45, 1_000, true), [2, 3]);
        assert_eq!(firsts(&tail, 25, 100, 10, true), [2]);
        assert_eq!(firsts(&tail, 25, 100, 10, false), [0u8; 0]);
        assert_eq!(firsts(&tail, 100, 100, 1_000, true), [0u8; 0]);
        assert_eq!(tail.readable_bytes(25, 45, 1_000), 200);
        assert_eq!(tail.readable_bytes(0, 100, 350), 350);
    }

    /// If truncation left `start_offset` behind the end, a read of the appended replacement would be looked for on disk.
    #[test]
    fn eviction_and_truncation_keep_names_and_bounds() {
        let mut tail = ten();
        for _ in 0..5 {
            tail.evict_front();
        }
        assert_eq!(tail.start_offset(), 50);
        assert_eq!(tail.get(5).unwrap().base_offset, 50);
        assert!(tail.get(4).is_none());

        let freed = tail.truncate(75);
        assert_eq!(freed, 3 * (100 + ENTRY_BYTES));
        assert_eq!(tail.end_sequence(), 7);

        tail.truncate(20);
        assert_eq!((tail.start_offset(), tail.end_sequence()), (20, 5));
        let next = TailBatch { base_offset: 20, last_offset: 20, bytes: Bytes::from_static(b"x") };
        assert_eq!(tail.push(next), 5);
        assert_eq!(tail.find(20), 5);
    }
}
