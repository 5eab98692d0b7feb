//! Fetch: waits for enough, then has it read (`read_now`).

use super::{HomeShard, State};
use crate::delayed_fetch::{ReadId, Watcher};
use crate::message::{Isolation, ReadEntry, ReadReply, ReadRequest, TopicPartition};
use ringlane_runtime::{OneshotReceiver, timeout};
use std::time::Duration;

impl HomeShard {
    /// Decides at the call, not at the first poll, whether to wait, so that a [`HomeShard::hurry`] that comes later finds it.
    /// Dropping the future gives the read up.
    pub fn read(&self, request: ReadRequest) -> impl Future<Output = ReadReply> + use<> {
        let waiting = self.wait_if_short(&request);
        let shard = self.clone();
        async move {
            if let Some(waiting) = waiting {
                waiting.until(Duration::from_millis(request.max_wait_ms.max(0) as u64)).await;
            }
            shard.inner.read_now(request).await
        }
    }

    /// `None` when there is an answer already: enough bytes, an error, nothing to wait for.
    fn wait_if_short(&self, request: &ReadRequest) -> Option<WaitingRead> {
        let wanted = request.min_bytes.min(request.max_bytes).max(0) as usize;
        if request.max_wait_ms <= 0 || wanted == 0 || request.entries.is_empty() {
            return None;
        }
        let mut state = self.inner.state.borrow_mut();
        let readable = state.readable(request, wanted, self.inner.broker_id)?;
        let missing = wanted - readable.iter().sum::<usize>();
        let (id, woken) = state.fetches.wait(missing, request.ticket)?;
        for (entry, counted_bytes) in request.entries.iter().zip(readable) {
            if let Some(partition) = state.partitions.get_mut(&entry.at) {
                partition.watchers.push(Watcher {
                    read: id,
                    from: entry.fetch_offset,
                    bytes_max: entry.max_bytes.max(0) as usize,
                    committed_only: request.isolation == Isolation::ReadCommitted,
                    counted_bytes,
                });
            }
        }
        self.inner.metrics.fetch_waits.increment();
        let watched = request.entries.iter().map(|entry| entry.at).collect();
        Some(WaitingRead { shard: self.clone(), id, woken, watched })
    }
}

/// A read that waits. Dropping it, whether it was woken or given up, takes its watchers away.
struct WaitingRead {
    shard: HomeShard,
    id: ReadId,
    woken: OneshotReceiver<()>,
    watched: Vec<TopicPartition>,
}

impl WaitingRead {
    async fn until(mut self, max_wait: Duration) {
        // Time up and woken are the same: what there is goes out.
        let _ = timeout(max_wait, &mut self.woken).await;
    }
}

impl Drop for WaitingRead {
    fn drop(&mut self) {
        let mut state = self.shard.inner.state.borrow_mut();
        state.fetches.forget(self.id);
        for at in &self.watched {
            if let Some(partition) = state.partitions.get_mut(at) {
                partition.watchers.retain(|watcher| watcher.read != self.id);
            }
        }
    }
}

impl State {
    /// Readable bytes by entry, when all entries are in order and their sum is below `wanted`.
    fn readable(&self, request: &ReadRequest, wanted: usize, broker_id: i32) -> Option<Vec<usize>> {
        if self.is_closed {
            return None;
        }
        let mut readable = Vec::with_capacity(request.entries.len());
        let mut sum = 0;
        for entry in &request.entries {
            let bytes = self.readable_of(entry, request.isolation, broker_id)?;
            sum += bytes;
            readable.push(bytes);
            if sum >= wanted {
                return None;
            }
        }
        Some(readable)
    }

    /// `None` when the entry has an error for an answer.
    fn readable_of(&self, entry: &ReadEntry, isolation: Isolation, broker_id: i32) -> Option<usize> {
        let partition = self.partitions.get(&entry.at)?;
        let visible = partition.check_read(broker_id, entry, isolation).ok()?;
        Some(partition.log.readable_bytes(entry.fetch_offset, visible.below, entry.max_bytes.max(0) as usize))
    }

    pub(super) fn readable_sum(&self, request: &ReadRequest, broker_id: i32) -> usize {
        let readable = |entry| self.readable_of(entry, request.isolation, broker_id);
        request.entries.iter().filter_map(readable).sum()
    }
}
