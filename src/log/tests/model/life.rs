//! One life of the process: opens the log, compares what it finds, then appends, reads, truncates at random until it ends or is ended.

use super::History;
use ringlane_log::{
    AppendError, DataDir, Log, LogId, LogOptions, OpenError, ReadData, ReadError, ReadPlan, ShardLogs,
    ShardLogsOptions, StableMode, StableOutcome, Visitor,
};
use ringlane_protocol::TopicId;
use ringlane_protocol::records::BatchHeader;
use ringlane_runtime::sim::Seed;
use ringlane_runtime::{now, random_u64, sleep, spawn};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const CONSUMERS: usize = 3;

#[derive(Debug)]
pub struct Life {
    pub options: LogOptions,
    pub tail_cache_bytes: usize,
    pub journal_file_bytes: u64,
    pub journal_files_max: usize,
    /// Small ones put many batches at the border of two reads.
    pub read_bytes_first: usize,
    pub read_memory_bytes: usize,
    /// Whether checkpoints know what the partition knows, so that recovery need not read all again.
    pub keeps_states: bool,
    pub operations: u64,
}

impl Life {
    pub fn choose(choices: &mut Seed, mode: Option<StableMode>) -> Life {
        let drawn = if choices.chance(0.7) { StableMode::Durable } else { StableMode::Written };
        let options = LogOptions {
            stable_mode: mode.unwrap_or(drawn),
            segment_bytes: [30_000, 200_000, 5_000_000][choices.below(3) as usize],
            segment_ms: if choices.chance(0.3) { 2_000 } else { i64::MAX },
            segment_index_bytes: if choices.chance(0.2) { 64 } else { 1 << 20 },
            ..LogOptions::default()
        };
        Life {
            options,
            tail_cache_bytes: [0, 20_000, 500_000, 100_000_000][choices.below(4) as usize],
            journal_file_bytes: [64 << 10, 256 << 10, 2 << 20][choices.below(3) as usize],
            journal_files_max: choices.within(2..5) as usize,
            read_bytes_first: [4 << 10, 16 << 10, 128 << 10][choices.below(3) as usize],
            read_memory_bytes: [0, 100_000, 16 << 20][choices.below(3) as usize],
            keeps_states: choices.chance(0.7),
            operations: choices.within(0..400),
        }
    }
}

pub async fn live(history: Rc<RefCell<History>>, life: Life) {
    let data_dir = DataDir::open(Path::new("/data")).await.expect("the data directory opens");
    let logs = ShardLogs::start(ShardLogsOptions {
        tail_cache_bytes: life.tail_cache_bytes,
        journal_file_bytes: life.journal_file_bytes,
        journal_files_max: life.journal_files_max,
        read_bytes_first: life.read_bytes_first,
        read_memory_bytes: life.read_memory_bytes,
        ..ShardLogsOptions::of(&data_dir, [5; 16]).await
    });
    if life.keeps_states {
        let of = history.clone();
        logs.keep_states(Rc::new(move |_| of.borrow().knows_itself().then(|| of.borrow().state())));
    }
    let log = match open(&history, &logs, life.options).await {
        Ok(log) => log,
        Err(error) => panic!("the log does not open: {error}\n{}", history.borrow()),
    };
    logs.begin().await.expect("the journal begins");
    logs.end_recovery(1).await;
    history.borrow_mut().is_ready();
    let listening = spawn("listen", listen(history.clone(), logs.clone()));
    let mut truncates = Vec::new();
    let consumers: Vec<_> = (0..CONSUMERS).map(|_| Rc::new(Cell::new(0))).collect();
    for _ in 0..life.operations {
        operate(&history, &log, &mut truncates, &consumers).await;
    }
    read_all(&history, &log).await;
    let closed = logs.close().await;
    drop(listening);
    if log.failure().is_none() {
        closed.expect("a sound log closes");
        assert_eq!(log.stable_offset(), log.end_offset(), "close writes what waits");
        history.borrow_mut().became_stable(now(), log.stable_offset());
        data_dir.close().await.expect("the marker can be left");
    }
}

async fn open(history: &RefCell<History>, logs: &ShardLogs, options: LogOptions) -> Result<Log, OpenError> {
    let id = LogId { topic: "orders".to_owned(), topic_id: TopicId([7; 16]), partition: 3 };
    let mut found = Found { history, headers: Vec::new() };
    let log = logs.open(id, options, false, &mut found).await?;
    let headers = found.headers;
    history.borrow_mut().found(&headers);
    assert_eq!(log.end_offset(), history.borrow().end_offset());
    assert_eq!(log.stable_offset(), log.end_offset());
    Ok(log)
}

/// Collects the headers of the whole log: what the state of the last checkpoint stands for, then what is visited.
struct Found<'a> {
    history: &'a RefCell<History>,
    headers: Vec<BatchHeader>,
}

impl Visitor for Found<'_> {
    fn state(&mut self, state: &[u8]) -> bool {
        assert!(self.headers.is_empty(), "the state comes first");
        self.headers = self.history.borrow().headers_of(state);
        true
    }
    fn batch(&mut self, header: &BatchHeader) {
        self.headers.push(*header);
    }
}

async fn listen(history: Rc<RefCell<History>>, logs: ShardLogs) {
    loop {
        for event in logs.next_stable().await {
            if let StableOutcome::Stable(offset) = event.outcome {
                history.borrow_mut().became_stable(now(), offset);
            }
        }
    }
}

async fn operate(history: &Rc<RefCell<History>>, log: &Log, truncations: &mut Vec<i64>, consumers: &[Rc<Cell<i64>>]) {
    match random_u64() % 100 {
        0..50 => {
            for _ in 0..=random_u64() % 6 {
                append(history, log);
            }
        }
        50..60 => read(history, log).await,
        60..75 => consume(history, log, consumers).await,
        75..80 => look_up_timestamps(history, log).await,
        80..81 => truncate(history, log, truncations).await,
        81..83 => {
            let interval = [100, 4096, 100_000][(random_u64() % 3) as usize];
            log.set_options(LogOptions { index_interval_bytes: interval, ..log.options() });
        }
        83..88 => sleep(Duration::from_millis(random_u64() % 50)).await,
        _ => sleep(Duration::from_micros(random_u64() % 3000)).await,
    }
}

fn append(history: &RefCell<History>, log: &Log) {
    let batch = history.borrow_mut().make_batch();
    let appended = log.append(batch.clone());
    match log.failure() {
        None if matches!(appended, Err(AppendError::Full(_))) => {}
        None => {
            appended.expect("a sound log takes appends");
            history.borrow_mut().appended(&batch);
            assert_eq!(log.end_offset(), batch.last_offset + 1);
        }
        Some(_) => assert!(matches!(appended, Err(AppendError::Failed(_))), "a failed log takes no appends"),
    }
}

async fn read(history: &RefCell<History>, log: &Log) {
    let (stable, end) = (log.stable_offset(), log.end_offset());
    let below = if random_u64().is_multiple_of(2) || log.failure().is_some() { stable } else { end };
    let from = random_u64() as i64 % (below + 1).max(1);
    let from = from.abs();
    let max_bytes = [1, 500, 20_000, 1 << 20][(random_u64() % 4) as usize];
    let at_least_one = !random_u64().is_multiple_of(4);
    let readable = log.readable_bytes(from, below, max_bytes);
    assert!(readable <= max_bytes);
    let data = log.read(from, below, max_bytes, at_least_one).await.expect("a read of what is there succeeds");
    if log.failure().is_some() && below > log.stable_offset() {
        return; // The log failed meanwhile: what was not stable is gone.
    }
    history.borrow().check_read(from, below, max_bytes, at_least_one, &data);
}

/// Some consumers read on from where they stopped, side by side; what was read ahead for them before may have changed since.
async fn consume(history: &Rc<RefCell<History>>, log: &Log, consumers: &[Rc<Cell<i64>>]) {
    let count = 1 + random_u64() as usize % consumers.len();
    let reads = 1 + random_u64() % 8;
    let reading: Vec<_> = consumers[..count]
        .iter()
        .map(|at| spawn("consumer", read_on(history.clone(), log.clone(), at.clone(), reads)))
        .collect();
    for task in reading {
        task.await.expect("no panic");
    }
}

async fn read_on(history: Rc<RefCell<History>>, log: Log, at: Rc<Cell<i64>>, reads: u64) {
    for _ in 0..reads {
        let below = log.stable_offset();
        let from = at.get().min(below);
        let max_bytes = [1, 3_000, 30_000, 1 << 20][(random_u64() % 4) as usize];
        let data = match log.plan_read(from, below, max_bytes, true) {
            ReadPlan::Ready(data) => data,
            ReadPlan::Disk(disk) => match disk.run().await {
                Err(ReadError::Moved) => continue,
                data => data.expect("a read of what is there succeeds"),
            },
        };
        history.borrow().check_read(from, below, max_bytes, true, &data);
        match random_u64() % 20 {
            // The answer was of no use: the same again.
            0..3 => {}
            // The client is gone, another one begins somewhere.
            3 => at.set(random_u64() as i64 & 0xffff),
            _ => at.set(end_of(&data).unwrap_or(0)),
        }
    }
}

/// The offset behind what was read.
fn end_of(data: &ReadData) -> Option<i64> {
    let (bytes, mut end) = (data.slices.concat(), None);
    let mut rest: &[u8] = &bytes;
    while !rest.is_empty() {
        let header = BatchHeader::parse(rest).expect("was compared");
        end = Some(header.next_offset());
        rest = &rest[header.size()..];
    }
    end
}

async fn look_up_timestamps(history: &RefCell<History>, log: &Log) {
    let below = log.stable_offset();
    let known = history.borrow().largest(below);
    let found = log.max_timestamp(below).await.expect("reads what is there");
    assert_eq!(found, known, "largest timestamp below {below}\n{}", history.borrow());
    let Some((_, largest)) = known else { return };
    let timestamp = largest - (random_u64() % 3000) as i64;
    let known = history.borrow().first_at_or_after(timestamp, below);
    let found = log.offset_for_timestamp(timestamp, below).await.expect("reads what is there");
    assert_eq!(found, known, "first at or after {timestamp} below {below}\n{}", history.borrow());
    assert_eq!(log.offset_for_timestamp(largest + 1, below).await.expect("reads"), None);
}

async fn truncate(history: &RefCell<History>, log: &Log, truncations: &mut Vec<i64>) {
    let end = history.borrow().end_offset();
    let offset = end - (random_u64() % 200).min(end as u64) as i64;
    history.borrow_mut().begin_truncation(offset);
    truncations.push(offset);
    if log.truncate_to(offset).await.is_ok() {
        history.borrow_mut().end_truncation(offset);
        assert_eq!(log.end_offset(), history.borrow().end_offset());
    }
}

/// From the first offset to the last stable one, as a consumer would.
async fn read_all(history: &RefCell<History>, log: &Log) {
    let below = log.stable_offset();
    let mut from = log.start_offset();
    loop {
        let data = log.read(from, below, 60_000, true).await.expect("a read of what is there succeeds");
        history.borrow().check_read(from, below, 60_000, true, &data);
        let Some(end) = end_of(&data) else { return };
        from = end;
    }
}
