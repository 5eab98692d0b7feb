//! The gate in front of transactional batches (KIP-890): before they go to their home shards, those ask whether the producer's transaction is
//! open there; where it is not, the transaction's coordinator must agree first.
//!
//! Lives on the connection shard, between the plan of a produce request and its appends. The connection reads no further request meanwhile, so
//! a producer's batches stay in order. A transaction that goes on costs a question to the home shard, its first batch in a partition one
//! more to the coordinator.

use super::produce::{Pending, ShardAppend, failed};
use super::transaction_gate::{Operation, Writer, ask};
use crate::mesh::{ShardReply, ShardRequest};
use crate::shard::Shard;
use ringlane_coordinator::transaction::{PartitionName, ProducerIdentity};
use ringlane_partition::{
    AppendFailure, AppendResult, Gate, TopicPartition, VerificationGuard, VerifyEntry, VerifyReply, VerifyRequest,
};
use ringlane_protocol::ErrorCode;
use ringlane_runtime::{ShardId, now, sleep};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// First version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 11;
/// First version whose partitions the broker adds to the transaction.
const ADDS_FROM: i16 = 12;

/// One transactional batch: where its entry stands, what is asked about it.
struct Asked {
    append: usize,
    entry: usize,
    home: ShardId,
    verify: VerifyEntry,
}

/// What is known of one transactional batch.
type Verdict = Result<Option<VerificationGuard>, AppendFailure>;

/// Lets through what may be appended, with its guard; the rest has its result then, and its entry is gone.
pub async fn pass(
    shard: &Rc<Shard>,
    pending: &Pending,
    appends: &mut Vec<ShardAppend>,
    transactional_id: Arc<str>,
    version: i16,
) {
    let operation = match version {
        ADDS_FROM.. => Operation::Add,
        ABORTABLE_FROM.. => Operation::Verify,
        _ => Operation::VerifyForOld,
    };
    let asked = transactional_entries(appends, operation);
    let producers: BTreeSet<(i64, i16)> =
        asked.iter().map(|asked| (asked.verify.producer_id, asked.verify.epoch)).collect();
    if producers.len() > 1 {
        let message = "the transactional batches of one request are of several producers";
        let refused = || AppendFailure { message: Some(message.into()), ..ErrorCode::InvalidProducerIdMapping.into() };
        return apply(pending, appends, |_, _| Some(Err(refused())));
    }
    let Some((producer_id, epoch)) = producers.first().copied() else { return };
    let producer = ProducerIdentity { producer_id, epoch };
    let verdicts = verdicts(shard, &asked, &Writer { transactional_id, producer, operation }).await;
    let mut found: BTreeMap<(usize, usize), Verdict> =
        asked.iter().map(|asked| (asked.append, asked.entry)).zip(verdicts).collect();
    apply(pending, appends, |append, entry| found.remove(&(append, entry)));
}

fn transactional_entries(appends: &[ShardAppend], operation: Operation) -> Vec<Asked> {
    let mut asked = Vec::new();
    for (append, part) in appends.iter().enumerate() {
        for (entry, appended) in part.request.entries.iter().enumerate() {
            let Ok(batch) = &appended.batch else { continue };
            if !batch.header.is_transactional() {
                continue;
            }
            let verify = VerifyEntry {
                at: appended.at,
                producer_id: batch.header.producer_id,
                epoch: batch.header.producer_epoch,
                base_sequence: batch.header.base_sequence,
                bumps_epoch: operation.bumps_epoch(),
            };
            asked.push(Asked { append, entry, home: part.to, verify });
        }
    }
    asked
}

/// Asks until the producer's last transaction has ended, for as long as the settings say: sending the batch again would cost more.
async fn verdicts(shard: &Rc<Shard>, asked: &[Asked], writer: &Writer) -> Vec<Verdict> {
    let broker = &shard.config.broker;
    let patience = Duration::from_millis(broker.add_partitions_to_txn_retry_backoff_max_ms);
    let began = now();
    loop {
        let verdicts = verdicts_now(shard, asked, writer).await;
        let is_ending = |verdict: &Verdict| {
            verdict.as_ref().is_err_and(|failure| failure.error == ErrorCode::ConcurrentTransactions)
        };
        if !verdicts.iter().any(is_ending) || began.elapsed() >= patience {
            return verdicts;
        }
        sleep(Duration::from_millis(broker.add_partitions_to_txn_retry_backoff_ms)).await;
    }
}

async fn verdicts_now(shard: &Rc<Shard>, asked: &[Asked], writer: &Writer) -> Vec<Verdict> {
    let gates = gates(shard, asked).await;
    let names: Vec<Option<PartitionName>> = {
        let image = shard.image();
        let name = |at: TopicPartition| {
            image.topic(at.topic_id).map(|topic| PartitionName { topic: topic.name.clone(), partition: at.partition })
        };
        asked.iter().map(|asked| name(asked.verify.at)).collect()
    };
    let to_ask: BTreeSet<PartitionName> = gates
        .iter()
        .zip(&names)
        .filter(|(gate, _)| matches!(gate, Ok(Gate::Verify(_))))
        .filter_map(|(_, name)| name.clone())
        .collect();
    let refused = match to_ask.is_empty() {
        true => BTreeMap::new(),
        false => ask(shard, writer, to_ask).await,
    };
    let verdict = |(gate, name): (Result<Gate, AppendFailure>, Option<PartitionName>)| match gate? {
        Gate::Open => Ok(None),
        Gate::Verify(guard) => {
            let name = name.ok_or(ErrorCode::UnknownTopicOrPartition)?;
            match refused.get(&name) {
                None => Ok(Some(guard)),
                Some(error) => Err(as_producers_know_it(*error, writer.operation)),
            }
        }
    };
    gates.into_iter().zip(names).map(verdict).collect()
}

async fn gates(shard: &Rc<Shard>, asked: &[Asked]) -> Vec<Result<Gate, AppendFailure>> {
    let mut parts: BTreeMap<ShardId, (Vec<VerifyEntry>, Vec<usize>)> = BTreeMap::new();
    for (place, Asked { home, verify, .. }) in asked.iter().enumerate() {
        let (entries, places) = parts.entry(*home).or_default();
        entries.push(*verify);
        places.push(place);
    }
    let stopping = || Err(ErrorCode::NotLeaderOrFollower.into());
    let mut gates: Vec<_> = asked.iter().map(|_| stopping()).collect();
    for (home, (entries, places)) in parts {
        if let Some(ShardReply::Verify(VerifyReply { results })) =
            shard.ask(home, ShardRequest::Verify(VerifyRequest { entries })).await
        {
            places.into_iter().zip(results).for_each(|(place, result)| gates[place] = result);
        }
    }
    gates
}

/// Old clients take some of the coordinator's errors for their partition's, and would look for its leader: NOT_ENOUGH_REPLICAS is what makes
/// every client send the batch again, and nothing else.
fn as_producers_know_it(error: ErrorCode, operation: Operation) -> AppendFailure {
    let passes = match error {
        ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator
        | ErrorCode::NetworkException => true,
        // Whoever lets the broker add partitions meets it at every commit and knows what it means.
        ErrorCode::ConcurrentTransactions => !operation.bumps_epoch(),
        _ => false,
    };
    match passes {
        true => AppendFailure {
            message: Some(format!("the transaction cannot be verified now: {error}")),
            ..ErrorCode::NotEnoughReplicas.into()
        },
        false => error.into(),
    }
}

/// `verdict` of each entry by its append and place there; `None`: it is not transactional.
fn apply(pending: &Pending, appends: &mut Vec<ShardAppend>, mut verdict: impl FnMut(usize, usize) -> Option<Verdict>) {
    let parts = appends.len();
    for (append, part) in appends.iter_mut().enumerate() {
        let entries = std::mem::take(&mut part.request.entries);
        let places = std::mem::take(&mut part.places);
        for (index, (mut entry, place)) in entries.into_iter().zip(places).enumerate() {
            match verdict(append, index) {
                Some(Err(failure)) => pending.settle(place, refused(failure)),
                found => {
                    entry.guard = found.and_then(Result::ok).flatten();
                    part.request.entries.push(entry);
                    part.places.push(place);
                }
            }
        }
    }
    appends.retain(|part| !part.request.entries.is_empty());
    pending.parts_gone(parts - appends.len());
}

fn refused(failure: AppendFailure) -> AppendResult {
    AppendResult { failure: Some(failure), ..failed(ErrorCode::None) }
}
