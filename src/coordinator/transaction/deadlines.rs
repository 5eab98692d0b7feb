//! What time does to transactional ids: open transactions are aborted, markers tried again, idle ids forgotten.
//!
//! Each id has at most one deadline, which follows from its state; they are kept in order, so that time costs nothing while none is due.

use super::messages::TransactionEffects;
use super::state::TransactionState;
use super::{Entry, Refusal, TransactionMachine, record};

use std::collections::BTreeSet;
use std::sync::Arc;

/// Ids handled at once: their records are one batch, which a topic's `max.message.bytes` must hold.
const HANDLED_AT_ONCE_MAX: usize = 100;
/// Between two looks at a transaction whose abort waits for a producer id.
const NO_PRODUCER_ID_RETRY_MS: i64 = 100;

/// Deadlines and whose they are.
#[derive(Default)]
pub(super) struct Deadlines(BTreeSet<(i64, Arc<str>)>);

impl TransactionMachine {
    /// When [`TransactionMachine::on_time`] is to be called; `None` while nothing can become due.
    pub fn next_deadline(&self) -> Option<i64> {
        self.deadlines.0.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Does what is due, some of it if there is much: then [`TransactionMachine::next_deadline`] is not in the future.
    pub fn on_time(&mut self, now_ms: i64) -> TransactionEffects {
        let mut effects = TransactionEffects::default();
        for _ in 0..HANDLED_AT_ONCE_MAX {
            let Some((deadline_ms, id)) = self.deadlines.0.first().cloned() else { break };
            if deadline_ms > now_ms {
                break;
            }
            self.put_deadline(&id, None);
            self.due(&id, now_ms, &mut effects);
        }
        effects
    }

    fn due(&mut self, id: &Arc<str>, now_ms: i64, effects: &mut TransactionEffects) {
        let Some(known) = self.get(id) else { return };
        match known.state {
            TransactionState::Ongoing => {
                if self.fence(id, now_ms, effects) == Err(Refusal::NeedsProducerId) {
                    effects.producer_ids_wanted += self.producer_ids.want(1);
                    self.put_deadline(id, Some(now_ms + NO_PRODUCER_ID_RETRY_MS));
                }
            }
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => self.retry_markers(id, effects),
            TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort => {
                effects.base.append(record::key(id), None);
                self.transactions.remove(id);
            }
        }
    }

    /// The deadline that follows from the id's state.
    pub(super) fn set_deadline(&mut self, id: &Arc<str>) {
        let deadline_ms = self.transactions.get(id).and_then(|entry| entry.due_ms(self.options.expiration_ms));
        self.put_deadline(id, deadline_ms);
    }

    fn put_deadline(&mut self, id: &Arc<str>, deadline_ms: Option<i64>) {
        let Some(entry) = self.transactions.get_mut(id) else { return };
        if let Some(before) = std::mem::replace(&mut entry.deadline_ms, deadline_ms) {
            self.deadlines.0.remove(&(before, id.clone()));
        }
        if let Some(deadline_ms) = deadline_ms {
            self.deadlines.0.insert((deadline_ms, id.clone()));
        }
    }
}

impl Entry {
    fn due_ms(&self, expiration_ms: i64) -> Option<i64> {
        match self.transaction.state {
            TransactionState::Ongoing => self.transaction.times_out_ms(),
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => {
                self.sending.as_ref().and_then(|sending| sending.retry_at_ms)
            }
            _ => Some(self.transaction.updated_ms.saturating_add(expiration_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::{Bench, EXPIRATION_MS, TIMEOUT_MS, next_epoch};
    use super::super::{Outcome, TransactionOptions, TransactionVersion};
    use super::*;
    use ringlane_protocol::ErrorCode;

    /// A producer that died in the middle holds every reader of committed records until somebody ends its transaction.
    #[test]
    fn an_open_transaction_is_aborted_after_its_timeout_and_its_producer_shut_out() {
        let mut bench = Bench::new();
        let producer = bench.open();
        bench.wait(i64::from(TIMEOUT_MS));
        assert_eq!(bench.state(), TransactionState::Ongoing, "not past it yet");
        bench.wait(1);
        assert_eq!(bench.state(), TransactionState::PrepareAbort);
        assert_eq!(bench.markers[0].producer, next_epoch(producer));
        bench.write_markers();
        assert_eq!(bench.state(), TransactionState::CompleteAbort);
        assert_eq!(bench.end(producer, Outcome::Commit), ErrorCode::ProducerFenced);
        assert_eq!(bench.end2(producer, Outcome::Commit), Err(ErrorCode::InvalidTxnState));
        assert_eq!(bench.end2(producer, Outcome::Abort), Ok(next_epoch(producer)), "it learns its epoch and goes on");
    }

    /// A cluster that has not finalized the second protocol yet must be readable for brokers that know only the first.
    #[test]
    fn a_cluster_of_the_first_protocol_fences_by_epoch_too() {
        let options = TransactionOptions { version: TransactionVersion::Zero, ..super::super::test_kit::options() };
        let mut bench = Bench::with(options);
        let producer = bench.open();
        bench.wait(i64::from(TIMEOUT_MS) + 1);
        let marker = &bench.markers[0];
        assert_eq!((marker.producer, marker.version), (next_epoch(producer), TransactionVersion::Zero));
        assert!(bench.log.iter().all(|record| record.value.as_ref().is_some_and(|value| value[..2] == [0, 0])));
        bench.write_markers();
        assert_eq!(bench.end(producer, Outcome::Abort), ErrorCode::ProducerFenced);
    }

    /// The timeout that aborts the last possible epoch needs a new producer id, and comes again until it has one.
    #[test]
    fn a_timeout_without_a_producer_id_comes_again() {
        let mut bench = Bench::new();
        bench.open();
        bench.set_epoch(super::super::steps::CLIENT_EPOCH_MAX);
        bench.now_ms += i64::from(TIMEOUT_MS) + 1;
        let effects = bench.machine.on_time(bench.now_ms);
        assert_eq!((effects.producer_ids_wanted, effects.base.records.len()), (1, 0));
        assert_eq!(bench.machine.on_time(bench.now_ms).producer_ids_wanted, 0, "one is on its way");
        bench.give_ids(1);
        bench.wait(NO_PRODUCER_ID_RETRY_MS);
        assert_eq!(bench.state(), TransactionState::PrepareAbort);
    }

    /// Every id ever used would stay in memory and in the log.
    #[test]
    fn idle_ids_are_forgotten_and_open_ones_are_not() {
        let mut bench = Bench::new();
        bench.init().unwrap();
        bench.wait(EXPIRATION_MS - 1);
        assert_eq!(bench.state(), TransactionState::Empty);
        bench.wait(1);
        assert_eq!(bench.machine.describe("tx"), Err(ErrorCode::TransactionalIdNotFound));
        assert_eq!(bench.log.last().unwrap().value, None);
        assert_eq!(bench.machine.next_deadline(), None);
        bench.restart(bench.log.len());
        assert_eq!(bench.machine.describe("tx"), Err(ErrorCode::TransactionalIdNotFound));
    }

    /// A batch larger than the topic takes would be refused, and tried again for ever.
    #[test]
    fn much_that_is_due_at_once_is_done_in_parts() {
        let mut bench = Bench::new();
        for number in 0..250 {
            let request = super::super::InitProducerId {
                transactional_id: format!("tx-{number}").into(),
                timeout_ms: TIMEOUT_MS,
                current: None,
            };
            bench.ask(super::super::TransactionRequest::InitProducerId(request));
        }
        let later_ms = bench.now_ms + EXPIRATION_MS;
        let parts: Vec<_> = (0..4).map(|_| bench.machine.on_time(later_ms).base.records.len()).collect();
        assert_eq!(parts, [100, 100, 50, 0]);
    }
}
