//! What the log's cleaner must know of a partition: how far it may go, and whose last batches it must keep.
//!
//! Called synchronously by the shard's cleaner task, through `broker`.

use super::HomeShard;
use crate::message::{Isolation, TopicPartition};
use ringlane_log::LogKey;
use ringlane_log::cleaner::LastOfProducer;
use std::collections::BTreeMap;

impl HomeShard {
    /// Whose log it is, and the offset below which nothing changes any more.
    pub fn cleanable(&self, log: LogKey) -> Option<(TopicPartition, i64)> {
        let state = self.inner.state.borrow();
        let partition = state.partitions.get(state.by_log.get(&log)?)?;
        let last_stable_offset = partition.visible(Isolation::ReadCommitted).last_stable_offset;
        Some((partition.spec.at, last_stable_offset))
    }

    /// The last batch of each producer that is remembered.
    pub fn last_of_producers(&self, log: LogKey) -> BTreeMap<i64, LastOfProducer> {
        let state = self.inner.state.borrow();
        let partition = state.by_log.get(&log).and_then(|at| state.partitions.get(at));
        partition.map(|partition| state.producers.last_of(partition.number).collect()).unwrap_or_default()
    }
}
