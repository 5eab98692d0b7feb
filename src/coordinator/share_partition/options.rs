//! The settings of a share partition: those of its group, else the broker's.

/// Deliveries below this are never throttled, however low the limit.
const THROTTLE_FROM_MIN: i16 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharePartitionOptions {
    /// `group.share.record.lock.duration.ms`: how long a member has a record for itself.
    pub lock_ms: i64,
    /// `group.share.delivery.count.limit`.
    pub delivery_count_limit: i16,
    /// `group.share.partition.max.record.locks`: most offsets in flight.
    pub record_locks_max: i64,
    /// `share.renew.acknowledge.enable` (KIP-1222).
    pub renew_enabled: bool,
}

/// Kafka's defaults.
impl Default for SharePartitionOptions {
    fn default() -> SharePartitionOptions {
        SharePartitionOptions { lock_ms: 30_000, delivery_count_limit: 5, record_locks_max: 2_000, renew_enabled: true }
    }
}

impl SharePartitionOptions {
    /// From this delivery count on records are given out in ever smaller lots, so that one which no consumer survives does not take its
    /// neighbours with it.
    pub fn throttle_from(&self) -> i16 {
        let half = (i32::from(self.delivery_count_limit) + 1) / 2;
        (half as i16).max(THROTTLE_FROM_MIN)
    }
}
