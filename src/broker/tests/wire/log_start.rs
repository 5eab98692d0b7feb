//! Where logs begin and how large they are: DeleteRecords, DescribeLogDirs, retention at work.

use crate::kit::{Wire, batch, decode, with_broker};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use ringlane_protocol::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use ringlane_protocol::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResponse};
use ringlane_protocol::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ringlane_protocol::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use ringlane_runtime::sleep;
use std::time::Duration;

impl Wire {
    async fn delete_before(&mut self, version: i16, topic: &str, partition: i32, offset: i64) -> (ErrorCode, i64) {
        let partitions = vec![DeleteRecordsPartition { partition_index: partition, offset }];
        let topics = vec![DeleteRecordsTopic { name: topic, partitions }];
        let body = self.call(version, &DeleteRecordsRequest { topics, timeout_ms: 5_000 }).await;
        let response = decode::<DeleteRecordsResponse>(&body, version);
        let result = &response.topics[0].partitions[0];
        assert_eq!((response.topics[0].name, result.partition_index), (topic, partition));
        (result.error_code, result.low_watermark)
    }

    async fn earliest(&mut self, topic: &str, partition_index: i32) -> i64 {
        let asked = ListOffsetsPartition { partition_index, current_leader_epoch: -1, timestamp: -2 };
        let topics = vec![ListOffsetsTopic { name: topic, partitions: vec![asked] }];
        let body = self.call(7, &ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }).await;
        decode::<ListOffsetsResponse>(&body, 7).topics[0].partitions[0].offset
    }

    async fn create_with(&mut self, name: &str, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|&(name, value)| CreatableTopicConfig { name, value: Some(value) });
        let topic = CreatableTopic {
            name,
            num_partitions: 1,
            replication_factor: -1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
        let body = self.call(7, &request).await;
        assert_eq!(decode::<CreateTopicsResponse>(&body, 7).topics[0].error_code, ErrorCode::None);
    }
}

/// Kafka Streams purges its repartition topics with this, and a wrong answer makes it purge for ever, or too much.
#[test]
fn records_are_deleted_up_to_an_offset() {
    with_broker(3, &[], || async {
        let mut client = Wire::connect().await;
        client.create_topic("orders", 4).await;
        for partition in 0..4 {
            for _ in 0..10 {
                client.produce("orders", partition, -1, &batch(1, 10)).await;
            }
        }
        for version in 0..=2 {
            let offset = 3 + i64::from(version);
            assert_eq!(client.delete_before(version, "orders", 1, offset).await, (ErrorCode::None, offset));
            assert_eq!(client.earliest("orders", 1).await, offset);
        }
        assert_eq!(client.delete_before(2, "orders", 1, 2).await, (ErrorCode::None, 5), "lower is done already");
        assert_eq!(client.delete_before(2, "orders", 2, -1).await, (ErrorCode::None, 10), "the high watermark");
        for (topic, partition, offset, error) in [
            ("orders", 1, 11, ErrorCode::OffsetOutOfRange),
            ("orders", 1, -2, ErrorCode::OffsetOutOfRange),
            ("orders", 4, 1, ErrorCode::UnknownTopicOrPartition),
            ("gone", 0, 1, ErrorCode::UnknownTopicOrPartition),
        ] {
            assert_eq!(
                client.delete_before(2, topic, partition, offset).await,
                (error, -1),
                "{topic} {partition} {offset}"
            );
        }
        assert_eq!((client.earliest("orders", 0).await, client.earliest("orders", 1).await), (0, 5));

        let fetch = |fetch_offset| {
            let asked = FetchPartition {
                partition: 1,
                fetch_offset,
                partition_max_bytes: 1 << 20,
                current_leader_epoch: -1,
                last_fetched_epoch: -1,
                ..Default::default()
            };
            let topics = vec![FetchTopic { topic: "orders", partitions: vec![asked], ..Default::default() }];
            FetchRequest { min_bytes: 1, max_bytes: 1 << 20, session_epoch: -1, topics, ..Default::default() }
        };
        for (offset, expected) in [(4, ErrorCode::OffsetOutOfRange), (5, ErrorCode::None)] {
            let body = client.call(12, &fetch(offset)).await;
            let response = decode::<FetchResponse>(&body, 12);
            let found = &response.responses[0].partitions[0];
            assert_eq!(found.error_code, expected);
            assert!(expected != ErrorCode::None || found.log_start_offset == 5);
        }
    });
}

/// The newest value of a key may be among the first offsets of a compacted topic: deleting by offset would lose it (POLICY_VIOLATION).
#[test]
fn only_topics_with_a_delete_policy_let_records_be_deleted() {
    with_broker(1, &[], || async {
        let mut client = Wire::connect().await;
        for (topic, policy, expected) in [
            ("a", "compact", (ErrorCode::PolicyViolation, -1)),
            ("b", "compact,delete", (ErrorCode::None, 1)),
            ("c", "delete", (ErrorCode::None, 1)),
        ] {
            client.create_with(topic, &[("cleanup.policy", policy)]).await;
            client.produce(topic, 0, -1, &batch(2, 10)).await;
            assert_eq!(client.delete_before(2, topic, 0, 1).await, expected, "{policy}");
        }
    });
}

/// Disk dashboards and partition movers read sizes from here.
#[test]
fn data_directories_are_described_with_sizes_and_space() {
    with_broker(3, &[], || async {
        let mut client = Wire::connect().await;
        client.create_topic("orders", 4).await;
        client.create_topic("other", 1).await;
        let records = batch(1, 1_000);
        client.produce("orders", 2, -1, &records).await;
        let asked = DescribableLogDirTopic { topic: "orders", partitions: vec![2, 0, 9] };
        let nowhere = DescribableLogDirTopic { topic: "gone", partitions: vec![0] };
        for version in 1..=5 {
            let request = DescribeLogDirsRequest { topics: Some(vec![asked.clone(), nowhere.clone()]) };
            let body = client.call(version, &request).await;
            let response = decode::<DescribeLogDirsResponse>(&body, version);
            let [dir] = &response.results[..] else { panic!("{} directories", response.results.len()) };
            assert_eq!((response.error_code, dir.error_code, dir.log_dir), (ErrorCode::None, ErrorCode::None, "/data"));
            let [topic] = &dir.topics[..] else { panic!("{} topics", dir.topics.len()) };
            let sizes: Vec<_> = topic.partitions.iter().map(|p| (p.partition_index, p.partition_size)).collect();
            assert_eq!((topic.name, sizes), ("orders", vec![(0, 0), (2, records.len() as i64)]));
            assert!(topic.partitions.iter().all(|p| p.offset_lag == 0 && !p.is_future_key));
            if version >= 4 {
                assert!(0 < dir.usable_bytes && dir.usable_bytes < dir.total_bytes);
            }

            let body = client.call(version, &DescribeLogDirsRequest { topics: None }).await;
            let response = decode::<DescribeLogDirsResponse>(&body, version);
            let count: usize = response.results[0].topics.iter().map(|topic| topic.partitions.len()).sum();
            assert_eq!(count, 5, "all partitions of all shards");
        }
    });
}

/// The whole loop: nobody asks, time passes, records are gone; those of a topic that keeps them are not.
#[test]
fn old_records_go_by_themselves() {
    with_broker(2, &[("log.retention.check.interval.ms", "1000")], || async {
        let mut client = Wire::connect().await;
        client.create_with("short", &[("retention.ms", "60000")]).await;
        client.create_with("long", &[("retention.ms", "-1")]).await;
        for topic in ["short", "long"] {
            client.produce(topic, 0, -1, &batch(3, 10)).await;
        }
        sleep(Duration::from_secs(30)).await;
        assert_eq!(client.earliest("short", 0).await, 0);
        sleep(Duration::from_secs(50)).await;
        assert_eq!((client.earliest("short", 0).await, client.earliest("long", 0).await), (3, 0));
        assert_eq!(client.produce("short", 0, -1, &batch(1, 10)).await, (ErrorCode::None, 3), "offsets go on");
    });
}
