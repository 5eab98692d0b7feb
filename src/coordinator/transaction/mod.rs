//! Transactions (KIP-98, KIP-360, KIP-890): the coordinator of the transactional ids of one `__transaction_state` partition.
//!
//! [`TransactionMachine`] is pure: it lives on the partition's home shard, and its host there feeds it requests, results and time, and does
//! what [`TransactionEffects`] say. Each id stands in one state; a step writes one record:
//!
//! ```text
//!            AddPartitions                EndTxn, timeout, fence             every marker written
//!   Empty ────────────────▶ Ongoing ──────────────────────▶ Prepare{Commit,Abort} ──────────▶ Complete{Commit,Abort}
//!     ▲                                                                                            │
//!     └──────────────── InitProducerId: next epoch, or next producer id ◀──────────────────────────┘  (or AddPartitions: Ongoing)
//! ```
//!
//! Prepare is the decision: once its record is stable the outcome can only be that one, and its markers are written again after every crash
//! until all are there. Rooms: `init`, `add_partitions`, `end` (rules of the requests), `markers`, `deadlines` (timeouts, expiry, retries),
//! `describe`; `steps` has one id and what may become of it, `record` the bytes.
//!
//! Where Kafka answers CONCURRENT_TRANSACTIONS because a record is being written, there is nothing to say here: a step is taken at once, and
//! what depends on it waits for its record.

mod add_partitions;
mod deadlines;
mod describe;
mod end;
mod init;
mod markers;
mod messages;
#[cfg(test)]
mod model;
mod producer_ids;
mod record;
mod state;
mod steps;
#[cfg(test)]
mod test_kit;

pub use messages::{
    AddPartitions, EndId, EndTxn, InitProducerId, ListedTransaction, MarkerRequest, MarkerResult, PartitionName,
    ProducerIdentity, TransactionDescription, TransactionEffects, TransactionFilter, TransactionReply,
    TransactionRequest,
};
pub use state::{Outcome, TransactionState, TransactionVersion};

use crate::ReplyTo;
use deadlines::Deadlines;
use markers::Sending;
use producer_ids::ProducerIds;
use record::Replayed;
use ringlane_protocol::ErrorCode;
use ringlane_protocol::internal::InternalRecordError;
use std::collections::BTreeMap;
use std::sync::Arc;
use steps::Transaction;

#[derive(Clone, Copy, Debug)]
pub struct TransactionOptions {
    /// `transaction.max.timeout.ms`.
    pub timeout_max_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub expiration_ms: i64,
    /// The cluster's `transaction.version`: the protocol of what the coordinator does on its own.
    pub version: TransactionVersion,
    /// The leader epoch of the partition: fences the coordinator before this one at every partition that has a marker of ours.
    pub coordinator_epoch: i32,
}

/// All transactional ids of one partition of `__transaction_state`.
pub struct TransactionMachine {
    options: TransactionOptions,
    transactions: BTreeMap<Arc<str>, Entry>,
    deadlines: Deadlines,
    producer_ids: ProducerIds,
    next_end: u64,
}

struct Entry {
    transaction: Transaction,
    /// Of a transaction that is ending.
    sending: Option<Sending>,
    /// The one deadline of this id, as it stands in `deadlines`.
    deadline_ms: Option<i64>,
}

/// Why a request takes no step now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refusal {
    Error(ErrorCode),
    /// It is asked again when there is a producer id to give.
    NeedsProducerId,
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Refusal {
        Refusal::Error(error)
    }
}

impl TransactionMachine {
    /// Knows nothing: what the log has goes to [`TransactionMachine::replay`], then [`TransactionMachine::begin`].
    pub fn new(options: TransactionOptions) -> TransactionMachine {
        TransactionMachine {
            options,
            transactions: BTreeMap::new(),
            deadlines: Deadlines::default(),
            producer_ids: ProducerIds::default(),
            next_end: 0,
        }
    }

    /// Takes one record of the log, in offset order.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), InternalRecordError> {
        match record::replay(key, value)? {
            Replayed::Is(id, transaction) => {
                self.transactions.insert(id, Entry { transaction, sending: None, deadline_ms: None });
            }
            Replayed::IsGone(id) => drop(self.transactions.remove(&id)),
            Replayed::Unknown => {}
        }
        Ok(())
    }

    /// The log is replayed: what was being ended goes on. Call it once, before any other input.
    pub fn begin(&mut self, now_ms: i64) -> TransactionEffects {
        let mut effects = TransactionEffects::default();
        let ids: Vec<Arc<str>> = self.transactions.keys().cloned().collect();
        for id in ids {
            if self.transactions[&id].transaction.state.is_ending() {
                self.send_markers(&id, now_ms, &mut effects);
            }
            self.set_deadline(&id);
        }
        effects
    }

    pub fn handle(&mut self, request: TransactionRequest, to: ReplyTo, now_ms: i64) -> TransactionEffects {
        let mut effects = TransactionEffects::default();
        self.decide(request, to, now_ms, &mut effects);
        effects
    }

    fn decide(&mut self, request: TransactionRequest, to: ReplyTo, now_ms: i64, effects: &mut TransactionEffects) {
        let (refusal, reply): (_, fn(ErrorCode) -> TransactionReply) = match &request {
            TransactionRequest::InitProducerId(request) => {
                (self.init(request, to, now_ms, effects), |error| TransactionReply::InitProducerId(Err(error)))
            }
            TransactionRequest::AddPartitions(request) => {
                (self.add_partitions(request, to, now_ms, effects), TransactionReply::AddPartitions)
            }
            TransactionRequest::VerifyPartitions(request) => {
                effects.reply(to, TransactionReply::VerifyPartitions(self.verify_partitions(request)));
                return;
            }
            TransactionRequest::EndTxn(request) => {
                (self.end(request, to, now_ms, effects), |error| TransactionReply::EndTxn(Err(error)))
            }
        };
        match refusal {
            Ok(()) => {}
            Err(Refusal::Error(error)) => effects.reply(to, reply(error)),
            Err(Refusal::NeedsProducerId) => effects.producer_ids_wanted += self.producer_ids.wait(request, to),
        }
    }

    fn get(&self, id: &str) -> Option<&Transaction> {
        self.transactions.get(id).map(|entry| &entry.transaction)
    }

    /// Takes the step and writes it down.
    fn step(&mut self, id: &Arc<str>, next: Transaction, effects: &mut TransactionEffects) {
        effects.base.append(record::key(id), Some(record::value(&next, self.options.version)));
        match self.transactions.get_mut(id) {
            Some(entry) => {
                entry.transaction = next;
                entry.sending = None;
            }
            None => {
                let entry = Entry { transaction: next, sending: None, deadline_ms: None };
                self.transactions.insert(id.clone(), entry);
            }
        }
        self.set_deadline(id);
    }

    /// Decides the outcome of a transaction and has its markers written; with none to write it is complete at once, in one record.
    fn step_to_end(
        &mut self,
        id: &Arc<str>,
        ending: Transaction,
        outcome: Outcome,
        now_ms: i64,
        effects: &mut TransactionEffects,
    ) {
        if ending.partitions.is_empty() {
            self.step(id, ending.ended(outcome, now_ms), effects);
        } else {
            self.step(id, ending, effects);
            self.send_markers(id, now_ms, effects);
        }
    }

    /// Aborts an open transaction that its producer has not ended, and shuts that producer out.
    fn fence(&mut self, id: &Arc<str>, now_ms: i64, effects: &mut TransactionEffects) -> Result<(), Refusal> {
        let Some(open) = self.get(id).cloned() else { return Ok(()) };
        let version = self.options.version;
        let next_producer_id = match version.bumps_epoch() && open.is_exhausted() {
            true => self.producer_ids.take().ok_or(Refusal::NeedsProducerId)?,
            false => steps::NO_PRODUCER_ID,
        };
        let fenced = if version.bumps_epoch() { open } else { open.fenced() };
        // A cluster of the first protocol writes its own aborts as version 0, as Kafka does.
        let written = if version.bumps_epoch() { version } else { TransactionVersion::Zero };
        let ending = fenced.ending(Outcome::Abort, written, next_producer_id, now_ms);
        self.step_to_end(id, ending, Outcome::Abort, now_ms, effects);
        Ok(())
    }
}
