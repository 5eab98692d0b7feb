//! The sequencing step: leadership, producer state, offsets, tail. Synchronous, so that the order in which requests arrive is the order of
//! the log.

use super::{HomeShard, Inner, State};
use crate::delayed_produce::{Done, ReplyFn, RequestId, Waiter};
use crate::message::{Acks, AppendEntry, AppendFailure, AppendReply, AppendRequest, AppendResult};
use crate::partition::{Partition, Sequenced, Unstable};
use ringlane_protocol::ErrorCode;
use ringlane_runtime::{Instant, now, wall_clock_ms};
use std::time::Duration;

impl HomeShard {
    /// Sequences every entry now; `reply` is called when `acks` is satisfied, or on timeout: never inside this call, unless nothing has to
    /// be waited for. For [`Acks::None`] it comes when the batches are stable, so that the caller can account for their memory until then.
    pub fn append(&self, request: AppendRequest, reply: impl FnOnce(AppendReply) + 'static) {
        let done = self.inner.append(request, Box::new(reply));
        if let Some(done) = done {
            done.answer();
        }
    }
}

impl Inner {
    fn append(&self, request: AppendRequest, reply: ReplyFn) -> Option<Done> {
        let mut state = self.state.borrow_mut();
        let AppendRequest { acks, timeout_ms, entries } = request;
        let step = Step::new(acks, state.new_request_id());
        let mut results = Vec::with_capacity(entries.len());
        let mut open = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let (result, is_open) = self.append_entry(&mut state, &step, index, entry);
            results.push(result);
            open.push(is_open);
        }
        self.await_append(&mut state, step, timeout_ms, results, open, reply)
    }

    /// The request's answer, if nothing of it has to be waited for.
    pub(super) fn await_append(
        &self,
        state: &mut State,
        step: Step,
        timeout_ms: i32,
        results: Vec<AppendResult>,
        open: Vec<bool>,
        reply: ReplyFn,
    ) -> Option<Done> {
        if !open.contains(&true) {
            return Some(Done::new(reply, results));
        }
        let deadline = match step.acks {
            Acks::None => None,
            Acks::Leader | Acks::All => Some(step.now + Duration::from_millis(timeout_ms.max(0) as u64)),
        };
        if deadline.is_some() && state.produces.is_empty() {
            self.produce_waits.notify_all();
        }
        state.produces.wait(step.id, results, open, deadline, reply);
        None
    }

    /// The partition's answer, and whether it has to be waited for.
    fn append_entry(&self, state: &mut State, step: &Step, index: usize, entry: AppendEntry) -> (AppendResult, bool) {
        let AppendEntry { at, guard, batch } = entry;
        let missing = state.missing(&at);
        let State { partitions, producers, unstable_bytes, is_closed, .. } = state;
        let Some(partition) = partitions.get_mut(&at).filter(|_| !*is_closed) else {
            return self.refused(missing);
        };
        if !partition.is_led_by(self.broker_id) {
            let hint = partition.leader_hint();
            let (result, _) = self.refused(ErrorCode::NotLeaderOrFollower);
            return (AppendResult { current_leader: Some(hint), ..result }, false);
        }
        if partition.last_request.replace(step.id) == Some(step.id) {
            return self
                .refused(AppendFailure::new(ErrorCode::InvalidRequest, "the request names the partition twice"));
        }
        if step.acks == Acks::All && !partition.isr_is_enough() {
            let needed = partition.spec.config.min_insync_replicas;
            let message = format!("{} replicas are in sync, {needed} are needed", partition.spec.isr_count);
            return self.refused(AppendFailure::new(ErrorCode::NotEnoughReplicas, message));
        }
        let batch = match batch {
            Ok(batch) => batch,
            Err(failure) => return self.refused(failure),
        };
        if *unstable_bytes > 0 && *unstable_bytes + batch.bytes.len() > self.unstable_bytes_max {
            let message = format!("{unstable_bytes} bytes wait for the disk, which does not keep up");
            return self.refused(AppendFailure::new(ErrorCode::KafkaStorageError, message));
        }
        let records_count = batch.header.records_count;
        let sequenced = match partition.sequence(batch, guard, producers, step.now_ms) {
            Ok(sequenced) => sequenced,
            Err(failure) => return self.refused(failure),
        };
        self.count_append(&sequenced, records_count);
        step.appended(partition, unstable_bytes, index, sequenced)
    }

    fn refused(&self, failure: impl Into<AppendFailure>) -> (AppendResult, bool) {
        self.metrics.produce_failed.increment();
        (AppendResult::failed(failure), false)
    }

    fn count_append(&self, sequenced: &Sequenced, records_count: i32) {
        if sequenced.bytes == 0 {
            self.metrics.produce_duplicates.increment();
            return;
        }
        self.metrics.produce_batches.increment();
        self.metrics.produce_bytes.add(sequenced.bytes as u64);
        self.metrics.produce_records.add(records_count.max(0) as u64);
    }
}

/// What the entries of one request share.
pub(super) struct Step {
    acks: Acks,
    id: RequestId,
    now: Instant,
    pub now_ms: i64,
}

impl Step {
    pub fn new(acks: Acks, id: RequestId) -> Step {
        Step { acks, id, now: now(), now_ms: wall_clock_ms() }
    }

    /// The entry's answer, and whether it has to be waited for.
    pub fn appended(
        &self,
        partition: &mut Partition,
        unstable_bytes: &mut usize,
        index: usize,
        sequenced: Sequenced,
    ) -> (AppendResult, bool) {
        let Sequenced { base_offset, next_offset, log_append_time_ms, bytes } = sequenced;
        if bytes > 0 {
            partition.unstable.push_back(Unstable { next_offset, bytes, since: self.now });
            *unstable_bytes += bytes;
        }
        let waiter = Waiter { request: self.id, entry: index };
        let (reached, queue) = match self.acks {
            Acks::None | Acks::Leader => (partition.log.stable_offset(), &mut partition.for_stable),
            Acks::All => (partition.high.offset(), &mut partition.for_high),
        };
        let is_open = next_offset > reached;
        if is_open {
            queue.push(next_offset, waiter);
        }
        let log_start_offset = partition.log.start_offset();
        let result =
            AppendResult { base_offset, log_append_time_ms, log_start_offset, failure: None, current_leader: None };
        (result, is_open)
    }
}
