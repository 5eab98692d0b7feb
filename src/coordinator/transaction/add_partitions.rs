//! AddPartitionsToTxn: partitions enter the transaction before records are written to them, so that the end finds every one.

use super::messages::{AddPartitions, PartitionName, ProducerIdentity, TransactionEffects, TransactionReply};
use super::state::TransactionState;
use super::steps::Transaction;
use super::{Refusal, TransactionMachine};
use crate::ReplyTo;
use ringlane_protocol::ErrorCode;

impl TransactionMachine {
    pub(super) fn add_partitions(
        &mut self,
        request: &AddPartitions,
        to: ReplyTo,
        now_ms: i64,
        effects: &mut TransactionEffects,
    ) -> Result<(), Refusal> {
        let id = &request.transactional_id;
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest.into());
        }
        let known = self.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        // Before the identity: a client that was told its next producer id may use it while the end is still under way.
        if known.state.is_ending() {
            return Err(ErrorCode::ConcurrentTransactions.into());
        }
        check_producer(known, request.producer)?;
        let is_there = known.state == TransactionState::Ongoing && request.partitions.is_subset(&known.partitions);
        if !is_there {
            let next = known.with_partitions(&request.partitions, request.version, now_ms);
            self.step(id, next, effects);
        }
        effects.reply(to, TransactionReply::AddPartitions(ErrorCode::None));
        Ok(())
    }

    pub(super) fn verify_partitions(&self, request: &AddPartitions) -> Vec<(PartitionName, ErrorCode)> {
        let open = self.open_for(request);
        let verdict = |at: &PartitionName| match open {
            Err(error) => error,
            Ok(open) if open.partitions.contains(at) => ErrorCode::None,
            // The transaction goes on without what was to be written: the client must abort it.
            Ok(_) => ErrorCode::TransactionAbortable,
        };
        request.partitions.iter().map(|at| (at.clone(), verdict(at))).collect()
    }

    fn open_for(&self, request: &AddPartitions) -> Result<&Transaction, ErrorCode> {
        if request.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let known = self.get(&request.transactional_id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        check_producer(known, request.producer)?;
        if known.state.is_ending() { Err(ErrorCode::ConcurrentTransactions) } else { Ok(known) }
    }
}

pub(super) fn check_producer(known: &Transaction, producer: ProducerIdentity) -> Result<(), ErrorCode> {
    if known.producer_id != producer.producer_id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if known.epoch != producer.epoch { Err(ErrorCode::ProducerFenced) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::test_kit::{Bench, at, next_epoch};
    use super::*;

    /// A partition that is not in the record gets no marker: its records stay open for ever.
    #[test]
    fn partitions_are_recorded_before_the_answer_and_once() {
        let mut bench = Bench::new();
        let producer = bench.init().unwrap();
        let before = bench.log.len();
        assert_eq!(bench.add(producer, 0), ErrorCode::None);
        assert_eq!(bench.add(producer, 1), ErrorCode::None);
        assert_eq!(bench.log.len(), before + 2);
        assert_eq!(bench.add(producer, 1), ErrorCode::None);
        assert_eq!(bench.log.len(), before + 2, "it is there");
        let described = bench.machine.describe("tx").unwrap();
        assert_eq!(described.partitions, [at(0), at(1)].into());
        assert_eq!(described.start_ms, bench.now_ms);
    }

    /// A client whose transaction is ending must wait; one with another identity must stop.
    #[test]
    fn only_the_present_producer_may_add_and_not_while_its_transaction_ends() {
        let mut bench = Bench::new();
        assert_eq!(bench.add(ProducerIdentity::NONE, 0), ErrorCode::InvalidProducerIdMapping);
        let producer = bench.open();
        assert_eq!(bench.add(ProducerIdentity { producer_id: 7, ..producer }, 1), ErrorCode::InvalidProducerIdMapping);
        assert_eq!(bench.add(next_epoch(producer), 1), ErrorCode::ProducerFenced);
        assert_eq!(bench.end(producer, Outcome::Commit), ErrorCode::None);
        assert_eq!(bench.add(producer, 1), ErrorCode::ConcurrentTransactions);
        bench.write_markers();
        assert_eq!(bench.add(producer, 1), ErrorCode::None);
        assert_eq!(bench.machine.describe("tx").unwrap().partitions, [at(1)].into());
    }

    /// KIP-890: a late write of an old transaction must not open a new one.
    #[test]
    fn verification_finds_what_is_in_the_transaction_and_nothing_else() {
        let mut bench = Bench::new();
        assert_eq!(bench.verify(ProducerIdentity::NONE, 0), ErrorCode::InvalidProducerIdMapping);
        let producer = bench.open();
        assert_eq!(bench.verify(producer, 0), ErrorCode::None);
        assert_eq!(bench.verify(producer, 1), ErrorCode::TransactionAbortable);
        assert_eq!(bench.end(producer, Outcome::Abort), ErrorCode::None);
        assert_eq!(bench.verify(producer, 0), ErrorCode::ConcurrentTransactions);
        bench.write_markers();
        assert_eq!(bench.verify(producer, 0), ErrorCode::TransactionAbortable);
    }
}
