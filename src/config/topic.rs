//! The keys of a topic: what `kafka-topics --config`, CreateTopics and IncrementalAlterConfigs may set, and the broker keys that
//! give their defaults. Kafka 4.4's list, whole: clients and tools ask for keys by name and expect every one of them back.

use crate::builder::ConfigError;
use crate::nearest::nearest;
use crate::row::Row;
use crate::row::Valid::{Any, Between, EachOf, OneOf, Range};
use crate::table::table;
use crate::value::{CleanupPolicy, CompressionType, TimestampType};

const INT_MAX: i64 = i32::MAX as i64;
const LONG_MAX: i64 = i64::MAX;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

table! {
    /// Settings of one topic, whole: its own, then the broker's, then the defaults.
    TopicConfig, TOPIC_ROWS;

    cleanup_policy: CleanupPolicy = "cleanup.policy", List, Some("delete"), EachOf(&["delete", "compact"]), Medium, Dynamic,
        &[("log.cleanup.policy", 1)],
        "What happens to old records: delete drops whole segments by age or size, compact keeps the newest record of each key; both may be given.";
    compression_gzip_level: i32 = "compression.gzip.level", Int, Some("-1"), Range(-1, 9), Medium, Dynamic,
        &[("compression.gzip.level", 1)],
        "Level when the broker compresses with gzip; -1 is the library's own.";
    compression_lz4_level: i32 = "compression.lz4.level", Int, Some("9"), Range(1, 17), Medium, Dynamic,
        &[("compression.lz4.level", 1)],
        "Level when the broker compresses with lz4.";
    compression_type: CompressionType = "compression.type", String, Some("producer"),
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Medium, Dynamic, &[("compression.type", 1)],
        "Codec that records are kept in; producer keeps each batch as it came.";
    compression_zstd_level: i32 = "compression.zstd.level", Int, Some("3"), Range(-131_072, 22), Medium, Dynamic,
        &[("compression.zstd.level", 1)],
        "Level when the broker compresses with zstd.";
    delete_retention_ms: i64 = "delete.retention.ms", Long, Some("86400000"), Range(0, LONG_MAX), Medium, Dynamic,
        &[("log.cleaner.delete.retention.ms", 1)],
        "How long a compacted topic keeps tombstones, so that a reader that began before sees the delete.";
    errors_deadletterqueue_group_enable: bool = "errors.deadletterqueue.group.enable", Boolean, Some("false"), Any, Medium, Dynamic,
        &[],
        "Whether share groups may write records that they could not deliver to this topic.";
    file_delete_delay_ms: i64 = "file.delete.delay.ms", Long, Some("60000"), Range(0, LONG_MAX), Medium, Dynamic,
        &[("log.segment.delete.delay.ms", 1)],
        "Time between a segment's removal from the log and the removal of its files.";
    flush_messages: i64 = "flush.messages", Long, Some("1"), Range(1, LONG_MAX), Medium, Dynamic,
        &[("log.flush.interval.messages", 1)],
        "1: an ack means that the records survive power loss. Larger: an ack means that they survive the end of the process, and they are made durable within flush.ms.";
    flush_ms: i64 = "flush.ms", Long, Some("100"), Range(0, LONG_MAX), Medium, Dynamic,
        &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)],
        "Longest time that acknowledged records wait to be made durable when flush.messages is not 1.";
    follower_replication_throttled_replicas: Vec<String> = "follower.replication.throttled.replicas", List, Some(""), Any, Medium, Dynamic,
        &[],
        "Followers whose replication is throttled: PARTITION:BROKER,... or * for all.";
    index_interval_bytes: i32 = "index.interval.bytes", Int, Some("4096"), Range(0, INT_MAX), Medium, Dynamic,
        &[("log.index.interval.bytes", 1)],
        "Bytes of log between two entries of the offset index.";
    leader_replication_throttled_replicas: Vec<String> = "leader.replication.throttled.replicas", List, Some(""), Any, Medium, Dynamic,
        &[],
        "Leaders whose replication is throttled: PARTITION:BROKER,... or * for all.";
    local_retention_bytes: i64 = "local.retention.bytes", Long, Some("-2"), Range(-2, LONG_MAX), Medium, Dynamic,
        &[("log.local.retention.bytes", 1)],
        "Bytes of a tiered partition that stay on local disk; -2 follows retention.bytes.";
    local_retention_ms: i64 = "local.retention.ms", Long, Some("-2"), Range(-2, LONG_MAX), Medium, Dynamic,
        &[("log.local.retention.ms", 1)],
        "How long the segments of a tiered partition stay on local disk; -2 follows retention.ms.";
    max_compaction_lag_ms: i64 = "max.compaction.lag.ms", Long, Some("9223372036854775807"), Range(1, LONG_MAX), Medium, Dynamic,
        &[("log.cleaner.max.compaction.lag.ms", 1)],
        "A record of a compacted topic waits no longer than this before it can be compacted.";
    max_decompressed_message_bytes: usize = "max.decompressed.message.bytes", Int, Some("2147483647"), Range(0, INT_MAX), Medium, Dynamic,
        &[("max.decompressed.message.bytes", 1)],
        "Largest single record after decompression.";
    max_message_bytes: usize = "max.message.bytes", Int, Some("1048588"), Range(0, INT_MAX), Medium, Dynamic,
        &[("message.max.bytes", 1)],
        "Largest record batch that is accepted, as it comes over the wire (compressed).";
    message_timestamp_after_max_ms: i64 = "message.timestamp.after.max.ms", Long, Some("3600000"), Range(0, LONG_MAX), Medium, Dynamic,
        &[("log.message.timestamp.after.max.ms", 1)],
        "How far a record's timestamp may be ahead of the broker's clock; retention.ms believes no more.";
    message_timestamp_before_max_ms: i64 = "message.timestamp.before.max.ms", Long, Some("9223372036854775807"), Range(0, LONG_MAX),
        Medium, Dynamic, &[("log.message.timestamp.before.max.ms", 1)],
        "How far a record's timestamp may be behind the broker's clock.";
    message_timestamp_type: TimestampType = "message.timestamp.type", String, Some("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]),
        Medium, Dynamic, &[("log.message.timestamp.type", 1)],
        "Whose clock stamps records: the producer's (CreateTime) or the broker's (LogAppendTime).";
    min_cleanable_dirty_ratio: f64 = "min.cleanable.dirty.ratio", Double, Some("0.5"), Between(0.0, 1.0), Medium, Dynamic,
        &[("log.cleaner.min.cleanable.ratio", 1)],
        "Share of a compacted log that must be uncompacted before the cleaner takes it.";
    min_compaction_lag_ms: i64 = "min.compaction.lag.ms", Long, Some("0"), Range(0, LONG_MAX), Medium, Dynamic,
        &[("log.cleaner.min.compaction.lag.ms", 1)],
        "A record of a compacted topic is left alone at least this long.";
    min_insync_replicas: i32 = "min.insync.replicas", Int, Some("1"), Range(1, INT_MAX), Medium, Dynamic,
        &[("min.insync.replicas", 1)],
        "Replicas that must be in sync for acks=all to be accepted.";
    preallocate: bool = "preallocate", Boolean, Some("false"), Any, Medium, Dynamic,
        &[("log.preallocate", 1)],
        "Whether a segment takes its space on disk when it is created. Accepted for Kafka's sake: space is always prepared ahead.";
    remote_copy_lag_bytes: i64 = "remote.copy.lag.bytes", Long, Some("0"), Range(-1, LONG_MAX), Medium, Dynamic,
        &[],
        "A segment of a tiered topic is copied once this many newer bytes follow it; -1 follows local.retention.bytes.";
    remote_copy_lag_ms: i64 = "remote.copy.lag.ms", Long, Some("0"), Range(-1, LONG_MAX), Medium, Dynamic,
        &[],
        "A segment of a tiered topic is copied once its newest record is this old; -1 follows local.retention.ms.";
    remote_log_copy_disable: bool = "remote.log.copy.disable", Boolean, Some("false"), Any, Medium, Dynamic,
        &[],
        "Stops copying segments of a tiered topic to remote storage.";
    remote_log_delete_on_disable: bool = "remote.log.delete.on.disable", Boolean, Some("false"), Any, Medium, Dynamic,
        &[],
        "Whether remote segments go when tiering of a topic is turned off.";
    remote_storage_enable: bool = "remote.storage.enable", Boolean, Some("false"), Any, Medium, Dynamic,
        &[],
        "Tiered storage for a topic. Not supported: only false has an effect.";
    retention_bytes: i64 = "retention.bytes", Long, Some("-1"), Any, Medium, Dynamic,
        &[("log.retention.bytes", 1)],
        "A partition's oldest segments go while it is larger than this; -1 is no limit.";
    retention_ms: i64 = "retention.ms", Long, Some("604800000"), Range(-1, LONG_MAX), Medium, Dynamic,
        &[("log.retention.ms", 1), ("log.retention.minutes", MINUTE_MS), ("log.retention.hours", HOUR_MS)],
        "Segments whose newest record is older than this go; -1 is for ever. A timestamp further in the future than message.timestamp.after.max.ms (an hour at least; a year at most, else an hour) is not believed: its segment counts from when it was last written.";
    segment_bytes: u64 = "segment.bytes", Int, Some("1073741824"), Range(1 << 20, INT_MAX), Medium, Dynamic,
        &[("log.segment.bytes", 1)],
        "Largest size of a segment; retention and compaction work on whole segments.";
    segment_index_bytes: i32 = "segment.index.bytes", Int, Some("10485760"), Range(4, INT_MAX), Medium, Dynamic,
        &[("log.index.size.max.bytes", 1)],
        "Largest size of a segment's offset index; a full index closes the segment.";
    segment_jitter_ms: i64 = "segment.jitter.ms", Long, Some("0"), Range(0, LONG_MAX), Medium, Dynamic,
        &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", HOUR_MS)],
        "Random time taken off segment.ms, so that segments do not all close at once.";
    segment_ms: i64 = "segment.ms", Long, Some("604800000"), Range(1, LONG_MAX), Medium, Dynamic,
        &[("log.roll.ms", 1), ("log.roll.hours", HOUR_MS)],
        "A segment is closed after this time even if it is not full.";
    unclean_leader_election_enable: bool = "unclean.leader.election.enable", Boolean, Some("false"), Any, Medium, Dynamic,
        &[("unclean.leader.election.enable", 1)],
        "Whether a replica that is not in sync may lead when no other is left, at the price of lost records.";
}

impl TopicConfig {
    /// Whether an ack means that the records survive power loss (else: the end of the process).
    pub fn durable(&self) -> bool {
        self.flush_messages == 1
    }
}

/// The row of the topic key `name`.
pub(crate) fn row(name: &str) -> Result<&'static Row, ConfigError> {
    TOPIC_ROWS.iter().find(|row| row.name == name).ok_or_else(|| ConfigError::UnknownTopicKey {
        name: name.to_owned(),
        nearest: nearest(name, TOPIC_ROWS.iter().map(|row| row.name)),
    })
}

/// The topic row whose default the broker key `name` sets, and the factor between their units.
pub(crate) fn row_behind(name: &str) -> Option<(&'static Row, &'static str, i64)> {
    TOPIC_ROWS.iter().find_map(|row| {
        row.synonyms.iter().find(|(synonym, _)| *synonym == name).map(|&(synonym, factor)| (row, synonym, factor))
    })
}
