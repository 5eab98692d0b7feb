//! What follows when a log's bytes became stable, or will not: acks, high watermarks, waking reads. And what time does: timeouts, expiry.

use super::{HomeShard, Inner, State};
use crate::delayed_produce::{Done, WaitQueue, Waiter};
use crate::message::Isolation;
use crate::partition::Partition;
use ringlane_log::{LogKey, StableEvent, StableOutcome};
use ringlane_protocol::ErrorCode;
use ringlane_runtime::{Instant, give_way, now, sleep, spawn, wall_clock_ms};
use std::time::Duration;

/// How exactly the timeout of a produce request is kept. Clients wait 30 s by default.
const PRODUCE_TIMEOUT_TICK: Duration = Duration::from_millis(100);
/// Producers looked at in one step of expiry, some 50 us.
const PRODUCER_EXPIRY_STEP: usize = 512;

impl HomeShard {
    /// Drives acks, high watermarks, waiting reads, expiry and retention. One task per shard; never returns, drop it to stop.
    pub async fn run(&self) {
        let shard = self.clone();
        let _timeouts = spawn("produce timeouts", async move { shard.inner.time_out_produces().await });
        let shard = self.clone();
        let _expiry = spawn("producer expiry", async move { shard.inner.expire_producers().await });
        let shard = self.clone();
        let _retention = spawn("retention", async move { shard.inner.enforce_retention().await });
        loop {
            for StableEvent { log, outcome } in self.inner.logs.next_stable().await {
                let done = match outcome {
                    StableOutcome::Stable(_) => self.inner.became_stable(log, now()),
                    StableOutcome::Failed(failed) => {
                        tracing::error!("{failed}");
                        self.inner.log_failed(log)
                    }
                };
                done.into_iter().for_each(Done::answer);
            }
        }
    }
}

impl Inner {
    fn became_stable(&self, log: LogKey, now: Instant) -> Vec<Done> {
        let mut done = Vec::new();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(partition) = state.by_log.get(&log).and_then(|at| state.partitions.get_mut(at)) else {
            return done;
        };
        let stable = partition.log.stable_offset();
        while let Some(first) = partition.unstable.pop_front_if(|first| first.next_offset <= stable) {
            state.unstable_bytes -= first.bytes;
            self.metrics.produce_stable_us.record(now.since(first.since).as_micros() as u64);
        }
        while let Some(waiter) = partition.for_stable.pop_up_to(stable) {
            done.extend(state.produces.complete(waiter, ErrorCode::None));
        }
        if partition.advance_high_watermark() {
            state.became_visible(log, &mut done);
        }
        done
    }

    /// Nothing more of this log becomes stable: who waits for that is told. Reads go on.
    fn log_failed(&self, log: LogKey) -> Vec<Done> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(partition) = state.by_log.get(&log).and_then(|at| state.partitions.get_mut(at)) else {
            return Vec::new();
        };
        self.metrics.partitions_offline.increment();
        state.unstable_bytes -= partition.take_unstable_bytes();
        let waiters = partition.take_waiters();
        waiters.into_iter().filter_map(|w| state.produces.complete(w, ErrorCode::KafkaStorageError)).collect()
    }

    async fn time_out_produces(&self) {
        loop {
            let begins = self.produce_waits.listen();
            if self.state.borrow().produces.is_empty() {
                begins.await;
            }
            sleep(PRODUCE_TIMEOUT_TICK).await;
            let late = self.state.borrow_mut().produces.expire(now());
            late.into_iter().for_each(Done::answer);
        }
    }

    async fn expire_producers(&self) {
        loop {
            sleep(self.producer_expiry_interval).await;
            let steps = self.state.borrow().producers.len().div_ceil(PRODUCER_EXPIRY_STEP);
            for _ in 0..steps {
                self.expire_some_producers();
                give_way().await;
            }
        }
    }

    fn expire_some_producers(&self) {
        let producers = &mut self.state.borrow_mut().producers;
        producers.expire_some(PRODUCER_EXPIRY_STEP, wall_clock_ms(), self.producer_id_expiration_ms);
        self.metrics.producers.set(producers.len() as i64);
    }
}

impl State {
    /// The high watermark of the log's partition has moved: acks of all replicas are due, and readers may have enough.
    pub(super) fn became_visible(&mut self, log: LogKey, done: &mut Vec<Done>) {
        let Some(partition) = self.by_log.get(&log).and_then(|at| self.partitions.get_mut(at)) else {
            return;
        };
        while let Some(waiter) = partition.for_high.pop_up_to(partition.high.offset()) {
            done.extend(self.produces.complete(waiter, ErrorCode::None));
        }
        let uncommitted = partition.visible(Isolation::ReadUncommitted).below;
        let committed = partition.visible(Isolation::ReadCommitted).below;
        for watcher in &mut partition.watchers {
            let below = if watcher.committed_only { committed } else { uncommitted };
            let readable = partition.log.readable_bytes(watcher.from, below, watcher.bytes_max);
            let more = readable.saturating_sub(watcher.counted_bytes);
            watcher.counted_bytes += more;
            self.fetches.gained(watcher.read, more);
        }
    }
}

impl Partition {
    /// Everyone who waits for an append of this partition.
    pub(super) fn take_waiters(&mut self) -> Vec<Waiter> {
        let all = |queue: &mut WaitQueue| std::iter::from_fn(|| queue.pop_up_to(i64::MAX)).collect::<Vec<_>>();
        [all(&mut self.for_stable), all(&mut self.for_high)].concat()
    }

    pub(super) fn take_unstable_bytes(&mut self) -> usize {
        self.unstable.drain(..).map(|unstable| unstable.bytes).sum()
    }
}
