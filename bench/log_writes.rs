//! What the log costs beside the bare device: batches appended to logs of one shard, against `File::write_at` of the same bytes into
//! files prepared in the same way, in one run on one core.
//!
//! `cargo bench -p ringlane-bench --bench log_writes [-- DIR [GIB [LOGSxBATCH]]]`. CPU is the whole process's, kernel helpers on its behalf included; the
//! batches are appended as references, so what a broker pays for receiving them is not in it.

use bytes::Bytes;
use ringlane_log::{
    AppendBatch, Log, LogId, LogOptions, ShardLogs, ShardLogsOptions, StableMode, StableOutcome, VolumeOptions,
};
use ringlane_metrics::ShardMetrics;
use ringlane_protocol::TopicId;
use ringlane_runtime::ring::{self, RingOptions};
use ringlane_runtime::{Buffer, Durability, Event, File, FileMode, ShardMain, fs, now, spawn};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Distinct source buffers, so that the copy reads memory and not a cache.
const SOURCES: usize = 64;
const GIB: f64 = (1u64 << 30) as f64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let directory = PathBuf::from(arguments.first().map_or("target/log-writes", String::as_str));
    let gib: f64 = arguments.get(1).map_or(1.0, |text| text.parse().expect("a number of GiB"));
    let only = arguments.get(2).cloned();
    let main: ShardMain = Box::new(move || Box::pin(measure_all(directory, (gib * GIB) as usize, only)));
    let cores = ring::allowed_cores().into_iter().take(1).collect();
    ring::run(RingOptions { cores, pool_bytes_per_shard: 512 << 20, ..RingOptions::default() }, vec![main])
        .expect("the shard starts");
}

async fn measure_all(directory: PathBuf, total_bytes: usize, only: Option<String>) {
    println!(
        "| what | logs | batch | mode | MiB/s | CPU-s/GiB | faults/GiB | KiB/write | batches/write | write p50 / p99 us |"
    );
    println!("|---|--:|--:|---|--:|--:|--:|--:|--:|---|");
    for mode in [StableMode::Durable, StableMode::Written] {
        for (logs, batch_bytes, in_flight) in
            [(8, 1_000_100, 4), (1, 1_000_100, 8), (8, 100_100, 16), (8, 16_400, 16), (8, 1_100, 16), (1, 1_100, 4)]
        {
            if only.as_ref().is_some_and(|only| *only != format!("{logs}x{batch_bytes}")) {
                continue;
            }
            // Small batches are slow by nature: less of them.
            let bytes = total_bytes.min(batch_bytes * 40_000 * logs);
            if batch_bytes > 500_000 {
                raw_writes(&directory, logs, 1 << 20, mode, bytes).await;
            }
            log_appends(&directory, logs, batch_bytes, in_flight, mode, bytes).await;
        }
    }
    fs::remove_dir_all(&directory).await.expect("the bench's own directory");
}

/// Keeps `in_flight` batches unacknowledged in each log.
async fn log_appends(
    directory: &Path,
    logs: usize,
    batch_bytes: usize,
    in_flight: usize,
    mode: StableMode,
    total_bytes: usize,
) {
    let data_dir = fresh(directory).await;
    let metrics = Rc::new(ShardMetrics::default());
    let volume = VolumeOptions::new(data_dir, [0; 16], false);
    let options = ShardLogsOptions { metrics: metrics.clone(), ..ShardLogsOptions::new(vec![volume], Arc::default()) };
    let shard = ShardLogs::start(options);
    let options = LogOptions { stable_mode: mode, ..LogOptions::default() };
    let feeds = Rc::new(RefCell::new(BTreeMap::new()));
    for partition in 0..logs {
        let id = LogId { topic: "bench".to_owned(), topic_id: TopicId([9; 16]), partition: partition as i32 };
        let log = shard.open(id, options, true, &mut ()).await.expect("opens");
        feeds.borrow_mut().insert(log.key(), Rc::new(Feed { log, next: Event::default() }));
    }
    shard.begin().await.expect("the journal begins");
    let listener = spawn("listen", wake_feeds(shard.clone(), feeds.clone()));
    let sources = Rc::new(sources(batch_bytes));
    let batches = total_bytes / batch_bytes / logs;

    let usage = Usage::now().await;
    let all: Vec<_> = feeds.borrow().values().cloned().collect();
    let tasks: Vec<_> =
        all.into_iter().map(|feed| spawn("feed", feed_log(feed, sources.clone(), batches, in_flight))).collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let writes = (
        metrics.journal_write_bytes.count() + metrics.log_write_bytes.count(),
        metrics.journal_write_batches.count() + metrics.log_write_batches.count(),
    );
    let snapshot = metrics.snapshot();
    let (p50, p99) =
        snapshot.histogram("journal_write_duration_us").map_or((0, 0), |summary| (summary.p50, summary.p99));
    let bytes = batches * batch_bytes * logs;
    let per_write =
        format!("{:.0} | {:.1}", bytes as f64 / 1024.0 / writes.0 as f64, (batches * logs) as f64 / writes.1 as f64);
    usage.print("log", logs, batch_bytes, mode, bytes, &format!("{per_write} | {p50} / {p99}")).await;
    drop(listener);
    shard.close().await.expect("closes");
}

struct Feed {
    log: Log,
    next: Event,
}

async fn feed_log(feed: Rc<Feed>, sources: Rc<Vec<Bytes>>, batches: usize, in_flight: usize) {
    for n in 0..batches {
        loop {
            let next = feed.next.listen();
            if (n as i64) < feed.log.stable_offset() + in_flight as i64 {
                break;
            }
            next.await;
        }
        let bytes = sources[n % SOURCES].clone();
        let (base_offset, last_offset) = (n as i64, n as i64);
        feed.log.append(AppendBatch { bytes, base_offset, last_offset, max_timestamp: 0 }).expect("a sound log");
    }
    while feed.log.stable_offset() < batches as i64 {
        feed.next.listen().await;
    }
}

async fn wake_feeds(shard: ShardLogs, feeds: Rc<RefCell<BTreeMap<ringlane_log::LogKey, Rc<Feed>>>>) {
    loop {
        for event in shard.next_stable().await {
            if let StableOutcome::Failed(failed) = event.outcome {
                panic!("{failed}");
            }
            if let Some(feed) = feeds.borrow().get(&event.log) {
                feed.next.notify_all();
            }
        }
    }
}

/// The floor: one write in flight per file, from one recycled buffer each, into space that was set aside.
async fn raw_writes(directory: &Path, files: usize, block_bytes: usize, mode: StableMode, total_bytes: usize) {
    let directory = fresh(directory).await;
    let writes = total_bytes / block_bytes / files;
    let mut opened = Vec::new();
    for n in 0..files {
        let file = File::open(&directory.join(n.to_string()), FileMode::CreateNew).await.expect("opens");
        file.allocate((writes * block_bytes) as u64).await.expect("space");
        file.set_len((writes * block_bytes) as u64).await.expect("size");
        file.sync().await.expect("syncs");
        opened.push(file);
    }
    let durability = if mode == StableMode::Durable { Durability::Durable } else { Durability::Written };
    let micros = Rc::new(RefCell::new(Vec::new()));
    let usage = Usage::now().await;
    let tasks: Vec<_> = opened
        .into_iter()
        .map(|file| {
            let micros = micros.clone();
            spawn("raw", async move {
                let mut block = Buffer::take(block_bytes);
                for n in 0..writes {
                    let started = now();
                    let (written, back) = file.write_at(block, (n * block_bytes) as u64, durability).await;
                    written.expect("writes");
                    block = back;
                    micros.borrow_mut().push(started.elapsed().as_micros() as u64);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let mut micros = micros.take();
    micros.sort_unstable();
    let (p50, p99) = (micros[micros.len() / 2], micros[micros.len() * 99 / 100]);
    let bytes = writes * block_bytes * files;
    let rest = format!("{} | - | {p50} / {p99}", block_bytes >> 10);
    usage.print("bare writes", files, block_bytes, mode, bytes, &rest).await;
}

fn sources(batch_bytes: usize) -> Vec<Bytes> {
    (0..SOURCES)
        .map(|n| {
            let mut buffer = Buffer::take(batch_bytes);
            buffer.fill(n as u8);
            buffer.freeze()
        })
        .collect()
}

async fn fresh(directory: &Path) -> PathBuf {
    if fs::exists(directory).await.expect("can be asked") {
        fs::remove_dir_all(directory).await.expect("the bench's own directory");
    }
    fs::create_dir_all(directory).await.expect("can be made");
    directory.to_owned()
}

/// Time, CPU and page faults of the process at one moment.
struct Usage {
    at: ringlane_runtime::Instant,
    cpu_seconds: f64,
    faults: f64,
}

impl Usage {
    async fn now() -> Usage {
        let stat = fs::read(Path::new("/proc/self/stat")).await.expect("Linux has it");
        let stat = String::from_utf8(stat).expect("is text");
        // Fields after the command's name, which is in brackets: 10 minor faults, 14 user ticks, 15 system ticks; the first is field 3.
        let fields: Vec<&str> = stat.rsplit(')').next().expect("has a name").split_whitespace().collect();
        let field = |number: usize| fields[number - 3].parse::<f64>().expect("a number");
        Usage { at: now(), cpu_seconds: (field(14) + field(15)) / 100.0, faults: field(10) }
    }

    async fn print(self, what: &str, logs: usize, batch_bytes: usize, mode: StableMode, bytes: usize, rest: &str) {
        let end = Usage::now().await;
        let gib = bytes as f64 / GIB;
        let seconds = end.at.since(self.at).as_secs_f64();
        println!(
            "| {what} | {logs} | {batch_bytes} | {mode:?} | {:.0} | {:.3} | {:.0} | {rest} |",
            gib * 1024.0 / seconds,
            (end.cpu_seconds - self.cpu_seconds) / gib,
            (end.faults - self.faults) / gib,
        );
    }
}
