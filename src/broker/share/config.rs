//! The settings of a share group: its own where it has them, else the broker's. The one place that looks them up.

use crate::shard::Shard;
use ringlane_coordinator::share_partition::SharePartitionOptions;
use ringlane_partition::{Isolation, OffsetSpec};

pub struct ShareSettings {
    pub partition: SharePartitionOptions,
    /// `share.isolation.level`.
    pub isolation: Isolation,
    /// `share.auto.offset.reset`: where a group begins that has no start offset.
    pub reset: OffsetSpec,
}

/// Group settings that no broker key gives a default for have Kafka's own.
pub fn group_settings(shard: &Shard, _group: &str) -> ShareSettings {
    let broker = &shard.config.broker;
    ShareSettings {
        partition: SharePartitionOptions {
            lock_ms: broker.group_share_record_lock_duration_ms.into(),
            delivery_count_limit: i16::try_from(broker.group_share_delivery_count_limit).unwrap_or(i16::MAX),
            record_locks_max: broker.group_share_partition_max_record_locks.into(),
            renew_enabled: true,
        },
        isolation: Isolation::ReadUncommitted,
        reset: OffsetSpec::Latest,
    }
}
