//! Reading ahead on a simulated disk: for whom, how much, in whose memory, and that nobody gets bytes that are not there any more.

use bytes::Bytes;
use ringlane_log::{AppendBatch, DataDir, Log, LogId, LogOptions, ReadData, ReadPlan, ShardLogs, ShardLogsOptions};
use ringlane_metrics::ShardMetrics;
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{BatchBuilder, BatchHeader, Compression};
use ringlane_runtime::sim::{DiskOptions, LocalMain, Sim, SimOptions};
use ringlane_runtime::{now, random_u64, sleep, spawn};
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const READ_BYTES_FIRST: usize = 16 << 10;
/// More than is ever in flight on a shard.
const IN_FLIGHT_BYTES: usize = 8 << 20;
const DISK_LATENCY: Duration = Duration::from_millis(2);

struct Machine {
    logs: ShardLogs,
    metrics: Rc<ShardMetrics>,
    _data_dir: DataDir,
}

/// Runs `story` on a machine whose logs keep nothing in memory that is on disk.
fn on_one_shard<F: Future<Output = ()> + 'static>(memory_bytes: usize, story: impl FnOnce(Machine) -> F + 'static) {
    let disk = DiskOptions { latency: DISK_LATENCY..DISK_LATENCY * 2, ..DiskOptions::default() };
    let mut sim = Sim::new(7, SimOptions { disk, ..SimOptions::default() });
    let node = sim.add_node();
    let main: LocalMain = Box::new(move || {
        Box::pin(async move {
            let data_dir = DataDir::open(Path::new("/data")).await.expect("opens");
            let metrics = Rc::new(ShardMetrics::default());
            let logs = ShardLogs::start(ShardLogsOptions {
                tail_cache_bytes: 0,
                read_memory_bytes: memory_bytes,
                read_bytes_first: READ_BYTES_FIRST,
                metrics: metrics.clone(),
                ..ShardLogsOptions::of(&data_dir, [5; 16]).await
            });
            story(Machine { logs, metrics, _data_dir: data_dir }).await;
        })
    });
    sim.start_local(node, vec![main]);
    assert!(sim.run_until(Duration::from_secs(600), |sim| !sim.is_running(node)), "the story does not end");
}

impl Machine {
    /// One log of `count` batches, all of it on disk.
    async fn filled(&self, count: i64) -> Log {
        self.many_filled(1, count).await.remove(0)
    }

    /// Logs of `count` batches of one offset each and about 10 KB, in segments of 300 KB, all of it on disk.
    async fn many_filled(&self, logs: i32, count: i64) -> Vec<Log> {
        self.logs.begin().await.expect("the journal begins");
        let mut filled = Vec::new();
        for partition in 0..logs {
            let id = LogId { topic: "orders".to_owned(), topic_id: TopicId([7; 16]), partition };
            let options = LogOptions { segment_bytes: 300_000, ..LogOptions::default() };
            let log = self.logs.open(id, options, true, &mut ()).await.expect("opens");
            append(&log, count, 0);
            filled.push(log);
        }
        on_disk().await;
        filled
    }
}

fn append(log: &Log, count: i64, mark: u8) {
    for _ in 0..count {
        log.append(batch(log.end_offset(), mark)).expect("a sound log");
    }
}

/// What is stable is in its segment after a second at most, and durable with the next checkpoint.
async fn on_disk() {
    sleep(Duration::from_secs(30)).await;
}

fn batch(base_offset: i64, mark: u8) -> AppendBatch {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(base_offset);
    builder.push(0, None, Some(&vec![mark; 10_000]), &[]);
    let bytes = Bytes::from(builder.finish().expect("is not compressed"));
    AppendBatch::new(&BatchHeader::parse(&bytes).expect("was built"), bytes)
}

async fn read(log: &Log, from: i64, max_bytes: usize) -> ReadData {
    match log.plan_read(from, log.stable_offset(), max_bytes, true) {
        ReadPlan::Ready(data) => data,
        ReadPlan::Disk(disk) => disk.run().await.expect("reads what is there"),
    }
}

/// Offset of the batches and their marks.
fn content(data: &ReadData) -> Vec<(i64, u8)> {
    let bytes = data.slices.concat();
    let (mut rest, mut found) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let header = BatchHeader::parse(rest).expect("whole batches");
        found.push((header.base_offset, rest[header.size() / 2]));
        rest = &rest[header.size()..];
    }
    found
}

/// Reads from `from` to the end; answers how many reads that took.
async fn read_to_end(log: &Log, mut from: i64, max_bytes: usize) -> u64 {
    let mut reads = 0;
    while from < log.stable_offset() {
        let data = read(log, from, max_bytes).await;
        for (offset, _) in content(&data) {
            assert_eq!(offset, from, "in order, each once");
            from += 1;
        }
        reads += 1;
    }
    reads
}

/// A consumer that is far behind must not wait for the disk at each fetch, nor have one byte read twice.
#[test]
fn who_reads_on_finds_the_bytes_there() {
    on_one_shard(8 << 20, |machine| async move {
        let log = machine.filled(400).await;
        let before = machine.metrics.log_read_bytes.value();
        let began = now();
        let reads = read_to_end(&log, 0, 50_000).await;
        let read_bytes = machine.metrics.log_read_bytes.value() - before;
        assert!(read_bytes < log.size_bytes() + log.size_bytes() / 10, "{read_bytes} of {}", log.size_bytes());
        assert!(machine.metrics.log_read_ahead_bytes.value() > log.size_bytes() / 2);
        assert!(machine.metrics.log_read_ahead_wasted_bytes.value() < 200_000);
        let took = began.elapsed();
        assert!(took < DISK_LATENCY * reads as u32, "{reads} reads took {took:?}");
    });
}

/// Reading ahead for somebody who jumps about doubles what the disk has to do, for nothing.
#[test]
fn who_jumps_about_has_nothing_read_ahead() {
    on_one_shard(8 << 20, |machine| async move {
        let log = machine.filled(400).await;
        for _ in 0..100 {
            let from = (random_u64() % 400) as i64;
            assert_eq!(content(&read(&log, from, 1).await), [(from, 0)]);
        }
        assert_eq!(machine.metrics.log_read_ahead_bytes.value(), 0);
    });
}

/// One who could not use an answer (no budget for it, limits of the request) asks again: the disk need not.
#[test]
fn the_same_bytes_again_are_still_there() {
    on_one_shard(8 << 20, |machine| async move {
        let log = machine.filled(400).await;
        let mut from = 0;
        for _ in 0..12 {
            let data = read(&log, from, 50_000).await;
            from = content(&data).last().expect("something").0 + 1;
        }
        let again = read(&log, from, 50_000).await;
        sleep(Duration::from_millis(50)).await;
        let before = machine.metrics.log_read_bytes.value();
        for max_bytes in [50_000, 1, 50_000] {
            let same = read(&log, from, max_bytes).await;
            assert!(content(&again).starts_with(&content(&same)) && same.bytes > 0);
        }
        sleep(Duration::from_millis(50)).await;
        assert_eq!(machine.metrics.log_read_bytes.value(), before);
    });
}

/// Read-ahead that is not bounded, or not counted, is an out-of-memory kill as soon as enough consumers are behind or slow.
#[test]
fn many_readers_share_the_memory() {
    const MEMORY_BYTES: usize = 1 << 20;
    on_one_shard(MEMORY_BYTES, |machine| async move {
        let logs = machine.many_filled(20, 100).await;
        let most = Rc::new(Cell::new(0));
        let (seen, metrics) = (most.clone(), machine.metrics.clone());
        let watching = spawn("watch", async move {
            loop {
                seen.set(seen.get().max(metrics.log_read_memory_bytes.value()));
                sleep(Duration::from_micros(100)).await;
            }
        });
        let readers: Vec<_> = logs
            .iter()
            .map(|log| {
                let log = log.clone();
                spawn("reader", async move {
                    read_to_end(&log, 0, 50_000).await;
                    now()
                })
            })
            .collect();
        let mut ends = Vec::new();
        for reader in readers {
            ends.push(reader.await.expect("no panic"));
        }
        drop(watching);
        assert!(most.get() as usize <= MEMORY_BYTES + IN_FLIGHT_BYTES, "{} bytes", most.get());
        assert!(machine.metrics.log_read_ahead_bytes.value() > 0);
        let (first, last) = (ends.iter().min().expect("readers"), ends.iter().max().expect("readers"));
        assert!(last.since(*first) < Duration::from_millis(100), "nobody is left behind: {:?}", last.since(*first));

        // Clients that take nothing: what was read for them is all that there is.
        let read_before = machine.metrics.log_read_ahead_bytes.value();
        let mut held = Vec::new();
        for log in &logs {
            for from in (10..60).step_by(7) {
                held.push(read(log, from, 200_000).await);
            }
        }
        let held_bytes: usize = held.iter().map(|data| data.bytes).sum();
        assert!(held_bytes > MEMORY_BYTES, "{held_bytes}");
        let mut from = 0;
        for _ in 0..10 {
            from = content(&read(&logs[0], from, 50_000).await).last().expect("something").0 + 1;
        }
        assert_eq!(machine.metrics.log_read_ahead_bytes.value(), read_before);
    });
}

/// A consumer that comes now must not wait until all that others may want one day has been read.
#[test]
fn a_first_read_goes_before_what_is_read_ahead() {
    on_one_shard(64 << 20, |machine| async move {
        let mut logs = machine.many_filled(31, 150).await;
        let fresh = logs.pop().expect("31 logs");
        let readers: Vec<_> = logs
            .iter()
            .map(|log| {
                let log = log.clone();
                spawn("reader", async move { read_to_end(&log, 0, 100_000).await })
            })
            .collect();
        for n in 0..10 {
            sleep(Duration::from_millis(3)).await;
            let began = now();
            read(&fresh, n * 4 + 1, 1).await;
            let took = began.elapsed();
            // The index, the head of the batch and its rest, and a turn in the queue.
            assert!(took < DISK_LATENCY * 2 * 6, "{took:?}");
        }
        for reader in readers {
            reader.await.expect("no panic");
        }
    });
}

/// A follower that was cut back must never serve what it had before, however early it was read.
#[test]
fn what_was_read_ahead_is_gone_with_a_truncation() {
    on_one_shard(8 << 20, |machine| async move {
        let log = machine.filled(100).await;
        let mut from = 0;
        while from < 60 {
            from = content(&read(&log, from, 30_000).await).last().expect("something").0 + 1;
        }
        sleep(Duration::from_millis(50)).await;
        log.truncate_to(from + 2).await.expect("the disk is sound");
        append(&log, 30, 9);
        on_disk().await;
        let mut marks = Vec::new();
        while from < log.stable_offset() {
            let found = content(&read(&log, from, 30_000).await);
            from = found.last().expect("something").0 + 1;
            marks.extend(found.iter().map(|(_, mark)| *mark));
        }
        assert_eq!(marks, [vec![0; 2], vec![9; 30]].concat());
    });
}

/// Bytes that nobody can ask for any more must not take memory from those who read.
#[test]
fn a_deleted_log_leaves_nothing_in_memory() {
    on_one_shard(8 << 20, |machine| async move {
        let log = machine.filled(200).await;
        let mut from = 0;
        for _ in 0..10 {
            from = content(&read(&log, from, 50_000).await).last().expect("something").0 + 1;
        }
        sleep(Duration::from_millis(50)).await;
        let ahead = machine.metrics.log_read_ahead_bytes.value();
        machine.logs.delete(&log).await.expect("the disk is sound");
        let wasted = machine.metrics.log_read_ahead_wasted_bytes.value();
        assert!(ahead > 0 && wasted > 0, "{ahead} read ahead, {wasted} dropped unused");
    });
}
