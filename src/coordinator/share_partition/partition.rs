//! The offsets of a share partition: where it stands, how it begins, what of it may be fetched.

use super::options::SharePartitionOptions;
use super::range::{Range, Ranges, RecordState, StateBatch};
use super::write::Writes;

/// One group's view of one partition.
#[derive(Debug, Clone)]
pub struct SharePartition {
    /// First offset that is not done with. Never goes back.
    pub(super) start: i64,
    /// First offset that nobody has been given yet. `ranges` cover what lies between.
    pub(super) next: i64,
    pub(super) ranges: Ranges,
    /// Some range may be available; without it nobody looks.
    pub(super) maybe_available: bool,
    pub(super) writes: Writes,
    /// The earliest that a lock can expire. May be early, never late.
    pub(super) earliest_lock_ms: Option<i64>,
}

/// A state of the share coordinator that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadState {
    #[error("the offsets {0} to {1} are in no order, or lie before the start offset {2}")]
    OutOfOrder(i64, i64, i64),
    #[error("the offsets {0} to {1} are in flight, which is never written")]
    Acquired(i64, i64),
}

impl SharePartition {
    /// As the share coordinator has it. What lies between its batches was given out and never heard of: available.
    pub fn load(start: i64, batches: &[StateBatch]) -> Result<SharePartition, BadState> {
        let mut ranges = Ranges::default();
        let mut next = start;
        for batch in batches {
            let StateBatch { first_offset, last_offset, state, delivery_count } = *batch;
            if first_offset < next || last_offset < first_offset {
                return Err(BadState::OutOfOrder(first_offset, last_offset, next));
            }
            if state == RecordState::Acquired {
                return Err(BadState::Acquired(first_offset, last_offset));
            }
            if first_offset > next {
                let unknown = Range::settled(first_offset - 1, RecordState::Available, 0, first_offset - next);
                ranges.insert(next, unknown);
            }
            let lot = last_offset - first_offset + 1;
            ranges.insert(first_offset, Range::settled(last_offset, state, delivery_count, lot));
            next = last_offset + 1;
        }
        let mut partition = SharePartition {
            start,
            next,
            ranges,
            maybe_available: true,
            writes: Writes::default(),
            earliest_lock_ms: None,
        };
        partition.advance();
        Ok(partition)
    }

    pub fn start_offset(&self) -> i64 {
        self.start
    }

    pub fn next_offset(&self) -> i64 {
        self.next
    }

    /// Entries in memory.
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// Where to read for whoever comes next.
    pub fn fetch_offset(&mut self) -> i64 {
        if !self.maybe_available {
            return self.next;
        }
        let available = self.ranges.iter().find(|(_, range)| range.is_available());
        match available {
            Some((first, _)) => first.max(self.start),
            None => {
                self.maybe_available = false;
                self.next
            }
        }
    }

    /// Whether records from [`Self::fetch_offset`] on could be given out: some come back, or there is room for new ones.
    pub fn can_acquire(&mut self, options: &SharePartitionOptions) -> bool {
        self.fetch_offset() < self.next || self.in_flight() < options.record_locks_max
    }

    pub fn in_flight(&self) -> i64 {
        self.next - self.start
    }

    /// The log begins later now: what was before is gone, whoever has it.
    pub fn log_start_moved(&mut self, log_start: i64) {
        if log_start <= self.start {
            return;
        }
        self.ranges.cut_before(log_start);
        self.start = log_start;
        self.next = self.next.max(log_start);
        self.advance();
    }

    /// Moves the start over what is done with. True if it has moved.
    pub(super) fn advance(&mut self) -> bool {
        let before = self.start;
        while let Some((_, range)) = self.ranges.first()
            && range.is_done()
        {
            self.start = range.last + 1;
            self.ranges.pop_first();
        }
        debug_assert!(!self.ranges.is_empty() || self.start <= self.next);
        if self.ranges.is_empty() {
            self.start = self.next;
        }
        self.start > before
    }

    /// Offsets from the start on whose delivery is complete (KIP-1226): with the start they give the group's lag.
    pub(super) fn delivery_complete_count(&self) -> i32 {
        let complete = self.ranges.iter().filter(|(_, range)| range.state.is_terminal());
        let count: i64 = complete.map(|(first, range)| range.last - first.max(self.start) + 1).sum();
        i32::try_from(count).unwrap_or(i32::MAX)
    }

    pub(super) fn locked_until(&mut self, until_ms: i64) {
        self.earliest_lock_ms = Some(self.earliest_lock_ms.map_or(until_ms, |earliest_ms| earliest_ms.min(until_ms)));
    }
}
