//! Fetch: checks, waiting for enough, whole batches from the tail or the disk.

use super::{HomeShard, Inner, State};
use crate::delayed_fetch::{ReadId, Watcher};
use crate::message::{AbortedTransaction, Isolation, ReadEntry, ReadReply, ReadRequest, ReadResult, TopicPartition};
use crate::partition::Visible;
use bytes::Bytes;
use ringlane_log::{Log, ReadData, ReadError, ReadPlan};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::batches;
use ringlane_runtime::{OneshotReceiver, give_way, timeout};
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
            shard.inner.read_now(&request).await
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

    fn readable_sum(&self, request: &ReadRequest, broker_id: i32) -> usize {
        let readable = |entry| self.readable_of(entry, request.isolation, broker_id);
        request.entries.iter().filter_map(readable).sum()
    }
}

/// What is left of a fetch's limits (KIP-74).
struct Left {
    bytes: usize,
    /// The first batch goes out whatever its size.
    at_least_one: bool,
}

impl Inner {
    async fn read_now(&self, request: &ReadRequest) -> ReadReply {
        let readable_bytes = self.state.borrow().readable_sum(request, self.broker_id);
        let mut left = Left { bytes: request.max_bytes.max(0) as usize, at_least_one: request.at_least_one };
        let mut results = Vec::with_capacity(request.entries.len());
        for entry in &request.entries {
            let result = self.read_entry(entry, request.isolation, &left).await;
            if result.bytes > 0 {
                left.bytes = left.bytes.saturating_sub(result.bytes);
                left.at_least_one = false;
            }
            results.push(result);
            give_way().await;
        }
        ReadReply { results, readable_bytes }
    }

    async fn read_entry(&self, entry: &ReadEntry, isolation: Isolation, left: &Left) -> ReadResult {
        let max_bytes = left.bytes.min(entry.max_bytes.max(0) as usize);
        let (visible, data) = loop {
            let (log, visible) = match self.check(entry, isolation) {
                Ok(checked) => checked,
                Err(answer) => return answer,
            };
            let is_empty = entry.fetch_offset >= visible.below || (max_bytes == 0 && !left.at_least_one);
            let data = match is_empty {
                true => Ok(ReadData::default()),
                false => self.read_log(&log, entry.fetch_offset, visible.below, max_bytes, left.at_least_one).await,
            };
            match data {
                // Cut at one of its ends: the offset may be out of range now, and a log that is gone is no longer found.
                Err(ReadError::Moved) => give_way().await,
                data => break (visible, data),
            }
        };
        match data {
            Ok(ReadData { slices, bytes }) => {
                self.metrics.fetch_bytes.add(bytes as u64);
                let aborted_transactions = self.aborted_in(entry, isolation, &slices);
                ReadResult { slices, bytes, aborted_transactions, ..visible.result() }
            }
            Err(error) => ReadResult::failed(code_of(&error)),
        }
    }

    /// The aborted transactions that what was read may have records of; absent for read_uncommitted.
    fn aborted_in(&self, entry: &ReadEntry, isolation: Isolation, slices: &[Bytes]) -> Option<Vec<AbortedTransaction>> {
        if isolation == Isolation::ReadUncommitted {
            return None;
        }
        let state = self.state.borrow();
        let concerned =
            state.partitions.get(&entry.at).filter(|partition| partition.aborted.concerns(entry.fetch_offset));
        let Some(partition) = concerned else { return Some(Vec::new()) };
        let below = slices.last().and_then(|last| batches(last).filter_map(Result::ok).last());
        let below = below.map_or(entry.fetch_offset, |last| last.header.next_offset());
        Some(partition.aborted.overlapping(entry.fetch_offset, below))
    }

    fn check(&self, entry: &ReadEntry, isolation: Isolation) -> Result<(Log, Visible), ReadResult> {
        let state = self.state.borrow();
        let Some(partition) = state.partitions.get(&entry.at).filter(|_| !state.is_closed) else {
            return Err(ReadResult::failed(state.missing(&entry.at)));
        };
        let visible = partition.check_read(self.broker_id, entry, isolation)?;
        Ok((partition.log.clone(), visible))
    }

    async fn read_log(
        &self,
        log: &Log,
        from: i64,
        below: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<ReadData, ReadError> {
        self.metrics.fetch_reads.increment();
        match log.plan_read(from, below, max_bytes, at_least_one) {
            ReadPlan::Ready(data) => Ok(data),
            ReadPlan::Disk(disk) => {
                self.metrics.fetch_reads_from_disk.increment();
                disk.run().await
            }
        }
    }
}

/// The one place where a read's error becomes Kafka's.
pub(super) fn code_of(error: &ReadError) -> ErrorCode {
    tracing::warn!("cannot read: {error}");
    match error {
        ReadError::Io { .. } => ErrorCode::KafkaStorageError,
        ReadError::Corrupt { .. } => ErrorCode::CorruptMessage,
        ReadError::Moved => ErrorCode::NotLeaderOrFollower,
    }
}
