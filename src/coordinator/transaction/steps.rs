//! One transactional id as its record has it, and the steps from one state to the next. Pure: a step takes the old value and gives the new.

use super::messages::{PartitionName, ProducerIdentity};
use super::state::{Outcome, TransactionState, TransactionVersion};
use ringlane_protocol::ErrorCode;
use std::collections::BTreeSet;

pub(super) const NO_PRODUCER_ID: i64 = -1;
pub(super) const NO_EPOCH: i16 = -1;
const NOT_STARTED_MS: i64 = -1;
/// Highest epoch that a producer is given: the one above is for fencing it.
pub(super) const CLIENT_EPOCH_MAX: i16 = i16::MAX - 1;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Transaction {
    pub state: TransactionState,
    pub producer_id: i64,
    pub epoch: i16,
    /// The producer id before the last step, by which a client is recognised that did not hear of its new one.
    pub previous_producer_id: i64,
    /// Takes the place of `producer_id` when the markers are written: its epochs are used up.
    pub next_producer_id: i64,
    /// The epoch before the last bump that was the producer's own wish. Not in the record: like Kafka's coordinator, a new one does not know.
    pub last_epoch: i16,
    pub timeout_ms: i32,
    pub partitions: BTreeSet<PartitionName>,
    pub start_ms: i64,
    pub updated_ms: i64,
    /// Of the client that brought the last step.
    pub version: TransactionVersion,
}

impl Transaction {
    /// An id that was never seen. Its first step is [`Transaction::initialized`].
    pub fn unborn(producer_id: i64, timeout_ms: i32, now_ms: i64) -> Transaction {
        Transaction {
            state: TransactionState::Empty,
            producer_id,
            epoch: NO_EPOCH,
            previous_producer_id: NO_PRODUCER_ID,
            next_producer_id: NO_PRODUCER_ID,
            last_epoch: NO_EPOCH,
            timeout_ms,
            partitions: BTreeSet::new(),
            start_ms: NOT_STARTED_MS,
            updated_ms: now_ms,
            version: TransactionVersion::Zero,
        }
    }

    pub fn producer(&self) -> ProducerIdentity {
        ProducerIdentity { producer_id: self.producer_id, epoch: self.epoch }
    }

    /// What the producer will be known by when the end under way is complete.
    pub fn producer_after_end(&self) -> ProducerIdentity {
        match self.next_producer_id {
            NO_PRODUCER_ID => self.producer(),
            next => ProducerIdentity { producer_id: next, epoch: 0 },
        }
    }

    pub fn is_exhausted(&self) -> bool {
        is_exhausted(self.epoch)
    }

    /// When an open transaction is aborted for its age; `None` for those of two-phase commit, which have no timeout.
    pub fn times_out_ms(&self) -> Option<i64> {
        // "Longer than" the timeout, as Kafka counts.
        (self.timeout_ms != i32::MAX).then(|| self.start_ms + i64::from(self.timeout_ms) + 1)
    }

    /// A producer begins: with the next epoch. `expected`: the epoch that it says it has (KIP-360).
    pub fn initialized(&self, expected: Option<i16>, timeout_ms: i32, now_ms: i64) -> Result<Transaction, ErrorCode> {
        let (epoch, last_epoch) = match expected {
            // The answer to the same request got lost: it is given again.
            Some(epoch) if epoch == self.last_epoch && epoch != self.epoch && self.epoch != NO_EPOCH => {
                (self.epoch, self.last_epoch)
            }
            Some(epoch) if epoch != self.epoch && self.epoch != NO_EPOCH => return Err(ErrorCode::ProducerFenced),
            Some(_) => (self.epoch + 1, self.epoch),
            // Whoever comes without an identity is another producer: the one before must not be recognised any more.
            None => (self.epoch + 1, NO_EPOCH),
        };
        Ok(Transaction { epoch, last_epoch, ..self.emptied(timeout_ms, now_ms) })
    }

    /// [`Transaction::initialized`], when the epochs of the producer id are used up. `keeps_last`: the producer is the same one.
    pub fn rotated(&self, producer_id: i64, keeps_last: bool, timeout_ms: i32, now_ms: i64) -> Transaction {
        let last_epoch = if keeps_last { self.epoch } else { NO_EPOCH };
        Transaction { producer_id, epoch: 0, last_epoch, ..self.emptied(timeout_ms, now_ms) }
    }

    fn emptied(&self, timeout_ms: i32, now_ms: i64) -> Transaction {
        Transaction {
            state: TransactionState::Empty,
            previous_producer_id: self.producer_id,
            timeout_ms,
            partitions: BTreeSet::new(),
            start_ms: NOT_STARTED_MS,
            updated_ms: now_ms,
            ..self.clone()
        }
    }

    pub fn with_partitions(
        &self,
        added: &BTreeSet<PartitionName>,
        version: TransactionVersion,
        now_ms: i64,
    ) -> Transaction {
        let begins = self.state != TransactionState::Ongoing;
        Transaction {
            state: TransactionState::Ongoing,
            previous_producer_id: self.producer_id,
            partitions: self.partitions.union(added).cloned().collect(),
            start_ms: if begins { now_ms } else { self.start_ms },
            updated_ms: now_ms,
            version,
            ..self.clone()
        }
    }

    /// The outcome is decided. `next_producer_id`: what follows when the epochs are used up, else [`NO_PRODUCER_ID`].
    pub fn ending(
        &self,
        outcome: Outcome,
        version: TransactionVersion,
        next_producer_id: i64,
        now_ms: i64,
    ) -> Transaction {
        let (epoch, last_epoch) = match version.bumps_epoch() {
            true => (self.epoch.saturating_add(1), self.epoch),
            false => (self.epoch, self.last_epoch),
        };
        Transaction {
            state: outcome.preparing(),
            epoch,
            last_epoch,
            previous_producer_id: self.producer_id,
            next_producer_id,
            // An abort of nothing began when it was asked for.
            start_ms: if self.state == TransactionState::Ongoing { self.start_ms } else { now_ms },
            updated_ms: now_ms,
            version,
            ..self.clone()
        }
    }

    /// Shuts the producer out without knowing it: what the protocol before KIP-890 does when it aborts on its own.
    pub fn fenced(&self) -> Transaction {
        Transaction { epoch: self.epoch.saturating_add(1), last_epoch: NO_EPOCH, ..self.clone() }
    }

    /// All markers are written.
    pub fn ended(&self, outcome: Outcome, now_ms: i64) -> Transaction {
        let after = self.producer_after_end();
        Transaction {
            state: outcome.complete(),
            producer_id: after.producer_id,
            epoch: after.epoch,
            previous_producer_id: self.producer_id,
            next_producer_id: NO_PRODUCER_ID,
            partitions: BTreeSet::new(),
            updated_ms: now_ms,
            ..self.clone()
        }
    }
}

pub(super) fn is_exhausted(epoch: i16) -> bool {
    epoch >= CLIENT_EPOCH_MAX
}
