//! A compacted topic from the wire: what a consumer finds after its history was cleaned.

use crate::kit::{Wire, batch, decode, with_broker};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use ringlane_protocol::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ringlane_protocol::records::{BatchBuilder, Compression, Records, batches};
use ringlane_runtime::sim::Seed;
use ringlane_runtime::sleep;
use std::collections::BTreeMap;
use std::time::Duration;

const TOPIC: &str = "table";
const KEYS: u64 = 50;
const RECORDS_PER_BATCH: u64 = 10;
/// 80 of them of 80 KB fill six segments of 1 MiB, the least that Kafka takes.
const BATCHES: u64 = 80;
const VALUE_BYTES: usize = 8_000;
/// More than the 26 MiB that the shard keeps in memory of what it wrote.
const FILLER_BATCHES: usize = 36;
const FILLER_BYTES: usize = 900_000;

type Table = BTreeMap<i64, (Vec<u8>, Option<Vec<u8>>)>;

impl Wire {
    async fn create_compacted(&mut self, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|&(name, value)| CreatableTopicConfig { name, value: Some(value) });
        let topic = CreatableTopic {
            name: TOPIC,
            num_partitions: 1,
            replication_factor: -1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
        let body = self.call(7, &request).await;
        assert_eq!(decode::<CreateTopicsResponse>(&body, 7).topics[0].error_code, ErrorCode::None);
    }

    /// Every record from the first offset to `end`, which no gap may hide.
    async fn everything(&mut self, end: i64) -> Table {
        let (mut offset, mut found) = (0, Table::new());
        while offset < end {
            let asked = FetchPartition {
                partition: 0,
                current_leader_epoch: -1,
                fetch_offset: offset,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            };
            let topics = vec![FetchTopic { topic: TOPIC, partitions: vec![asked], ..Default::default() }];
            let request =
                FetchRequest { min_bytes: 1, max_bytes: 1 << 20, session_epoch: -1, topics, ..Default::default() };
            let body = self.call(12, &request).await;
            let response = decode::<FetchResponse>(&body, 12);
            let partition = &response.responses[0].partitions[0];
            assert_eq!((partition.error_code, partition.high_watermark), (ErrorCode::None, end));
            for batch in batches(partition.records.expect("records")).map(|batch| batch.expect("a whole batch")) {
                batch.check_crc().expect("a sound batch");
                let body = batch.uncompressed_body(1 << 24).expect("unpacks");
                for record in Records::new(&batch.header, &body).map(|record| record.expect("a record")) {
                    let key = record.key.expect("a record without a key was refused").to_vec();
                    found.insert(record.offset(&batch.header), (key, record.value.map(<[u8]>::to_vec)));
                }
                assert!(batch.header.next_offset() > offset, "the fetch gets on");
                offset = batch.header.next_offset();
            }
        }
        found
    }
}

/// What is produced: offset, key, value. Every 13th record is a tombstone.
fn history() -> Table {
    let record = |n: u64| {
        let key = format!("key-{}", n * n % KEYS).into_bytes();
        let value = (!n.is_multiple_of(13)).then(|| noise(n));
        (n as i64, (key, value))
    };
    (0..BATCHES * RECORDS_PER_BATCH).map(record).collect()
}

/// Does not compress: the segments are to fill.
fn noise(seed: u64) -> Vec<u8> {
    let mut seed = Seed::new(seed);
    (0..VALUE_BYTES).map(|_| seed.below(256) as u8).collect()
}

fn newest(table: &Table) -> BTreeMap<&[u8], (i64, Option<&[u8]>)> {
    table.iter().map(|(offset, (key, value))| (&key[..], (*offset, value.as_deref()))).collect()
}

/// Whoever rebuilds a table from a compacted topic must end with the newest value of every key, at the offset that it always had; and a record
/// without a key, of which compaction could keep none, must not get in.
#[test]
fn a_compacted_topic_keeps_the_newest_value_of_every_key_and_its_offset() {
    with_broker(1, &[("log.cleaner.backoff.ms", "200"), ("memory.shard.bytes", "67108864")], || async {
        let mut client = Wire::connect().await;
        let settings = [
            ("cleanup.policy", "compact"),
            ("segment.bytes", "1048576"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("file.delete.delay.ms", "100"),
        ];
        client.create_compacted(&settings).await;
        let history = history();
        for (n, batch) in history.values().collect::<Vec<_>>().chunks(RECORDS_PER_BATCH as usize).enumerate() {
            let codec = Compression::ALL[n % Compression::ALL.len()];
            let mut builder = BatchBuilder::new(codec);
            for (key, value) in batch {
                builder.push(1_767_225_600_000, Some(key), value.as_deref(), &[]);
            }
            let (error, base_offset) = client.produce(TOPIC, 0, -1, &builder.finish().expect("compresses")).await;
            assert_eq!((error, base_offset), (ErrorCode::None, n as i64 * RECORDS_PER_BATCH as i64));
        }
        let mut keyless = BatchBuilder::new(Compression::None);
        keyless.push(1_767_225_600_000, Some(b"key-1"), Some(b"with"), &[]);
        keyless.push(1_767_225_600_000, None, Some(b"without"), &[]);
        let (error, _) = client.produce(TOPIC, 0, -1, &keyless.finish().expect("builds")).await;
        assert_eq!(error, ErrorCode::InvalidRecord);

        let end = history.len() as i64;
        // Segments are sealed a second after their last write, then a round follows every 200 ms.
        sleep(Duration::from_secs(30)).await;
        // What was just produced is read from memory, where it is whole: other records take its place there.
        client.create_topic("filler", 1).await;
        for _ in 0..FILLER_BATCHES {
            assert_eq!(client.produce("filler", 0, -1, &batch(1, FILLER_BYTES)).await.0, ErrorCode::None);
        }
        let found = client.everything(end).await;
        assert!(found.len() < history.len() / 2, "{} of {} records are left", found.len(), history.len());
        for (offset, record) in &found {
            assert_eq!(Some(record), history.get(offset), "offset {offset} is another record");
        }
        assert_eq!(newest(&found), newest(&history));
    });
}
