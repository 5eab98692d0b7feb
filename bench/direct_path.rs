//! From how many waiting bytes on a log does better without the journal: the same appends with thresholds from 64 KiB to never, in turn,
//! on one core. The choice is `ShardLogsOptions::direct_bytes`.
//!
//! `cargo bench -p ringlane-bench --bench direct_path [-- DIR [MIB]]`. CPU is the whole process's, kernel helpers on its behalf included;
//! an ack's time is from the append until the log says that it is stable. Medians of three rounds; the last line is the same as JSON.

use bytes::Bytes;
use ringlane_log::{
    AppendBatch, Log, LogId, LogKey, LogOptions, ShardLogs, ShardLogsOptions, StableOutcome, VolumeOptions,
};
use ringlane_protocol::TopicId;
use ringlane_runtime::ring::{self, RingOptions};
use ringlane_runtime::{Buffer, Event, Instant, ShardMain, fs, now, spawn};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

const SOURCES: usize = 64;
const ROUNDS: usize = 3;
const THRESHOLDS: [usize; 6] = [64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, usize::MAX];
/// Logs, bytes of a batch, batches of each log that wait for their ack at a time.
const SHAPES: [(usize, usize, usize); 4] = [(1, 16_400, 64), (8, 16_400, 32), (8, 100_100, 8), (32, 100_100, 8)];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let directory = PathBuf::from(arguments.first().map_or("target/direct-path", String::as_str));
    let mib: usize = arguments.get(1).map_or(512, |text| text.parse().expect("a number of MiB"));
    let main: ShardMain = Box::new(move || Box::pin(measure_all(directory, mib << 20)));
    let cores = ring::allowed_cores().into_iter().take(1).collect();
    ring::run(RingOptions { cores, pool_bytes_per_shard: 512 << 20, ..RingOptions::default() }, vec![main])
        .expect("the shard starts");
}

async fn measure_all(directory: PathBuf, total_bytes: usize) {
    println!(
        "| logs | batch | waiting | direct from KiB | MiB/s | CPU-s/GiB | ack p50 / p99 us | to never: MiB/s, CPU |"
    );
    println!("|--:|--:|--:|--:|--:|--:|---|---|");
    let mut json = Vec::new();
    for (logs, batch_bytes, in_flight) in SHAPES {
        let mut rounds: Vec<Vec<Figures>> = THRESHOLDS.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for (threshold, figures) in THRESHOLDS.iter().zip(&mut rounds) {
                figures.push(measure(&directory, *threshold, logs, batch_bytes, in_flight, total_bytes).await);
            }
        }
        let medians: Vec<Figures> = rounds.iter().map(|rounds| Figures::median(rounds)).collect();
        let never = medians[THRESHOLDS.len() - 1];
        for (threshold, figures) in THRESHOLDS.iter().zip(&medians) {
            let kib = if *threshold == usize::MAX { "never".to_owned() } else { (threshold >> 10).to_string() };
            let Figures { mib_s, cpu_s_per_gib, p50_us, p99_us } = *figures;
            let waiting = batch_bytes * in_flight / 1024;
            println!(
                "| {logs} | {batch_bytes} | {waiting} KiB | {kib} | {mib_s:.0} | {cpu_s_per_gib:.3} | {p50_us:.0} / {p99_us:.0} | {:.2}, {:.2} |",
                mib_s / never.mib_s,
                cpu_s_per_gib / never.cpu_s_per_gib,
            );
            json.push(format!(
                "{{\"logs\":{logs},\"batch\":{batch_bytes},\"in_flight\":{in_flight},\"direct_from_kib\":\"{kib}\",\"mib_s\":{mib_s:.1},\
                 \"cpu_s_per_gib\":{cpu_s_per_gib:.4},\"ack_p50_us\":{p50_us:.0},\"ack_p99_us\":{p99_us:.0}}}"
            ));
        }
    }
    println!("[{}]", json.join(","));
    fs::remove_dir_all(&directory).await.expect("the bench's own directory");
}

#[derive(Clone, Copy)]
struct Figures {
    mib_s: f64,
    cpu_s_per_gib: f64,
    p50_us: f64,
    p99_us: f64,
}

impl Figures {
    fn median(rounds: &[Figures]) -> Figures {
        let of = |figure: fn(&Figures) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(figure).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Figures {
            mib_s: of(|figures| figures.mib_s),
            cpu_s_per_gib: of(|figures| figures.cpu_s_per_gib),
            p50_us: of(|figures| figures.p50_us),
            p99_us: of(|figures| figures.p99_us),
        }
    }
}

struct Feed {
    log: Log,
    next: Event,
    /// When each batch that waits was appended, oldest first.
    waiting: RefCell<VecDeque<Instant>>,
}

async fn measure(
    directory: &Path,
    direct_bytes: usize,
    logs: usize,
    batch_bytes: usize,
    in_flight: usize,
    total_bytes: usize,
) -> Figures {
    if fs::exists(directory).await.expect("can be asked") {
        fs::remove_dir_all(directory).await.expect("the bench's own directory");
    }
    fs::create_dir_all(directory).await.expect("can be made");
    let volume = VolumeOptions::new(directory.to_owned(), [0; 16], false);
    let options = ShardLogsOptions { direct_bytes, ..ShardLogsOptions::new(vec![volume], Arc::default()) };
    let shard = ShardLogs::start(options);
    let mut feeds = BTreeMap::new();
    for partition in 0..logs {
        let id = LogId { topic: "bench".to_owned(), topic_id: TopicId([9; 16]), partition: partition as i32 };
        let log = shard.open(id, LogOptions::default(), true, &mut ()).await.expect("opens");
        feeds.insert(log.key(), Rc::new(Feed { log, next: Event::default(), waiting: RefCell::default() }));
    }
    shard.begin().await.expect("the journal begins");
    let micros = Rc::new(RefCell::new(Vec::new()));
    let all: Vec<_> = feeds.values().cloned().collect();
    let listener = spawn("listen", listen(shard.clone(), feeds, micros.clone()));
    let sources = Rc::new(sources(batch_bytes));
    let batches = total_bytes / batch_bytes / logs;

    let (began, cpu) = (now(), cpu_seconds().await);
    let tasks: Vec<_> =
        all.into_iter().map(|feed| spawn("feed", feed_log(feed, sources.clone(), batches, in_flight))).collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let seconds = now().since(began).as_secs_f64();
    let cpu_seconds = cpu_seconds().await - cpu;
    drop(listener);
    shard.close().await.expect("closes");

    let mut micros = micros.take();
    micros.sort_unstable();
    let gib = (batches * batch_bytes * logs) as f64 / (1u64 << 30) as f64;
    Figures {
        mib_s: gib * 1024.0 / seconds,
        cpu_s_per_gib: cpu_seconds / gib,
        p50_us: micros[micros.len() / 2] as f64,
        p99_us: micros[micros.len() * 99 / 100] as f64,
    }
}

async fn feed_log(feed: Rc<Feed>, sources: Rc<Vec<Bytes>>, batches: usize, in_flight: usize) {
    for n in 0..batches {
        loop {
            let next = feed.next.listen();
            if feed.waiting.borrow().len() < in_flight {
                break;
            }
            next.await;
        }
        feed.waiting.borrow_mut().push_back(now());
        let (bytes, offset) = (sources[n % SOURCES].clone(), n as i64);
        let batch = AppendBatch { bytes, base_offset: offset, last_offset: offset, max_timestamp: 0 };
        feed.log.append(batch).expect("a sound log");
    }
    loop {
        let next = feed.next.listen();
        if feed.waiting.borrow().is_empty() {
            return;
        }
        next.await;
    }
}

async fn listen(shard: ShardLogs, feeds: BTreeMap<LogKey, Rc<Feed>>, micros: Rc<RefCell<Vec<u64>>>) {
    loop {
        for event in shard.next_stable().await {
            if let StableOutcome::Failed(failed) = event.outcome {
                panic!("{failed}");
            }
            let Some(feed) = feeds.get(&event.log) else { continue };
            let unstable = (feed.log.end_offset() - feed.log.stable_offset()) as usize;
            let mut waiting = feed.waiting.borrow_mut();
            while waiting.len() > unstable {
                micros.borrow_mut().extend(waiting.pop_front().map(|at| at.elapsed().as_micros() as u64));
            }
            drop(waiting);
            feed.next.notify_all();
        }
    }
}

fn sources(batch_bytes: usize) -> Vec<Bytes> {
    let filled = |n| {
        let mut buffer = Buffer::take(batch_bytes);
        buffer.fill(n as u8);
        buffer.freeze()
    };
    (0..SOURCES).map(filled).collect()
}

async fn cpu_seconds() -> f64 {
    let stat = fs::read(Path::new("/proc/self/stat")).await.expect("Linux has it");
    let stat = String::from_utf8(stat).expect("is text");
    // After the command's name, which is in brackets: user and system ticks are fields 14 and 15, the first is field 3.
    let fields: Vec<&str> = stat.rsplit(')').next().expect("has a name").split_whitespace().collect();
    let ticks = |number: usize| fields[number - 3].parse::<f64>().expect("a number");
    (ticks(14) + ticks(15)) / 100.0
}
