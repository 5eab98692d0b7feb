//! What the cleaner of a shard, and the compaction of one log, are told. Values come from `config`.

use std::time::Duration;

/// `log.cleaner.*`: settings of the cleaner of one shard.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CleanerOptions {
    /// `log.cleaner.enable`
    pub enabled: bool,
    /// `log.cleaner.dedupe.buffer.size`, this shard's part: memory for the newest offset of each key. Taken for a round, then given back.
    pub map_bytes: usize,
    /// `log.cleaner.io.buffer.load.factor`: share of the map that may fill.
    pub map_load: f64,
    /// `log.cleaner.io.max.bytes.per.second`, this shard's part; reads and writes together.
    pub bytes_per_second: f64,
    /// `log.cleaner.backoff.ms`: how long to sleep when there is nothing to clean.
    pub backoff: Duration,
}

impl Default for CleanerOptions {
    /// Kafka's defaults, on one shard.
    fn default() -> CleanerOptions {
        CleanerOptions {
            enabled: true,
            map_bytes: 128 << 20,
            map_load: 0.9,
            bytes_per_second: f64::MAX,
            backoff: Duration::from_secs(15),
        }
    }
}

/// Compaction of one log whose `cleanup.policy` has "compact".
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CompactionOptions {
    /// `min.cleanable.dirty.ratio`
    pub dirty_ratio_min: f64,
    /// `min.compaction.lag.ms`
    pub lag_min_ms: i64,
    /// `max.compaction.lag.ms`
    pub lag_max_ms: i64,
    /// `delete.retention.ms`
    pub delete_retention_ms: i64,
    /// `file.delete.delay.ms`: how long the files of replaced segments stay under another name.
    pub file_delete_delay_ms: u64,
}

impl Default for CompactionOptions {
    /// Kafka's defaults.
    fn default() -> CompactionOptions {
        CompactionOptions {
            dirty_ratio_min: 0.5,
            lag_min_ms: 0,
            lag_max_ms: i64::MAX,
            delete_retention_ms: 24 * 3600 * 1000,
            file_delete_delay_ms: 60_000,
        }
    }
}
