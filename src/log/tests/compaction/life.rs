//! One life of the process: opens the log, compares what it finds, then appends and reads while the cleaner works, until it ends or is
//! ended.

use super::model::{DELETE_RETENTION_MS, Model};
use super::transactions::{FIRST_TRANSACTIONAL, FORGOTTEN};
use bytes::Bytes;
use ringlane_log::cleaner::{self, CleanerOptions, Compaction, CompactionOptions, CompactionSource, ProducerFacts};
use ringlane_log::{AppendBatch, DataDir, EveryBatch, Log, LogId, LogKey, LogOptions, ShardLogs, ShardLogsOptions};
use ringlane_metrics::ShardMetrics;
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{
    BatchBuilder, BatchHeader, Compression, ControlType, ProducerStamp, marker_batch, patch_base_offset,
};
use ringlane_runtime::sim::Seed;
use ringlane_runtime::{fs, random_u64, sleep, spawn, wall_clock_ms};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const FILE_DELETE_DELAY_MS: u64 = 30;

#[derive(Debug)]
pub struct Life {
    pub segment_bytes: u32,
    pub keys: u64,
    pub map_bytes: usize,
    pub operations: u64,
    /// Goes on until nothing is left to clean.
    pub cleans_to_the_end: bool,
    /// The disk refuses some of what the cleaner writes.
    pub disk_fails: bool,
}

impl Life {
    pub fn choose(choices: &mut Seed) -> Life {
        let disk_fails = choices.chance(0.25);
        Life {
            segment_bytes: [3_000, 20_000, 100_000][choices.below(3) as usize],
            keys: [3, 50, 1_000][choices.below(3) as usize],
            map_bytes: [200, 5_000, 1 << 20][choices.below(3) as usize],
            operations: choices.within(10..250),
            cleans_to_the_end: choices.chance(0.3) && !disk_fails,
            disk_fails,
        }
    }
}

struct Source {
    log: Log,
    model: Rc<RefCell<Model>>,
}

impl CompactionSource for Source {
    fn compaction(&self, _: LogKey) -> Option<Compaction> {
        let options = CompactionOptions {
            dirty_ratio_min: 0.05,
            delete_retention_ms: DELETE_RETENTION_MS,
            file_delete_delay_ms: FILE_DELETE_DELAY_MS,
            ..CompactionOptions::default()
        };
        let high_watermark = self.log.stable_offset();
        let last_stable_offset = self.model.borrow().transactions.last_stable_offset(high_watermark);
        Some(Compaction { options, last_stable_offset, high_watermark })
    }

    fn producers(&self, _: LogKey) -> ProducerFacts {
        ProducerFacts { last: self.model.borrow().last_of_producers() }
    }
}

pub async fn live(model: Rc<RefCell<Model>>, life: Life) {
    let data_dir = DataDir::open(Path::new("/data")).await.expect("the data directory opens");
    let metrics = Rc::new(ShardMetrics::default());
    let logs = ShardLogs::start(ShardLogsOptions {
        // What is cleaned is to be read from the files.
        tail_cache_bytes: 0,
        journal_file_bytes: 256 << 10,
        // So that a log of a few segments is worth reading ahead.
        read_bytes_first: 4 << 10,
        metrics: metrics.clone(),
        ..ShardLogsOptions::of(&data_dir, [5; 16]).await
    });
    let log = open(&model, &logs, &life).await;
    logs.begin().await.expect("the journal begins");
    read_all(&model, &log).await;

    let source = Rc::new(Source { log: log.clone(), model: model.clone() });
    let options =
        CleanerOptions { map_bytes: life.map_bytes, backoff: Duration::from_millis(2), ..CleanerOptions::default() };
    let cleaning = spawn("cleaner", cleaner::run(logs.clone(), options, source));
    for _ in 0..life.operations {
        operate(&model, &log, life.keys).await;
    }
    if life.cleans_to_the_end {
        let open = model.borrow().transactions.open();
        open.into_keys().for_each(|producer| end_transaction(&model, &log, producer));
        until_clean(&log, &metrics).await;
        let live = read_all(&model, &log).await;
        check_folder(&log, &live, &model).await;
    }
    drop(cleaning);
    assert!(metrics.log_cleaner_uncleanable.value() == 0 || life.disk_fails, "{}", model.borrow());
    assert!(log.failure().is_none(), "{}", model.borrow());
    logs.close().await.expect("a sound log closes");
    model.borrow_mut().closed(metrics.log_cleaner_rounds.value());
    data_dir.close().await.expect("the marker can be left");
}

async fn open(model: &RefCell<Model>, logs: &ShardLogs, life: &Life) -> Log {
    let id = LogId { topic: "table".to_owned(), topic_id: TopicId([7; 16]), partition: 0 };
    let options = LogOptions { segment_bytes: life.segment_bytes, ..LogOptions::default() };
    let mut headers: Vec<BatchHeader> = Vec::new();
    let every_batch = &mut EveryBatch(|header: &BatchHeader| headers.push(*header));
    let opened = logs.open(id, options, false, every_batch).await;
    let log = opened.unwrap_or_else(|error| panic!("the log does not open: {error}\n{}", model.borrow()));
    model.borrow_mut().opened(&headers, log.end_offset());
    log
}

async fn operate(model: &Rc<RefCell<Model>>, log: &Log, keys: u64) {
    model.borrow_mut().stable = log.stable_offset();
    match random_u64() % 10 {
        0..6 => {
            for _ in 0..=random_u64() % 4 {
                append(model, log, keys);
            }
        }
        6 => read(model, log).await,
        7 => read_on(model, log).await,
        8 => look_up_timestamps(model, log).await,
        _ => sleep(Duration::from_micros(random_u64() % 20_000)).await,
    }
    sleep(Duration::from_micros(random_u64() % 1_000)).await;
}

fn append(model: &RefCell<Model>, log: &Log, keys: u64) {
    let base_offset = log.end_offset();
    let codec =
        [Compression::None, Compression::None, Compression::Lz4, Compression::Zstd][(random_u64() % 4) as usize];
    let mut builder = BatchBuilder::new(codec).base_offset(base_offset);
    let producer = (random_u64() % (FORGOTTEN as u64 + 1)) as i64;
    let is_transactional = producer >= FIRST_TRANSACTIONAL;
    if is_transactional && model.borrow().transactions.open().contains_key(&producer) && random_u64().is_multiple_of(3)
    {
        return end_transaction(model, log, producer);
    }
    if producer > 0 {
        let epoch = model.borrow().transactions.epoch(producer);
        let stamp = ProducerStamp { id: producer, epoch, base_sequence: base_offset as i32 };
        builder.set_producer(stamp, is_transactional);
    }
    let now_ms = wall_clock_ms();
    for _ in 0..=random_u64() % 15 {
        let key = format!("key-{}", random_u64() % keys);
        let value = vec![random_u64() as u8; (random_u64() % 300) as usize];
        let is_tombstone = random_u64().is_multiple_of(6);
        builder.push(now_ms, Some(key.as_bytes()), (!is_tombstone).then_some(&value), &[]);
    }
    let bytes = Bytes::from(builder.finish().expect("compresses"));
    let header = BatchHeader::parse(&bytes).expect("was built");
    log.append(AppendBatch::new(&header, bytes.clone())).expect("a sound log takes appends");
    model.borrow_mut().appended(&bytes, now_ms);
}

/// Commits or aborts; the marker may have the next epoch (KIP-890).
fn end_transaction(model: &RefCell<Model>, log: &Log, producer: i64) {
    let kind = if random_u64().is_multiple_of(2) { ControlType::Commit } else { ControlType::Abort };
    let epoch = model.borrow().transactions.epoch(producer) + (random_u64() % 2) as i16;
    let now_ms = wall_clock_ms();
    let mut bytes = marker_batch(kind, producer, epoch, 0, now_ms);
    patch_base_offset(&mut bytes, log.end_offset());
    let bytes = Bytes::from(bytes);
    let header = BatchHeader::parse(&bytes).expect("was built");
    log.append(AppendBatch::new(&header, bytes.clone())).expect("a sound log takes appends");
    model.borrow_mut().appended(&bytes, now_ms);
}

/// Compares what a consumer gets in the middle of cleaning.
async fn read(model: &RefCell<Model>, log: &Log) {
    let below = log.stable_offset();
    let from = (random_u64() % (below as u64 + 1)) as i64;
    let max_bytes = [1, 2_000, 1 << 20][(random_u64() % 3) as usize];
    let data = log.read(from, below, max_bytes, true).await;
    let data = data.unwrap_or_else(|error| panic!("{error}\n{}", model.borrow()));
    model.borrow().check_read(from, &data.slices, wall_clock_ms());
}

/// The same for one who reads on, with segments exchanged below what was read ahead.
async fn read_on(model: &RefCell<Model>, log: &Log) {
    let below = log.stable_offset();
    let mut from = (random_u64() % (below as u64 + 1)) as i64;
    for _ in 0..random_u64() % 12 {
        let data = log.read(from, below, 2_000, true).await;
        let data = data.unwrap_or_else(|error| panic!("{error}\n{}", model.borrow()));
        if data.slices.is_empty() {
            return;
        }
        from = model.borrow().check_read(from, &data.slices, wall_clock_ms());
    }
}

/// Which records are left is the cleaner's affair; but what is found must be one of them, and none before it may match.
async fn look_up_timestamps(model: &RefCell<Model>, log: &Log) {
    let below = log.stable_offset();
    let largest = log.max_timestamp(below).await.unwrap_or_else(|error| panic!("{error}\n{}", model.borrow()));
    let Some((_, largest)) = largest else { return };
    let timestamp = largest - (random_u64() % 200) as i64;
    let found = log.offset_for_timestamp(timestamp, below).await;
    let found = found.unwrap_or_else(|error| panic!("{error}\n{}", model.borrow()));
    model.borrow().check_lookup(timestamp, below, found, wall_clock_ms());
}

/// From the first offset to the last stable one; the slices.
async fn read_all(model: &RefCell<Model>, log: &Log) -> Vec<Vec<u8>> {
    let (mut from, below) = (log.start_offset(), log.stable_offset());
    let mut all = Vec::new();
    loop {
        let data = log.read(from, below, 50_000, true).await;
        let data = data.unwrap_or_else(|error| panic!("{error}\n{}", model.borrow()));
        if data.slices.is_empty() {
            // Whatever is newest must have been seen up to the end.
            model.borrow().check_rest(from, below, wall_clock_ms());
            model.borrow().check_committed(&all, below, wall_clock_ms());
            return all;
        }
        from = model.borrow().check_read(from, &data.slices, wall_clock_ms());
        all.extend(data.slices.iter().map(|slice| slice.to_vec()));
    }
}

async fn until_clean(log: &Log, metrics: &ShardMetrics) {
    while log.stable_offset() < log.end_offset() {
        sleep(Duration::from_millis(1)).await;
    }
    loop {
        let before = metrics.log_cleaner_read_bytes.value();
        sleep(Duration::from_millis(500 + FILE_DELETE_DELAY_MS)).await;
        if metrics.log_cleaner_read_bytes.value() == before {
            return;
        }
    }
}

async fn check_folder(log: &Log, live: &[Vec<u8>], model: &RefCell<Model>) {
    if let Some(checkpoint) = log.read_checkpoint("cleaner-offset-checkpoint").await.expect("reads") {
        let text = String::from_utf8(checkpoint).expect("text");
        let cleaned = text.trim_end().rsplit(' ').next().expect("a number").parse().expect("a number");
        model.borrow_mut().check_cleaned(live, cleaned);
    }
    for path in fs::read_dir(Path::new("/data/table-0")).await.expect("the log's folder") {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        assert!(!["cleaned", "swap", "deleted"].contains(&extension), "{} is left\n{}", path.display(), model.borrow());
    }
}

/// A batch of one record.
pub fn batch_of(base_offset: i64, key: &str) -> AppendBatch {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(base_offset);
    builder.push(wall_clock_ms(), Some(key.as_bytes()), Some(&[7; 100]), &[]);
    let bytes = Bytes::from(builder.finish().expect("is not compressed"));
    AppendBatch::new(&BatchHeader::parse(&bytes).expect("was built"), bytes)
}

/// Some segments of few keys.
pub async fn fill_until_sealed(log: &Log) {
    for n in 0..200 {
        log.append(batch_of(n, &format!("key-{}", n % 5))).expect("appends");
    }
    while log.stable_offset() < log.end_offset() {
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_millis(100)).await;
}
