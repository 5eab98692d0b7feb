//! Which batches belong to aborted transactions, and which markers have lost their data.
//!
//! Pure; fed with the batches of a log in offset order, once while the keys are mapped and once while the log is written anew. Kafka's
//! rules (KIP-98, `CleanedTransactionMetadata`): records of an aborted transaction go; its marker stays until all its batches are gone,
//! the commit marker likewise.

use ringlane_protocol::records::{BatchHeader, ControlType};
use ringlane_protocol::storage::txn_index::AbortedTransaction;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What is known at one point of the walk through a log.
#[derive(Default)]
pub(crate) struct Transactions {
    /// Not reached yet, by first offset.
    ahead: VecDeque<AbortedTransaction>,
    /// Begun and not ended, by producer; and whether a batch of it was seen.
    aborted: BTreeMap<i64, (AbortedTransaction, bool)>,
    /// Producers of batches that no marker has ended yet and that are not aborted.
    committed: BTreeSet<i64>,
    /// Aborted transactions of which batches were still there: the index of the new segment needs them.
    still_there: Vec<AbortedTransaction>,
}

impl Transactions {
    /// `aborted`: every aborted transaction with a batch in the range to be walked.
    pub fn new(aborted: &[AbortedTransaction]) -> Transactions {
        let mut ahead = aborted.to_vec();
        ahead.sort_by_key(|transaction| transaction.first_offset);
        Transactions { ahead: ahead.into(), ..Transactions::default() }
    }

    /// A data batch: whether it belongs to an aborted transaction.
    pub fn is_aborted(&mut self, header: &BatchHeader) -> bool {
        self.reach(header);
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some((_, seen)) => {
                *seen = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// A control batch: whether nothing of its transaction is left. `kind` is `None` for a batch that was emptied before.
    pub fn has_lost_its_data(&mut self, header: &BatchHeader, kind: Option<ControlKind>) -> bool {
        self.reach(header);
        match kind {
            None => true,
            Some(ControlKind::Marker(ControlType::Abort)) => match self.aborted.remove(&header.producer_id) {
                Some((transaction, true)) => {
                    self.still_there.push(transaction);
                    false
                }
                _ => true,
            },
            Some(ControlKind::Marker(ControlType::Commit)) => !self.committed.remove(&header.producer_id),
            Some(ControlKind::Other) => false,
        }
    }

    /// The aborted transactions ended since the last call whose batches were seen.
    pub fn take_still_there(&mut self) -> Vec<AbortedTransaction> {
        std::mem::take(&mut self.still_there)
    }

    fn reach(&mut self, header: &BatchHeader) {
        while let Some(next) = self.ahead.pop_front_if(|next| next.first_offset <= header.last_offset()) {
            self.aborted.insert(next.producer_id, (next, false));
        }
        // One whose marker went in an earlier round has no end here: what follows is another transaction.
        let known = self.aborted.get(&header.producer_id);
        if known.is_some_and(|(transaction, _)| transaction.last_offset < header.base_offset) {
            self.aborted.remove(&header.producer_id);
        }
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
    use ringlane_protocol::records::{BatchBuilder, Compression, ProducerStamp};

    const ABORT: Option<ControlKind> = Some(ControlKind::Marker(ControlType::Abort));
    const COMMIT: Option<ControlKind> = Some(ControlKind::Marker(ControlType::Commit));

    fn header(offset: i64, producer: i64, transactional: bool) -> BatchHeader {
        let mut builder = BatchBuilder::new(Compression::None).base_offset(offset);
        builder.set_producer(ProducerStamp { id: producer, epoch: 0, base_sequence: 0 }, transactional);
        builder.push(0, Some(b"key"), None, &[]);
        BatchHeader::parse(&builder.finish().unwrap()).unwrap()
    }

    fn aborted(producer_id: i64, first_offset: i64, last_offset: i64) -> AbortedTransaction {
        AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset: last_offset }
    }

    /// A producer aborts, then commits: what it committed must not go with what it aborted.
    #[test]
    fn only_what_lies_between_first_offset_and_marker_is_aborted() {
        let mut walk = Transactions::new(&[aborted(1, 10, 14), aborted(2, 12, 16)]);
        assert!(!walk.is_aborted(&header(9, 1, true)), "a transaction of the same producer before");
        assert!(!walk.has_lost_its_data(&header(9, 1, true), COMMIT));
        assert!(walk.is_aborted(&header(10, 1, true)));
        assert!(!walk.is_aborted(&header(11, 1, false)), "outside of any transaction");
        assert!(walk.is_aborted(&header(12, 2, true)));
        assert!(!walk.has_lost_its_data(&header(14, 1, true), ABORT), "its data was there in this round");
        assert!(!walk.is_aborted(&header(15, 1, true)));
        assert!(!walk.has_lost_its_data(&header(16, 2, true), ABORT));
        assert!(!walk.has_lost_its_data(&header(17, 1, true), COMMIT));
        assert_eq!(walk.take_still_there(), [aborted(1, 10, 14), aborted(2, 12, 16)]);
        assert!(walk.take_still_there().is_empty());
    }

    /// The list may still have a transaction of which nothing is left; the producer's next one is not aborted.
    #[test]
    fn a_transaction_without_a_marker_ends_where_its_marker_was() {
        let mut walk = Transactions::new(&[aborted(1, 10, 14), aborted(1, 20, 24)]);
        assert!(!walk.is_aborted(&header(15, 1, true)));
        assert!(walk.is_aborted(&header(22, 1, true)));
        assert!(!walk.is_aborted(&header(25, 1, true)));
    }

    /// A marker that goes before its data turns aborted records into committed ones for every reader.
    #[test]
    fn a_marker_may_go_once_a_walk_meets_none_of_its_batches() {
        let mut walk = Transactions::new(&[aborted(1, 10, 14)]);
        assert!(walk.has_lost_its_data(&header(14, 1, true), ABORT));
        assert!(walk.has_lost_its_data(&header(15, 1, true), COMMIT));
        assert!(walk.has_lost_its_data(&header(16, 3, true), None), "emptied before");
        assert!(!walk.has_lost_its_data(&header(17, 3, true), Some(ControlKind::Other)));
        assert!(walk.take_still_there().is_empty());
    }
}
