//! What a log and a shard's logs are told. Values come from `config`; nothing here knows a key's name except in comments.

use crate::{DataDir, Recovered, RetentionOptions};
use ringlane_metrics::ShardMetrics;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// See [`ShardLogsOptions::direct_bytes`].
pub(crate) const DIRECT_BYTES: usize = 256 << 10;

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
    /// Appends go on when the disk is down to its reserve: for what the broker itself needs to get out of that.
    pub uses_reserve: bool,
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
            uses_reserve: false,
            retention: RetentionOptions::DEFAULT,
        }
    }
}

/// One data directory.
#[derive(Clone, Debug)]
pub struct VolumeOptions {
    pub path: PathBuf,
    /// Tells its journals from another directory's.
    pub directory_id: [u8; 16],
    /// What [`crate::DataDir::stopped_clean`] said.
    pub stopped_clean: bool,
    /// Why it cannot be used, if so: what lies in it is offline.
    pub out_of_service: Option<String>,
}

impl VolumeOptions {
    pub fn new(path: PathBuf, directory_id: [u8; 16], stopped_clean: bool) -> VolumeOptions {
        VolumeOptions { path, directory_id, stopped_clean, out_of_service: None }
    }
}

/// Settings of all logs of one shard.
#[derive(Clone, Debug)]
pub struct ShardLogsOptions {
    /// In the order of `log.dirs`.
    pub volumes: Vec<VolumeOptions>,
    /// What the journals of all shards hold, see [`Recovered::scan`].
    pub recovered: Arc<Recovered>,
    /// Size of a journal file.
    pub journal_file_bytes: u64,
    /// How many there may be, per volume.
    pub journal_files_max: usize,
    /// Memory for the newest batches: those that are not durable in their segments yet, and as cache those before them.
    pub tail_cache_bytes: usize,
    /// Writes in flight that an ack waits for, all logs of the shard together, at most one each.
    pub writes_in_flight: usize,
    /// Writes in flight that nobody waits for.
    pub flushes_in_flight: usize,
    /// A log with more than this waiting to become stable goes straight to its segment: the second write of the same bytes costs more than
    /// a shared write saves (`bench/README.md`, "direct path").
    pub direct_bytes: usize,
    /// Bytes of disk reads in flight; an eighth of it while producers are at work.
    pub read_bytes_in_flight: usize,
    /// Memory for what was read from segments: read-ahead stops there. What clients have not received yet counts.
    pub read_memory_bytes: usize,
    /// Size of a reader's first read; of one that reads on they grow to eight times that.
    pub read_bytes_first: usize,
    pub metrics: Rc<ShardMetrics>,
}

impl ShardLogsOptions {
    /// For a process of one shard with one data directory: reads its journals, too.
    pub async fn of(data_dir: &DataDir, directory_id: [u8; 16]) -> ShardLogsOptions {
        let volume = VolumeOptions::new(data_dir.path().to_owned(), directory_id, data_dir.stopped_clean());
        let recovered = Recovered::scan(std::slice::from_ref(&volume), |_| true).await;
        ShardLogsOptions::new(vec![volume], recovered.into())
    }

    pub fn new(volumes: Vec<VolumeOptions>, recovered: Arc<Recovered>) -> ShardLogsOptions {
        ShardLogsOptions {
            volumes,
            recovered,
            journal_file_bytes: 64 << 20,
            journal_files_max: 8,
            tail_cache_bytes: 256 << 20,
            writes_in_flight: 32,
            flushes_in_flight: 4,
            direct_bytes: DIRECT_BYTES,
            read_bytes_in_flight: 8 << 20,
            read_memory_bytes: 16 << 20,
            read_bytes_first: 128 << 10,
            metrics: Rc::default(),
        }
    }
}
