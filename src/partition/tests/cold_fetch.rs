//! One fetch of many partitions that are on disk only: side by side, and within the limits as if one had been read after the other.

use ringlane_log::{LogOptions, ShardLogs, ShardLogsOptions, VolumeOptions};
use ringlane_metrics::ShardMetrics;
use ringlane_partition::{
    Acks, AppendEntry, AppendRequest, HomeShard, HomeShardOptions, Isolation, PartitionSpec, ReadEntry, ReadReply,
    ReadRequest, TopicConfig, TopicPartition, prepare_batch,
};
use ringlane_protocol::records::{BatchBuilder, Compression, batches};
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::sim::{DiskOptions, IoFault, IoKind, LocalMain, Sim, SimOptions};
use ringlane_runtime::{Buffer, fs, now, oneshot, random_u64, sleep, spawn, wall_clock_ms};
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const TOPIC: TopicId = TopicId([7; 16]);
const PARTITIONS: i32 = 12;
const BATCHES: i64 = 30;
const DISK_LATENCY: Duration = Duration::from_millis(10);
/// Of a batch in a segment, with its header.
const BATCH_BYTES: usize = 10_000;

/// Partitions whose batches, [`BATCHES`] of one record and [`BATCH_BYTES`] each, are all on disk; and one, the last, without any.
#[derive(Clone)]
struct Cold {
    shard: HomeShard,
    breaks: Rc<Cell<bool>>,
}

fn on_cold_partitions<F: Future<Output = ()> + 'static>(story: impl FnOnce(Cold) -> F + 'static) {
    let disk = DiskOptions { latency: DISK_LATENCY..DISK_LATENCY * 2, ..DiskOptions::default() };
    let mut sim = Sim::new(3, SimOptions { disk, ..SimOptions::default() });
    let node = sim.add_node();
    let breaks = Rc::new(Cell::new(false));
    let asked = breaks.clone();
    let main: LocalMain = Box::new(move || {
        Box::pin(async move {
            let shard = start().await;
            let running = shard.clone();
            let _run = spawn("home shard", async move { running.run().await });
            for partition in 0..PARTITIONS - 1 {
                fill(&shard, partition).await;
            }
            // Until all of it is durable in segments, and no longer in memory.
            sleep(Duration::from_secs(30)).await;
            story(Cold { shard, breaks: asked }).await;
        })
    });
    sim.start_local(node, vec![main]);
    sim.run_until(Duration::from_secs(600), |sim| !sim.is_running(node) || breaks.get());
    if breaks.get() {
        let path_contains = "orders-0/".to_owned();
        sim.add_io_fault(node, IoFault { kind: IoKind::Read, path_contains, probability: 1.0 });
        sim.run_until(Duration::from_secs(600), |sim| !sim.is_running(node));
    }
    assert!(!sim.is_running(node), "the story does not end");
}

async fn start() -> HomeShard {
    let data_dir = Path::new("/data");
    fs::create_dir_all(data_dir).await.unwrap();
    let volume = VolumeOptions::new(data_dir.into(), [5; 16], false);
    let options = ShardLogsOptions { tail_cache_bytes: 0, ..ShardLogsOptions::new(vec![volume], Arc::default()) };
    let logs = ShardLogs::start(options);
    let shard = HomeShard::new(HomeShardOptions::new(1, logs.clone(), Rc::new(ShardMetrics::default())));
    for partition in 0..PARTITIONS {
        let spec = PartitionSpec {
            at: TopicPartition { topic_id: TOPIC, partition },
            topic: "orders".into(),
            leader_id: 1,
            leader_epoch: 0,
            replicas_count: 1,
            isr_count: 1,
            config: Arc::new(TopicConfig::default()),
            log: LogOptions::default(),
            is_new: true,
        };
        shard.apply(spec).await.unwrap();
    }
    logs.begin().await.unwrap();
    shard
}

async fn fill(shard: &HomeShard, partition: i32) {
    for _ in 0..BATCHES {
        let build = |value_bytes: usize| {
            let mut builder = BatchBuilder::new(Compression::None);
            builder.push(wall_clock_ms(), None, Some(&vec![partition as u8; value_bytes]), &[]);
            builder.finish().unwrap()
        };
        let overhead = build(9_000).len() - 9_000;
        let bytes = Buffer::copy_from(&build(BATCH_BYTES - overhead));
        let batch = prepare_batch(bytes, 13, &TopicConfig::default(), wall_clock_ms());
        let at = TopicPartition { topic_id: TOPIC, partition };
        let request = AppendRequest { acks: Acks::All, timeout_ms: 30_000, entries: vec![AppendEntry { at, batch }] };
        let (sender, reply) = oneshot();
        shard.append(request, move |reply| drop(sender.send(reply)));
        assert_eq!(reply.await.unwrap().results[0].failure, None);
    }
}

impl Cold {
    /// Reads `(partition, offset, max_bytes)`s.
    async fn read(&self, wanted: &[(i32, i64, usize)], max_bytes: usize) -> ReadReply {
        let entry = |&(partition, fetch_offset, max_bytes): &(i32, i64, usize)| ReadEntry {
            at: TopicPartition { topic_id: TOPIC, partition },
            fetch_offset,
            max_bytes: max_bytes as i32,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        };
        let request = ReadRequest {
            ticket: None,
            max_wait_ms: 0,
            min_bytes: 1,
            max_bytes: max_bytes as i32,
            at_least_one: true,
            isolation: Isolation::ReadUncommitted,
            entries: wanted.iter().map(entry).collect(),
        };
        self.shard.read(request).await
    }
}

fn sizes(reply: &ReadReply) -> Vec<usize> {
    reply.results.iter().map(|result| result.bytes).collect()
}

/// A consumer of many partitions that is behind would wait for the disk once for each of them, at every fetch.
#[test]
fn partitions_on_disk_are_read_side_by_side() {
    on_cold_partitions(|cold| async move {
        let wanted: Vec<_> = (0..PARTITIONS - 1).map(|partition| (partition, 10, 40_000)).collect();
        let one = {
            let began = now();
            assert_eq!(sizes(&cold.read(&wanted[..1], 1 << 20).await), [40_000]);
            began.elapsed()
        };
        let began = now();
        assert_eq!(sizes(&cold.read(&wanted, 1 << 20).await), [40_000; PARTITIONS as usize - 1]);
        let all = began.elapsed();
        assert!(all < one * 3, "one partition took {one:?}, all of them {all:?}");
    });
}

/// The client's buffer holds what it asked for and not more; and whoever is first in the request is served first, or a partition that is
/// always last starves.
#[test]
fn limits_bind_in_the_order_of_the_request() {
    on_cold_partitions(|cold| async move {
        let wanted = |max_bytes: [usize; 5]| -> Vec<_> { (0..).zip(max_bytes).map(|(p, max)| (p, 3, max)).collect() };
        let few = cold.read(&wanted([25_000, 40_000, 25_000, 9_999, 60_000]), 95_000).await;
        assert_eq!(sizes(&few), [20_000, 40_000, 20_000, 0, 10_000], "what one does not take goes to the next");
        let tight = cold.read(&wanted([30_000; 5]), 45_000).await;
        assert_eq!(sizes(&tight), [30_000, 10_000, 0, 0, 0]);
    });
}

/// A batch larger than every limit must come, or its consumer is stuck at it for ever (KIP-74): the first one there is, alone.
#[test]
fn the_first_batch_that_there_is_comes_whatever_the_limits() {
    on_cold_partitions(|cold| async move {
        let at_end = (0, BATCHES, 1 << 20);
        let empty = (PARTITIONS - 1, 0, 1 << 20);
        for max_bytes in [0, 1, 9_999, 12_000] {
            let reply = cold.read(&[at_end, empty, (4, 5, 100), (5, 5, 100), (6, 5, 1 << 20)], max_bytes).await;
            assert_eq!(sizes(&reply), [0, 0, BATCH_BYTES, 0, 0], "{max_bytes}");
        }
        let reply = cold.read(&[(4, 5, 100), (5, 5, 100), (6, 5, 15_000)], 35_000).await;
        assert_eq!(sizes(&reply), [BATCH_BYTES, 0, BATCH_BYTES], "the others keep to theirs");

        // The first of the request can no longer be read: then the next one is the first.
        cold.breaks.set(true);
        sleep(Duration::from_millis(1)).await;
        let reply = cold.read(&[(0, 5, 100), (1, 5, 100), (2, 5, 100)], 1).await;
        assert_eq!(reply.results[0].error, ErrorCode::KafkaStorageError);
        assert_eq!(sizes(&reply), [0, BATCH_BYTES, 0]);
    });
}

/// Requests as they come: whatever is read side by side and in whatever order it comes back, each result begins with the batch asked for and
/// no limit is passed.
#[test]
fn random_fetches_keep_their_limits() {
    on_cold_partitions(|cold| async move {
        for _ in 0..300 {
            let limit = || [0, 100, 9_999, 10_000, 25_000, 70_000, 1 << 20][random_u64() as usize % 7];
            let wanted: Vec<_> = (0..1 + random_u64() % 20)
                .map(|_| ((random_u64() % PARTITIONS as u64) as i32, (random_u64() % BATCHES as u64) as i64, limit()))
                .map(|(partition, offset, max)| (partition, if partition == PARTITIONS - 1 { 0 } else { offset }, max))
                .collect();
            let max_bytes = limit();
            let reply = cold.read(&wanted, max_bytes).await;
            let mut is_first = true;
            let mut left = max_bytes;
            for ((partition, offset, partition_max), result) in wanted.iter().zip(&reply.results) {
                let what = format!("{wanted:?} within {max_bytes}: {:?}", sizes(&reply));
                assert_eq!(result.error, ErrorCode::None, "{what}");
                let bytes = result.slices.concat();
                assert_eq!(bytes.len(), result.bytes);
                let mut next = *offset;
                for batch in batches(&bytes) {
                    let batch = batch.expect("whole batches");
                    assert_eq!(batch.header.base_offset, next, "{what}");
                    batch.check_crc().expect("the bytes that were stored");
                    next = batch.header.next_offset();
                }
                for slice in result.clone().joined().slices {
                    assert!(batches(&slice).all(|batch| batch.is_ok()), "{what}: half a batch in a slice");
                }
                let is_empty = *partition == PARTITIONS - 1;
                let fits = result.bytes <= left.min(*partition_max);
                assert!(fits || (is_first && result.bytes == BATCH_BYTES), "{what}");
                assert!(!is_first || is_empty || result.bytes > 0, "the first that has something gives it: {what}");
                left = left.saturating_sub(result.bytes);
                is_first &= result.bytes == 0;
            }
        }
    });
}
