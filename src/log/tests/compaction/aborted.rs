//! Compaction of a log with aborted transactions: their records go, and the indexes go on saying what is left.

use bytes::Bytes;
use ringlane_log::cleaner::{self, CleanerOptions, Compaction, CompactionOptions, CompactionSource, ProducerFacts};
use ringlane_log::offline::verify::{self, VerifyOptions};
use ringlane_log::{AppendBatch, DataDir, Log, LogId, LogKey, LogOptions, ShardLogs, ShardLogsOptions};
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{
    BatchBuilder, BatchHeader, Compression, ControlType, ProducerStamp, Records, batches, marker_batch,
    patch_base_offset,
};
use ringlane_protocol::storage::txn_index::AbortedTransaction;
use ringlane_runtime::sim::{LocalMain, Sim, SimOptions};
use ringlane_runtime::{sleep, spawn};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const TRANSACTIONS: i64 = 300;
const KEYS: i64 = 7;
const PRODUCER: i64 = 9;
const FOLDER: &str = "/data/table-0";

struct Source(Log);

impl CompactionSource for Source {
    fn compaction(&self, _: LogKey) -> Option<Compaction> {
        let high_watermark = self.0.stable_offset();
        Some(Compaction { options: CompactionOptions::default(), last_stable_offset: high_watermark, high_watermark })
    }

    fn producers(&self, _: LogKey) -> ProducerFacts {
        ProducerFacts::default()
    }
}

async fn start(data_dir: &DataDir) -> (ShardLogs, Log) {
    let options = ShardLogsOptions {
        journal_file_bytes: 256 << 10,
        tail_cache_bytes: 0,
        ..ShardLogsOptions::of(data_dir, [5; 16]).await
    };
    let logs = ShardLogs::start(options);
    logs.keep_states(Rc::new(|_| Some(Bytes::new())));
    let id = LogId { topic: "table".to_owned(), topic_id: TopicId([7; 16]), partition: 0 };
    let options = LogOptions { segment_bytes: 5_000, ..LogOptions::default() };
    let log = logs.open(id, options, false, &mut ()).await.expect("opens");
    logs.begin().await.expect("the journal begins");
    (logs, log)
}

fn append(log: &Log, mut bytes: Vec<u8>) -> i64 {
    let offset = log.end_offset();
    patch_base_offset(&mut bytes, offset);
    let bytes = Bytes::from(bytes);
    log.append(AppendBatch::new(&BatchHeader::parse(&bytes).expect("was built"), bytes)).expect("appends");
    offset
}

fn is_aborted(transaction: i64) -> bool {
    transaction % 3 != 0
}

fn fill(log: &Log) {
    for transaction in 0..TRANSACTIONS {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.set_producer(ProducerStamp { id: PRODUCER, epoch: 0, base_sequence: transaction as i32 }, true);
        let (key, value) = ((transaction % KEYS).to_string(), transaction.to_string());
        builder.push(1_000, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
        let first_offset = append(log, builder.finish().expect("builds"));
        let kind = if is_aborted(transaction) { ControlType::Abort } else { ControlType::Commit };
        let last_offset = append(log, marker_batch(kind, PRODUCER, 0, 1, 1_000));
        if is_aborted(transaction) {
            let last_stable_offset = last_offset + 1;
            log.note_aborted(AbortedTransaction {
                producer_id: PRODUCER,
                first_offset,
                last_offset,
                last_stable_offset,
            });
        }
    }
}

/// Committed values by key, as a reader of committed records sees them; and how many aborted records it had to drop.
async fn read_committed(log: &Log) -> (BTreeMap<String, i64>, usize) {
    let end = log.end_offset();
    let aborted = log.aborted_transactions(0, end).await.expect("reads");
    let (mut newest, mut dropped, mut from) = (BTreeMap::new(), 0, 0);
    loop {
        let data = log.read(from, end, 100_000, true).await.expect("reads");
        let bytes = data.slices.concat();
        if bytes.is_empty() {
            return (newest, dropped);
        }
        for batch in batches(&bytes).map(|batch| batch.expect("a whole batch")) {
            from = batch.header.next_offset();
            if batch.header.is_control() {
                continue;
            }
            let is_of =
                |one: &AbortedTransaction| (one.first_offset..one.last_offset).contains(&batch.header.base_offset);
            for record in Records::new(&batch.header, batch.body()).map(|record| record.expect("a record")) {
                let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.expect("is there").to_vec()).expect("text");
                let transaction: i64 = text(record.value).parse().expect("a number");
                match aborted.iter().any(is_of) {
                    true => dropped += 1,
                    false => _ = newest.insert(text(record.key), transaction),
                }
                assert_eq!(aborted.iter().any(is_of), is_aborted(transaction), "transaction {transaction}");
            }
        }
    }
}

/// A cleaner that forgets an abort makes its records the newest of their keys; an index that keeps what is gone makes it look damaged.
#[test]
fn aborted_records_go_and_their_indexes_with_them() {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    let main: LocalMain = Box::new(|| {
        Box::pin(async {
            let data_dir = DataDir::open(Path::new("/data")).await.expect("opens");
            let (logs, log) = start(&data_dir).await;
            fill(&log);
            let expected: BTreeMap<String, i64> = (0..TRANSACTIONS)
                .filter(|transaction| !is_aborted(*transaction))
                .map(|transaction| ((transaction % KEYS).to_string(), transaction))
                .collect();
            sleep(Duration::from_secs(3)).await;
            let (newest, dropped_before) = read_committed(&log).await;
            assert_eq!((newest, dropped_before), (expected.clone(), 200));
            let source = Rc::new(Source(log.clone()));
            let cleaning = spawn("cleaner", cleaner::run(logs.clone(), CleanerOptions::default(), source));
            sleep(Duration::from_secs(60)).await;
            drop(cleaning);
            let (newest, dropped) = read_committed(&log).await;
            assert_eq!(newest, expected);
            // Their markers stay for `delete.retention.ms`, and so does what the indexes say of them.
            assert!(dropped < 50, "{dropped} records left");
            let left = log.aborted_transactions(0, i64::MAX).await.expect("reads");
            logs.close().await.expect("closes");
            data_dir.close().await.expect("leaves its marker");

            let options = VerifyOptions { deep: true, stopped_clean: true };
            let report = verify::partition(Path::new(FOLDER), options, &mut |_| {}).await;
            let wrong: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
            assert!(report.is_sound(), "{wrong:?}");
            let data_dir = DataDir::open(Path::new("/data")).await.expect("opens");
            let (_logs, log) = start(&data_dir).await;
            assert_eq!(read_committed(&log).await, (expected, dropped), "after a start");
            assert_eq!(log.aborted_transactions(0, i64::MAX).await.expect("reads"), left);
        })
    });
    sim.start_local(node, vec![main]);
    assert!(sim.run_until(Duration::from_secs(600), |sim| !sim.is_running(node)), "it ends");
    assert!(sim.panics().is_empty(), "{:?}", sim.panics());
}
