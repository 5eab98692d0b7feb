//! Who rebuilds what it keeps beside a log when the log opens, and what it is told.
//!
//! Called on the home shard by `recovery` and `replay`, in offset order, before the log is anybody's. The partition is the one that keeps
//! something; whoever keeps nothing is `()`.

use ringlane_protocol::records::{BatchHeader, ControlType, Records, marker_coordinator_epoch};
use ringlane_protocol::storage::producer_snapshot::ProducerEntry;
use ringlane_protocol::storage::txn_index::AbortedTransaction;
use std::collections::VecDeque;

/// How a transaction ended, as its marker says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndMarker {
    pub kind: ControlType,
    pub coordinator_epoch: i32,
}

impl EndMarker {
    /// `None`: the batch ends no transaction, or says so in a way that this release does not know.
    pub fn of(header: &BatchHeader, body: &[u8]) -> Option<EndMarker> {
        if !header.is_control() || !header.is_transactional() {
            return None;
        }
        let record = Records::new(header, body).next()?.ok()?;
        let kind = ControlType::of(&record)?;
        Some(EndMarker { kind, coordinator_epoch: marker_coordinator_epoch(&record).unwrap_or(-1) })
    }
}

/// Who rebuilds what it keeps beside the log when one opens.
pub trait Visitor {
    /// What [`crate::ShardLogs::keep_states`] gave at the last checkpoint. At most once, before any batch. False: of no use, so every batch
    /// of the log has to be shown.
    fn state(&mut self, state: &[u8]) -> bool;
    /// Every batch since then, or since the log's start, in offset order.
    fn batch(&mut self, header: &BatchHeader);
    /// The batch that was shown last ended a transaction. Answers which one, if it was aborted.
    fn marker(&mut self, _header: &BatchHeader, _marker: EndMarker) -> Option<AbortedTransaction> {
        None
    }
    /// Whether `marker` knows its transactions. Otherwise the indexes of aborted ones stay as they are found.
    fn keeps_transactions(&self) -> bool {
        false
    }
    /// No checkpoint of ours knows the log, but a snapshot that lies beside it does: the producers as of the batches shown so far. It knows
    /// more than these, namely producers whose batches are deleted.
    fn producers(&mut self, _producers: &[ProducerEntry]) {}
}

/// Shows every batch of the log, whatever a checkpoint knows.
pub struct EveryBatch<F>(pub F);

impl<F: FnMut(&BatchHeader)> Visitor for EveryBatch<F> {
    fn state(&mut self, _: &[u8]) -> bool {
        false
    }
    fn batch(&mut self, header: &BatchHeader) {
        self.0(header);
    }
}

/// Nobody keeps anything.
impl Visitor for () {
    fn state(&mut self, _: &[u8]) -> bool {
        true
    }
    fn batch(&mut self, _: &BatchHeader) {}
}

/// Shows snapshots to a visitor between the batches that they lie between.
pub(crate) struct WithSnapshots<'a> {
    visitor: &'a mut dyn Visitor,
    /// Not reached yet, by offset.
    ahead: VecDeque<(i64, Vec<ProducerEntry>)>,
}

impl<'a> WithSnapshots<'a> {
    pub fn new(visitor: &'a mut dyn Visitor, snapshots: Vec<(i64, Vec<ProducerEntry>)>) -> WithSnapshots<'a> {
        WithSnapshots { visitor, ahead: snapshots.into() }
    }

    /// Everything below `offset` was shown.
    pub fn reach(&mut self, offset: i64) {
        while let Some((_, producers)) = self.ahead.pop_front_if(|(taken_at, _)| *taken_at <= offset) {
            self.visitor.producers(&producers);
        }
    }
}

impl Visitor for WithSnapshots<'_> {
    fn state(&mut self, state: &[u8]) -> bool {
        self.visitor.state(state)
    }
    fn batch(&mut self, header: &BatchHeader) {
        self.reach(header.base_offset);
        self.visitor.batch(header);
    }
    fn marker(&mut self, header: &BatchHeader, marker: EndMarker) -> Option<AbortedTransaction> {
        self.visitor.marker(header, marker)
    }
    fn keeps_transactions(&self) -> bool {
        self.visitor.keeps_transactions()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_protocol::records::{BatchBuilder, Compression};

    #[derive(Default)]
    struct Told(Vec<String>);

    impl Visitor for Told {
        fn state(&mut self, _: &[u8]) -> bool {
            false
        }
        fn batch(&mut self, header: &BatchHeader) {
            self.0.push(format!("batch {}", header.base_offset));
        }
        fn producers(&mut self, producers: &[ProducerEntry]) {
            self.0.push(format!("producer {}", producers[0].producer_id));
        }
    }

    /// A snapshot shown too early is overwritten by older batches, one shown too late overwrites newer ones.
    #[test]
    fn snapshots_come_where_they_were_taken() {
        let header = |offset| {
            let mut builder = BatchBuilder::new(Compression::None).base_offset(offset);
            builder.push(0, None, None, &[]);
            BatchHeader::parse(&builder.finish().unwrap()).unwrap()
        };
        let mut told = Told::default();
        let snapshot = |offset| (offset, vec![ProducerEntry::new(offset, 0)]);
        let mut visitor = WithSnapshots::new(&mut told, [0, 2, 5, 9].map(snapshot).into());
        [0, 1, 3, 5].into_iter().for_each(|offset| visitor.batch(&header(offset)));
        visitor.reach(6);
        let expected = ["producer 0", "batch 0", "batch 1", "producer 2", "batch 3", "producer 5", "batch 5"];
        assert_eq!(told.0, expected, "the one at 9 is past the log's end");
    }
}
