//! What a partition leaves beside its segments for Kafka: snapshots of its producers, indexes of its aborted transactions. Compared with
//! a plain list of all batches, after a log was written without the partition, opened by it, written on and stopped in order.
//!
//! `RINGLANE_LOG_KEEP=DIR` leaves the directory of the run on the real disk there, for Kafka's own tool: `scripts/kafka-dump DIR/orders-0`.

use bytes::Bytes;
use ringlane_log::{
    AppendBatch, DataDir, LogId, LogOptions, RetentionOptions, ShardLogs, ShardLogsOptions, StableMode,
};
use ringlane_partition::{
    Acks, AppendEntry, AppendRequest, HomeShard, HomeShardOptions, PartitionSpec, TopicConfig, TopicPartition,
    prepare_batch,
};
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{
    BatchBuilder, BatchHeader, Compression, ControlType, ProducerStamp, marker_batch, patch_base_offset,
};
use ringlane_protocol::storage::producer_snapshot::{self, LastBatch, ProducerEntry};
use ringlane_protocol::storage::txn_index::{self, AbortedTransaction};
use ringlane_runtime::ring::{self, RingOptions};
use ringlane_runtime::sim::{LocalMain, Sim, SimOptions};
use ringlane_runtime::{Buffer, ShardMain, fs, oneshot, spawn, wall_clock_ms};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const AT: TopicPartition = TopicPartition { topic_id: TopicId([7; 16]), partition: 0 };
const BROKER: i32 = 1;
const OPTIONS: LogOptions = LogOptions {
    segment_bytes: 20_000,
    stable_mode: StableMode::Durable,
    flush_ms: 100,
    segment_ms: i64::MAX,
    segment_index_bytes: 1 << 20,
    index_interval_bytes: 4096,
    uses_reserve: false,
    retention: RetentionOptions::DEFAULT,
};
const COORDINATOR_EPOCH: i32 = 3;
/// The one that writes transactions; those before it are idempotent only.
const TRANSACTIONAL: i64 = 4;

/// Every batch of the log, and how its transaction ended if it is a marker.
#[derive(Default)]
struct Model {
    batches: Vec<(BatchHeader, Option<ControlType>)>,
    next_sequence: BTreeMap<i64, i32>,
}

impl Model {
    fn end_offset(&self) -> i64 {
        self.batches.last().map_or(0, |(header, _)| header.next_offset())
    }

    fn data(&mut self, producer: i64, records: i32) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        let at = self.end_offset();
        (0..records).for_each(|_| builder.push(1_000 + at, Some(b"key"), Some(&[b'v'; 100]), &[]));
        let next = self.next_sequence.entry(producer).or_default();
        let stamp = ProducerStamp { id: producer, epoch: 0, base_sequence: *next };
        *next += records;
        builder.set_producer(stamp, producer >= TRANSACTIONAL);
        builder.finish().expect("builds")
    }

    /// Gives the batch its offset.
    fn take(&mut self, mut bytes: Vec<u8>, marker: Option<ControlType>) -> AppendBatch {
        patch_base_offset(&mut bytes, self.end_offset());
        let bytes = Bytes::from(bytes);
        let header = BatchHeader::parse(&bytes).expect("was built");
        self.batches.push((header, marker));
        AppendBatch::new(&header, bytes)
    }

    fn marker(&mut self, producer: i64, kind: ControlType) -> AppendBatch {
        let bytes = marker_batch(kind, producer, 0, COORDINATOR_EPOCH, 2_000 + self.end_offset());
        self.take(bytes, Some(kind))
    }

    /// The producers as of `offset`, and the transactions aborted before it.
    fn at(&self, offset: i64) -> (Vec<ProducerEntry>, Vec<AbortedTransaction>) {
        let mut producers: BTreeMap<i64, ProducerEntry> = BTreeMap::new();
        let mut aborted = Vec::new();
        for (header, marker) in self.batches.iter().filter(|(header, _)| header.base_offset < offset) {
            let id = header.producer_id;
            let entry = producers.entry(id).or_insert(ProducerEntry::new(id, header.producer_epoch));
            entry.timestamp = header.max_timestamp;
            let Some(kind) = marker else {
                entry.last_batch = Some(LastBatch {
                    last_sequence: header.last_sequence(),
                    last_offset: header.last_offset(),
                    offset_delta: header.last_offset_delta,
                });
                if header.is_transactional() {
                    entry.open_transaction_from.get_or_insert(header.base_offset);
                }
                continue;
            };
            entry.coordinator_epoch = Some(COORDINATOR_EPOCH);
            let first = entry.open_transaction_from.take();
            if let (Some(first_offset), ControlType::Abort) = (first, kind) {
                let open = producers.values().filter_map(|entry| entry.open_transaction_from);
                aborted.push(AbortedTransaction {
                    producer_id: id,
                    first_offset,
                    last_offset: header.last_offset(),
                    last_stable_offset: open.min().unwrap_or(header.next_offset()),
                });
            }
        }
        (producers.into_values().collect(), aborted)
    }
}

/// Writes idempotent and transactional batches into the log, as nobody's.
async fn write_log(data_dir: &Path, model: &mut Model) {
    let data_dir = DataDir::open(data_dir).await.expect("opens");
    let logs = ShardLogs::start(ShardLogsOptions::of(&data_dir, [5; 16]).await);
    let id = LogId { topic: "orders".to_owned(), topic_id: AT.topic_id, partition: AT.partition };
    let log = logs.open(id, OPTIONS, false, &mut ()).await.expect("opens");
    logs.begin().await.expect("begins");
    for round in 0..60 {
        for producer in 0..TRANSACTIONAL {
            let bytes = model.data(producer, 1 + round % 4);
            log.append(model.take(bytes, None)).expect("appends");
        }
        for producer in [TRANSACTIONAL, TRANSACTIONAL + 1] {
            let bytes = model.data(producer, 5);
            log.append(model.take(bytes, None)).expect("appends");
        }
        // The second one's transactions are longer, so that they overlap.
        let kind = if round % 3 == 0 { ControlType::Abort } else { ControlType::Commit };
        log.append(model.marker(TRANSACTIONAL, kind)).expect("appends");
        if round % 5 == 4 {
            let kind = if round % 2 == 0 { ControlType::Abort } else { ControlType::Commit };
            log.append(model.marker(TRANSACTIONAL + 1, kind)).expect("appends");
        }
    }
    // One stays open.
    let bytes = model.data(TRANSACTIONAL, 5);
    log.append(model.take(bytes, None)).expect("appends");
    logs.close().await.expect("closes");
    data_dir.close().await.expect("leaves its marker");
}

/// Opens the partition, which has to find out all by itself, writes on, and stops.
async fn write_partition(data_dir: &Path, model: &mut Model) {
    let data_dir = DataDir::open(data_dir).await.expect("opens");
    let logs = ShardLogs::start(ShardLogsOptions::of(&data_dir, [5; 16]).await);
    let shard = HomeShard::new(HomeShardOptions::new(BROKER, logs.clone(), Default::default()));
    let spec = PartitionSpec {
        at: AT,
        topic: "orders".into(),
        leader_id: BROKER,
        leader_epoch: 0,
        replicas_count: 1,
        isr_count: 1,
        config: Arc::new(TopicConfig::default()),
        log: OPTIONS,
        is_new: false,
    };
    shard.apply(spec).await.expect("opens");
    logs.begin().await.expect("begins");
    let running = shard.clone();
    let running = spawn("home shard", async move { running.run().await });
    for round in 0..300 {
        let bytes = model.data(round % TRANSACTIONAL, 3);
        let config = TopicConfig::default();
        let batch = prepare_batch(Buffer::copy_from(&bytes), 13, &config, wall_clock_ms());
        let request = AppendRequest {
            acks: Acks::All,
            timeout_ms: 30_000,
            entries: vec![AppendEntry { at: AT, guard: None, batch }],
        };
        let (sender, reply) = oneshot();
        shard.append(request, move |reply| drop(sender.send(reply)));
        let result = reply.await.expect("is answered").results.remove(0);
        assert_eq!((result.failure, result.base_offset), (None, model.end_offset()));
        model.take(bytes, None);
    }
    logs.close().await.expect("closes");
    drop(running);
    data_dir.close().await.expect("leaves its marker");
}

async fn offsets_of(folder: &Path, suffix: &str) -> Vec<i64> {
    let entries = fs::read_dir(folder).await.expect("is there");
    let names = entries.iter().filter_map(|path| path.file_name()?.to_str());
    names.filter_map(|name| name.strip_suffix(suffix)?.parse().ok()).collect()
}

/// Every file says what the list of batches says.
async fn check(folder: &Path, model: &Model, first_snapshot: i64) {
    let bases = offsets_of(folder, ".log").await;
    let snapshots = offsets_of(folder, ".snapshot").await;
    let mut expected: Vec<i64> = bases.iter().copied().filter(|base| *base >= first_snapshot).collect();
    expected.push(model.end_offset());
    assert!(bases.len() > 10 && expected.len() > 3, "{bases:?} {snapshots:?}");
    assert_eq!(snapshots, expected, "one for each segment that began while there was a partition, and one of the end");
    for offset in snapshots {
        let content = fs::read(&folder.join(format!("{offset:020}.snapshot"))).await.expect("is there");
        assert_eq!(producer_snapshot::decode(&content), Ok(model.at(offset).0), "as of {offset}");
    }
    let (_, aborted) = model.at(i64::MAX);
    assert!(offsets_of(folder, ".txnindex").await.len() > 3, "in several segments");
    for (at, base) in bases.iter().enumerate() {
        let end = bases.get(at + 1).copied().unwrap_or(i64::MAX);
        let ended_here: Vec<_> =
            aborted.iter().filter(|one| (*base..end).contains(&one.last_offset)).copied().collect();
        let found = fs::read(&folder.join(format!("{base:020}.txnindex"))).await;
        match ended_here.is_empty() {
            true => assert!(found.is_err(), "an empty index is no file"),
            false => assert_eq!(txn_index::decode(&found.expect("is there")), Ok(ended_here), "segment {base}"),
        }
    }
}

async fn story(data_dir: PathBuf) {
    fs::create_dir_all(&data_dir).await.expect("creates");
    let folder = data_dir.join("orders-0");
    let mut model = Model::default();
    write_log(&data_dir, &mut model).await;
    let written = model.end_offset();
    write_partition(&data_dir, &mut model).await;
    check(&folder, &model, written).await;
    // Started and stopped once more: the same files, and none of the stop before is left.
    write_partition(&data_dir, &mut model).await;
    check(&folder, &model, written).await;
}

/// Kafka's tools and a Kafka that gets the directory believe these files: a producer too few stores a retry twice, an aborted transaction
/// too few shows its records.
#[test]
fn snapshots_and_transaction_indexes_say_what_the_log_says() {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    let main: LocalMain = Box::new(|| Box::pin(story("/data".into())));
    sim.start_local(node, vec![main]);
    assert!(sim.run_until(Duration::from_secs(600), |sim| !sim.is_running(node)), "it ends");
    assert!(sim.panics().is_empty(), "{:?}", sim.panics());
}

/// The same on the real disk, where Kafka's own tool can look at it.
#[test]
fn a_stopped_directory_is_left_for_kafkas_tools() {
    let kept = std::env::var_os("RINGLANE_LOG_KEEP").map(PathBuf::from);
    let name = format!("kafka-files-{}", std::process::id());
    let directory = kept.clone().unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
    let main: ShardMain = Box::new(move || {
        Box::pin(async move {
            story(directory.clone()).await;
            if kept.is_none() {
                fs::remove_dir_all(&directory).await.expect("removes what it made");
            }
        })
    });
    let cores = ring::allowed_cores().into_iter().take(1).collect();
    ring::run(RingOptions { cores, pool_bytes_per_shard: 64 << 20, spin_us: 0 }, vec![main]).expect("the shard starts");
}

/// A partition that Kafka wrote: what its snapshot knows of producers whose records are gone must be known here.
#[test]
fn a_snapshot_of_kafkas_tells_of_producers_whose_records_are_deleted() {
    let mut sim = Sim::new(2, SimOptions::default());
    let node = sim.add_node();
    let main: LocalMain = Box::new(|| {
        Box::pin(async {
            let (data_dir, folder) = (Path::new("/data"), Path::new("/data/orders-0"));
            fs::create_dir_all(data_dir).await.expect("creates");
            let mut model = Model::default();
            write_log(data_dir, &mut model).await;
            let end = model.end_offset();
            // Of a producer that has no batch in the log any more, and of one whose transaction began before the log does.
            let mut producers = model.at(end).0;
            let last_batch = Some(LastBatch { last_sequence: 41, last_offset: 0, offset_delta: 0 });
            let timestamp = wall_clock_ms();
            producers.push(ProducerEntry { last_batch, timestamp, ..ProducerEntry::new(900, 2) });
            for (offset, content) in
                [(end, producer_snapshot::encode(&producers)), (end + 5, producer_snapshot::encode(&[])), (7, vec![1])]
            {
                let path = folder.join(format!("{offset:020}.snapshot"));
                fs::write_atomic(&path, &content).await.expect("writes");
            }
            write_partition(data_dir, &mut model).await;
            let last = offsets_of(folder, ".snapshot").await.pop().expect("there is one");
            assert_eq!(last, model.end_offset(), "the one behind the log's end is gone");
            let content = fs::read(&folder.join(format!("{last:020}.snapshot"))).await.expect("is there");
            let found = producer_snapshot::decode(&content).expect("reads");
            let mut expected = model.at(last).0;
            expected.push(producers.pop().expect("was pushed"));
            assert_eq!(found, expected);
        })
    });
    sim.start_local(node, vec![main]);
    assert!(sim.run_until(Duration::from_secs(600), |sim| !sim.is_running(node)), "it ends");
    assert!(sim.panics().is_empty(), "{:?}", sim.panics());
}
