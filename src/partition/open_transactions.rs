//! Transactions that have records in a partition and no end marker yet: where the last stable offset stands still.
//!
//! Pure; one per partition, on its home shard. Kept from batch headers and markers, at open and at append.

use ringlane_protocol::records::BatchHeader;
use ringlane_protocol::storage::txn_index::AbortedTransaction;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Default, PartialEq)]
pub(crate) struct OpenTransactions {
    by_producer: BTreeMap<i64, Open>,
    /// Ended here, but the marker is not below the high watermark yet: first offset and the marker's.
    unreplicated: VecDeque<(i64, i64)>,
}

/// One producer's open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub first_offset: i64,
    /// Of its last batch.
    pub epoch: i16,
}

impl OpenTransactions {
    /// Notes a data batch of the log: a producer's first transactional batch opens.
    pub fn note(&mut self, batch: &BatchHeader) {
        if batch.is_transactional() && !batch.is_control() {
            let opened = Open { first_offset: batch.base_offset, epoch: batch.producer_epoch };
            self.by_producer.entry(batch.producer_id).or_insert(opened).epoch = batch.producer_epoch;
        }
    }

    pub fn open(&mut self, producer_id: i64, open: Open) {
        self.by_producer.insert(producer_id, open);
    }

    /// The producer's marker stands at `marker_offset`. What it has ended, as the aborted index would have it; `None` when nothing was open.
    pub fn end(&mut self, producer_id: i64, marker_offset: i64) -> Option<AbortedTransaction> {
        let Open { first_offset, .. } = self.by_producer.remove(&producer_id)?;
        self.unreplicated.push_back((first_offset, marker_offset));
        let last_stable_offset = self.first_open().unwrap_or(marker_offset + 1);
        Some(AbortedTransaction { producer_id, first_offset, last_offset: marker_offset, last_stable_offset })
    }

    /// All below `high_watermark` is replicated.
    pub fn replicated(&mut self, high_watermark: i64) {
        while self.unreplicated.pop_front_if(|(_, marker_offset)| *marker_offset < high_watermark).is_some() {}
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, Open)> {
        self.by_producer.iter().map(|(producer_id, open)| (*producer_id, *open))
    }

    pub fn of(&self, producer_id: i64) -> Option<Open> {
        self.by_producer.get(&producer_id).copied()
    }

    pub fn is_open(&self, producer_id: i64) -> bool {
        self.by_producer.contains_key(&producer_id)
    }

    /// Up to where readers of committed records may read. What was ended by a marker that they cannot see yet is not decided for them.
    pub fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        let ended = self.unreplicated.iter().filter(|(_, marker_offset)| *marker_offset >= high_watermark);
        let undecided = ended.map(|(first_offset, _)| *first_offset).chain(self.first_open());
        undecided.fold(high_watermark, i64::min)
    }

    fn first_open(&self) -> Option<i64> {
        self.by_producer.values().map(|open| open.first_offset).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_kit::produced;
    use ringlane_protocol::records::{Attributes, Compression, TimestampType};

    fn at(offset: i64, producer: i64, transactional: bool) -> BatchHeader {
        let attributes = Attributes::new(Compression::None, TimestampType::CreateTime, transactional, false);
        BatchHeader { base_offset: offset, attributes, ..produced(producer, 0, 0, 1) }
    }

    /// A reader of committed records that passes an open transaction has skipped it when it commits.
    #[test]
    fn the_oldest_open_transaction_holds_readers_of_committed_records() {
        let mut open = OpenTransactions::default();
        open.note(&at(10, 1, true));
        open.note(&at(11, 2, true));
        open.note(&at(12, 1, true));
        open.note(&at(13, 3, false));
        assert_eq!((open.last_stable_offset(5), open.last_stable_offset(50)), (5, 10));
        assert!(open.is_open(1) && !open.is_open(3));
        let ended = open.end(1, 14).unwrap();
        assert_eq!((ended.first_offset, ended.last_offset, ended.last_stable_offset), (10, 14, 11));
        assert_eq!(open.last_stable_offset(50), 11);
        assert_eq!(open.end(2, 15).unwrap().last_stable_offset, 16);
        assert_eq!(open.last_stable_offset(50), 50);
        assert_eq!(open.end(2, 16), None);
    }

    /// A reader that is shown records whose marker it cannot see yet takes aborted ones for committed.
    #[test]
    fn an_end_counts_when_its_marker_can_be_seen() {
        let mut open = OpenTransactions::default();
        open.note(&at(10, 1, true));
        open.end(1, 14);
        assert_eq!((open.last_stable_offset(12), open.last_stable_offset(14)), (10, 10));
        assert_eq!(open.last_stable_offset(15), 15);
        open.replicated(14);
        assert_eq!(open.last_stable_offset(14), 10);
        open.replicated(15);
        assert!(open.unreplicated.is_empty());
    }
}
