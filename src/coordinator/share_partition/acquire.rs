//! Which of the records that were read a member gets.
//!
//! Records that came back go first, then new ones, as many as the member wants and the in-flight limit leaves room for.

use super::SharePartition;
use super::options::SharePartitionOptions;
use super::range::{Range, RecordState};
use std::sync::Arc;

/// How strictly a member's wish for at most so many records is kept (KIP-1206).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcquireMode {
    /// Up to the end of the batch in which the limit falls: batches need not be cut.
    #[default]
    BatchOptimized,
    /// Not one more.
    RecordLimit,
}

impl AcquireMode {
    pub fn from_wire(mode: i8) -> Option<AcquireMode> {
        match mode {
            0 => Some(AcquireMode::BatchOptimized),
            1 => Some(AcquireMode::RecordLimit),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcquireRequest {
    pub member: Arc<str>,
    pub records_max: i64,
    /// New records are given out in lots of about so many.
    pub batch_size: i64,
    pub mode: AcquireMode,
}

/// A batch of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBatch {
    pub base_offset: i64,
    pub last_offset: i64,
    /// Of a transaction that was aborted, read for a group that reads committed records only.
    pub aborted: bool,
}

/// What a read from `fetch_offset` gave.
#[derive(Debug, Clone, Copy)]
pub struct Fetched<'a> {
    pub fetch_offset: i64,
    pub batches: &'a [LogBatch],
}

/// Offsets that are the member's until the lock expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcquiredRecords {
    pub first_offset: i64,
    pub last_offset: i64,
    pub delivery_count: i16,
}

impl AcquiredRecords {
    pub fn count(&self) -> i64 {
        self.last_offset - self.first_offset + 1
    }
}

impl SharePartition {
    pub fn acquire(
        &mut self,
        request: &AcquireRequest,
        fetched: Fetched<'_>,
        options: &SharePartitionOptions,
        now_ms: i64,
    ) -> Vec<AcquiredRecords> {
        let (Some(first), Some(last)) = (fetched.batches.first(), fetched.batches.last()) else { return Vec::new() };
        if request.records_max <= 0 || last.last_offset < self.start {
            return Vec::new();
        }
        if fetched.fetch_offset < first.base_offset {
            self.is_gone(fetched.fetch_offset, first.base_offset - 1);
        }
        let lock_until_ms = now_ms.saturating_add(options.lock_ms);
        let mut step = Step { request, options, lock_until_ms, count: 0, acquired: Vec::new() };
        let goes_on = self.acquire_again(&mut step, first.base_offset, last.last_offset);
        if goes_on {
            self.acquire_new(&mut step, fetched.batches);
        }
        let mut acquired = step.acquired;
        if !acquired.is_empty() {
            self.locked_until(lock_until_ms);
        }
        for batch in fetched.batches.iter().filter(|batch| batch.aborted) {
            self.archive_aborted(&mut acquired, batch);
        }
        acquired
    }

    /// There is nothing in the log at these offsets (any more): the cleaner has taken it.
    fn is_gone(&mut self, first: i64, last: i64) {
        for (_, range) in self.ranges.isolate(first, last.min(self.next - 1)) {
            if range.is_available() {
                range.settle(RecordState::Archived);
            }
        }
        if last >= self.next {
            self.ranges.insert(self.next, Range::settled(last, RecordState::Archived, 0, 0));
            self.next = last + 1;
        }
        self.ranges.join();
        self.advance();
    }

    /// Records that were given out before and came back. `false`: the member gets no more than these.
    fn acquire_again(&mut self, step: &mut Step<'_>, first: i64, last: i64) -> bool {
        if !self.maybe_available {
            return true;
        }
        let available: Vec<(i64, i64, i16, i64)> = self
            .ranges
            .within(first.max(self.start), last)
            .filter(|(_, range)| range.is_available())
            .map(|(from, range)| (from.max(first), range.last.min(last), range.delivery_count, range.lot))
            .collect();
        for (from, to, delivery_count, lot) in available {
            if step.count >= step.request.records_max {
                return false;
            }
            let (limit, throttle_from) = (step.options.delivery_count_limit, step.options.throttle_from());
            let is_throttled = delivery_count >= throttle_from;
            // Together with others it might take them with it.
            if is_throttled && step.count > 0 {
                return false;
            }
            let mut count = to - from + 1;
            if step.request.mode == AcquireMode::RecordLimit {
                count = count.min(step.request.records_max - step.count);
            }
            if is_throttled {
                let halvings = u32::from((delivery_count - throttle_from + 1).unsigned_abs()).min(i64::BITS - 1);
                count = count.min((lot >> halvings).max(1));
                // Its last chance it gets alone.
                if delivery_count + 1 == limit {
                    count = 1;
                }
            }
            self.give(step, from, from + count - 1, delivery_count + 1);
            if is_throttled {
                return false;
            }
        }
        true
    }

    fn give(&mut self, step: &mut Step<'_>, first: i64, last: i64, delivery_count: i16) {
        for (_, range) in self.ranges.isolate(first, last) {
            *range =
                Range::acquired(range.last, step.request.member.clone(), delivery_count, step.lock_until_ms, range.lot);
        }
        step.take(first, last, delivery_count);
    }

    /// Records that nobody has been given yet.
    fn acquire_new(&mut self, step: &mut Step<'_>, batches: &[LogBatch]) {
        let Some(at) = batches.iter().position(|batch| batch.last_offset >= self.next) else { return };
        let batches = &batches[at..];
        if batches[0].base_offset > self.next {
            self.is_gone(self.next, batches[0].base_offset - 1);
        }
        let room = step.options.record_locks_max - self.in_flight();
        let wanted = (step.request.records_max - step.count).min(room);
        if wanted <= 0 {
            return;
        }
        let first = self.next;
        let limit = first.saturating_add(wanted - 1);
        let end = batches[batches.len() - 1].last_offset;
        let last = match step.request.mode {
            _ if end <= limit => end,
            AcquireMode::RecordLimit => limit,
            AcquireMode::BatchOptimized => {
                let cut = batches.iter().find(|batch| (batch.base_offset..=batch.last_offset).contains(&limit));
                cut.map_or(limit, |batch| batch.last_offset)
            }
        };
        let mut lots = Vec::new();
        let mut from = first;
        if step.request.mode == AcquireMode::BatchOptimized {
            for batch in batches.iter().filter(|batch| batch.base_offset > first && batch.base_offset <= last) {
                if batch.base_offset - from >= step.request.batch_size.max(1) {
                    lots.push((from, batch.base_offset - 1));
                    from = batch.base_offset;
                }
            }
        }
        lots.push((from, last));
        for (from, to) in lots {
            let lot = to - from + 1;
            let range = Range::acquired(to, step.request.member.clone(), 1, step.lock_until_ms, lot);
            self.ranges.insert(from, range);
            step.acquired.push(AcquiredRecords { first_offset: from, last_offset: to, delivery_count: 1 });
            step.count += lot;
        }
        self.next = last + 1;
    }

    /// Nobody gets these records, now or later.
    fn archive_aborted(&mut self, acquired: &mut Vec<AcquiredRecords>, batch: &LogBatch) {
        let mut kept = Vec::with_capacity(acquired.len() + 1);
        for records in acquired.drain(..) {
            let first = records.first_offset.max(batch.base_offset);
            let last = records.last_offset.min(batch.last_offset);
            if first > last {
                kept.push(records);
                continue;
            }
            self.ranges.isolate(first, last).for_each(|(_, range)| range.settle(RecordState::Archived));
            if records.first_offset < first {
                kept.push(AcquiredRecords { last_offset: first - 1, ..records });
            }
            if records.last_offset > last {
                kept.push(AcquiredRecords { first_offset: last + 1, ..records });
            }
        }
        *acquired = kept;
        self.ranges.join();
        self.advance();
    }
}

/// What one request has got so far.
struct Step<'a> {
    request: &'a AcquireRequest,
    options: &'a SharePartitionOptions,
    lock_until_ms: i64,
    count: i64,
    acquired: Vec<AcquiredRecords>,
}

impl Step<'_> {
    fn take(&mut self, first_offset: i64, last_offset: i64, delivery_count: i16) {
        self.count += last_offset - first_offset + 1;
        if let Some(before) = self.acquired.last_mut()
            && before.last_offset + 1 == first_offset
            && before.delivery_count == delivery_count
        {
            before.last_offset = last_offset;
            return;
        }
        self.acquired.push(AcquiredRecords { first_offset, last_offset, delivery_count });
    }
}
