//! The settings that a consumer group depends on, and what surrounds each of its inputs.

use super::{Assignor, Topics};

/// A group that has refreshed its regular expressions does not do it again sooner, however many topics are made: each refresh looks at every
/// topic of the cluster.
pub const REGEX_REFRESH_MS_MIN: i64 = 10_000;

/// `group.consumer.*`, where the group's own settings (`consumer.*`) have been applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroupOptions {
    pub session_timeout_ms: i32,
    pub heartbeat_interval_ms: i32,
    /// Least time between two runs of the assignor (KIP-1263): members that come together are assigned together.
    pub assignment_interval_ms: i32,
    pub max_size: usize,
    /// The first is the default.
    pub assignors: Vec<Assignor>,
    /// How often regular expressions are matched again although no topic has come or gone.
    pub regex_refresh_interval_ms: i64,
}

/// Kafka's defaults.
impl Default for ConsumerGroupOptions {
    fn default() -> ConsumerGroupOptions {
        ConsumerGroupOptions {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            assignment_interval_ms: 1_000,
            max_size: i32::MAX as usize,
            assignors: vec![Assignor::Uniform, Assignor::Range],
            regex_refresh_interval_ms: 600_000,
        }
    }
}

impl ConsumerGroupOptions {
    pub fn default_assignor(&self) -> Assignor {
        self.assignors.first().copied().unwrap_or(Assignor::Uniform)
    }

    pub fn assignor(&self, name: &str) -> Option<Assignor> {
        self.assignors.iter().copied().find(|assignor| assignor.name() == name)
    }
}

/// What surrounds an input.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub now_ms: i64,
    pub topics: &'a dyn Topics,
    pub options: &'a ConsumerGroupOptions,
    /// Keys and values of one batch: what the internal topic takes.
    pub records_bytes_max: usize,
}
