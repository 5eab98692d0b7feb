//! What a log and a shard's logs are told. Values come from `config`; nothing here knows a key's name except in comments.

use crate::RetentionOptions;
use ringlane_metrics::ShardMetrics;
use std::path::PathBuf;
use std::rc::Rc;

/// What an ack waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StableMode {
    /// `flush.messages` = 1: stable survives power loss.
    #[default]
    Durable,
    /// Larger `flush.messages`: stable survives kill -9, and power loss within `flush_ms`.
    Written,
}

/// Settings of one log; may change while it is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogOptions {
    pub stable_mode: StableMode,
    /// `flush.ms`: in written mode, how long a write may stay volatile.
    pub flush_ms: u64,
    /// `segment.bytes`
    pub segment_bytes: u32,
    /// `segment.ms` less this log's jitter, measured by record timestamps.
    pub segment_ms: i64,
    /// `segment.index.bytes`
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    pub retention: RetentionOptions,
}

impl Default for LogOptions {
    /// Kafka's defaults, except that acks wait for durable bytes.
    fn default() -> LogOptions {
        LogOptions {
            stable_mode: StableMode::Durable,
            flush_ms: 100,
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention: RetentionOptions::DEFAULT,
        }
    }
}

/// Settings of all logs of one shard.
#[derive(Clone, Debug)]
pub struct ShardLogsOptions {
    pub data_dir: PathBuf,
    /// What [`crate::DataDir::stopped_clean`] said.
    pub stopped_clean: bool,
    /// Memory for recently written batches. What is not yet stable does not count: the request budgets of the connections bound it.
    pub tail_cache_bytes: usize,
    /// Device writes in flight, all logs of the shard together, at most one each.
    pub writes_in_flight: usize,
    /// Bytes of disk reads in flight.
    pub read_bytes_in_flight: usize,
    pub metrics: Rc<ShardMetrics>,
}

impl ShardLogsOptions {
    pub fn new(data_dir: PathBuf) -> ShardLogsOptions {
        ShardLogsOptions {
            data_dir,
            stopped_clean: false,
            tail_cache_bytes: 256 << 20,
            writes_in_flight: 32,
            read_bytes_in_flight: 16 << 20,
            metrics: Rc::default(),
        }
    }
}
