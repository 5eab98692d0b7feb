//! The table: every metric once, with its name on the wire, unit and help. The macro makes the rows and the struct of one.

use crate::cell::{Counter, Gauge, Histogram, PerApi};
use crate::snapshot::Value;

/// One more than the largest API key that is counted by itself; Kafka 4.4's largest is 92.
pub const API_KEYS_MAX: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Prometheus name without the `ringlane_` in front.
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub help: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// A counter with the label `api`.
    PerApi,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    Count,
    Bytes,
    Microseconds,
    Milliseconds,
}

/// Reads one metric for a snapshot.
trait Metric {
    const KIND: Kind;
    fn read(&self) -> Value;
}

impl Metric for Counter {
    const KIND: Kind = Kind::Counter;
    fn read(&self) -> Value {
        Value::Counter(self.value())
    }
}
impl Metric for Gauge {
    const KIND: Kind = Kind::Gauge;
    fn read(&self) -> Value {
        Value::Gauge(self.value())
    }
}
impl Metric for Histogram {
    const KIND: Kind = Kind::Histogram;
    fn read(&self) -> Value {
        Value::Histogram(self.copy())
    }
}
impl Metric for PerApi {
    const KIND: Kind = Kind::PerApi;
    fn read(&self) -> Value {
        Value::PerApi(self.copy())
    }
}

macro_rules! metrics {
    ($($field:ident: $type:ident, $name:literal, $unit:ident, $help:literal;)*) => {
        /// The metrics of one shard.
        #[derive(Debug, Default)]
        pub struct ShardMetrics {
            $(#[doc = $help] pub $field: $type,)*
        }

        pub static ROWS: &[Row] = &[$(Row { name: $name, kind: <$type as Metric>::KIND, unit: Unit::$unit, help: $help },)*];

        impl ShardMetrics {
            /// In the order of the rows.
            pub(crate) fn read(&self) -> Vec<Value> {
                vec![$(self.$field.read(),)*]
            }
        }
    };
}

metrics! {
    connections: Gauge, "connections", Count, "Connections that are open on the shard.";
    connections_accepted: Counter, "connections_accepted_total", Count, "Connections that the shard was handed.";
    connections_closed_by_us: Counter, "connections_closed_by_broker_total", Count,
        "Connections that the broker closed: bad input, idle, limits, acks=0 errors.";
    requests: PerApi, "requests_total", Count, "Requests by API.";
    requests_refused: Counter, "requests_refused_total", Count,
        "Requests that could not be read: unknown key or version, bytes that do not parse, too large.";
    request_us: Histogram, "request_duration_us", Microseconds, "Time from a request's last byte to its response's hand-over to the socket.";
    request_bytes_held: Gauge, "request_bytes_held", Bytes, "Bytes of the shard's request budget that are in use.";
    socket_bytes_in: Counter, "socket_bytes_in_total", Bytes, "Bytes received on client connections.";
    socket_bytes_out: Counter, "socket_bytes_out_total", Bytes, "Bytes sent on client connections.";
    socket_sends: Counter, "socket_sends_total", Count, "Send operations on client connections.";

    produce_bytes: Counter, "produce_bytes_total", Bytes, "Bytes of record batches appended for producers.";
    produce_batches: Counter, "produce_batches_total", Count, "Record batches appended for producers.";
    produce_records: Counter, "produce_records_total", Count, "Records appended for producers.";
    produce_duplicates: Counter, "produce_duplicates_total", Count, "Batches of idempotent producers that had been appended before.";
    produce_failed: Counter, "produce_failed_total", Count, "Batches that were refused or could not be made stable.";
    produce_stable_us: Histogram, "produce_stable_duration_us", Microseconds, "Time from an append to its batch being stable.";
    fetch_bytes: Counter, "fetch_bytes_total", Bytes, "Bytes of record batches sent to consumers.";
    fetch_reads: Counter, "fetch_reads_total", Count, "Partition reads for consumers.";
    fetch_reads_from_disk: Counter, "fetch_reads_from_disk_total", Count, "Partition reads that the tail could not answer.";
    fetch_waits: Counter, "fetch_waits_total", Count, "Fetch requests that waited for records.";
    fetch_sessions: Gauge, "fetch_sessions", Count, "Fetch sessions kept on the shard.";

    log_appended_bytes: Counter, "log_appended_bytes_total", Bytes, "Bytes appended to logs.";
    log_write_bytes: Histogram, "log_write_bytes", Bytes, "Sizes of writes to log files.";
    log_write_batches: Histogram, "log_write_batches", Count, "Record batches completed by one write to a log file.";
    log_write_us: Histogram, "log_write_duration_us", Microseconds, "Duration of writes to log files.";
    log_writes_failed: Counter, "log_writes_failed_total", Count, "Writes to log files that failed; each ends its log.";
    log_sync_us: Histogram, "log_sync_duration_us", Microseconds, "Duration of syncs of log files.";
    log_pending_bytes: Gauge, "log_pending_bytes", Bytes, "Bytes that are appended and in no segment yet.";
    log_flushable_bytes: Gauge, "log_flushable_bytes", Bytes, "Bytes that are stable by the journal and in no segment yet.";
    log_tail_full: Counter, "log_tail_full_total", Count, "Times that the journal waited because too much was in no segment yet.";
    journal_write_bytes: Histogram, "journal_write_bytes", Bytes, "Sizes of writes to the journal.";
    journal_write_batches: Histogram, "journal_write_batches", Count, "Record batches in one write to the journal.";
    journal_write_us: Histogram, "journal_write_duration_us", Microseconds, "Duration of writes to the journal, and of the sync behind it where one is needed.";
    journal_full: Counter, "journal_full_total", Count, "Times that the journal waited for a checkpoint to release its files.";
    checkpoints: Counter, "checkpoints_total", Count, "Checkpoints made: each releases the journal behind it.";
    log_tail_bytes: Gauge, "log_tail_bytes", Bytes, "Bytes of batches kept in memory.";
    log_read_bytes: Counter, "log_read_bytes_total", Bytes, "Bytes read from log files.";
    log_read_us: Histogram, "log_read_duration_us", Microseconds, "Duration of reads from log files.";
    log_read_ahead_bytes: Counter, "log_read_ahead_bytes_total", Bytes, "Bytes of log files that were read before a consumer asked for them.";
    log_read_ahead_wasted_bytes: Counter, "log_read_ahead_wasted_bytes_total", Bytes, "Bytes that were read ahead and dropped unused.";
    log_read_memory_bytes: Gauge, "log_read_memory_bytes", Bytes,
        "Bytes of memory that hold what was read from log files, until clients have received it.";
    log_segments_rolled: Counter, "log_segments_rolled_total", Count, "Segments that were closed because they were full or old.";
    log_deleted_bytes: Counter, "log_deleted_bytes_total", Bytes, "Bytes of segments that left their log.";
    log_segments_deleted_by_time: Counter, "log_segments_deleted_by_time_total", Count, "Segments deleted because they were older than retention.ms.";
    log_segments_deleted_by_size: Counter, "log_segments_deleted_by_size_total", Count, "Segments deleted because their log was larger than retention.bytes.";
    log_segments_deleted_below_start: Counter, "log_segments_deleted_below_start_total", Count, "Segments deleted because they lay below the log start offset.";
    log_cleaner_rounds: Counter, "log_cleaner_rounds_total", Count, "Rounds of compaction that were done.";
    log_cleaner_read_bytes: Counter, "log_cleaner_read_bytes_total", Bytes, "Bytes that compaction read.";
    log_cleaner_written_bytes: Counter, "log_cleaner_written_bytes_total", Bytes, "Bytes that compaction wrote.";
    log_cleaner_round_us: Histogram, "log_cleaner_round_duration_us", Microseconds, "Duration of rounds of compaction.";
    log_cleaner_map_used: Gauge, "log_cleaner_map_used_percent", Count,
        "Share of the map of keys that the last round of compaction filled, in percent.";
    log_cleaner_uncleanable: Gauge, "log_cleaner_uncleanable_logs", Count, "Logs that compaction leaves alone because it failed on them.";
    log_recovered_bytes: Counter, "log_recovered_bytes_total", Bytes, "Bytes that were read again at the start.";
    log_truncated_bytes: Counter, "log_truncated_bytes_total", Bytes, "Bytes of torn tails that were cut at the start.";
    partitions: Gauge, "partitions", Count, "Partitions whose home is the shard.";
    partitions_offline: Gauge, "partitions_offline", Count, "Partitions whose log failed.";
    producers: Gauge, "producers", Count, "Idempotent producers that the shard remembers.";

    lane_requests: Counter, "lane_requests_total", Count, "Requests sent to other shards.";
    lane_depth_max: Gauge, "lane_depth_max", Count, "Most requests seen waiting in a lane to the shard.";
    stall_max_ms: Gauge, "stall_max_ms", Milliseconds, "Longest time that the shard did not answer its watchdog.";
    stalls: Gauge, "stalls", Count, "Times that the shard did not answer its watchdog for 100 ms.";
    tasks_failed: Gauge, "tasks_failed", Count, "Tasks that ended with a panic.";

    ring_enters: Gauge, "ring_enters", Count, "System calls that submitted operations or fetched completions.";
    ring_wakes: Gauge, "ring_wakes", Count, "Times that a completion woke the sleeping shard.";
    pool_used_bytes: Gauge, "pool_used_bytes", Bytes, "Bytes of pooled memory in use, by size class.";
    pool_slab_bytes: Gauge, "pool_slab_bytes", Bytes, "Bytes that the pool has taken from the kernel.";
    pool_misses: Gauge, "pool_misses", Count, "Buffers that came from the allocator because the pool was full.";
}
