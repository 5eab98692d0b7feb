//! The markers of transactions that are ending: asked for, asked for again, and counted until every partition has its own.

use super::messages::{EndId, MarkerRequest, MarkerResult, PartitionName, TransactionEffects};
use super::state::{Outcome, TransactionState};
use super::{Entry, TransactionMachine};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Between a marker that could not be written and its next attempt: about the time that a new leader's metadata takes to get here.
pub(super) const MARKER_RETRY_MS: i64 = 100;

/// One end under way. What is left of it are the transaction's partitions.
pub(super) struct Sending {
    pub end: EndId,
    /// Partitions to try again, and when.
    pub retry: BTreeSet<PartitionName>,
    pub retry_at_ms: Option<i64>,
    /// A later coordinator exists: ours waits for its host to learn that.
    is_fenced: bool,
}

impl TransactionMachine {
    /// Asks for all markers of a transaction that is ending.
    pub(super) fn send_markers(&mut self, id: &Arc<str>, now_ms: i64, effects: &mut TransactionEffects) {
        let end = EndId(self.next_end);
        self.next_end += 1;
        let Some(entry) = self.transactions.get_mut(id) else { return };
        entry.sending = Some(Sending { end, retry: BTreeSet::new(), retry_at_ms: None, is_fenced: false });
        let partitions: Vec<_> = entry.transaction.partitions.iter().cloned().collect();
        self.request_markers(id, partitions, effects);
        self.complete_if_done(id, now_ms, effects);
        self.set_deadline(id);
    }

    /// Asks again for the markers that could not be written.
    pub(super) fn retry_markers(&mut self, id: &Arc<str>, effects: &mut TransactionEffects) {
        let sending = self.transactions.get_mut(id).and_then(|entry| entry.sending.as_mut());
        let Some(sending) = sending else { return };
        sending.retry_at_ms = None;
        let partitions = std::mem::take(&mut sending.retry).into_iter().collect();
        self.request_markers(id, partitions, effects);
        self.set_deadline(id);
    }

    fn request_markers(&self, id: &Arc<str>, partitions: Vec<PartitionName>, effects: &mut TransactionEffects) {
        let Some(Entry { transaction, sending: Some(sending), .. }) = self.transactions.get(id) else { return };
        let Some(outcome) = outcome_of(transaction.state).filter(|_| !partitions.is_empty()) else { return };
        effects.markers.push(MarkerRequest {
            transactional_id: id.clone(),
            end: sending.end,
            producer: transaction.producer(),
            outcome,
            coordinator_epoch: self.options.coordinator_epoch,
            version: transaction.version,
            partitions,
        });
    }

    /// What became of markers. May come late, repeated and in any order: results of an end that is over change nothing.
    pub fn markers_written(
        &mut self,
        transactional_id: &str,
        end: EndId,
        results: impl IntoIterator<Item = (PartitionName, MarkerResult)>,
        now_ms: i64,
    ) -> TransactionEffects {
        let mut effects = TransactionEffects::default();
        let Some((id, _)) = self.transactions.get_key_value(transactional_id) else { return effects };
        let id = id.clone();
        let Some(entry) = self.transactions.get_mut(&id) else { return effects };
        let Some(sending) = entry.sending.as_mut().filter(|sending| sending.end == end) else { return effects };
        for (at, result) in results {
            match result {
                MarkerResult::Done => {
                    entry.transaction.partitions.remove(&at);
                    sending.retry.remove(&at);
                }
                MarkerResult::Retry if entry.transaction.partitions.contains(&at) => {
                    sending.retry.insert(at);
                    sending.retry_at_ms.get_or_insert(now_ms + MARKER_RETRY_MS);
                }
                MarkerResult::Retry => {}
                MarkerResult::Fenced => sending.is_fenced = true,
            }
        }
        if sending.retry.is_empty() || sending.is_fenced {
            sending.retry_at_ms = None;
        }
        self.complete_if_done(&id, now_ms, &mut effects);
        self.set_deadline(&id);
        effects
    }

    fn complete_if_done(&mut self, id: &Arc<str>, now_ms: i64, effects: &mut TransactionEffects) {
        let Some(Entry { transaction, .. }) = self.transactions.get(id) else { return };
        let Some(outcome) = outcome_of(transaction.state).filter(|_| transaction.partitions.is_empty()) else { return };
        let next = transaction.ended(outcome, now_ms);
        self.step(id, next, effects);
    }
}

fn outcome_of(state: TransactionState) -> Option<Outcome> {
    match state {
        TransactionState::PrepareCommit => Some(Outcome::Commit),
        TransactionState::PrepareAbort => Some(Outcome::Abort),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::{Bench, at};
    use super::*;
    use ringlane_protocol::ErrorCode;

    /// A transaction that is called complete while a marker is missing is committed in one partition and open in another.
    #[test]
    fn complete_means_that_every_partition_has_its_marker() {
        let mut bench = Bench::new();
        let producer = bench.open();
        bench.add(producer, 1);
        bench.end(producer, Outcome::Commit);
        let marker = bench.markers.pop().unwrap();
        assert_eq!(marker.partitions, [at(0), at(1)]);
        assert_eq!(marker.coordinator_epoch, 5);
        let one = MarkerRequest { partitions: vec![at(0)], ..marker.clone() };
        let other = MarkerRequest { partitions: vec![at(1)], ..marker };
        bench.result(&one, MarkerResult::Done);
        bench.result(&one, MarkerResult::Done);
        bench.result(&other, MarkerResult::Retry);
        assert_eq!(bench.state(), TransactionState::PrepareCommit);
        assert_eq!(bench.machine.describe("tx").unwrap().partitions, [at(1)].into());
        bench.wait(MARKER_RETRY_MS - 1);
        assert!(bench.markers.is_empty());
        bench.wait(1);
        assert_eq!(bench.markers[0].partitions, [at(1)]);
        bench.write_markers();
        assert_eq!(bench.state(), TransactionState::CompleteCommit);
    }

    /// In the first protocol two transactions of a producer have the same epoch: a late result of one must not count for the other.
    #[test]
    fn results_of_an_end_that_is_over_change_nothing() {
        let mut bench = Bench::new();
        let producer = bench.open();
        bench.end(producer, Outcome::Commit);
        let first = bench.markers[0].clone();
        bench.write_markers();
        bench.add(producer, 0);
        bench.result(&first, MarkerResult::Retry);
        bench.end(producer, Outcome::Abort);
        bench.result(&first, MarkerResult::Done);
        assert_eq!(bench.state(), TransactionState::PrepareAbort);
        assert_eq!(bench.machine.describe("tx").unwrap().partitions, [at(0)].into());
    }

    /// The decision is what is stable: a coordinator that dies behind it must not forget its markers, one that dies before it never decided.
    #[test]
    fn a_decision_survives_and_what_was_not_written_was_not_decided() {
        let mut bench = Bench::new();
        let producer = bench.open();
        bench.end2(producer, Outcome::Commit).unwrap();
        let decided = bench.log.len();
        bench.write_markers();
        assert_eq!(bench.log.len(), decided + 1);
        bench.restart(decided);
        assert_eq!(bench.state(), TransactionState::PrepareCommit);
        assert_eq!((bench.markers[0].outcome, bench.markers[0].coordinator_epoch), (Outcome::Commit, 6));
        bench.write_markers();
        assert_eq!(bench.state(), TransactionState::CompleteCommit);

        bench.restart(decided - 1);
        assert_eq!(bench.state(), TransactionState::Ongoing);
        assert!(bench.markers.is_empty());
    }

    /// Two coordinators that both believe: the older one stops where the younger one has been.
    #[test]
    fn a_fenced_coordinator_stops() {
        let mut bench = Bench::new();
        let producer = bench.open();
        bench.end(producer, Outcome::Commit);
        let marker = bench.markers.pop().unwrap();
        bench.result(&marker, MarkerResult::of(ErrorCode::TransactionCoordinatorFenced));
        bench.wait(1_000_000);
        assert!(bench.markers.is_empty());
        assert_eq!(bench.state(), TransactionState::PrepareCommit);
    }
}
