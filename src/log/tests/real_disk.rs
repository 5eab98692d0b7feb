//! The log on the real machine: direct files of the kernel instead of the simulator's.
//!
//! `RINGLANE_LOG_KEEP=DIR` leaves the partition's folder there, for Kafka's own tools: `kafka-dump-log --files DIR/orders-0/*.log`.

use bytes::Bytes;
use ringlane_log::{AppendBatch, DataDir, Log, LogId, LogOptions, ShardLogs, ShardLogsOptions, Visitor};
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{BatchBuilder, BatchHeader, Compression};
use ringlane_runtime::ring::{self, RingOptions};
use ringlane_runtime::{ShardMain, fs};
use std::path::{Path, PathBuf};

const BATCHES: i64 = 2_000;
const OPTIONS: LogOptions = LogOptions {
    segment_bytes: 1 << 20,
    stable_mode: ringlane_log::StableMode::Durable,
    uses_reserve: false,
    flush_ms: 100,
    segment_ms: i64::MAX,
    segment_index_bytes: 1 << 20,
    index_interval_bytes: 4096,
    retention: ringlane_log::RetentionOptions::DEFAULT,
};

fn batch(base_offset: i64) -> AppendBatch {
    let codec = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let mut builder = BatchBuilder::new(codec[base_offset as usize / 10 % 5]).base_offset(base_offset);
    for n in 0..10 {
        let value = (base_offset + n).to_string().repeat(100);
        builder.push(1_700_000_000_000 + base_offset + n, Some(b"key"), Some(value.as_bytes()), &[]);
    }
    let bytes = Bytes::from(builder.finish().expect("compresses"));
    AppendBatch::new(&BatchHeader::parse(&bytes).expect("was built"), bytes)
}

#[derive(Default)]
struct Found(Vec<BatchHeader>);

impl Visitor for Found {
    fn state(&mut self, _: &[u8]) -> bool {
        false
    }
    fn batch(&mut self, header: &BatchHeader) {
        self.0.push(*header);
    }
}

async fn open(data_dir: &DataDir) -> (ShardLogs, Log, Vec<BatchHeader>) {
    let options = ShardLogsOptions { tail_cache_bytes: 100_000, ..ShardLogsOptions::of(data_dir, [5; 16]).await };
    let shard = ShardLogs::start(options);
    let id = LogId { topic: "orders".to_owned(), topic_id: TopicId([7; 16]), partition: 0 };
    let mut found = Found::default();
    let log = shard.open(id, OPTIONS, false, &mut found).await.expect("opens");
    shard.begin().await.expect("the journal begins");
    (shard, log, found.0)
}

async fn write_and_reopen(directory: PathBuf) {
    let data_dir = DataDir::open(&directory).await.expect("opens");
    let (shard, log, found) = open(&data_dir).await;
    assert!(found.is_empty());
    for n in 0..BATCHES {
        log.append(batch(n * 10)).expect("appends");
        while log.end_offset() > log.stable_offset() + 500 {
            shard.next_stable().await;
        }
    }
    assert!(DataDir::open(&directory).await.is_err(), "a second process is kept out");
    shard.close().await.expect("closes");
    data_dir.close().await.expect("leaves its marker");

    let data_dir = DataDir::open(&directory).await.expect("opens again");
    assert!(data_dir.stopped_clean());
    let (shard, log, found) = open(&data_dir).await;
    assert_eq!(found.len() as i64, BATCHES);
    assert_eq!((log.start_offset(), log.stable_offset()), (0, BATCHES * 10));
    let mut from = 0;
    while from < BATCHES * 10 {
        let data = log.read(from, BATCHES * 10, 300_000, true).await.expect("reads");
        let bytes = data.slices.concat();
        let mut rest: &[u8] = &bytes;
        while !rest.is_empty() {
            let expected = batch(from).bytes;
            assert!(rest.starts_with(&expected), "offset {from}");
            rest = &rest[expected.len()..];
            from += 10;
        }
    }
    let found = log.offset_for_timestamp(1_700_000_000_000 + 12_345, i64::MAX).await.expect("finds");
    assert_eq!(found, Some((12_345, 1_700_000_012_345)));
    assert_eq!(log.max_timestamp(i64::MAX).await.expect("finds").map(|(offset, _)| offset), Some(BATCHES * 10 - 1));
    shard.close().await.expect("closes");
    data_dir.close().await.expect("leaves its marker");
}

/// What the simulator takes for granted: sizes, alignment, renames of open files, reads near the end of a file.
#[test]
fn a_log_is_written_read_and_reopened_on_the_real_disk() {
    let kept = std::env::var_os("RINGLANE_LOG_KEEP").map(PathBuf::from);
    let directory = kept.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("log-{}", std::process::id())));
    let main: ShardMain = Box::new(move || {
        Box::pin(async move {
            write_and_reopen(directory.clone()).await;
            if kept.is_none() {
                fs::remove_dir_all(Path::new(&directory)).await.expect("removes what it made");
            }
        })
    });
    let cores = ring::allowed_cores().into_iter().take(1).collect();
    ring::run(RingOptions { cores, pool_bytes_per_shard: 64 << 20, spin_us: 0 }, vec![main]).expect("the shard starts");
}
