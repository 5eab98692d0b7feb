//! The log becomes a machine: reads it from its start to where it ended when the reading began, record by record.
//!
//! Runs as a task of the home shard, yields between batches, says in the log how far it is. Appends that were under way when an earlier machine
//! was thrown away are waited for: what they have decided must be replayed as well.

use super::host::Host;
use super::machine::Machine;
use bytes::Bytes;
use ringlane_partition::{HomeShard, Isolation, LogRange, ReadEntry, ReadRequest, TopicPartition};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::internal::InternalRecordError;
use ringlane_protocol::records::{Batch, BatchError, CompressionError, ControlType, RecordError, Records, batches};
use ringlane_runtime::{Instant, give_way, now, sleep};
use std::rc::Weak;
use std::time::Duration;

/// One read of the log.
const READ_BYTES: i32 = 1 << 20;
/// How long one read waits for appends to become stable.
const STABLE_WAIT_MS: i32 = 500;
/// Unpacked records of one batch; ours are not compressed, those of a data directory that Kafka wrote may be.
const UNPACKED_BYTES_MAX: usize = 128 << 20;
/// Between two tries.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Between two lines about how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("the broker does not lead the partition any more")]
    NotLeader,
    #[error("reading failed: {0}")]
    Read(ErrorCode),
    #[error("the batch at offset {offset}: {source}")]
    Batch { offset: i64, source: BatchError },
    #[error("the batch at offset {offset}: {source}")]
    Compression { offset: i64, source: CompressionError },
    #[error("a record of the batch at offset {offset}: {source}")]
    Record { offset: i64, source: RecordError },
    #[error("a record of the batch at offset {offset}: {source}")]
    Content { offset: i64, source: InternalRecordError },
}

/// Gives the host its machine. `Err`: there will be none, and what to answer instead.
pub async fn load<M: Machine>(host: &Weak<Host<M>>, life: u64, after: Duration) -> Result<(), ErrorCode> {
    sleep(after).await;
    loop {
        let Some((machine, at, home)) = host.upgrade().map(|host| (host.empty_machine(), host.at, host.home.clone()))
        else {
            return Ok(());
        };
        match replay(machine, at, &home).await {
            Ok(machine) => {
                if let Some(host) = host.upgrade() {
                    host.activate(machine, life);
                }
                return Ok(());
            }
            Err(LoadError::NotLeader) => return Err(ErrorCode::NotCoordinator),
            Err(LoadError::Read(error)) => {
                tracing::warn!(partition = at.partition, "a coordinator cannot load: {error}; it tries again");
                if let Some(host) = host.upgrade() {
                    host.cannot_load(life, error);
                }
            }
            Err(error) => {
                tracing::error!(
                    partition = at.partition,
                    "a coordinator cannot load: {error}. Its groups or transactions are not available until the log is repaired"
                );
                return Err(ErrorCode::CoordinatorNotAvailable);
            }
        }
        sleep(RETRY_AFTER).await;
    }
}

async fn replay<M: Machine>(mut machine: M, at: TopicPartition, home: &HomeShard) -> Result<M, LoadError> {
    let LogRange { start_offset, end_offset } = home.log_range(at).map_err(read_error)?;
    let mut progress = Progress { began: now(), said: now(), end_offset };
    let mut next = start_offset;
    while next < end_offset {
        let (slices, high_watermark) = read(home, at, next).await?;
        if slices.is_empty() && high_watermark >= end_offset {
            // The cleaner has taken what was there.
            break;
        }
        for batch in slices.iter().flat_map(|slice| batches(slice)) {
            let batch = batch.map_err(|source| LoadError::Batch { offset: next, source })?;
            if batch.header.next_offset() > next && next < end_offset {
                replay_batch(&mut machine, &batch)?;
                next = batch.header.next_offset();
            }
            give_way().await;
        }
        progress.say(at, next);
    }
    if end_offset > start_offset {
        let ms = progress.began.elapsed().as_millis() as u64;
        tracing::info!(partition = at.partition, offset = end_offset, ms, "coordinator loaded");
    }
    Ok(machine)
}

/// Whole batches from `from` on, none if nothing there is stable yet; and the high watermark.
async fn read(home: &HomeShard, at: TopicPartition, from: i64) -> Result<(Vec<Bytes>, i64), LoadError> {
    let entry =
        ReadEntry { at, fetch_offset: from, max_bytes: READ_BYTES, current_leader_epoch: -1, last_fetched_epoch: -1 };
    let request = ReadRequest {
        ticket: None,
        max_wait_ms: STABLE_WAIT_MS,
        min_bytes: 1,
        max_bytes: READ_BYTES,
        at_least_one: true,
        isolation: Isolation::ReadUncommitted,
        entries: vec![entry],
    };
    let Some(result) = home.read(request).await.results.pop() else { return Ok((Vec::new(), -1)) };
    match result.error {
        ErrorCode::None => {
            let result = result.joined();
            Ok((result.slices, result.high_watermark))
        }
        error => Err(read_error(error)),
    }
}

fn read_error(error: ErrorCode) -> LoadError {
    match error {
        ErrorCode::NotLeaderOrFollower => LoadError::NotLeader,
        error => LoadError::Read(error),
    }
}

fn replay_batch<M: Machine>(machine: &mut M, batch: &Batch<'_>) -> Result<(), LoadError> {
    let (header, offset) = (&batch.header, batch.header.base_offset);
    let body =
        batch.uncompressed_body(UNPACKED_BYTES_MAX).map_err(|source| LoadError::Compression { offset, source })?;
    let producer_id = header.has_producer().then_some(header.producer_id);
    for record in Records::new(header, &body) {
        let record = record.map_err(|source| LoadError::Record { offset, source })?;
        if header.is_control() {
            if let Some(kind) = ControlType::of(&record) {
                machine.replay_marker(header.producer_id, kind == ControlType::Commit);
            }
        } else if let Some(key) = record.key {
            machine.replay(key, record.value, producer_id).map_err(|source| LoadError::Content { offset, source })?;
        }
    }
    Ok(())
}

struct Progress {
    began: Instant,
    said: Instant,
    end_offset: i64,
}

impl Progress {
    fn say(&mut self, at: TopicPartition, next: i64) {
        if self.said.elapsed() >= PROGRESS_EVERY {
            self.said = now();
            tracing::info!(partition = at.partition, offset = next, of = self.end_offset, "a coordinator is loading");
        }
    }
}
