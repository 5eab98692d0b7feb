//! EndTxn: commit or abort, by the rules of the client's protocol.
//!
//! In the first protocol a producer keeps its epoch, so a repeated request is known by the state alone. In the second (KIP-890) every end
//! gives the next epoch: a request with the epoch before is a repetition, one with the present epoch speaks of a transaction that the
//! coordinator may not have heard of yet, which can only be aborted.

use super::add_partitions::check_producer;
use super::messages::{EndTxn, ProducerIdentity, TransactionEffects, TransactionReply};
use super::state::{Outcome, TransactionState, TransactionVersion};
use super::steps::{CLIENT_EPOCH_MAX, NO_PRODUCER_ID, Transaction};
use super::{Refusal, TransactionMachine};
use crate::ReplyTo;
use ringlane_protocol::ErrorCode;

/// What an EndTxn means for a transactional id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// The outcome is decided now.
    Ends,
    /// Was decided and done before: the same answer again.
    Repeated,
}

impl TransactionMachine {
    pub(super) fn end(
        &mut self,
        request: &EndTxn,
        to: ReplyTo,
        now_ms: i64,
        effects: &mut TransactionEffects,
    ) -> Result<(), Refusal> {
        let EndTxn { transactional_id: id, producer, outcome, version } = request;
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest.into());
        }
        let known = self.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        let verdict = match version.bumps_epoch() {
            true => judge_with_bumps(known, *producer, *outcome)?,
            false => judge(known, *producer, *outcome)?,
        };
        let known = known.clone();
        let then = match verdict {
            Verdict::Repeated => known.producer(),
            Verdict::Ends => {
                let next_producer_id = match version.bumps_epoch() && known.is_exhausted() {
                    true => self.producer_ids.take().ok_or(Refusal::NeedsProducerId)?,
                    false => NO_PRODUCER_ID,
                };
                let ending = known.ending(*outcome, *version, next_producer_id, now_ms);
                let then = ending.producer_after_end();
                self.step_to_end(id, ending, *outcome, now_ms, effects);
                then
            }
        };
        effects.reply(to, TransactionReply::EndTxn(Ok(identity_for(*version, then))));
        Ok(())
    }
}

fn identity_for(version: TransactionVersion, producer: ProducerIdentity) -> ProducerIdentity {
    if version.bumps_epoch() { producer } else { ProducerIdentity::NONE }
}

/// The first protocol.
fn judge(known: &Transaction, producer: ProducerIdentity, outcome: Outcome) -> Result<Verdict, ErrorCode> {
    check_producer(known, producer)?;
    match known.state {
        TransactionState::Ongoing => Ok(Verdict::Ends),
        TransactionState::PrepareCommit | TransactionState::PrepareAbort => Err(ErrorCode::ConcurrentTransactions),
        complete if complete == outcome.complete() => Ok(Verdict::Repeated),
        _ => Err(ErrorCode::InvalidTxnState),
    }
}

/// The second protocol.
fn judge_with_bumps(known: &Transaction, producer: ProducerIdentity, outcome: Outcome) -> Result<Verdict, ErrorCode> {
    // Before the identity, which may be changing just now.
    if known.state.is_ending() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    let is_same = producer.producer_id == known.producer_id;
    // The last epoch of the producer id that was replaced.
    let is_of_replaced = producer.producer_id == known.previous_producer_id
        && producer.epoch == CLIENT_EPOCH_MAX
        && known.epoch == 0
        && !is_same;
    if !is_same && !is_of_replaced {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    let is_present = is_same && producer.epoch == known.epoch;
    let is_repetition = is_of_replaced || (is_same && i32::from(producer.epoch) + 1 == i32::from(known.epoch));
    match known.state {
        TransactionState::Ongoing if is_present => Ok(Verdict::Ends),
        TransactionState::Empty if is_present => abort_of_nothing(outcome),
        TransactionState::CompleteCommit | TransactionState::CompleteAbort if is_present => abort_of_nothing(outcome),
        TransactionState::CompleteCommit | TransactionState::CompleteAbort if is_repetition => {
            match known.state == outcome.complete() {
                true => Ok(Verdict::Repeated),
                false => Err(ErrorCode::InvalidTxnState),
            }
        }
        _ => Err(ErrorCode::ProducerFenced),
    }
}

/// A client that does not know whether its first write was seen may abort, and gets its next epoch; it cannot commit what nobody saw.
fn abort_of_nothing(outcome: Outcome) -> Result<Verdict, ErrorCode> {
    match outcome {
        Outcome::Abort => Ok(Verdict::Ends),
        Outcome::Commit => Err(ErrorCode::InvalidTxnState),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::{Bench, next_epoch};
    use super::*;
    use Outcome::{Abort, Commit};

    /// The first protocol, state by state: a repeated end gets the same answer, the opposite never does.
    #[test]
    fn an_end_of_the_first_protocol_is_repeatable_and_final() {
        let mut bench = Bench::new();
        let producer = bench.init().unwrap();
        assert_eq!(bench.end(producer, Commit), ErrorCode::InvalidTxnState, "nothing is open");
        assert_eq!(bench.add(producer, 0), ErrorCode::None);
        assert_eq!(bench.end(next_epoch(producer), Commit), ErrorCode::ProducerFenced);
        assert_eq!(bench.end(producer, Commit), ErrorCode::None);
        assert_eq!(bench.markers[0].producer, producer, "the epoch stays");
        assert_eq!(bench.end(producer, Commit), ErrorCode::ConcurrentTransactions);
        bench.write_markers();
        assert_eq!(bench.state(), TransactionState::CompleteCommit);
        assert_eq!(bench.end(producer, Commit), ErrorCode::None);
        assert_eq!(bench.end(producer, Abort), ErrorCode::InvalidTxnState);
    }

    /// KIP-890: with a new epoch for every transaction, a write that is still on its way from the last one is refused.
    #[test]
    fn an_end_of_the_second_protocol_gives_the_next_epoch() {
        let mut bench = Bench::new();
        let first = bench.open();
        let second = bench.end2(first, Commit).unwrap();
        assert_eq!(second, next_epoch(first));
        assert_eq!(bench.markers[0].producer, second);
        assert_eq!(bench.end2(first, Commit), Err(ErrorCode::ConcurrentTransactions));
        bench.write_markers();
        assert_eq!(bench.end2(first, Commit), Ok(second), "repeated");
        assert_eq!(bench.end2(first, Abort), Err(ErrorCode::InvalidTxnState), "it was committed");
        assert_eq!(bench.add(first, 0), ErrorCode::ProducerFenced);
        assert_eq!(bench.add(second, 0), ErrorCode::None);
        assert_eq!(bench.end2(first, Commit), Err(ErrorCode::ProducerFenced), "a transaction has begun since");
    }

    /// A client whose first write failed does not know whether its transaction began: it may abort it, never commit it.
    #[test]
    fn nothing_can_be_aborted_but_not_committed() {
        let mut bench = Bench::new();
        let first = bench.init().unwrap();
        assert_eq!(bench.end2(first, Commit), Err(ErrorCode::InvalidTxnState));
        assert_eq!(bench.end2(ProducerIdentity { epoch: -1, ..first }, Abort), Err(ErrorCode::ProducerFenced));
        let second = bench.end2(first, Abort).unwrap();
        assert_eq!(second, next_epoch(first));
        assert!(bench.markers.is_empty());
        assert_eq!(bench.state(), TransactionState::CompleteAbort, "there is nothing to wait for");
        assert_eq!(bench.end2(first, Abort), Ok(second));
        assert_eq!(bench.end2(second, Commit), Err(ErrorCode::InvalidTxnState));
        let third = bench.end2(second, Abort).unwrap();
        assert_eq!(third, next_epoch(second));
        bench.add(third, 0);
        let fourth = bench.end2(third, Commit).unwrap();
        bench.write_markers();
        assert_eq!(bench.end2(third, Abort), Err(ErrorCode::InvalidTxnState));
        assert_eq!(bench.end2(fourth, Abort), Ok(next_epoch(fourth)));
    }

    /// With a bump per transaction 32,766 of them use a producer id up: the producer must not notice more than a new number.
    #[test]
    fn the_end_that_uses_the_epochs_up_gives_a_new_producer_id() {
        let mut bench = Bench::new();
        bench.open();
        let last = bench.set_epoch(CLIENT_EPOCH_MAX);
        let next = bench.end2(last, Commit).unwrap();
        assert_eq!((next.producer_id, next.epoch), (101, 0));
        let marker = bench.markers[0].producer;
        assert_eq!((marker.producer_id, marker.epoch), (last.producer_id, i16::MAX));
        assert_eq!(bench.add(next, 0), ErrorCode::ConcurrentTransactions, "told, but not in force yet");
        bench.write_markers();
        assert_eq!(bench.end2(last, Commit), Ok(next), "repeated with the old number");
        assert_eq!(bench.end2(last, Abort), Err(ErrorCode::InvalidTxnState));
        assert_eq!(bench.add(next, 0), ErrorCode::None);
        assert_eq!(bench.end2(last, Commit), Err(ErrorCode::InvalidProducerIdMapping));
    }

    /// Who never began has nothing to end.
    #[test]
    fn strangers_end_nothing() {
        let mut bench = Bench::new();
        let stranger = ProducerIdentity { producer_id: 1, epoch: 0 };
        assert_eq!(bench.end(stranger, Commit), ErrorCode::InvalidProducerIdMapping);
        assert_eq!(bench.end2(stranger, Abort), Err(ErrorCode::InvalidProducerIdMapping));
        bench.open();
        assert_eq!(bench.end(stranger, Commit), ErrorCode::InvalidProducerIdMapping);
        assert_eq!(bench.end2(stranger, Abort), Err(ErrorCode::InvalidProducerIdMapping));
    }
}
