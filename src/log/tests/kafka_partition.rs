//! A partition that Apache Kafka 4.3 wrote, read to its last record. `fixtures/kafka-4.3` is its data directory after an orderly stop, made
//! by `scripts/kafka-partition` with `tests/kafka-partition/MakePartition.java`, which says what each record holds.
#![expect(clippy::disallowed_methods, reason = "copies the fixture on the real machine")]

use ringlane_log::offline::verify::{self, VerifyOptions};
use ringlane_log::offline::{Directory, Owner};
use ringlane_log::{DataDir, EveryBatch, LogId, LogOptions, ShardLogs, ShardLogsOptions};
use ringlane_protocol::records::{Batch, BatchHeader, Compression, ControlType, Records, batches};
use ringlane_protocol::storage::{producer_snapshot, txn_index};
use ringlane_runtime::ShardMain;
use ringlane_runtime::ring::{self, RingOptions};
use std::path::{Path, PathBuf};

const FOLDER: &str = "written-by-kafka-0";
const FIRST_TIMESTAMP: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;
/// Records that applications sent, and the markers of one commit and one abort.
const END_OFFSET: i64 = 1_117;
const MARKERS: [(i64, ControlType); 2] = [(1_105, ControlType::Commit), (1_111, ControlType::Abort)];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-4.3")
}

/// Runs `work` on a shard with a copy of the fixture.
fn with_copy<F: Future<Output = ()> + 'static>(name: &str, work: impl FnOnce(PathBuf) -> F + Send + 'static) {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kafka-{name}-{}", std::process::id()));
    std::fs::create_dir_all(copy.join(FOLDER)).expect("a directory for the copy");
    for folder in [fixture(), fixture().join(FOLDER)] {
        for entry in std::fs::read_dir(&folder).expect("the fixture").map(|entry| entry.expect("an entry").path()) {
            let to = copy.join(entry.strip_prefix(fixture()).expect("inside"));
            if entry.is_file() {
                std::fs::copy(&entry, to).expect("copies");
            }
        }
    }
    let to = copy.clone();
    let main: ShardMain = Box::new(move || Box::pin(async move { work(to).await }));
    let cores = ring::allowed_cores().into_iter().take(1).collect();
    ring::run(RingOptions { cores, pool_bytes_per_shard: 64 << 20, spin_us: 0 }, vec![main]).expect("the shard starts");
    std::fs::remove_dir_all(&copy).expect("removes the copy");
}

/// What `MakePartition.java` gave the record with this number.
struct Expected {
    key: Option<String>,
    value: Option<String>,
    header: Option<String>,
}

fn expected(number: i64) -> Expected {
    Expected {
        key: (number % 3 != 0).then(|| format!("key-{}", number % 10)),
        value: (number % 7 != 0).then(|| format!("value {number} ").repeat(number as usize % 20)),
        header: (number % 5 == 0).then(|| number.to_string()),
    }
}

/// A data directory comes from Kafka: its records must be here, all of them, in every codec, with keys, headers and markers.
#[test]
fn every_record_of_a_partition_that_kafka_wrote_is_read() {
    with_copy("read", |directory| async move {
        let folder = directory.join(FOLDER);
        let metadata = std::fs::read_to_string(folder.join("partition.metadata")).expect("is there");
        let topic_id = metadata.split("topic_id: ").nth(1).expect("names it").trim().parse().expect("an id");

        let data_dir = DataDir::open(&directory).await.expect("opens");
        let shard = ShardLogs::start(ShardLogsOptions::of(&data_dir, [5; 16]).await);
        let id = LogId { topic: "written-by-kafka".to_owned(), topic_id, partition: 0 };
        let mut headers: Vec<BatchHeader> = Vec::new();
        let log = shard
            .open(id, LogOptions::default(), false, &mut EveryBatch(|header: &BatchHeader| headers.push(*header)))
            .await
            .expect("opens");
        assert_eq!((log.start_offset(), log.end_offset()), (0, END_OFFSET));

        let (mut offset, mut number, mut codecs) = (0, 0, Vec::new());
        while offset < END_OFFSET {
            let data = log.read(offset, END_OFFSET, 10_000, true).await.expect("reads");
            let bytes = data.slices.concat();
            for batch in batches(&bytes).map(|batch| batch.expect("a whole batch")) {
                codecs.extend(batch.header.attributes.compression());
                check_batch(&batch, &mut offset, &mut number);
            }
        }
        assert_eq!(number, END_OFFSET - MARKERS.len() as i64);
        codecs.dedup();
        assert_eq!(codecs[..5], Compression::ALL);

        // Found by time, in a segment of which only Kafka's index was there.
        let third = FIRST_TIMESTAMP + 2 * HOUR_MS + 600;
        assert_eq!(log.offset_for_timestamp(third, i64::MAX).await.expect("finds"), Some((600, third)));
        assert!(headers.is_sorted_by(|a, b| a.next_offset() <= b.base_offset));
        shard.close().await.expect("closes");
        data_dir.close().await.expect("leaves its marker");
    });
}

fn check_batch(batch: &Batch<'_>, offset: &mut i64, number: &mut i64) {
    batch.check_crc().expect("as Kafka wrote it");
    let body = batch.uncompressed_body(1 << 20).expect("unpacks");
    for record in Records::new(&batch.header, &body).map(|record| record.expect("a record")) {
        assert_eq!(record.offset(&batch.header), *offset);
        *offset += 1;
        if let Some((_, kind)) = MARKERS.iter().find(|(marker, _)| marker + 1 == *offset) {
            assert!(batch.header.is_control());
            assert_eq!(ControlType::of(&record), Some(*kind));
            continue;
        }
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).expect("text"));
        let wanted = expected(*number);
        assert_eq!(text(record.key), wanted.key, "record {number}");
        assert_eq!(text(record.value), wanted.value, "record {number}");
        let header = { record.headers }.next();
        assert_eq!(header.and_then(|header| text(header.value)), wanted.header, "record {number}");
        assert_eq!((record.timestamp(&batch.header) - FIRST_TIMESTAMP) % HOUR_MS, *number);
        *number += 1;
    }
}

/// The command must find nothing wrong in what Kafka left in order, or nobody believes it when it does.
#[test]
fn verify_finds_nothing_wrong_in_kafkas_directory() {
    with_copy("verify", |directory| async move {
        let directory = Directory::open(&directory).await.expect("is Kafka's");
        assert!(matches!(directory.owner(), Owner::Kafka(kafka) if kafka.node_id == 1), "{:?}", directory.owner());
        assert!(directory.stopped_clean());
        assert_eq!(verify::top(&directory).await, []);
        let (partitions, strangers) = directory.entries().await.expect("lists");
        assert_eq!((partitions.len(), strangers.len()), (1, 0));

        let mut read = 0;
        let options = VerifyOptions { deep: true, stopped_clean: true };
        let report = verify::partition(&partitions[0], options, &mut |bytes| read += bytes).await;
        assert_eq!(report.findings, []);
        assert_eq!((report.segments, report.start_offset, report.end_offset), (7, 0, END_OFFSET));
        assert_eq!((report.records, report.bytes), (END_OFFSET as u64, read));

        let aborted = std::fs::read(partitions[0].join("00000000000000001105.txnindex")).expect("is there");
        let aborted = txn_index::decode(&aborted).expect("reads");
        assert_eq!(
            aborted.iter().map(|entry| (entry.first_offset, entry.last_offset)).collect::<Vec<_>>(),
            [(1_106, 1_111)]
        );
        let producers = std::fs::read(partitions[0].join("00000000000000001117.snapshot")).expect("is there");
        let producers = producer_snapshot::decode(&producers).expect("reads");
        assert_eq!(producers.iter().map(|entry| entry.producer_id).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    });
}
