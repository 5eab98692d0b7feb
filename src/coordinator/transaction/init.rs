//! InitProducerId with a transactional id: a producer begins, or goes on after an error; whoever wrote under the id before is shut out.

use super::messages::{InitProducerId, ProducerIdentity, TransactionEffects, TransactionReply};
use super::state::TransactionState;
use super::steps::{NO_EPOCH, Transaction, is_exhausted};
use super::{Refusal, TransactionMachine};
use crate::ReplyTo;
use ringlane_protocol::ErrorCode;

impl TransactionMachine {
    pub(super) fn init(
        &mut self,
        request: &InitProducerId,
        to: ReplyTo,
        now_ms: i64,
        effects: &mut TransactionEffects,
    ) -> Result<(), Refusal> {
        let id = &request.transactional_id;
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest.into());
        }
        if request.timeout_ms <= 0 || request.timeout_ms > self.options.timeout_max_ms {
            return Err(ErrorCode::InvalidTransactionTimeout.into());
        }
        if self.get(id).is_some_and(|known| known.state.is_ending()) {
            return Err(ErrorCode::ConcurrentTransactions.into());
        }
        if let (Some(known), Some(current)) = (self.get(id), request.current)
            && !may_go_on(known, current)
        {
            return Err(ErrorCode::ProducerFenced.into());
        }
        if self.get(id).is_some_and(|known| known.state == TransactionState::Ongoing) {
            // The epoch of this abort is never given to anyone: the client asks again and gets the next one.
            self.fence(id, now_ms, effects)?;
            return Err(ErrorCode::ConcurrentTransactions.into());
        }
        let next = self.initialized(request, now_ms)?;
        let producer = next.producer();
        self.step(id, next, effects);
        effects.reply(to, TransactionReply::InitProducerId(Ok(producer)));
        Ok(())
    }

    /// The step from a state at rest.
    fn initialized(&mut self, request: &InitProducerId, now_ms: i64) -> Result<Transaction, Refusal> {
        let InitProducerId { transactional_id, timeout_ms, current } = request;
        let expected = current.map(|current| current.epoch);
        let Some(known) = self.get(transactional_id) else {
            let producer_id = self.producer_ids.take().ok_or(Refusal::NeedsProducerId)?;
            return Ok(Transaction::unborn(producer_id, *timeout_ms, now_ms).initialized(
                expected,
                *timeout_ms,
                now_ms,
            )?);
        };
        let is_latest = expected.is_none_or(|expected| expected == known.epoch);
        if !known.is_exhausted() || !is_latest {
            return Ok(known.initialized(expected, *timeout_ms, now_ms)?);
        }
        let known = known.clone();
        let producer_id = self.producer_ids.take().ok_or(Refusal::NeedsProducerId)?;
        Ok(known.rotated(producer_id, expected.is_some(), *timeout_ms, now_ms))
    }
}

/// KIP-360: who says what it had must have had it; or it did not hear that its producer id was used up and replaced.
fn may_go_on(known: &Transaction, current: ProducerIdentity) -> bool {
    known.epoch == NO_EPOCH
        || current.producer_id == known.producer_id
        || (current.producer_id == known.previous_producer_id && is_exhausted(current.epoch))
}

#[cfg(test)]
mod tests {
    use super::super::steps::CLIENT_EPOCH_MAX;
    use super::super::test_kit::{Bench, TIMEOUT_MS, next_epoch};
    use super::super::{Outcome, TransactionReply, TransactionRequest};
    use super::*;

    /// Two producers of one transactional id would both be let through: the second begins by shutting the first out.
    #[test]
    fn each_beginning_is_the_next_epoch_of_one_producer_id() {
        let mut bench = Bench::new();
        let first = bench.init().unwrap();
        assert_eq!(first, ProducerIdentity { producer_id: 100, epoch: 0 });
        let second = bench.init().unwrap();
        assert_eq!(second, next_epoch(first));
        assert_eq!(bench.add(first, 0), ErrorCode::ProducerFenced);
        assert_eq!(bench.add(second, 0), ErrorCode::None);
        assert_eq!(bench.verify(first, 0), ErrorCode::ProducerFenced);
    }

    /// Records of the producer before would stay open for ever, and hold every reader of committed records.
    #[test]
    fn an_open_transaction_is_aborted_first_and_the_client_comes_back() {
        let mut bench = Bench::new();
        let first = bench.open();
        assert_eq!(bench.init(), Err(ErrorCode::ConcurrentTransactions));
        assert_eq!(bench.state(), TransactionState::PrepareAbort);
        assert_eq!(bench.init(), Err(ErrorCode::ConcurrentTransactions), "its markers are not written yet");
        assert_eq!((bench.markers[0].outcome, bench.markers[0].producer), (Outcome::Abort, next_epoch(first)));
        bench.write_markers();
        let second = bench.init().unwrap();
        assert_eq!((second.producer_id, second.epoch), (first.producer_id, 2), "1 was for the abort only");
        assert_eq!(bench.end(first, Outcome::Commit), ErrorCode::ProducerFenced);
    }

    /// KIP-360: a producer that lost its state goes on with what it has; one that was replaced must not.
    #[test]
    fn who_says_what_it_had_goes_on_and_may_repeat_itself() {
        let mut bench = Bench::new();
        let first = bench.init().unwrap();
        let second = bench.init_as(Some(first)).unwrap();
        assert_eq!(second, next_epoch(first));
        assert_eq!(bench.init_as(Some(first)), Ok(second), "the answer got lost: the same again");
        let other = ProducerIdentity { producer_id: 7, epoch: 0 };
        assert_eq!(bench.init_as(Some(other)), Err(ErrorCode::ProducerFenced));
        let third = bench.init().unwrap();
        assert_eq!(bench.init_as(Some(second)), Err(ErrorCode::ProducerFenced), "someone else has begun");
        assert_eq!(bench.init_as(Some(third)), Ok(next_epoch(third)));
    }

    /// Epochs are 16 bits; the last one is kept so that a producer can always be shut out.
    #[test]
    fn a_producer_id_whose_epochs_are_used_up_is_replaced() {
        let mut bench = Bench::new();
        bench.init().unwrap();
        let last = bench.set_epoch(CLIENT_EPOCH_MAX);
        let rotated = bench.init_as(Some(last)).unwrap();
        assert_eq!((rotated.producer_id, rotated.epoch), (101, 0));
        assert_eq!(bench.init_as(Some(last)), Ok(rotated), "repeated by a client that did not hear of it");

        let mut bench = Bench::new();
        let open = bench.open();
        bench.set_epoch(CLIENT_EPOCH_MAX);
        assert_eq!(bench.init(), Err(ErrorCode::ConcurrentTransactions));
        assert_eq!(bench.markers[0].producer.epoch, i16::MAX);
        bench.write_markers();
        let after = bench.init().unwrap();
        assert!(after.producer_id != open.producer_id && after.epoch == 1, "{after:?}");
    }

    /// What a client may ask for is bounded: a timeout of a year would hold readers for a year.
    #[test]
    fn bad_requests_are_refused() {
        let mut bench = Bench::new();
        for (id, timeout_ms, expected) in [
            ("", TIMEOUT_MS, ErrorCode::InvalidRequest),
            ("tx", 0, ErrorCode::InvalidTransactionTimeout),
            ("tx", 900_001, ErrorCode::InvalidTransactionTimeout),
        ] {
            let request = InitProducerId { transactional_id: id.into(), timeout_ms, current: None };
            let reply = bench.ask(TransactionRequest::InitProducerId(request));
            assert_eq!(reply, TransactionReply::InitProducerId(Err(expected)));
        }
    }

    /// Without ids a producer is not to be answered with one that somebody else has.
    #[test]
    fn whoever_needs_a_producer_id_waits_for_it_or_is_told_to_come_back() {
        let mut bench = Bench::new();
        let request = InitProducerId { transactional_id: "tx".into(), timeout_ms: TIMEOUT_MS, current: None };
        let asking = || TransactionRequest::InitProducerId(request.clone());
        let first = bench.machine.handle(asking(), ReplyTo(1), 0);
        let second = bench.machine.handle(asking(), ReplyTo(2), 0);
        assert_eq!((first.producer_ids_wanted, second.producer_ids_wanted), (1, 1));
        assert!(first.base.replies.is_empty() && second.base.replies.is_empty());
        let refused = bench.machine.producer_ids_refused();
        let expected = TransactionReply::InitProducerId(Err(ErrorCode::CoordinatorLoadInProgress));
        assert!(refused.base.replies.iter().all(|reply| reply.reply == expected) && refused.base.replies.len() == 2);

        assert_eq!(bench.machine.handle(asking(), ReplyTo(3), 0).producer_ids_wanted, 1);
        assert_eq!(bench.machine.handle(asking(), ReplyTo(4), 0).producer_ids_wanted, 1);
        let served = bench.machine.producer_ids_given([7, 8], 0).base.replies;
        let epochs: Vec<_> = served.into_iter().map(|reply| reply.reply).collect();
        let with = |epoch| TransactionReply::InitProducerId(Ok(ProducerIdentity { producer_id: 7, epoch }));
        assert_eq!(epochs, [with(0), with(1)], "the second found the first one's; its own is kept for the next");
        assert_eq!(bench.machine.producer_ids.take(), Some(8));
    }
}
