//! How long the cleaner holds its shard up when a batch unpacks to far more than it takes on disk. On the real machine: the simulator's
//! clock stands still while a task computes.

use bytes::Bytes;
use ringlane_log::cleaner::{self, CleanerOptions, Compaction, CompactionOptions, CompactionSource, ProducerFacts};
use ringlane_log::{AppendBatch, DataDir, Log, LogId, LogKey, LogOptions, ShardLogs, ShardLogsOptions};
use ringlane_metrics::ShardMetrics;
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{BatchBuilder, BatchHeader, Compression};
use ringlane_runtime::ring::{self, RingOptions};
use ringlane_runtime::{ShardMain, fs, now, sleep, spawn};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Of one batch: 24 MB unpacked.
const RECORDS: i64 = 400_000;
const KEYS: i64 = 1_000;
/// In one go these batches take more than a second in this profile. What is left is one step of the cleaner, and other processes on the core.
const STALL_MAX: Duration = Duration::from_millis(400);
const TICK: Duration = Duration::from_millis(1);

struct Everything(Log);

impl CompactionSource for Everything {
    fn compaction(&self, _: LogKey) -> Option<Compaction> {
        let stable = self.0.stable_offset();
        let options = CompactionOptions { dirty_ratio_min: 0.0, ..CompactionOptions::default() };
        Some(Compaction { options, last_stable_offset: stable, high_watermark: stable })
    }

    fn producers(&self, _: LogKey) -> ProducerFacts {
        ProducerFacts::default()
    }
}

fn batch(base_offset: i64, records: i64, codec: Compression) -> AppendBatch {
    let mut builder = BatchBuilder::new(codec).base_offset(base_offset);
    for n in 0..records {
        builder.push(1_700_000_000_000, Some(format!("key-{}", n % KEYS).as_bytes()), Some(&[b'v'; 40]), &[]);
    }
    let bytes = Bytes::from(builder.finish().expect("compresses"));
    AppendBatch::new(&BatchHeader::parse(&bytes).expect("was built"), bytes)
}

async fn clean(directory: PathBuf) {
    let data_dir = DataDir::open(&directory).await.expect("opens");
    let metrics = Rc::new(ShardMetrics::default());
    let options = ShardLogsOptions { metrics: metrics.clone(), ..ShardLogsOptions::of(&data_dir, [5; 16]).await };
    let logs = ShardLogs::start(options);
    let id = LogId { topic: "table".to_owned(), topic_id: TopicId([7; 16]), partition: 0 };
    let options = LogOptions { segment_bytes: 1_000, uses_reserve: false, ..LogOptions::default() };
    let log = logs.open(id, options, true, &mut ()).await.expect("opens");
    logs.begin().await.expect("the journal begins");
    for codec in [Compression::Zstd, Compression::Gzip, Compression::Lz4] {
        log.append(batch(log.end_offset(), RECORDS, codec)).expect("appends");
    }
    log.append(batch(log.end_offset(), 1, Compression::None)).expect("appends");
    while log.stable_offset() < log.end_offset() {
        logs.next_stable().await;
    }
    sleep(Duration::from_secs(3)).await;

    let longest = Rc::new(Cell::new(Duration::ZERO));
    let meter = spawn("meter", {
        let longest = longest.clone();
        async move {
            loop {
                let before = now();
                sleep(TICK).await;
                longest.set(longest.get().max(before.elapsed().saturating_sub(TICK)));
            }
        }
    });
    let started = now();
    let cleaning =
        spawn("cleaner", cleaner::run(logs.clone(), CleanerOptions::default(), Rc::new(Everything(log.clone()))));
    while metrics.log_cleaner_rounds.value() == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    let (took, longest) = (started.elapsed(), longest.get());
    drop((cleaning, meter));
    eprintln!("cleaned in {took:?}, the shard was held up for {longest:?} at most");
    assert_eq!(metrics.log_cleaner_uncleanable.value(), 0);
    assert!(longest < STALL_MAX, "the shard was held up for {longest:?}");
    logs.close().await.expect("closes");
    data_dir.close().await.expect("leaves its marker");
}

/// A few kilobytes of a client's making would stop every partition of the shard for seconds.
#[test]
fn a_batch_that_unpacks_to_much_does_not_hold_its_shard_up() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cleaner-stall-{}", std::process::id()));
    let main: ShardMain = Box::new(move || {
        Box::pin(async move {
            fs::create_dir_all(&directory).await.expect("a directory");
            clean(directory.clone()).await;
            fs::remove_dir_all(&directory).await.expect("removes it");
        })
    });
    let cores = ring::allowed_cores().into_iter().take(1).collect();
    ring::run(RingOptions { cores, pool_bytes_per_shard: 64 << 20, spin_us: 0 }, vec![main]).expect("the shard starts");
}
