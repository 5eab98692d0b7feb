//! Records that are read become a member's: the home shard's side of ShareFetch.
//!
//! One partition after the other, as many records and bytes as are left. Only those batches leave that hold a record which the member got.

use super::call::{FetchedPartition, ShareFetchCall};
use super::config::group_settings;
use super::host::{ShareHost, Turn};
use crate::shard::Shard;
use bytes::Bytes;
use ringlane_coordinator::share_partition::{AcquireRequest, AcquiredRecords, Fetched, LogBatch};
use ringlane_partition::{AbortedTransaction, Isolation, ReadEntry, ReadRequest, ReadResult, TopicPartition};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::{Batch, ControlType, Records, batches};
use ringlane_runtime::{now, timeout};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A control record, unpacked.
const CONTROL_BYTES_MAX: usize = 1 << 10;

/// Answers for the partitions that have something to say.
pub async fn fetch(
    shard: &Rc<Shard>,
    group: &Arc<str>,
    member: &Arc<str>,
    call: ShareFetchCall,
) -> Vec<FetchedPartition> {
    let ShareFetchCall { entries, mut records_max, mut bytes_max, batch_size, mode, max_wait_ms } = call;
    let deadline = now() + Duration::from_millis(max_wait_ms.max(0) as u64);
    let settings = group_settings(shard, group);
    let mut fetched = Vec::new();
    for at in entries {
        if records_max <= 0 || (bytes_max <= 0 && !fetched.is_empty()) {
            break;
        }
        let host = match shard.shares.find_or_load(shard, group, at) {
            Ok(host) => host,
            Err(error) => {
                fetched.push(FetchedPartition::failed(at, error));
                continue;
            }
        };
        // A load that takes longer than the fetch may is waited for by the next one.
        let _ = timeout(deadline.since(now()), host.loaded()).await;
        if let Some(error) = host.failure() {
            fetched.push(FetchedPartition::failed(at, error));
            continue;
        }
        let Some(turn) = host.turn(&settings) else { continue };
        let result = read_once(shard, at, turn.fetch_offset, bytes_max, settings.isolation).await;
        let request = AcquireRequest { member: member.clone(), records_max, batch_size, mode };
        let got = take(shard, &host, &turn, result, &request);
        drop(turn);
        match got {
            Ok(None) => {}
            Ok(Some(got)) => {
                records_max -= got.acquired.iter().map(AcquiredRecords::count).sum::<i64>();
                bytes_max = bytes_max.saturating_sub(got.slices.iter().map(|slice| slice.len() as i32).sum());
                fetched.push(got);
            }
            Err(error) => fetched.push(FetchedPartition::failed(at, error)),
        }
    }
    fetched
}

async fn read_once(
    shard: &Shard,
    at: TopicPartition,
    fetch_offset: i64,
    bytes_max: i32,
    isolation: Isolation,
) -> Option<ReadResult> {
    let entry = ReadEntry { at, fetch_offset, max_bytes: bytes_max, current_leader_epoch: -1, last_fetched_epoch: -1 };
    let request = ReadRequest {
        ticket: None,
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes: bytes_max,
        at_least_one: true,
        isolation,
        entries: vec![entry],
    };
    shard.home.read(request).await.results.pop()
}

/// `None`: nothing that could be given to the member.
fn take(
    shard: &Rc<Shard>,
    host: &Rc<ShareHost>,
    turn: &Turn,
    result: Option<ReadResult>,
    request: &AcquireRequest,
) -> Result<Option<FetchedPartition>, ErrorCode> {
    let result = result.ok_or(ErrorCode::NotLeaderOrFollower)?;
    match result.error {
        ErrorCode::None => {}
        // The log begins later now; the next fetch goes on there.
        ErrorCode::OffsetOutOfRange => {
            host.log_start_moved(shard.home.log_range(host.at)?.start_offset);
            return Ok(None);
        }
        error => return Err(error),
    }
    let result = result.joined();
    let log = log_batches(&result);
    let settings = group_settings(shard, &host.key.group);
    let fetched = Fetched { fetch_offset: turn.fetch_offset, batches: &log };
    let acquired = host.acquire(shard, request, fetched, &settings);
    let (Some(first), Some(last)) = (acquired.first(), acquired.last()) else { return Ok(None) };
    let slices = cut(&result.slices, first.first_offset, last.last_offset);
    Ok(Some(FetchedPartition { at: host.at, error: ErrorCode::None, slices, acquired }))
}

fn log_batches(result: &ReadResult) -> Vec<LogBatch> {
    let mut aborted = Aborted::new(result.aborted_transactions.as_deref().unwrap_or_default());
    let batches = result.slices.iter().flat_map(|slice| batches(slice)).filter_map(Result::ok);
    let batch = |batch: Batch<'_>| LogBatch {
        base_offset: batch.header.base_offset,
        last_offset: batch.header.last_offset(),
        aborted: aborted.has(&batch),
    };
    batches.map(batch).collect()
}

/// Which batches belong to transactions that were aborted.
struct Aborted {
    /// Not begun yet, the last one first.
    to_come: Vec<AbortedTransaction>,
    producers: BTreeSet<i64>,
}

impl Aborted {
    fn new(transactions: &[AbortedTransaction]) -> Aborted {
        let mut to_come = transactions.to_vec();
        to_come.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Aborted { to_come, producers: BTreeSet::new() }
    }

    fn has(&mut self, batch: &Batch<'_>) -> bool {
        let header = &batch.header;
        if !header.has_producer() {
            return false;
        }
        while let Some(begun) = self.to_come.pop_if(|transaction| transaction.first_offset <= header.last_offset()) {
            self.producers.insert(begun.producer_id);
        }
        if header.is_control() {
            if is_abort(batch) {
                self.producers.remove(&header.producer_id);
            }
            return false;
        }
        header.is_transactional() && self.producers.contains(&header.producer_id)
    }
}

fn is_abort(batch: &Batch<'_>) -> bool {
    let Ok(body) = batch.uncompressed_body(CONTROL_BYTES_MAX) else { return false };
    let first = Records::new(&batch.header, &body).next();
    first.and_then(Result::ok).and_then(|record| ControlType::of(&record)) == Some(ControlType::Abort)
}

/// The batches that have an offset between `first` and `last`.
fn cut(slices: &[Bytes], first: i64, last: i64) -> Vec<Bytes> {
    let mut kept = Vec::with_capacity(slices.len());
    for slice in slices {
        let (mut from, mut to, mut at) = (None, 0, 0);
        for batch in batches(slice).map_while(Result::ok) {
            let end = at + batch.header.size();
            if batch.header.last_offset() >= first && batch.header.base_offset <= last {
                from.get_or_insert(at);
                to = end;
            }
            at = end;
        }
        kept.extend(from.map(|from| slice.slice(from..to)));
    }
    kept
}
