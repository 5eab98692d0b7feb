//! What a consumer that is far behind gets, and what it costs the others: fetches from disk against bare direct reads of the same files,
//! and a producer and a tail consumer with and without such consumers beside them. One shard, one core, no sockets.
//!
//! `cargo bench -p ringlane-bench --bench cold_reads [-- DIR [GIB [SECONDS [BATCH_BYTES [MIB_IN_FLIGHT [FIRST_READ_KIB]]]]]]`
//!
//! GIB is written first, in eight partitions; each measurement is repeated, the rows are medians. CPU is the whole process's, kernel
//! helpers on its behalf included.

use bytes::Bytes;
use ringlane_log::{LogOptions, ShardLogs, ShardLogsOptions, VolumeOptions};
use ringlane_metrics::ShardMetrics;
use ringlane_partition::{
    Acks, AppendEntry, AppendRequest, HomeShard, HomeShardOptions, Isolation, PartitionSpec, ReadEntry, ReadReply,
    ReadRequest, TopicConfig, TopicPartition, prepare_batch,
};
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{BatchBuilder, BatchHeader, Compression, HEADER_BYTES};
use ringlane_runtime::ring::{self, RingOptions};
use ringlane_runtime::{
    Buffer, Event, File, FileMode, Instant, ShardMain, fs, give_way, now, sleep, sleep_until, spawn, wall_clock_ms,
};
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const PARTITIONS: i32 = 8;
/// Of the producer and the tail consumer.
const HOT: i32 = PARTITIONS;
const HOT_BATCH_BYTES: usize = 16_000;
const RECORD_BYTES: usize = 1_000;
const HOT_RECORDS: usize = HOT_BATCH_BYTES / RECORD_BYTES;
const HOT_EVERY: Duration = Duration::from_millis(1);
const REPEATS: usize = 3;
/// What a broker with 512 MiB a shard gives to reads.
const READ_MEMORY_BYTES: usize = 80 << 20;
const TAIL_CACHE_BYTES: usize = 32 << 20;
/// A consumer's own limits, by default.
const PARTITION_BYTES_MAX: i32 = 1 << 20;
const FETCH_BYTES_MAX: i32 = 50 << 20;
const GIB: f64 = (1u64 << 30) as f64;
const TOPIC: TopicId = TopicId([9; 16]);

struct Asked {
    directory: PathBuf,
    bytes: u64,
    seconds: u64,
    batch_bytes: usize,
    bytes_in_flight: usize,
    first_read_bytes: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let number = |at: usize, default: f64| arguments.get(at).map_or(default, |text| text.parse().expect("a number"));
    let asked = Asked {
        directory: PathBuf::from(arguments.first().map_or("target/cold-reads", String::as_str)),
        bytes: (number(1, 4.0) * GIB) as u64,
        seconds: number(2, 10.0) as u64,
        batch_bytes: number(3, 1_000_000.0) as usize,
        bytes_in_flight: (number(4, 8.0) * f64::from(1 << 20)) as usize,
        first_read_bytes: number(5, 128.0) as usize * 1024,
    };
    let main: ShardMain = Box::new(move || Box::pin(measure_all(asked)));
    let cores = ring::allowed_cores().into_iter().take(1).collect();
    ring::run(RingOptions { cores, pool_bytes_per_shard: 512 << 20, ..RingOptions::default() }, vec![main])
        .expect("the shard starts");
}

async fn measure_all(asked: Asked) {
    let bench = Bench::start(&asked).await;
    println!("batches of {} bytes, {:.1} GiB", asked.batch_bytes, asked.bytes as f64 / GIB);
    for partition in 0..PARTITIONS {
        bench.fill(partition, asked.bytes / PARTITIONS as u64, asked.batch_bytes).await;
    }
    // What is stable is in its segment after a second, and durable with the next checkpoint.
    sleep(Duration::from_secs(12)).await;
    throughput(&bench, &asked).await;
    interference(&bench, &asked).await;
    bench.logs.close().await.expect("closes");
    fs::remove_dir_all(&asked.directory).await.expect("the bench's own directory");
}

async fn throughput(bench: &Bench, asked: &Asked) {
    println!("\n| what | MiB/s | CPU-s/GiB | faults/GiB | of bare reads |\n|---|--:|--:|--:|--:|");
    let names = [
        "bare reads, 1 MiB, one at a time",
        "bare reads, 1 MiB, four at a time",
        "bare reads of all partitions, four at a time",
        "one consumer, one partition",
        "one consumer, eight partitions",
        "eight consumers, a partition each",
    ];
    let all: Vec<i32> = (0..PARTITIONS).collect();
    let mut rows: Vec<Vec<[f64; 3]>> = names.iter().map(|_| Vec::new()).collect();
    // The memory of the reads is taken from the kernel once: not what is measured.
    bench.consume(all.clone()).await;
    for _ in 0..REPEATS {
        for (at, row) in rows.iter_mut().enumerate() {
            let usage = Usage::now().await;
            let bytes = match at {
                0 => bare_reads(&asked.directory, &[0], 1).await,
                1 => bare_reads(&asked.directory, &[0], 4).await,
                2 => bare_reads(&asked.directory, &all, 4).await,
                3 => bench.consume(vec![0]).await,
                4 => bench.consume(all.clone()).await,
                _ => bench.consume_apart().await,
            };
            row.push(usage.of(bytes).await);
        }
    }
    let medians: Vec<[f64; 3]> = rows.iter().map(|row| [0, 1, 2].map(|column| median(row, column))).collect();
    let of_one = medians[0][0].max(medians[1][0]);
    for (at, (name, [rate, cpu, faults])) in names.iter().zip(&medians).enumerate() {
        let bare = if matches!(at, 2 | 4 | 5) { medians[2][0] } else { of_one };
        println!("| {name} | {rate:.0} | {cpu:.3} | {faults:.0} | {:.2} |", rate / bare);
    }
    let metrics = &bench.metrics;
    let gib = |bytes: u64| bytes as f64 / GIB;
    println!(
        "\nConsumers were given {:.2} GiB; {:.2} were read, of those {:.2} ahead and {:.2} in vain.",
        gib(metrics.fetch_bytes.value()),
        gib(metrics.log_read_bytes.value()),
        gib(metrics.log_read_ahead_bytes.value()),
        gib(metrics.log_read_ahead_wasted_bytes.value()),
    );
}

/// A producer of 16 KB a millisecond, durable, and a tail consumer, alone and with consumers that read old data as fast as they can.
async fn interference(bench: &Bench, asked: &Asked) {
    println!("\n| behind | ack p50 / p99 / p99.9 ms | tail p50 / p99 / p99.9 ms | their MiB/s |\n|---|---|---|--:|");
    let behind = [0, 1, PARTITIONS];
    let mut rows: Vec<Vec<[f64; 7]>> = behind.iter().map(|_| Vec::new()).collect();
    for _ in 0..REPEATS {
        for (consumers, row) in behind.iter().zip(&mut rows) {
            row.push(bench.hot_beside(*consumers, Duration::from_secs(asked.seconds)).await);
        }
    }
    for (consumers, row) in behind.iter().zip(rows) {
        let [a, b, c, d, e, f, rate] = [0, 1, 2, 3, 4, 5, 6].map(|column| median(&row, column));
        println!("| {consumers} | {a:.2} / {b:.2} / {c:.2} | {d:.2} / {e:.2} / {f:.2} | {rate:.0} |");
    }
}

fn median<const N: usize>(rows: &[[f64; N]], column: usize) -> f64 {
    let mut values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// All segments of the partitions, in order, `depth` reads at a time.
async fn bare_reads(directory: &Path, partitions: &[i32], depth: u64) -> u64 {
    const BLOCK: usize = 1 << 20;
    let mut paths = Vec::new();
    for partition in partitions {
        paths.extend(fs::read_dir(&directory.join(format!("bench-{partition}"))).await.expect("was written"));
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    let mut bytes = 0;
    for path in paths {
        let file = File::open(&path, FileMode::Read).await.expect("opens");
        let len = file.len().await.expect("has a length");
        let at = Rc::new(Cell::new(0));
        let readers: Vec<_> = (0..depth)
            .map(|_| {
                let (file, at) = (file.clone(), at.clone());
                spawn("bare reads", async move {
                    let mut buffer = Buffer::take(BLOCK);
                    while at.get() < len {
                        let position = at.replace(at.get() + BLOCK as u64);
                        let (read, back) = file.read_at(buffer, position).await;
                        read.expect("reads");
                        buffer = back;
                    }
                })
            })
            .collect();
        for reader in readers {
            reader.await.expect("no panic");
        }
        bytes += len;
    }
    bytes
}

#[derive(Clone)]
struct Bench {
    logs: ShardLogs,
    home: HomeShard,
    metrics: Rc<ShardMetrics>,
}

impl Bench {
    async fn start(asked: &Asked) -> Bench {
        let directory = &asked.directory;
        if fs::exists(directory).await.expect("can be asked") {
            fs::remove_dir_all(directory).await.expect("the bench's own directory");
        }
        fs::create_dir_all(directory).await.expect("can be made");
        let metrics = Rc::new(ShardMetrics::default());
        let volume = VolumeOptions::new(directory.to_owned(), [0; 16], false);
        let logs = ShardLogs::start(ShardLogsOptions {
            tail_cache_bytes: TAIL_CACHE_BYTES,
            read_memory_bytes: READ_MEMORY_BYTES,
            read_bytes_in_flight: asked.bytes_in_flight,
            read_bytes_first: asked.first_read_bytes,
            metrics: metrics.clone(),
            ..ShardLogsOptions::new(vec![volume], Arc::default())
        });
        let home = HomeShard::new(HomeShardOptions::new(1, logs.clone(), metrics.clone()));
        for partition in 0..=HOT {
            let spec = PartitionSpec {
                at: TopicPartition { topic_id: TOPIC, partition },
                topic: "bench".into(),
                leader_id: 1,
                leader_epoch: 0,
                replicas_count: 1,
                isr_count: 1,
                config: Arc::new(TopicConfig::default()),
                log: LogOptions { segment_bytes: 256 << 20, ..LogOptions::default() },
                is_new: true,
            };
            home.apply(spec).await.expect("opens");
        }
        logs.begin().await.expect("the journal begins");
        let running = home.clone();
        spawn("home shard", async move { running.run().await }).detach();
        Bench { logs, home, metrics }
    }

    async fn fill(&self, partition: i32, bytes: u64, batch_bytes: usize) {
        let template = batch(batch_bytes);
        let pending = Rc::new(Cell::new(0));
        let acked = Rc::new(Event::default());
        for _ in 0..bytes / template.len() as u64 {
            while pending.get() >= 4 {
                acked.listen().await;
            }
            pending.set(pending.get() + 1);
            let (pending, acked) = (pending.clone(), acked.clone());
            self.append(partition, &template, move || {
                pending.set(pending.get() - 1);
                acked.notify_all();
            });
            give_way().await;
        }
        while pending.get() > 0 {
            acked.listen().await;
        }
    }

    fn append(&self, partition: i32, bytes: &[u8], acked: impl FnOnce() + 'static) {
        let batch = prepare_batch(Buffer::copy_from(bytes), 13, &TopicConfig::default(), wall_clock_ms());
        let at = TopicPartition { topic_id: TOPIC, partition };
        let request = AppendRequest { acks: Acks::All, timeout_ms: 30_000, entries: vec![AppendEntry { at, batch }] };
        self.home.append(request, move |reply| {
            assert_eq!(reply.results[0].failure, None);
            acked();
        });
    }

    async fn fetch(&self, wanted: &[(i32, i64)], max_wait_ms: i32) -> ReadReply {
        let entry = |&(partition, fetch_offset): &(i32, i64)| ReadEntry {
            at: TopicPartition { topic_id: TOPIC, partition },
            fetch_offset,
            max_bytes: PARTITION_BYTES_MAX,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        };
        let request = ReadRequest {
            ticket: None,
            max_wait_ms,
            min_bytes: 1,
            max_bytes: FETCH_BYTES_MAX,
            at_least_one: true,
            isolation: Isolation::ReadUncommitted,
            entries: wanted.iter().map(entry).collect(),
        };
        self.home.read(request).await
    }

    /// One fetch for all of `partitions`, again and again, until there is nothing left.
    async fn consume(&self, partitions: Vec<i32>) -> u64 {
        let mut at: Vec<(i32, i64)> = partitions.into_iter().map(|partition| (partition, 0)).collect();
        let mut bytes = 0;
        loop {
            let reply = self.fetch(&at, 0).await;
            let found: usize = reply.results.iter().map(|result| result.bytes).sum();
            if found == 0 {
                return bytes;
            }
            bytes += found as u64;
            for ((_, offset), result) in at.iter_mut().zip(&reply.results) {
                *offset = next_offset(&result.slices, *offset);
            }
        }
    }

    async fn consume_apart(&self) -> u64 {
        let consumers: Vec<_> = (0..PARTITIONS)
            .map(|partition| {
                let bench = self.clone();
                spawn("consumer", async move { bench.consume(vec![partition]).await })
            })
            .collect();
        let mut bytes = 0;
        for consumer in consumers {
            bytes += consumer.await.expect("no panic");
        }
        bytes
    }

    /// Ack and tail latencies (p50, p99, p99.9 each), in ms, and MiB/s of the consumers that read old data meanwhile.
    async fn hot_beside(&self, consumers: i32, time: Duration) -> [f64; 7] {
        let old_bytes = Rc::new(Cell::new(0));
        let behind: Vec<_> = (0..consumers)
            .map(|partition| {
                let (bench, old_bytes) = (self.clone(), old_bytes.clone());
                spawn("behind", async move {
                    loop {
                        let mut at = 0;
                        loop {
                            let reply = bench.fetch(&[(partition, at)], 0).await;
                            let result = &reply.results[0];
                            if result.bytes == 0 {
                                break;
                            }
                            old_bytes.set(old_bytes.get() + result.bytes);
                            at = next_offset(&result.slices, at);
                        }
                    }
                })
            })
            .collect();
        let due_times = Rc::new(RefCell::new(Vec::new()));
        let (tail_bench, tail_due) = (self.clone(), due_times.clone());
        let first = self.fetch(&[(HOT, 0)], 0).await.results[0].high_watermark;
        let count = (time.as_millis() / HOT_EVERY.as_millis()) as usize;
        let tail = spawn("tail", async move {
            let (mut at, mut micros) = (first, Vec::new());
            while micros.len() < count {
                let reply = tail_bench.fetch(&[(HOT, at)], 500).await;
                let next = next_offset(&reply.results[0].slices, at);
                let due: &Vec<Instant> = &tail_due.borrow();
                let batches = (at..next).step_by(HOT_RECORDS).map(|offset| (offset - first) as usize / HOT_RECORDS);
                micros.extend(batches.map(|batch| micros_since(due[batch])));
                at = next;
            }
            micros
        });
        let acks = Rc::new(RefCell::new(Vec::new()));
        let template = batch(HOT_BATCH_BYTES);
        let began = now();
        for n in 0..count {
            let due = began + HOT_EVERY * n as u32;
            sleep_until(due).await;
            due_times.borrow_mut().push(due);
            let acks = acks.clone();
            self.append(HOT, &template, move || acks.borrow_mut().push(micros_since(due)));
        }
        let old = old_bytes.get() as f64 / f64::from(1 << 20) / began.elapsed().as_secs_f64();
        let tail = tail.await.expect("no panic");
        drop(behind);
        let ack = percentiles(acks.take());
        let tail = percentiles(tail);
        [ack[0], ack[1], ack[2], tail[0], tail[1], tail[2], old]
    }
}

fn batch(bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    let now_ms = wall_clock_ms();
    for _ in 0..bytes / RECORD_BYTES {
        builder.push(now_ms, None, Some(&[b'v'; RECORD_BYTES]), &[]);
    }
    builder.finish().expect("is not compressed")
}

/// The offset behind what was read: looks at the headers, as a client would at least. One may lie in two slices.
fn next_offset(slices: &[Bytes], from: i64) -> i64 {
    let (mut position, mut next) = (0, from);
    while let Ok(header) = BatchHeader::parse(&head_at(slices, position)) {
        position += header.size();
        next = header.next_offset();
    }
    next
}

fn head_at(slices: &[Bytes], mut skip: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEADER_BYTES);
    for slice in slices {
        let part = slice.get(skip..).unwrap_or_default();
        head.extend_from_slice(&part[..part.len().min(HEADER_BYTES - head.len())]);
        skip = skip.saturating_sub(slice.len());
    }
    head
}

fn micros_since(due: Instant) -> f64 {
    due.elapsed().as_micros() as f64
}

fn percentiles(mut micros: Vec<f64>) -> [f64; 3] {
    micros.sort_by(f64::total_cmp);
    [500, 990, 999].map(|permille| micros[(micros.len() - 1) * permille / 1000] / 1000.0)
}

/// Time, CPU and page faults of the process at one moment.
struct Usage {
    at: Instant,
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

    /// MiB/s, CPU-seconds and faults a GiB, of `bytes` since.
    async fn of(self, bytes: u64) -> [f64; 3] {
        let end = Usage::now().await;
        let gib = bytes as f64 / GIB;
        let seconds = end.at.since(self.at).as_secs_f64();
        [gib * 1024.0 / seconds, (end.cpu_seconds - self.cpu_seconds) / gib, (end.faults - self.faults) / gib]
    }
}
