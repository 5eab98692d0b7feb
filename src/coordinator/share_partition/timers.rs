//! Locks that expire: their records may be somebody else's.

use super::SharePartition;
use super::options::SharePartitionOptions;
use super::range::{RecordState, StateBatch};

impl SharePartition {
    /// When [`Self::on_time`] has something to do. May be early, never late.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.earliest_lock_ms
    }

    /// Gives back what was acquired too long ago. True if there is something to fetch, or to write.
    pub fn on_time(&mut self, options: &SharePartitionOptions, now_ms: i64) -> bool {
        if self.earliest_lock_ms.is_none_or(|earliest_ms| earliest_ms > now_ms) {
            return false;
        }
        let mut earliest_ms = None;
        let mut any = false;
        for (first_offset, range) in self.ranges.iter_mut() {
            // What is on its way to another state stays so: if that fails the lock has expired.
            if range.state != RecordState::Acquired || range.change.is_some() {
                continue;
            }
            if range.lock_until_ms > now_ms {
                let until_ms = range.lock_until_ms;
                earliest_ms = Some(earliest_ms.map_or(until_ms, |ms: i64| ms.min(until_ms)));
                continue;
            }
            range.let_go(options.delivery_count_limit);
            any = true;
            self.writes.lock_expired(StateBatch {
                first_offset,
                last_offset: range.last,
                state: range.state,
                delivery_count: range.delivery_count,
            });
        }
        self.earliest_lock_ms = earliest_ms;
        if any {
            self.maybe_available = true;
            // The start moves when it is written.
            self.ranges.join();
        }
        any
    }
}
