//! Which batches belong to aborted transactions, and which markers have lost their data.
//!
//! Pure; fed with the batches of a log in offset order: [`Outcomes`] once to learn how each transaction ended, [`Transactions`] once while the
//! keys are mapped and once while the log is written anew. Kafka's rules (KIP-98, KIP-534): records of an aborted transaction go; the marker
//! of a transaction, of either kind, stays as long as one batch of it is there, even an empty one. A batch without its marker would be an
//! open transaction at the next start, and the last stable offset would never pass it.

use crate::mutants::{Mutant, is_on};
use ringlane_protocol::records::{BatchHeader, ControlType};
use ringlane_protocol::storage::txn_index::AbortedTransaction;
use std::collections::{BTreeMap, VecDeque};

/// How the transactions ended that have batches below some offset. The log itself is asked, not an index of it: what is removed because
/// of the answer is removed for good.
pub(crate) struct Outcomes {
    /// Only transactions that have a batch below count.
    end: i64,
    /// First offset by producer.
    open: BTreeMap<i64, i64>,
    /// In the order of their markers.
    aborted: Vec<AbortedTransaction>,
}

impl Outcomes {
    pub fn new(end: i64) -> Outcomes {
        Outcomes { end, open: BTreeMap::new(), aborted: Vec::new() }
    }

    /// The next batch of the log. `kind` as in [`Transactions::has_lost_its_data`].
    pub fn note(&mut self, header: &BatchHeader, kind: Option<ControlKind>) {
        if !header.is_transactional() {
            return;
        }
        if !header.is_control() {
            if header.base_offset < self.end {
                self.open.entry(header.producer_id).or_insert(header.base_offset);
            }
            return;
        }
        if kind == Some(ControlKind::Other) {
            return;
        }
        let first_offset = self.open.remove(&header.producer_id);
        if let (Some(first_offset), Some(ControlKind::Marker(ControlType::Abort))) = (first_offset, kind) {
            self.aborted.push(ended(header, first_offset, &self.open));
        }
    }

    /// From here on only transactions with a batch below `end` count.
    pub fn end_at(&mut self, end: i64) {
        self.end = end;
        self.open.retain(|_, first_offset| *first_offset < end);
    }

    /// First offset of the oldest transaction that has not ended.
    pub fn undecided(&self) -> Option<i64> {
        self.open.values().copied().min()
    }

    pub fn end(&self) -> i64 {
        self.end
    }

    pub fn aborted(&self) -> &[AbortedTransaction] {
        &self.aborted
    }

    pub fn into_aborted(self) -> Vec<AbortedTransaction> {
        self.aborted
    }
}

/// What is known at one point of the walk through a log.
#[derive(Default)]
pub(crate) struct Transactions {
    /// By producer, oldest first; what lies behind the walk is gone.
    aborted: BTreeMap<i64, VecDeque<AbortedTransaction>>,
    /// First offset of the batches that no marker has ended yet, by producer.
    unended: BTreeMap<i64, i64>,
    /// Aborted transactions of which batches were still there: the index of the new segment needs them.
    still_there: Vec<AbortedTransaction>,
}

impl Transactions {
    /// `aborted`: every aborted transaction with records in the range to be walked.
    pub fn new(aborted: &[AbortedTransaction]) -> Transactions {
        let mut walk = Transactions::default();
        for transaction in aborted {
            walk.aborted.entry(transaction.producer_id).or_default().push_back(*transaction);
        }
        walk
    }

    /// A data batch: whether it belongs to an aborted transaction.
    pub fn is_aborted(&mut self, header: &BatchHeader) -> bool {
        if !header.is_transactional() {
            return false;
        }
        self.unended.entry(header.producer_id).or_insert(header.base_offset);
        let Some(aborted) = self.aborted.get_mut(&header.producer_id) else { return false };
        while aborted.pop_front_if(|transaction| transaction.last_offset < header.base_offset).is_some() {}
        let is_within = aborted.front().is_some_and(|transaction| transaction.first_offset <= header.base_offset);
        is_within && !is_on(Mutant::ForgetAborted)
    }

    /// A control batch: whether nothing of its transaction is left. `kind` is `None` for a batch that was emptied before.
    pub fn has_lost_its_data(&mut self, header: &BatchHeader, kind: Option<ControlKind>) -> bool {
        let Some(ControlKind::Marker(kind)) = kind else {
            return kind.is_none();
        };
        let Some(first_offset) = self.unended.remove(&header.producer_id) else { return true };
        if kind == ControlType::Abort {
            self.still_there.push(ended(header, first_offset, &self.unended));
        }
        is_on(Mutant::MarkerBeforeData)
    }

    /// The aborted transactions ended since the last call whose batches were seen.
    pub fn take_still_there(&mut self) -> Vec<AbortedTransaction> {
        std::mem::take(&mut self.still_there)
    }
}

/// The transaction that `marker` aborts, and the last stable offset behind it.
fn ended(marker: &BatchHeader, first_offset: i64, open: &BTreeMap<i64, i64>) -> AbortedTransaction {
    AbortedTransaction {
        producer_id: marker.producer_id,
        first_offset,
        last_offset: marker.last_offset(),
        last_stable_offset: open.values().copied().fold(marker.next_offset(), i64::min),
    }
}

/// What the record of a control batch says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ControlKind {
    Marker(ControlType),
    /// A kind that this release does not know: stays.
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_protocol::records::{BatchBuilder, Compression, ProducerStamp, marker_batch, patch_base_offset};

    const ABORT: Option<ControlKind> = Some(ControlKind::Marker(ControlType::Abort));
    const COMMIT: Option<ControlKind> = Some(ControlKind::Marker(ControlType::Commit));

    fn header(offset: i64, producer: i64, transactional: bool) -> BatchHeader {
        let mut builder = BatchBuilder::new(Compression::None).base_offset(offset);
        builder.set_producer(ProducerStamp { id: producer, epoch: 0, base_sequence: 0 }, transactional);
        builder.push(0, Some(b"key"), None, &[]);
        BatchHeader::parse(&builder.finish().unwrap()).unwrap()
    }

    fn marker(offset: i64, producer: i64) -> BatchHeader {
        let mut bytes = marker_batch(ControlType::Abort, producer, 0, 0, 0);
        patch_base_offset(&mut bytes, offset);
        BatchHeader::parse(&bytes).unwrap()
    }

    fn aborted(producer_id: i64, first_offset: i64, last_offset: i64, last_stable_offset: i64) -> AbortedTransaction {
        AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset }
    }

    /// A producer aborts, then commits: what it committed must not go with what it aborted.
    #[test]
    fn only_what_lies_between_first_offset_and_marker_is_aborted() {
        let mut walk = Transactions::new(&[aborted(1, 10, 14, 12), aborted(2, 12, 16, 15)]);
        assert!(!walk.is_aborted(&header(8, 1, true)), "a transaction of the same producer before");
        assert!(!walk.has_lost_its_data(&marker(9, 1), COMMIT));
        assert!(walk.is_aborted(&header(10, 1, true)));
        assert!(!walk.is_aborted(&header(11, 1, false)), "outside of any transaction");
        assert!(walk.is_aborted(&header(12, 2, true)));
        assert!(!walk.has_lost_its_data(&marker(14, 1), ABORT), "its data was there in this round");
        assert!(!walk.is_aborted(&header(15, 1, true)));
        assert!(!walk.has_lost_its_data(&marker(16, 2), ABORT));
        assert!(!walk.has_lost_its_data(&marker(17, 1), COMMIT));
        assert_eq!(walk.take_still_there(), [aborted(1, 10, 14, 12), aborted(2, 12, 16, 15)]);
        assert!(walk.take_still_there().is_empty());
    }

    /// A marker that goes before its data turns aborted records into committed ones, or leaves a transaction that never ends.
    #[test]
    fn a_marker_may_go_once_a_walk_meets_none_of_its_batches() {
        let mut walk = Transactions::default();
        assert!(walk.has_lost_its_data(&marker(14, 1), ABORT));
        assert!(walk.has_lost_its_data(&marker(15, 1), COMMIT));
        assert!(walk.has_lost_its_data(&marker(16, 3), None), "emptied before");
        assert!(!walk.has_lost_its_data(&marker(17, 3), Some(ControlKind::Other)));
        assert!(walk.take_still_there().is_empty());
        assert!(!walk.is_aborted(&header(18, 1, true)), "emptied by an earlier round, kept for its sequence");
        assert!(!walk.has_lost_its_data(&marker(19, 1), ABORT));
        assert_eq!(walk.take_still_there(), [aborted(1, 18, 19, 20)]);
    }

    /// The last stable offset may lie before the end of a transaction that was decided: its marker has to be looked for behind.
    #[test]
    fn a_transaction_is_followed_to_its_marker_however_far_it_is() {
        let mut outcomes = Outcomes::new(20);
        for (offset, producer) in [(10, 1), (11, 2), (12, 3), (13, 1)] {
            outcomes.note(&header(offset, producer, true), None);
        }
        outcomes.note(&marker(14, 1), ABORT);
        outcomes.note(&header(15, 4, false), None);
        outcomes.note(&header(20, 1, true), None);
        assert_eq!(outcomes.undecided(), Some(11));
        outcomes.note(&marker(21, 1), ABORT);
        outcomes.note(&marker(22, 2), COMMIT);
        assert_eq!(outcomes.undecided(), Some(12));
        outcomes.note(&marker(23, 3), Some(ControlKind::Other));
        assert_eq!(outcomes.undecided(), Some(12));
        outcomes.note(&marker(24, 3), ABORT);
        assert_eq!(outcomes.undecided(), None);
        assert_eq!(outcomes.aborted(), [aborted(1, 10, 14, 11), aborted(3, 12, 24, 25)]);
    }

    /// A round that gives up a part of its range must not wait for what lies there.
    #[test]
    fn what_begins_behind_the_end_does_not_count() {
        let mut outcomes = Outcomes::new(20);
        outcomes.note(&header(10, 1, true), None);
        outcomes.note(&header(15, 2, true), None);
        outcomes.end_at(15);
        assert_eq!(outcomes.undecided(), Some(10));
        outcomes.note(&marker(16, 1), ABORT);
        outcomes.note(&header(17, 1, true), None);
        assert_eq!((outcomes.undecided(), outcomes.aborted().len()), (None, 1));
    }
}
