//! What the cleaner of a shard asks about its logs: the topic's settings and the partition's state.
//!
//! One per shard, handed to the cleaner's task by `Shard::start`. Answers from memory; never waits.

use crate::shard::Shard;
use ringlane_log::LogKey;
use ringlane_log::cleaner::{Compaction, CompactionSource, ProducerFacts};
use ringlane_partition::CleanablePartition;
use std::rc::Rc;

pub struct CompactedTopics(pub Rc<Shard>);

impl CompactionSource for CompactedTopics {
    fn compaction(&self, log: LogKey) -> Option<Compaction> {
        let CleanablePartition { at, last_stable_offset, high_watermark } = self.0.home.cleanable(log)?;
        let options = self.0.compaction_of(at.topic_id)?;
        Some(Compaction { options, last_stable_offset, high_watermark })
    }

    fn producers(&self, log: LogKey) -> ProducerFacts {
        ProducerFacts { last: self.0.home.last_of_producers(log) }
    }
}
