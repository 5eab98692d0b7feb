//! One simulated machine with one log of small segments, and what is known of its records.

use bytes::Bytes;
use ringlane_log::{AppendBatch, DataDir, Log, LogId, LogOptions, RetentionOptions, ShardLogs, ShardLogsOptions};
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{BatchBuilder, BatchHeader, Compression};
use ringlane_runtime::sim::{LocalMain, Sim, SimOptions};
use ringlane_runtime::{fs, sleep, wall_clock_ms};
use std::cell::Cell;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

pub const SEGMENT_BYTES: u32 = 20_000;
const BATCH_RECORDS: i64 = 2;
const DAY: i64 = 24 * 3_600_000;

thread_local! {
    static START_MS: Cell<i64> = const { Cell::new(0) };
}

/// The wall clock when the story began.
pub fn start_ms() -> i64 {
    START_MS.get()
}

pub struct Retained {
    pub log: Log,
    pub logs: ShardLogs,
    data_dir: DataDir,
    options: LogOptions,
}

/// Runs `story` on a fresh machine, to its end.
pub fn on_one_log<F: Future<Output = ()> + 'static>(
    seed: u64,
    retention: RetentionOptions,
    story: impl FnOnce(Retained) -> F + 'static,
) {
    let mut sim = Sim::new(seed, SimOptions::default());
    let node = sim.add_node();
    let is_done = Rc::new(Cell::new(false));
    let done = is_done.clone();
    let main: LocalMain = Box::new(move || {
        Box::pin(async move {
            START_MS.set(wall_clock_ms());
            let options =
                LogOptions { segment_bytes: SEGMENT_BYTES, segment_ms: i64::MAX, retention, ..LogOptions::default() };
            story(Retained::open(options).await).await;
            done.set(true);
        })
    });
    sim.start_local(node, vec![main]);
    sim.run_until(Duration::from_secs(600), |sim| !sim.is_running(node));
    assert!(is_done.get(), "the story did not end: {:?}\n{}", sim.panics(), sim.trace_tail());
}

pub async fn names(folder: &str) -> Vec<String> {
    let paths = fs::read_dir(Path::new(folder)).await.expect("the folder is there");
    paths.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// Records whose values are their offsets.
pub fn batch(base_offset: i64, timestamp: i64, value_bytes: usize) -> AppendBatch {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(base_offset).leader_epoch(0);
    for n in 0..BATCH_RECORDS {
        let value = format!("{:08}", base_offset + n).repeat(value_bytes / 8 + 1);
        builder.push(timestamp + n, Some(b"key"), Some(value.as_bytes()), &[]);
    }
    let bytes = Bytes::from(builder.finish().expect("compresses"));
    AppendBatch::new(&BatchHeader::parse(&bytes).expect("was built"), bytes)
}

pub async fn stable(log: &Log, offset: i64) {
    while log.stable_offset() < offset {
        assert!(log.failure().is_none(), "{:?}", log.failure());
        sleep(Duration::from_micros(200)).await;
    }
}

impl Retained {
    async fn open(options: LogOptions) -> Retained {
        let data_dir = DataDir::open(Path::new("/data")).await.expect("the data directory opens");
        let logs = ShardLogs::start(ShardLogsOptions {
            tail_cache_bytes: 0,
            journal_file_bytes: 256 << 10,
            ..ShardLogsOptions::of(&data_dir, [5; 16]).await
        });
        let id = LogId { topic: "orders".to_owned(), topic_id: TopicId([7; 16]), partition: 3 };
        let log = logs.open(id, options, false, &mut ()).await.expect("the log opens");
        logs.begin().await.expect("the journal begins");
        Retained { log, logs, data_dir, options }
    }

    /// Closes and opens again, as an orderly restart does.
    pub async fn reopen(self) -> Retained {
        self.logs.close().await.expect("a sound log closes");
        self.data_dir.close().await.expect("the marker can be left");
        Retained::open(self.options).await
    }

    /// Appends batches with timestamps of `days` ago, some ten to a segment, and waits until they are stable. Answers the log's end.
    pub async fn append_days_ago(&self, days: i64, batches: usize) -> i64 {
        for _ in 0..batches {
            self.log.append(batch(self.log.end_offset(), wall_clock_ms() - days * DAY, 900)).expect("the log is sound");
        }
        stable(&self.log, self.log.end_offset()).await;
        self.log.end_offset()
    }

    /// Gives the background time to seal what is full.
    pub async fn seal_all(&self) {
        // What is stable is in its segment after a second at most.
        sleep(Duration::from_millis(2_000)).await;
    }

    /// Everything from `from` to the end is there, with the right offsets and bytes.
    pub async fn check_all_from(&self, from: i64) {
        check_all_from(&self.log, from).await;
    }
}

pub async fn check_all_from(log: &Log, from: i64) {
    let mut next = from;
    let below = log.stable_offset();
    while next < below {
        let data = log.read(next, below, 10_000, true).await.expect("reads what is there");
        assert!(data.bytes > 0, "nothing at {next}, though the log ends at {below}");
        for slice in &data.slices {
            let mut rest: &[u8] = slice;
            while !rest.is_empty() {
                let header = BatchHeader::parse(rest).expect("whole batches");
                assert!((header.base_offset..=header.last_offset()).contains(&next), "{next} asked, {header:?} given");
                let again = batch(header.base_offset, header.base_timestamp, 0);
                assert_eq!(again.last_offset, header.last_offset());
                let text = String::from_utf8_lossy(&rest[..header.size()]).into_owned();
                assert!(text.contains(&format!("{:08}", header.base_offset)), "offset {next} has another's value");
                next = header.next_offset();
                rest = &rest[header.size()..];
            }
        }
    }
}
