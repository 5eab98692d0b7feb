//! What goes to the share coordinator, and what its answer changes.
//!
//! One write is under way at a time; what changes meanwhile is the next one. So writes cannot overtake each other, and under load one of them
//! carries the acknowledgements of many requests.

use super::SharePartition;
use super::options::SharePartitionOptions;
use super::range::{RecordState, StateBatch};

/// Names a write of a share partition, ascending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteNumber(pub u64);

/// One write, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    pub number: WriteNumber,
    pub start_offset: i64,
    pub delivery_complete_count: i32,
    pub batches: Vec<StateBatch>,
}

#[derive(Debug, Clone, Default)]
pub struct Writes {
    /// The next write's number: changes that are made now wait for it.
    upcoming: u64,
    is_wanted: bool,
    under_way: Option<WriteNumber>,
    /// Locks that have expired since the last write. In force already, whatever becomes of it.
    expired: Vec<StateBatch>,
}

impl Writes {
    pub(super) fn upcoming(&self) -> WriteNumber {
        WriteNumber(self.upcoming)
    }

    /// Something has changed that the next write must say.
    pub(super) fn wanted(&mut self) -> WriteNumber {
        self.is_wanted = true;
        self.upcoming()
    }

    pub(super) fn lock_expired(&mut self, batch: StateBatch) {
        self.is_wanted = true;
        self.expired.push(batch);
    }
}

impl SharePartition {
    /// The next write, when there is one and none is under way.
    pub fn take_write(&mut self) -> Option<StateWrite> {
        if !self.writes.is_wanted || self.writes.under_way.is_some() {
            return None;
        }
        let number = self.writes.upcoming();
        let mut batches = std::mem::take(&mut self.writes.expired);
        let changed =
            self.ranges.iter().filter(|(_, range)| range.change.as_ref().is_some_and(|to| to.write == number));
        for (first_offset, range) in changed {
            match batches.last_mut() {
                Some(before)
                    if before.last_offset + 1 == first_offset
                        && before.state == range.state
                        && before.delivery_count == range.delivery_count =>
                {
                    before.last_offset = range.last;
                }
                _ => batches.push(StateBatch {
                    first_offset,
                    last_offset: range.last,
                    state: range.state,
                    delivery_count: range.delivery_count,
                }),
            }
        }
        self.writes.under_way = Some(number);
        self.writes.upcoming += 1;
        self.writes.is_wanted = false;
        Some(StateWrite {
            number,
            start_offset: self.start,
            delivery_complete_count: self.delivery_complete_count(),
            batches,
        })
    }

    /// The share coordinator has it, or has refused it. True if records came back or the start has moved: others may have something to fetch.
    pub fn written(&mut self, ok: bool, options: &SharePartitionOptions, now_ms: i64) -> bool {
        let Some(number) = self.writes.under_way.take() else { return false };
        let mut came_back = false;
        let mut earliest_lock_ms = None;
        for (_, range) in self.ranges.iter_mut() {
            let Some(change) = range.change.take_if(|change| change.write == number) else { continue };
            let (state, lock_until_ms) = (range.state, range.lock_until_ms);
            if ok {
                range.settle(state);
            } else if lock_until_ms <= now_ms {
                range.let_go(options.delivery_count_limit);
            } else {
                // As it was: its member may try again.
                (range.state, range.member) = (RecordState::Acquired, change.member);
                earliest_lock_ms = Some(earliest_lock_ms.map_or(lock_until_ms, |ms: i64| ms.min(lock_until_ms)));
            }
            came_back |= range.state == RecordState::Available;
        }
        earliest_lock_ms.into_iter().for_each(|until_ms| self.locked_until(until_ms));
        self.maybe_available |= came_back;
        self.ranges.join();
        self.advance() || came_back
    }
}
