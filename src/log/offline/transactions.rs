//! Follows the transactions of a log from its first batch on, to compare them with what its indexes of aborted ones say. Decides only.

use super::OfflineError;
use super::walk::{StoredBatch, Walk};
use crate::visitor::EndMarker;
use ringlane_protocol::records::{ControlType, HEADER_BYTES};
use ringlane_protocol::storage::txn_index::AbortedTransaction;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Transactions {
    /// First offsets by producer.
    open: BTreeMap<i64, i64>,
    /// Aborted ones of which there are records, by the segment in which they ended.
    aborted: BTreeMap<i64, Vec<AbortedTransaction>>,
    /// Every abort marker: producer and offset.
    markers: BTreeSet<(i64, i64)>,
    has_gap: bool,
}

impl Transactions {
    /// The next batch of the log; of a marker the body is read, too.
    pub async fn batch(&mut self, walk: &Walk, stored: &StoredBatch) -> Result<(), OfflineError> {
        let header = &stored.header;
        if !header.is_transactional() {
            return Ok(());
        }
        if !header.is_control() {
            if header.records_count == 0 {
                // Emptied by compaction, and kept for its sequence: there is nothing to be shown.
                return Ok(());
            }
            self.open.entry(header.producer_id).or_insert(header.base_offset);
            return Ok(());
        }
        let bytes = walk.bytes_of(stored).await?;
        let Some(marker) = EndMarker::of(header, &bytes[HEADER_BYTES..]) else { return Ok(()) };
        let first_offset = self.open.remove(&header.producer_id);
        if marker.kind == ControlType::Commit {
            return Ok(());
        }
        self.markers.insert((header.producer_id, header.last_offset()));
        if let Some(first_offset) = first_offset {
            let last_stable_offset = self.open.values().copied().min().unwrap_or(header.next_offset());
            let (producer_id, last_offset) = (header.producer_id, header.last_offset());
            let aborted = AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset };
            self.aborted.entry(walk.base_offset()).or_default().push(aborted);
        }
        Ok(())
    }

    /// Batches are missing here: what was open, and what ended, cannot be told any more.
    pub fn skip(&mut self) {
        self.has_gap = true;
    }

    /// What the index of the segment `base` must have; `None` when that cannot be told.
    pub fn aborted_in(&self, base: i64) -> Option<&[AbortedTransaction]> {
        let aborted = self.aborted.get(&base).map_or(&[][..], Vec::as_slice);
        (!self.has_gap).then_some(aborted)
    }

    /// What is wrong with an index. It may know transactions whose records are gone, as long as their markers are there.
    pub fn mismatch(&self, base: i64, index: &[AbortedTransaction]) -> Option<String> {
        let aborted = self.aborted_in(base)?;
        let of = |one: &AbortedTransaction| format!("producer {} at offset {}", one.producer_id, one.last_offset);
        let is_same = |a: &AbortedTransaction, b: &AbortedTransaction| {
            (a.producer_id, a.last_offset) == (b.producer_id, b.last_offset)
        };
        if let Some(missing) = aborted.iter().find(|one| !index.iter().any(|other| is_same(one, other))) {
            return Some(format!("it lacks the abort of {}: consumers would be shown its records", of(missing)));
        }
        let unknown = index.iter().find(|one| !self.markers.contains(&(one.producer_id, one.last_offset)))?;
        Some(format!("it has an abort of {}, of which the log knows nothing", of(unknown)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index that is believed though it lacks a transaction shows aborted records; one that is refused though it is right, of a log whose
    /// first records are deleted, would have people repair what is sound.
    #[test]
    fn an_index_must_have_what_has_records_and_may_have_what_has_a_marker() {
        let aborted = |producer_id, last_offset| AbortedTransaction {
            producer_id,
            first_offset: 0,
            last_offset,
            last_stable_offset: last_offset + 1,
        };
        let mut log = Transactions {
            aborted: BTreeMap::from([(0, vec![aborted(1, 9)])]),
            markers: BTreeSet::from([(1, 9), (2, 20)]),
            ..Transactions::default()
        };
        assert_eq!(log.mismatch(0, &[aborted(1, 9), aborted(2, 20)]), None);
        assert_eq!(log.mismatch(50, &[]), None);
        assert!(log.mismatch(0, &[]).unwrap().contains("producer 1 at offset 9"));
        assert!(log.mismatch(0, &[aborted(1, 9), aborted(3, 30)]).unwrap().contains("producer 3 at offset 30"));
        log.skip();
        assert_eq!(log.mismatch(0, &[]), None, "the log is damaged: that is told already");
    }
}
