//! How fast one shard compacts a log: keyed records of 1 KiB in batches of 16, each key a few times, segments of 128 MiB, in one round.
//!
//! `cargo bench -p ringlane-bench --bench cleaner [-- DIR [GIB]]`. The rate is of the log as it was before, by the time of the round: it is
//! read twice, and what stays is written once.

use bytes::Bytes;
use ringlane_log::cleaner::{self, CleanerOptions, Compaction, CompactionOptions, CompactionSource, ProducerFacts};
use ringlane_log::{AppendBatch, Log, LogId, LogKey, LogOptions, ShardLogs, ShardLogsOptions, VolumeOptions};
use ringlane_metrics::ShardMetrics;
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{BatchBuilder, BatchHeader, Compression};
use ringlane_runtime::ring::{self, RingOptions};
use ringlane_runtime::{ShardMain, fs, random_u64, sleep, spawn};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const RECORDS_PER_BATCH: u64 = 16;
const VALUE_BYTES: usize = 1024;
const UNSTABLE_MAX: i64 = 16_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let directory = PathBuf::from(arguments.first().map_or("target/cleaner", String::as_str));
    let gib: f64 = arguments.get(1).map_or(1.0, |text| text.parse().expect("a number of GiB"));
    let records = (gib * (1u64 << 30) as f64) as u64 / VALUE_BYTES as u64;
    let main: ShardMain = Box::new(move || Box::pin(measure_all(directory, records)));
    let cores = ring::allowed_cores().into_iter().take(1).collect();
    ring::run(RingOptions { cores, pool_bytes_per_shard: 512 << 20, ..RingOptions::default() }, vec![main])
        .expect("the shard starts");
}

async fn measure_all(directory: PathBuf, records: u64) {
    println!("| codec | each key | log MiB | stays MiB | seconds | cleaned MiB/s | read + written MiB/s |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for codec in [Compression::None, Compression::Lz4, Compression::Zstd] {
        for times in [10, 2] {
            measure(&directory, codec, records, times).await;
        }
    }
    fs::remove_dir_all(&directory).await.expect("the bench's own directory");
}

struct Source(Log);

impl CompactionSource for Source {
    fn compaction(&self, _: LogKey) -> Option<Compaction> {
        let options = CompactionOptions { file_delete_delay_ms: 0, ..CompactionOptions::default() };
        Some(Compaction { options, last_stable_offset: self.0.stable_offset(), high_watermark: self.0.stable_offset() })
    }

    fn producers(&self, _: LogKey) -> ProducerFacts {
        ProducerFacts::default()
    }
}

async fn measure(directory: &Path, codec: Compression, records: u64, times: u64) {
    if fs::exists(directory).await.expect("looks") {
        fs::remove_dir_all(directory).await.expect("the bench's own directory");
    }
    fs::create_dir_all(directory).await.expect("creates");
    let metrics = Rc::new(ShardMetrics::default());
    let volume = VolumeOptions::new(directory.to_owned(), [0; 16], false);
    let options = ShardLogsOptions { metrics: metrics.clone(), ..ShardLogsOptions::new(vec![volume], Arc::default()) };
    let logs = ShardLogs::start(options);
    let id = LogId { topic: "table".to_owned(), topic_id: TopicId([9; 16]), partition: 0 };
    let options = LogOptions { segment_bytes: 128 << 20, ..LogOptions::default() };
    logs.begin().await.expect("the journal begins");
    let log = logs.open(id, options, true, &mut ()).await.expect("opens");
    fill(&log, codec, records, records / times).await;

    let before = log.size_bytes();
    let cleaning =
        spawn("cleaner", cleaner::run(logs.clone(), CleanerOptions::default(), Rc::new(Source(log.clone()))));
    while metrics.log_cleaner_rounds.value() == 0 {
        sleep(Duration::from_millis(20)).await;
    }
    drop(cleaning);
    let seconds =
        metrics.snapshot().histogram("log_cleaner_round_duration_us").map_or(0, |summary| summary.max) as f64 / 1e6;
    let mib = |bytes: u64| bytes as f64 / (1u64 << 20) as f64;
    let moved = metrics.log_cleaner_read_bytes.value() + metrics.log_cleaner_written_bytes.value();
    println!(
        "| {} | {times} | {:.0} | {:.0} | {seconds:.2} | {:.0} | {:.0} |",
        codec.name(),
        mib(before),
        mib(log.size_bytes()),
        mib(before) / seconds,
        mib(moved) / seconds
    );
    logs.close().await.expect("closes");
}

/// Appends `records` with random keys out of `keys`; half of each value is random, half compresses.
async fn fill(log: &Log, codec: Compression, records: u64, keys: u64) {
    for _ in 0..records / RECORDS_PER_BATCH {
        let mut builder = BatchBuilder::new(codec).base_offset(log.end_offset());
        for n in 0..RECORDS_PER_BATCH {
            let mut value = vec![b'v'; VALUE_BYTES];
            value[..VALUE_BYTES / 2].chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&random_u64().to_be_bytes()));
            let key = (random_u64() % keys.max(1)).to_string();
            builder.push(1_700_000_000_000 + n as i64, Some(key.as_bytes()), Some(&value), &[]);
        }
        let bytes = Bytes::from(builder.finish().expect("compresses"));
        let header = BatchHeader::parse(&bytes).expect("was built");
        log.append(AppendBatch::new(&header, bytes)).expect("a sound log");
        while log.end_offset() > log.stable_offset() + UNSTABLE_MAX {
            sleep(Duration::from_micros(200)).await;
        }
    }
    while log.end_offset() > log.stable_offset() {
        sleep(Duration::from_millis(1)).await;
    }
    // The last full segment is being sealed.
    sleep(Duration::from_millis(500)).await;
}
