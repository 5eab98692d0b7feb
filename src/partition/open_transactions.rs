//! Transactions that have records in a partition and no end marker yet: where the last stable offset stands still.
//!
//! Pure; one per partition, on its home shard. Kept from batch headers, at open and at append.

use ringlane_protocol::records::{BatchHeader, ControlType};
use ringlane_protocol::storage::producer_snapshot::ProducerEntry;
use ringlane_protocol::storage::txn_index::AbortedTransaction;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Default, PartialEq)]
pub(crate) struct OpenTransactions {
    /// First offset by producer id.
    by_producer: BTreeMap<i64, i64>,
    /// Ended here, but the marker is not below the high watermark yet: first offset and the marker's.
    unreplicated: VecDeque<(i64, i64)>,
    were_seen: bool,
}

impl OpenTransactions {
    /// Notes a batch of the log: a producer's first transactional one opens. Its marker, which is the next one with [`Self::end`], closes.
    pub fn note(&mut self, batch: &BatchHeader) {
        if !batch.is_transactional() {
            return;
        }
        self.note_seen();
        if !batch.is_control() {
            self.open(batch.producer_id, batch.base_offset);
        }
    }

    /// Notes a marker of the log. Answers the transaction, if it was aborted and has records here: what readers of committed records must
    /// be told.
    pub fn end(&mut self, marker: &BatchHeader, kind: ControlType) -> Option<AbortedTransaction> {
        let first_offset = self.by_producer.remove(&marker.producer_id)?;
        let aborted = AbortedTransaction {
            producer_id: marker.producer_id,
            first_offset,
            last_offset: marker.last_offset(),
            last_stable_offset: self.by_producer.values().copied().fold(marker.next_offset(), i64::min),
        };
        self.unreplicated.push_back((first_offset, marker.base_offset));
        (kind == ControlType::Abort).then_some(aborted)
    }

    /// What a snapshot says is open, instead of what the log showed so far.
    pub fn import(&mut self, producers: &[ProducerEntry]) {
        let open = producers.iter().filter_map(|entry| Some((entry.producer_id, entry.open_transaction_from?)));
        self.by_producer = open.collect();
        self.were_seen |=
            !self.by_producer.is_empty() || producers.iter().any(|entry| entry.coordinator_epoch.is_some());
    }

    pub fn note_seen(&mut self) {
        self.were_seen = true;
    }

    pub fn open(&mut self, producer_id: i64, first_offset: i64) {
        self.by_producer.entry(producer_id).or_insert(first_offset);
    }

    /// Producer ids and first offsets.
    pub fn iter(&self) -> impl Iterator<Item = (i64, i64)> {
        self.by_producer.iter().map(|(producer_id, first_offset)| (*producer_id, *first_offset))
    }

    /// Whether the log has, or had, a transaction.
    pub fn were_seen(&self) -> bool {
        self.were_seen
    }

    pub fn is_open(&self, producer_id: i64) -> bool {
        self.by_producer.contains_key(&producer_id)
    }

    /// First offset of the producer's open transaction.
    pub fn first_offset_of(&self, producer_id: i64) -> Option<i64> {
        self.by_producer.get(&producer_id).copied()
    }

    /// All below `high_watermark` is replicated.
    pub fn replicated(&mut self, high_watermark: i64) {
        while self.unreplicated.pop_front_if(|(_, marker_offset)| *marker_offset < high_watermark).is_some() {}
    }

    /// Up to where readers of committed records may read. What was ended by a marker that they cannot see yet is not decided for them.
    pub fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        let ended = self.unreplicated.iter().filter(|(_, marker_offset)| *marker_offset >= high_watermark);
        let undecided = ended.map(|(first_offset, _)| *first_offset).chain(self.by_producer.values().copied());
        undecided.fold(high_watermark, i64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_kit::produced;
    use ringlane_protocol::records::{Attributes, Compression, TimestampType};

    fn at(offset: i64, producer: i64, transactional: bool, control: bool) -> BatchHeader {
        let attributes = Attributes::new(Compression::None, TimestampType::CreateTime, transactional, control);
        BatchHeader { base_offset: offset, attributes, ..produced(producer, 0, 0, 1) }
    }

    /// A reader of committed records that passes an open transaction has skipped it when it commits.
    #[test]
    fn the_oldest_open_transaction_holds_readers_of_committed_records() {
        let mut open = OpenTransactions::default();
        open.note(&at(10, 1, true, false));
        open.note(&at(11, 2, true, false));
        open.note(&at(12, 1, true, false));
        open.note(&at(13, 3, false, false));
        assert_eq!((open.last_stable_offset(5), open.last_stable_offset(50)), (5, 10));
        assert!(open.is_open(1) && !open.is_open(3));
        assert_eq!(open.end(&at(14, 1, true, true), ControlType::Commit), None);
        assert_eq!(open.last_stable_offset(50), 11);
        assert!(open.end(&at(15, 2, true, true), ControlType::Abort).is_some());
        assert_eq!(open.last_stable_offset(50), 50);
    }

    /// A reader that is shown records whose marker it cannot see yet takes aborted ones for committed.
    #[test]
    fn an_end_counts_when_its_marker_can_be_seen() {
        let mut open = OpenTransactions::default();
        open.note(&at(10, 1, true, false));
        open.end(&at(14, 1, true, true), ControlType::Abort);
        assert_eq!((open.last_stable_offset(12), open.last_stable_offset(14)), (10, 10));
        assert_eq!(open.last_stable_offset(15), 15);
        open.replicated(14);
        assert_eq!(open.last_stable_offset(14), 10);
        open.replicated(15);
        assert!(open.unreplicated.is_empty());
    }

    /// Kafka's index: a consumer drops from the first to the last offset, and asks for no more where the last stable offset is past its range.
    #[test]
    fn an_aborted_transaction_is_told_as_kafka_does() {
        let mut open = OpenTransactions::default();
        assert_eq!(open.end(&at(9, 1, true, true), ControlType::Abort), None, "it has no records here");
        open.note(&at(10, 1, true, false));
        open.note(&at(11, 2, true, false));
        open.note(&at(12, 2, true, false));
        let aborted = |producer_id, first_offset, last_offset, last_stable_offset| {
            Some(AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset })
        };
        assert_eq!(open.end(&at(13, 2, true, true), ControlType::Abort), aborted(2, 11, 13, 10), "another is open");
        assert_eq!(open.end(&at(14, 1, true, true), ControlType::Abort), aborted(1, 10, 14, 15));
    }
}
