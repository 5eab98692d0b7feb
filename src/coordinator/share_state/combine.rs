//! Batches of offsets with a state, and others on top of them.
//!
//! Where both say something, the one that has been delivered more often is right, and of those the one further on its way: whatever order
//! writes arrive in, no offset goes back from acknowledged to available.

use crate::share_partition::StateBatch;
use std::collections::BTreeMap;

/// `newer` on top of `older`, from `start_offset` on, in order, neighbours that agree as one.
pub fn combine(older: &[StateBatch], newer: &[StateBatch], start_offset: i64) -> Vec<StateBatch> {
    let mut ranges: BTreeMap<i64, StateBatch> = BTreeMap::new();
    for batch in older.iter().chain(newer) {
        let first_offset = batch.first_offset.max(start_offset);
        if first_offset <= batch.last_offset {
            put(&mut ranges, StateBatch { first_offset, ..*batch });
        }
    }
    let mut combined: Vec<StateBatch> = Vec::with_capacity(ranges.len());
    for batch in ranges.into_values() {
        match combined.last_mut() {
            Some(before) if before.last_offset + 1 == batch.first_offset && rank(before) == rank(&batch) => {
                before.last_offset = batch.last_offset;
            }
            _ => combined.push(batch),
        }
    }
    combined
}

fn put(ranges: &mut BTreeMap<i64, StateBatch>, batch: StateBatch) {
    split_at(ranges, batch.first_offset);
    split_at(ranges, batch.last_offset.saturating_add(1));
    let mut at = batch.first_offset;
    let covered: Vec<StateBatch> =
        ranges.range(batch.first_offset..=batch.last_offset).map(|(_, covered)| *covered).collect();
    for found in covered {
        if found.first_offset > at {
            ranges.insert(at, StateBatch { first_offset: at, last_offset: found.first_offset - 1, ..batch });
        }
        if rank(&batch) >= rank(&found) {
            let (first_offset, last_offset) = (found.first_offset, found.last_offset);
            ranges.insert(first_offset, StateBatch { first_offset, last_offset, ..batch });
        }
        at = found.last_offset + 1;
    }
    if at <= batch.last_offset {
        ranges.insert(at, StateBatch { first_offset: at, ..batch });
    }
}

fn split_at(ranges: &mut BTreeMap<i64, StateBatch>, offset: i64) {
    let Some((_, batch)) = ranges.range_mut(..offset).next_back() else { return };
    if batch.last_offset >= offset {
        let rest = StateBatch { first_offset: offset, ..*batch };
        batch.last_offset = offset - 1;
        ranges.insert(offset, rest);
    }
}

fn rank(batch: &StateBatch) -> (i16, i8) {
    (batch.delivery_count, batch.state.code())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share_partition::RecordState;

    fn batch(first_offset: i64, last_offset: i64, state: RecordState, delivery_count: i16) -> StateBatch {
        StateBatch { first_offset, last_offset, state, delivery_count }
    }

    /// An update that hid what the snapshot says beside it would deliver acknowledged records again after a restart.
    #[test]
    fn what_is_written_later_covers_only_its_own_offsets() {
        use RecordState::{Acknowledged, Archived, Available};
        let older = [batch(0, 9, Available, 1), batch(20, 29, Acknowledged, 1)];
        let newer = [batch(3, 5, Acknowledged, 1), batch(8, 22, Archived, 1)];
        let expected = [
            batch(0, 2, Available, 1),
            batch(3, 5, Acknowledged, 1),
            batch(6, 7, Available, 1),
            batch(8, 22, Archived, 1),
            batch(23, 29, Acknowledged, 1),
        ];
        assert_eq!(combine(&older, &newer, 0), expected);
        assert_eq!(combine(&older, &newer, 24), [batch(24, 29, Acknowledged, 1)]);
    }

    /// Two brokers may both believe that they lead: the older write must not undo the newer one.
    #[test]
    fn an_offset_never_goes_back() {
        use RecordState::{Acknowledged, Available};
        let done = [batch(0, 9, Acknowledged, 2)];
        assert_eq!(combine(&done, &[batch(0, 9, Available, 2)], 0), done);
        assert_eq!(combine(&done, &[batch(0, 9, Available, 1)], 0), done);
        assert_eq!(combine(&done, &[batch(5, 9, Available, 3)], 0)[1], batch(5, 9, Available, 3));
    }
}
