//! Names of a log: what it is called on disk, and its short key inside one shard.

use ringlane_protocol::TopicId;
use std::fmt;

/// Which partition a log belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogId {
    pub topic: String,
    pub topic_id: TopicId,
    pub partition: i32,
}

/// A partition by its topic's id: what files that outlive a topic's name say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LogName {
    pub topic_id: TopicId,
    pub partition: i32,
}

impl LogId {
    pub fn name(&self) -> LogName {
        LogName { topic_id: self.topic_id, partition: self.partition }
    }

    /// Kafka's folder name, `TOPIC-PARTITION`.
    pub fn folder(&self) -> String {
        format!("{}-{}", self.topic, self.partition)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic={} partition={}", self.topic, self.partition)
    }
}

/// Names an open log inside its shard; never reused while the shard runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LogKey(pub u64);
