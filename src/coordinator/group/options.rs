//! The settings that group coordination depends on. Given to the machine by its host when it begins.

use crate::consumer_group::ConsumerGroupOptions;
use crate::share_group::ShareGroupOptions;

/// How long a member that has not been heard of since it asked to join is kept: it cannot send heartbeats before it has its answer.
pub const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;
/// Member ids given out to one group and not used yet. Each lives for a session timeout at most.
pub const PENDING_MEMBERS_MAX: usize = 10_000;
/// A rebalance that nobody has joined looks again no sooner than this, whatever timeout its members asked for.
pub const REARM_MS_MIN: i64 = 100;
/// Timers that one moment may let fire. What is left is due at once, in the next step.
pub const FIRED_PER_STEP: usize = 256;
/// Offsets that one step of expiry deletes before it lets others in.
pub const EXPIRED_PER_STEP: usize = 1_000;

/// What a record takes in a batch besides key and value, at most: lengths, deltas, attributes.
pub const RECORD_OVERHEAD_BYTES: usize = 24;

#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max_ms: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i64,
    /// `group.max.size`.
    pub max_size: usize,
    /// `offset.metadata.max.bytes`; counted as Kafka does, in UTF-16 units.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
    /// Records of one batch: what the internal topic takes.
    pub records_bytes_max: usize,
    /// `group.consumer.*`.
    pub consumer: ConsumerGroupOptions,
    /// `group.share.*`.
    pub share: ShareGroupOptions,
}

/// Kafka's defaults.
impl Default for GroupOptions {
    fn default() -> GroupOptions {
        GroupOptions {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            max_size: i32::MAX as usize,
            offset_metadata_max: 4_096,
            offsets_retention_ms: 7 * 24 * 3600 * 1000,
            offsets_retention_check_interval_ms: 600_000,
            records_bytes_max: 1_000_000,
            consumer: ConsumerGroupOptions::default(),
            share: ShareGroupOptions::default(),
        }
    }
}
