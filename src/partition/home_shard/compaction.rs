//! What the log's cleaner must know of a partition: how far it may go, and whose last batches it must keep.
//!
//! Called synchronously by the shard's cleaner task, through `broker`.

use super::HomeShard;
use crate::message::{Isolation, TopicPartition};
use crate::partition::Visible;
use ringlane_log::LogKey;
use ringlane_log::cleaner::LastOfProducer;
use std::collections::BTreeMap;

/// A partition as the cleaner sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanablePartition {
    pub at: TopicPartition,
    pub last_stable_offset: i64,
    pub high_watermark: i64,
}

impl HomeShard {
    /// Whose log it is, and what of it is committed. Below the last stable offset nothing changes any more.
    pub fn cleanable(&self, log: LogKey) -> Option<CleanablePartition> {
        let state = self.inner.state.borrow();
        let partition = state.partitions.get(state.by_log.get(&log)?)?;
        let Visible { high_watermark, last_stable_offset, .. } = partition.visible(Isolation::ReadCommitted);
        Some(CleanablePartition { at: partition.spec.at, last_stable_offset, high_watermark })
    }

    /// The last batch of each producer that is remembered.
    pub fn last_of_producers(&self, log: LogKey) -> BTreeMap<i64, LastOfProducer> {
        let state = self.inner.state.borrow();
        let partition = state.by_log.get(&log).and_then(|at| state.partitions.get(at));
        partition.map(|partition| state.producers.last_of(partition.number).collect()).unwrap_or_default()
    }
}
