//! DescribeTransactions and ListTransactions (KIP-664). Only looks; what it shows may be a moment ahead of the log.

use super::TransactionMachine;
use super::messages::{ListedTransaction, TransactionDescription, TransactionFilter};
use ringlane_protocol::ErrorCode;

impl TransactionMachine {
    pub fn describe(&self, transactional_id: &str) -> Result<TransactionDescription, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let known = self.get(transactional_id).ok_or(ErrorCode::TransactionalIdNotFound)?;
        Ok(TransactionDescription {
            state: known.state,
            producer: known.producer(),
            timeout_ms: known.timeout_ms,
            start_ms: known.start_ms,
            partitions: known.partitions.clone(),
        })
    }

    pub fn list(&self, filter: &TransactionFilter, now_ms: i64) -> Vec<ListedTransaction> {
        let wanted = self.transactions.iter().filter(|(_, entry)| {
            let known = &entry.transaction;
            (filter.producer_ids.is_empty() || filter.producer_ids.contains(&known.producer_id))
                && (filter.states.is_empty() || filter.states.iter().any(|name| name == known.state.name()))
                && (filter.duration_ms < 0 || now_ms.saturating_sub(known.start_ms) > filter.duration_ms)
        });
        wanted
            .map(|(id, entry)| ListedTransaction {
                transactional_id: id.clone(),
                producer_id: entry.transaction.producer_id,
                state: entry.transaction.state,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::{Bench, TIMEOUT_MS, at};
    use super::super::{Outcome, ProducerIdentity, TransactionState};
    use super::*;

    /// An operator who looks for a hanging transaction must find it, by any of its marks.
    #[test]
    fn a_transaction_is_found_by_state_producer_and_age() {
        let mut bench = Bench::new();
        let producer = bench.open();
        let described = bench.machine.describe("tx").unwrap();
        assert_eq!((described.state, described.producer), (TransactionState::Ongoing, producer));
        assert_eq!((described.timeout_ms, described.partitions), (TIMEOUT_MS, [at(0)].into()));
        assert_eq!(bench.machine.describe(""), Err(ErrorCode::InvalidRequest));
        assert_eq!(bench.machine.describe("other"), Err(ErrorCode::TransactionalIdNotFound));

        let found = |filter: TransactionFilter, now_ms| bench.machine.list(&filter, now_ms).len();
        let all = TransactionFilter { duration_ms: -1, ..TransactionFilter::default() };
        let now_ms = bench.now_ms;
        assert_eq!(found(all.clone(), now_ms), 1);
        assert_eq!(found(TransactionFilter { producer_ids: vec![1], ..all.clone() }, now_ms), 0);
        assert_eq!(found(TransactionFilter { producer_ids: vec![1, 100], ..all.clone() }, now_ms), 1);
        assert_eq!(found(TransactionFilter { states: vec!["Empty".into()], ..all.clone() }, now_ms), 0);
        assert_eq!(found(TransactionFilter { states: vec!["Ongoing".into()], ..all.clone() }, now_ms), 1);
        assert_eq!(found(TransactionFilter { duration_ms: 1_000, ..all.clone() }, now_ms + 1_000), 0);
        assert_eq!(found(TransactionFilter { duration_ms: 1_000, ..all }, now_ms + 1_001), 1);
        assert_eq!(bench.end(ProducerIdentity { epoch: 9, ..producer }, Outcome::Abort), ErrorCode::ProducerFenced);
    }
}
