//! The topic settings that sequencing needs, typed. The broker fills them from `config`'s rows; they travel with the metadata image.

use ringlane_protocol::records::{Compression, TimestampType};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicConfig {
    /// `max.message.bytes`: largest batch as it is stored.
    pub max_message_bytes: usize,
    /// `cleanup.policy` has compact: records need keys.
    pub compacted: bool,
    /// `compression.type`; `None` keeps the producer's.
    pub compression: Option<Compression>,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: usize,
    /// Largest batch that fits a segment (`segment.bytes`).
    pub segment_bytes: usize,
    /// Look into compressed batches too, as Kafka does, instead of only where something depends on it.
    pub strict_validation: bool,
}

impl Default for TopicConfig {
    /// Kafka's defaults.
    fn default() -> TopicConfig {
        TopicConfig {
            max_message_bytes: 1_048_588,
            compacted: false,
            compression: None,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            min_insync_replicas: 1,
            segment_bytes: 1 << 30,
            strict_validation: false,
        }
    }
}
