//! The settings that a share group depends on, and what surrounds each of its inputs.

use crate::consumer_group::Topics;

/// `group.share.*`, where the group's own settings (`share.*`) have been applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareGroupOptions {
    pub session_timeout_ms: i32,
    pub heartbeat_interval_ms: i32,
    /// Least time between two runs of the assignor (KIP-1263).
    pub assignment_interval_ms: i32,
    pub max_size: usize,
    /// After so long without an answer of the share coordinator it is asked again for a state.
    pub initialize_retry_interval_ms: i64,
}

/// Kafka's defaults.
impl Default for ShareGroupOptions {
    fn default() -> ShareGroupOptions {
        ShareGroupOptions {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            assignment_interval_ms: 1_000,
            max_size: 200,
            initialize_retry_interval_ms: 30_000,
        }
    }
}

/// What surrounds an input.
#[derive(Clone, Copy)]
pub struct ShareContext<'a> {
    pub now_ms: i64,
    pub topics: &'a dyn Topics,
    pub options: &'a ShareGroupOptions,
    /// Keys and values of one batch: what the internal topic takes.
    pub records_bytes_max: usize,
}
