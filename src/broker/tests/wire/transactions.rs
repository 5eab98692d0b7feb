//! Transactions over the wire, in both protocols, on several shards: what readers of committed records see, what producers are told, what
//! becomes of those that stop in the middle.

use crate::kit::*;
use ringlane_protocol::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use ringlane_protocol::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use ringlane_protocol::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use ringlane_protocol::describe_producers::{DescribeProducersRequest, DescribeProducersResponse, TopicRequest};
use ringlane_protocol::describe_transactions::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use ringlane_protocol::end_txn::{EndTxnRequest, EndTxnResponse};
use ringlane_protocol::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ringlane_protocol::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ringlane_protocol::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringlane_protocol::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};
use ringlane_protocol::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use ringlane_protocol::produce::{ProduceRequest, ProduceResponse};
use ringlane_protocol::records::{BatchBuilder, Compression, ProducerStamp};
use ringlane_protocol::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
};
use ringlane_protocol::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::sleep;
use std::time::Duration;

const ID: &str = "tx";
/// Versions of Produce of clients that add their partitions, and of clients that leave it to the broker.
const FIRST: i16 = 9;
const SECOND: i16 = 12;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Producer {
    id: i64,
    epoch: i16,
}

impl Producer {
    fn batch(self, sequence: i32) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(1_767_225_600_000, Some(b"key"), Some(b"value"), &[]);
        builder.set_producer(ProducerStamp { id: self.id, epoch: self.epoch, base_sequence: sequence }, true);
        builder.finish().expect("a batch")
    }
}

/// What a reader of committed records gets of a partition.
#[derive(PartialEq, Eq, Debug)]
struct Seen {
    last_stable_offset: i64,
    high_watermark: i64,
    bytes: usize,
    /// First offsets of aborted transactions.
    aborted: Vec<i64>,
}

impl Wire {
    async fn find_transaction_coordinator(&mut self) -> (ErrorCode, i32) {
        let request = FindCoordinatorRequest { key_type: 1, coordinator_keys: vec![ID], ..Default::default() };
        let body = self.call(6, &request).await;
        let found = &decode::<FindCoordinatorResponse>(&body, 6).coordinators[0];
        (found.error_code, found.node_id)
    }

    async fn init_once(&mut self, timeout_ms: i32) -> Result<Producer, ErrorCode> {
        let request = InitProducerIdRequest {
            transactional_id: Some(ID),
            transaction_timeout_ms: timeout_ms,
            ..Default::default()
        };
        let body = self.call(5, &request).await;
        let InitProducerIdResponse { error_code, producer_id, producer_epoch, .. } = decode(&body, 5);
        match error_code {
            ErrorCode::None => Ok(Producer { id: producer_id, epoch: producer_epoch }),
            error => Err(error),
        }
    }

    /// As every client does it: again, while a transaction of the producer before is being ended or the coordinator loads.
    async fn init(&mut self, timeout_ms: i32) -> Producer {
        loop {
            match self.init_once(timeout_ms).await {
                Ok(producer) => return producer,
                Err(ErrorCode::ConcurrentTransactions | ErrorCode::CoordinatorLoadInProgress) => {
                    sleep(Duration::from_millis(20)).await;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    async fn begin(&mut self) -> Producer {
        assert_eq!(self.find_transaction_coordinator().await.0, ErrorCode::None);
        self.init(60_000).await
    }

    async fn add_partitions(&mut self, version: i16, producer: Producer, partitions: Vec<i32>) -> Vec<ErrorCode> {
        let topics = || vec![AddPartitionsToTxnTopic { name: "orders", partitions: partitions.clone() }];
        let request = match version {
            4.. => AddPartitionsToTxnRequest {
                transactions: vec![AddPartitionsToTxnTransaction {
                    transactional_id: ID,
                    producer_id: producer.id,
                    producer_epoch: producer.epoch,
                    verify_only: true,
                    topics: topics(),
                }],
                ..Default::default()
            },
            _ => AddPartitionsToTxnRequest {
                v3_and_below_transactional_id: ID,
                v3_and_below_producer_id: producer.id,
                v3_and_below_producer_epoch: producer.epoch,
                v3_and_below_topics: topics(),
                ..Default::default()
            },
        };
        let body = self.call(version, &request).await;
        let response = decode::<AddPartitionsToTxnResponse>(&body, version);
        let topics = match version {
            4.. => &response.results_by_transaction[0].topic_results,
            _ => &response.results_by_topic_v3_and_below,
        };
        topics.iter().flat_map(|topic| &topic.results_by_partition).map(|result| result.partition_error_code).collect()
    }

    async fn write(&mut self, version: i16, partition: i32, producer: Producer, sequence: i32) -> ErrorCode {
        let records = producer.batch(sequence);
        let request =
            ProduceRequest { transactional_id: Some(ID), ..produce_request("orders", partition, -1, &records) };
        let body = self.call(version, &request).await;
        decode::<ProduceResponse>(&body, version).responses[0].partition_responses[0].error_code
    }

    async fn end(&mut self, version: i16, producer: Producer, committed: bool) -> Result<Producer, ErrorCode> {
        let request =
            EndTxnRequest { transactional_id: ID, producer_id: producer.id, producer_epoch: producer.epoch, committed };
        let body = self.call(version, &request).await;
        let EndTxnResponse { error_code, producer_id, producer_epoch, .. } = decode(&body, version);
        match error_code {
            ErrorCode::None => Ok(Producer { id: producer_id, epoch: producer_epoch }),
            error => Err(error),
        }
    }

    async fn read_committed(&mut self, topic_id: TopicId, partition: i32) -> Seen {
        let wanted = FetchPartition {
            partition,
            partition_max_bytes: 1 << 20,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
            ..Default::default()
        };
        let request = FetchRequest {
            min_bytes: 1,
            max_bytes: 50 << 20,
            session_epoch: -1,
            isolation_level: 1,
            topics: vec![FetchTopic { topic: "", topic_id, partitions: vec![wanted] }],
            ..Default::default()
        };
        let body = self.call(18, &request).await;
        let response = decode::<FetchResponse>(&body, 18);
        let data = &response.responses[0].partitions[0];
        assert_eq!(data.error_code, ErrorCode::None);
        let aborted = data.aborted_transactions.as_ref().expect("asked for");
        Seen {
            last_stable_offset: data.last_stable_offset,
            high_watermark: data.high_watermark,
            bytes: data.records.unwrap_or_default().len(),
            aborted: aborted.iter().map(|aborted| aborted.first_offset).collect(),
        }
    }

    /// Waits until the markers of the last transaction are written.
    async fn settled(&mut self, topic_id: TopicId, partition: i32) -> Seen {
        for _ in 0..100 {
            let seen = self.read_committed(topic_id, partition).await;
            if seen.last_stable_offset == seen.high_watermark {
                return seen;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("the transaction is not ended");
    }

    async fn state(&mut self) -> (String, Vec<i32>) {
        let body = self.call(0, &DescribeTransactionsRequest { transactional_ids: vec![ID] }).await;
        let response = decode::<DescribeTransactionsResponse>(&body, 0);
        let state = &response.transaction_states[0];
        assert_eq!(state.error_code, ErrorCode::None);
        let partitions = state.topics.iter().flat_map(|topic| topic.partitions.clone()).collect();
        (state.transaction_state.to_owned(), partitions)
    }

    async fn commit_offset(&mut self, version: i16, producer: Producer, offset: i64) -> ErrorCode {
        let partition = TxnOffsetCommitRequestPartition {
            partition_index: 0,
            committed_offset: offset,
            committed_leader_epoch: -1,
            committed_metadata: Some(""),
        };
        let topic = TxnOffsetCommitRequestTopic { name: "orders", partitions: vec![partition], ..Default::default() };
        let request = TxnOffsetCommitRequest {
            transactional_id: ID,
            group_id: "g",
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            generation_id_or_member_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        };
        let body = self.call(version, &request).await;
        decode::<TxnOffsetCommitResponse>(&body, version).topics[0].partitions[0].error_code
    }

    async fn committed_offset(&mut self) -> (ErrorCode, i64) {
        let topic = OffsetFetchRequestTopics { name: "orders", partition_indexes: vec![0], ..Default::default() };
        let group = OffsetFetchRequestGroup { group_id: "g", topics: Some(vec![topic]), ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() };
        let body = self.call(9, &request).await;
        let response = decode::<OffsetFetchResponse>(&body, 9);
        let found = &response.groups[0].topics[0].partitions[0];
        (found.error_code, found.committed_offset)
    }

    async fn groups_are_ready(&mut self) {
        let request = FindCoordinatorRequest { key_type: 0, coordinator_keys: vec!["g"], ..Default::default() };
        let body = self.call(6, &request).await;
        assert_eq!(decode::<FindCoordinatorResponse>(&body, 6).coordinators[0].error_code, ErrorCode::None);
        sleep(Duration::from_secs(1)).await;
    }
}

/// librdkafka and every client before Java 4.0: partitions are added first, the epoch stays, the answer to the end comes before its markers.
#[test]
fn the_first_protocol_commits_and_aborts() {
    with_broker(3, &[], || async {
        let mut client = Wire::connect().await;
        let topic = client.create_topic("orders", 4).await;
        let producer = client.begin().await;
        assert_eq!(producer.epoch, 0);
        assert_eq!(client.write(FIRST, 0, producer, 0).await, ErrorCode::InvalidTxnState, "it was not added");
        let mixed = client.add_partitions(3, producer, vec![0, 9]).await;
        assert_eq!(mixed, [ErrorCode::OperationNotAttempted, ErrorCode::UnknownTopicOrPartition]);
        assert_eq!(client.add_partitions(3, producer, vec![0, 1, 2]).await, [ErrorCode::None; 3]);
        for partition in 0..3 {
            assert_eq!(client.write(FIRST, partition, producer, 0).await, ErrorCode::None);
            assert_eq!(client.write(FIRST, partition, producer, 1).await, ErrorCode::None);
            assert_eq!(client.read_committed(topic, partition).await.bytes, 0);
        }
        assert_eq!(client.state().await, ("Ongoing".to_owned(), vec![0, 1, 2]));
        assert_eq!(client.end(4, producer, true).await, Ok(Producer { id: -1, epoch: -1 }));
        for partition in 0..3 {
            let seen = client.settled(topic, partition).await;
            assert_eq!((seen.last_stable_offset, seen.aborted), (3, Vec::new()));
        }
        while client.end(4, producer, true).await == Err(ErrorCode::ConcurrentTransactions) {}
        assert_eq!(client.state().await, ("CompleteCommit".to_owned(), Vec::new()));

        assert_eq!(client.add_partitions(0, producer, vec![0]).await, [ErrorCode::None]);
        assert_eq!(client.write(FIRST, 0, producer, 2).await, ErrorCode::None);
        assert!(client.end(1, producer, false).await.is_ok());
        assert_eq!(client.settled(topic, 0).await.aborted, [3]);
    });
}

/// Java from 4.0 on: the broker adds partitions, every end gives the next epoch, and a late write of the last transaction is refused.
#[test]
fn the_second_protocol_adds_partitions_itself_and_bumps_the_epoch() {
    with_broker(3, &[], || async {
        let mut client = Wire::connect().await;
        let request = ApiVersionsRequest {
            client_software_name: "test",
            client_software_version: "1",
            ..ApiVersionsRequest::default()
        };
        let body = client.call(4, &request).await;
        let features = decode::<ApiVersionsResponse>(&body, 4).finalized_features;
        let level = features.iter().find(|feature| feature.name == "transaction.version");
        assert_eq!(level.map(|feature| feature.max_version_level), Some(2), "by this clients choose the protocol");

        let topic = client.create_topic("orders", 4).await;
        let mut producer = client.begin().await;
        for round in 0..4 {
            for partition in 0..4 {
                assert_eq!(client.write(SECOND, partition, producer, 0).await, ErrorCode::None, "round {round}");
            }
            let next = client.end(5, producer, round % 2 == 0).await.unwrap();
            assert_eq!(next, Producer { epoch: producer.epoch + 1, ..producer });
            assert_eq!(client.write(SECOND, 0, producer, 1).await, ErrorCode::InvalidProducerEpoch, "too late");
            producer = next;
        }
        for partition in 0..4 {
            let seen = client.settled(topic, partition).await;
            assert_eq!((seen.last_stable_offset, seen.aborted), (8, vec![2, 6]));
        }
        let wanted = TopicRequest { name: "orders", partition_indexes: vec![0, 7] };
        let body = client.call(0, &DescribeProducersRequest { topics: vec![wanted] }).await;
        let described = decode::<DescribeProducersResponse>(&body, 0);
        let [known, missing] = &described.topics[0].partitions[..] else { panic!("two were asked for") };
        assert_eq!(missing.error_code, ErrorCode::UnknownTopicOrPartition);
        let active = &known.active_producers[0];
        assert_eq!((active.producer_id, active.producer_epoch, active.current_txn_start_offset), (producer.id, 4, -1));
    });
}

/// A producer that died in the middle holds every reader of its partitions; its successor shuts it out at once, its timeout does in the end.
#[test]
fn open_transactions_of_the_dead_are_aborted() {
    with_broker(2, &[], || async {
        let mut client = Wire::connect().await;
        let topic = client.create_topic("orders", 1).await;
        let dead = client.begin().await;
        assert_eq!(client.write(SECOND, 0, dead, 0).await, ErrorCode::None);
        let successor = client.init(2_000).await;
        assert_eq!((successor.id, successor.epoch), (dead.id, 2));
        assert_eq!(client.write(SECOND, 0, dead, 1).await, ErrorCode::InvalidProducerEpoch);
        assert_eq!(client.end(5, dead, true).await, Err(ErrorCode::ProducerFenced));
        assert_eq!(client.settled(topic, 0).await.aborted, [0]);

        assert_eq!(client.write(SECOND, 0, successor, 0).await, ErrorCode::None);
        sleep(Duration::from_millis(2_500)).await;
        assert_eq!(client.settled(topic, 0).await.aborted, [0, 2]);
        assert_eq!(client.state().await.0, "CompleteAbort");
        assert_eq!(client.init_once(1_000_000).await, Err(ErrorCode::InvalidTransactionTimeout));
    });
}

/// Read, process, write: the position counts if and only if the results do.
#[test]
fn offsets_count_when_their_transaction_commits() {
    with_broker(3, &[], || async {
        let mut client = Wire::connect().await;
        client.create_topic("orders", 1).await;
        client.groups_are_ready().await;
        let mut producer = client.begin().await;
        assert_eq!(client.commit_offset(3, producer, 5).await, ErrorCode::InvalidTxnState, "the group was not added");
        let request = AddOffsetsToTxnRequest {
            transactional_id: ID,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            group_id: "g",
        };
        let body = client.call(3, &request).await;
        assert_eq!(decode::<AddOffsetsToTxnResponse>(&body, 3).error_code, ErrorCode::None);
        assert_eq!(client.commit_offset(3, producer, 5).await, ErrorCode::None);
        assert_eq!(client.committed_offset().await.0, ErrorCode::UnstableOffsetCommit);
        assert!(client.end(4, producer, true).await.is_ok());
        while client.state().await.0 != "CompleteCommit" {
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(client.committed_offset().await, (ErrorCode::None, 5));

        assert_eq!(client.commit_offset(5, producer, 9).await, ErrorCode::None, "added by the broker");
        producer = client.end(5, producer, false).await.unwrap();
        while client.state().await.0 != "CompleteAbort" {
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(client.committed_offset().await, (ErrorCode::None, 5), "aborted: as if never said");
        assert_eq!(client.commit_offset(5, producer, 7).await, ErrorCode::None);
    });
}

/// KIP-664: an operator finds a transaction that hangs and ends it by hand.
#[test]
fn transactions_are_listed_verified_and_ended_by_hand() {
    with_broker(2, &[], || async {
        let mut client = Wire::connect().await;
        let topic = client.create_topic("orders", 2).await;
        let producer = client.begin().await;
        assert_eq!(client.write(SECOND, 0, producer, 0).await, ErrorCode::None);
        assert_eq!(
            client.add_partitions(4, producer, vec![0, 1]).await,
            [ErrorCode::None, ErrorCode::TransactionAbortable]
        );
        for (pattern, expected) in [(None, 1), (Some("t."), 1), (Some("t"), 0), (Some("["), 0)] {
            let request = ListTransactionsRequest {
                state_filters: vec!["Ongoing", "Odd"],
                duration_filter: -1,
                transactional_id_pattern: pattern,
                ..Default::default()
            };
            let body = client.call(2, &request).await;
            let response = decode::<ListTransactionsResponse>(&body, 2);
            assert_eq!(response.transaction_states.len(), expected, "{pattern:?}");
            assert_eq!(response.error_code == ErrorCode::InvalidRegularExpression, pattern == Some("["));
            assert_eq!(response.unknown_state_filters, ["Odd"]);
        }
        let marker = WritableTxnMarker {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            transaction_result: false,
            topics: vec![WritableTxnMarkerTopic { name: "orders", partition_indexes: vec![0, 5] }],
            coordinator_epoch: 0,
            transaction_version: 0,
        };
        let body = client.call(1, &WriteTxnMarkersRequest { markers: vec![marker] }).await;
        let response = decode::<WriteTxnMarkersResponse>(&body, 1);
        let codes: Vec<_> =
            response.markers[0].topics[0].partitions.iter().map(|partition| partition.error_code).collect();
        assert_eq!(codes, [ErrorCode::None, ErrorCode::UnknownTopicOrPartition]);
        assert_eq!(client.settled(topic, 0).await.aborted, [0]);
    });
}
