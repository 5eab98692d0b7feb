//! Configuration values in the form in which the rooms below take them. The one place where a key's name meets its use.

use ringlane_config::{CompressionType, Config, TimestampType};
use ringlane_log::cleaner::{CleanerOptions, CompactionOptions};
use ringlane_log::{LogOptions, RetentionOptions, StableMode};
use ringlane_metadata::Image;
use ringlane_metadata::controller::TopicRules;
use ringlane_partition::{TopicConfig, TopicPartition};
use ringlane_protocol::records;
use std::sync::Arc;
use std::time::Duration;

/// Kafka's internal topics.
const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// What the connections of a shard ask for on every request.
pub struct Settings {
    pub request_bytes_max: usize,
    pub fetch_bytes_max: usize,
    pub connection_idle_max: Duration,
    advertised: Vec<String>,
}

impl Settings {
    pub fn of(config: &Config) -> Settings {
        let broker = &config.broker;
        let idle_ms = u64::try_from(broker.connections_max_idle_ms).unwrap_or(u64::MAX);
        Settings {
            request_bytes_max: broker.socket_request_max_bytes,
            fetch_bytes_max: broker.fetch_max_bytes,
            connection_idle_max: Duration::from_millis(idle_ms),
            advertised: broker.advertised_listeners.iter().map(|endpoint| endpoint.name.clone()).collect(),
        }
    }

    /// Whether the operator has said how clients reach `listener`.
    pub fn is_advertised(&self, listener: &str) -> bool {
        self.advertised.iter().any(|name| name == listener)
    }
}

/// Settings of one topic, for sequencing and for its logs.
#[derive(Clone)]
pub struct TopicSettings {
    pub partition: Arc<TopicConfig>,
    /// `None`: `cleanup.policy` has no "compact".
    pub compaction: Option<CompactionOptions>,
    log: LogOptions,
    segment_jitter_ms: i64,
}

impl TopicSettings {
    /// Settings of one partition's log. Its jitter follows from its name, so that restarts do not change it.
    pub fn log_of(&self, at: TopicPartition) -> LogOptions {
        let mut options = self.log;
        if self.segment_jitter_ms > 0 {
            let seed =
                at.topic_id.0.iter().fold(at.partition as u64, |sum, &byte| sum.wrapping_mul(31) + u64::from(byte));
            let jitter_ms = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.segment_jitter_ms.unsigned_abs();
            options.segment_ms = (options.segment_ms - jitter_ms as i64).max(1);
        }
        options
    }
}

/// The topic's own settings over the broker's. What another version accepted and this one does not is left out and logged.
pub fn topic(config: &Config, image: &Image, name: &str) -> TopicSettings {
    let own = image.topic_configs(name).map(|(key, value)| (&**key, &**value));
    let (topic, refused) = config.topic_lenient(own);
    refused.iter().for_each(|error| tracing::warn!(topic = name, "topic setting without effect: {error}"));
    TopicSettings {
        partition: Arc::new(TopicConfig {
            max_message_bytes: topic.max_message_bytes,
            compacted: topic.cleanup_policy.compact,
            compression: compression(topic.compression_type),
            timestamp_type: match topic.message_timestamp_type {
                TimestampType::CreateTime => records::TimestampType::CreateTime,
                TimestampType::LogAppendTime => records::TimestampType::LogAppendTime,
            },
            timestamp_before_max_ms: topic.message_timestamp_before_max_ms,
            timestamp_after_max_ms: topic.message_timestamp_after_max_ms,
            min_insync_replicas: topic.min_insync_replicas.max(1) as usize,
            segment_bytes: topic.segment_bytes as usize,
            ..TopicConfig::default()
        }),
        compaction: topic.cleanup_policy.compact.then(|| CompactionOptions {
            dirty_ratio_min: topic.min_cleanable_dirty_ratio,
            lag_min_ms: topic.min_compaction_lag_ms,
            lag_max_ms: topic.max_compaction_lag_ms,
            delete_retention_ms: topic.delete_retention_ms,
            file_delete_delay_ms: topic.file_delete_delay_ms.unsigned_abs(),
        }),
        log: LogOptions {
            stable_mode: if topic.durable() { StableMode::Durable } else { StableMode::Written },
            flush_ms: topic.flush_ms.max(0) as u64,
            segment_bytes: topic.segment_bytes.min(u64::from(u32::MAX)) as u32,
            // A segment that takes appends is never cleaned: it must end in time.
            segment_ms: match topic.cleanup_policy.compact {
                true => topic.segment_ms.min(topic.max_compaction_lag_ms),
                false => topic.segment_ms,
            },
            segment_index_bytes: topic.segment_index_bytes as u32,
            index_interval_bytes: topic.index_interval_bytes as u32,
            // Committed offsets and ends of transactions are how the rest gets out of a full disk.
            uses_reserve: INTERNAL_TOPICS.contains(&name),
            retention: RetentionOptions {
                delete: topic.cleanup_policy.delete,
                retention_ms: topic.retention_ms,
                retention_bytes: topic.retention_bytes,
                timestamp_after_max_ms: topic.message_timestamp_after_max_ms,
                file_delete_delay_ms: topic.file_delete_delay_ms.max(0) as u64,
            },
        },
        segment_jitter_ms: topic.segment_jitter_ms,
    }
}

/// The cleaner of one of `shards` shards.
pub fn cleaner(config: &Config, shards: usize) -> CleanerOptions {
    let (broker, shards) = (&config.broker, shards.max(1));
    CleanerOptions {
        enabled: broker.log_cleaner_enable,
        map_bytes: broker.log_cleaner_dedupe_buffer_size / shards,
        map_load: broker.log_cleaner_io_buffer_load_factor,
        bytes_per_second: broker.log_cleaner_io_max_bytes_per_second / shards as f64,
        backoff: Duration::from_millis(broker.log_cleaner_backoff_ms),
    }
}

fn compression(wanted: CompressionType) -> Option<records::Compression> {
    match wanted {
        CompressionType::Producer => None,
        CompressionType::Uncompressed => Some(records::Compression::None),
        CompressionType::Gzip => Some(records::Compression::Gzip),
        CompressionType::Snappy => Some(records::Compression::Snappy),
        CompressionType::Lz4 => Some(records::Compression::Lz4),
        CompressionType::Zstd => Some(records::Compression::Zstd),
    }
}

/// What the controller must know about new topics.
pub fn topic_rules(config: &Config) -> TopicRules {
    TopicRules {
        default_partitions: config.broker.num_partitions,
        default_replication_factor: config.broker.default_replication_factor as i16,
        delete_enabled: config.broker.delete_topic_enable,
    }
}
