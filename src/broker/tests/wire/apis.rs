//! The other APIs, as clients and tools use them.

use crate::kit::{Wire, batch, decode, with_broker};
use ringlane_protocol::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use ringlane_protocol::create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic};
use ringlane_protocol::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use ringlane_protocol::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use ringlane_protocol::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse};
use ringlane_protocol::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringlane_protocol::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use ringlane_protocol::metadata::MetadataResponse;
use ringlane_protocol::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use ringlane_protocol::{ApiKey, ErrorCode, TopicId};
use std::collections::BTreeSet;

/// Old librdkafka switches features on by the exact versions in this list; a floor that rises silently kills them.
#[test]
fn the_version_list_is_what_clients_expect() {
    with_broker(1, &[], || async {
        let mut client = Wire::connect().await;
        for version in 0..=5 {
            let request = ApiVersionsRequest {
                client_software_name: "test",
                client_software_version: "1.0",
                node_id: -1,
                ..Default::default()
            };
            let body = client.call(version, &request).await;
            let response = decode::<ApiVersionsResponse>(&body, version);
            assert_eq!(response.error_code, ErrorCode::None);
            let range = |key: ApiKey| {
                let found = response.api_keys.iter().find(|api| api.api_key == key.code());
                found.map(|api| (api.min_version, api.max_version))
            };
            assert_eq!(range(ApiKey::Produce), Some((0, 13)));
            assert_eq!(range(ApiKey::Fetch), Some((4, 18)));
            assert_eq!(range(ApiKey::ApiVersions), Some((0, 5)));
            assert_eq!(range(ApiKey::JoinGroup), Some((0, 9)));
            assert_eq!(range(ApiKey::SaslHandshake), None);
        }
        let elsewhere = ApiVersionsRequest {
            client_software_name: "test",
            client_software_version: "1.0",
            cluster_id: Some("another cluster"),
            node_id: -1,
        };
        let body = client.call(5, &elsewhere).await;
        assert_eq!(decode::<ApiVersionsResponse>(&body, 5).error_code, ErrorCode::RebootstrapRequired);
    });
}

/// Every version of Metadata is some installed client's only one.
#[test]
fn metadata_answers_in_every_version() {
    with_broker(2, &[], || async {
        let mut client = Wire::connect().await;
        let id = client.create_topic("orders", 3).await;
        for version in 0..=13 {
            let body = client.metadata(version, &["orders"]).await;
            let response = decode::<MetadataResponse>(&body, version);
            assert_eq!((response.brokers[0].host, response.brokers[0].port), ("10.0.0.1", 9092));
            let topic = &response.topics[0];
            assert_eq!((topic.error_code, topic.name, topic.partitions.len()), (ErrorCode::None, Some("orders"), 3));
            if version >= 10 {
                assert_eq!(topic.topic_id, id);
            }
            if version >= 7 {
                assert!(topic.partitions.iter().all(|partition| partition.leader_epoch >= 0));
            }
        }
    });
}

/// Producers name topics that do not exist yet; `auto.create.topics.enable` says whether that makes them.
#[test]
fn asking_for_a_topic_creates_it_where_that_is_allowed() {
    with_broker(2, &[("num.partitions", "5")], || async {
        let mut client = Wire::connect().await;
        let body = client.metadata(9, &["made", "not/a/name"]).await;
        let response = decode::<MetadataResponse>(&body, 9);
        assert_eq!((response.topics[0].error_code, response.topics[0].partitions.len()), (ErrorCode::None, 5));
        assert_eq!(response.topics[1].error_code, ErrorCode::InvalidTopicException);
        assert_eq!(client.produce("made", 4, -1, &batch(1, 10)).await, (ErrorCode::None, 0));
    });
    with_broker(2, &[("auto.create.topics.enable", "false")], || async {
        let body = Wire::connect().await.metadata(9, &["not-made"]).await;
        let response = decode::<MetadataResponse>(&body, 9);
        assert_eq!(response.topics[0].error_code, ErrorCode::UnknownTopicOrPartition);
    });
}

/// The life of a topic, as `kafka-topics` lives it.
#[test]
fn topics_are_created_grown_and_deleted() {
    with_broker(3, &[], || async {
        let mut client = Wire::connect().await;
        let topic = |name, num_partitions, replication_factor| CreatableTopic {
            name,
            num_partitions,
            replication_factor,
            configs: vec![CreatableTopicConfig { name: "retention.ms", value: Some("1000") }],
            ..Default::default()
        };
        let topics = vec![topic("orders", 2, 1), topic("far", 1, 3), topic("", 1, 1), topic("none", 0, 1)];
        let only_checked = CreateTopicsRequest { topics: topics.clone(), timeout_ms: 1000, validate_only: true };
        for request in [only_checked.clone(), CreateTopicsRequest { validate_only: false, ..only_checked }] {
            let body = client.call(7, &request).await;
            let response = decode::<CreateTopicsResponse>(&body, 7);
            let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
            let expected = [
                ErrorCode::None,
                ErrorCode::InvalidReplicationFactor,
                ErrorCode::InvalidTopicException,
                ErrorCode::InvalidPartitions,
            ];
            assert_eq!(codes, expected);
            let configs = response.topics[0].configs.as_ref().expect("settings");
            let retention = configs.iter().find(|config| config.name == "retention.ms").expect("retention.ms");
            assert_eq!((retention.value, retention.config_source), (Some("1000"), 1));
        }
        let again = CreateTopicsRequest { topics: vec![topic("orders", 1, 1)], ..Default::default() };
        let body = client.call(7, &again).await;
        assert_eq!(decode::<CreateTopicsResponse>(&body, 7).topics[0].error_code, ErrorCode::TopicAlreadyExists);

        let grow = |count| CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name: "orders", count, assignments: None }],
            timeout_ms: 1000,
            validate_only: false,
        };
        let body = client.call(3, &grow(6)).await;
        assert_eq!(decode::<CreatePartitionsResponse>(&body, 3).results[0].error_code, ErrorCode::None);
        assert_eq!(client.produce("orders", 5, -1, &batch(1, 10)).await, (ErrorCode::None, 0));
        let body = client.call(3, &grow(6)).await;
        assert_eq!(decode::<CreatePartitionsResponse>(&body, 3).results[0].error_code, ErrorCode::InvalidPartitions);

        let name = |name| DeleteTopicState { name: Some(name), topic_id: TopicId::ZERO };
        let request = DeleteTopicsRequest { topics: vec![name("orders"), name("gone")], ..Default::default() };
        let body = client.call(6, &request).await;
        let response = decode::<DeleteTopicsResponse>(&body, 6);
        let codes: Vec<_> = response.responses.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [ErrorCode::None, ErrorCode::UnknownTopicOrPartition]);
        let (error, _) = client.produce("orders", 0, -1, &batch(1, 10)).await;
        assert_eq!(error, ErrorCode::UnknownTopicOrPartition);
        client.create_topic("orders", 1).await;
        assert_eq!(client.produce("orders", 0, -1, &batch(1, 10)).await, (ErrorCode::None, 0), "a new log");
    });
}

/// Two producers with one number would fence each other for ever; numbers must differ over all shards.
#[test]
fn every_producer_gets_a_number_of_its_own() {
    with_broker(4, &[], || async {
        let mut seen = BTreeSet::new();
        for _ in 0..8 {
            let mut client = Wire::connect().await;
            for _ in 0..300 {
                let request = InitProducerIdRequest { producer_id: -1, producer_epoch: -1, ..Default::default() };
                let body = client.call(5, &request).await;
                let response = decode::<InitProducerIdResponse>(&body, 5);
                assert_eq!((response.error_code, response.producer_epoch), (ErrorCode::None, 0));
                assert!(seen.insert(response.producer_id), "{} twice", response.producer_id);
            }
        }
    });
}

/// Consumers begin by asking where a log begins and ends, or where a time lies in it.
#[test]
fn offsets_are_found_by_place_and_time() {
    with_broker(2, &[], || async {
        let mut client = Wire::connect().await;
        client.create_topic("orders", 2).await;
        client.produce("orders", 1, -1, &batch(5, 10)).await;
        let stamp = 1_767_225_600_000;
        for (timestamp, version, expected) in [
            (-1, 1, (ErrorCode::None, 5, -1)),
            (-1, 11, (ErrorCode::None, 5, -1)),
            (-2, 11, (ErrorCode::None, 0, -1)),
            (-3, 11, (ErrorCode::None, 0, stamp)),
            (stamp - 5, 11, (ErrorCode::None, 0, stamp)),
            (stamp + 1, 11, (ErrorCode::None, -1, -1)),
            (-3, 6, (ErrorCode::UnsupportedVersion, -1, -1)),
            (-9, 11, (ErrorCode::UnsupportedVersion, -1, -1)),
        ] {
            let asked = ListOffsetsPartition { partition_index: 1, current_leader_epoch: -1, timestamp };
            let topics = vec![ListOffsetsTopic { name: "orders", partitions: vec![asked] }];
            let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
            let body = client.call(version, &request).await;
            let response = decode::<ListOffsetsResponse>(&body, version);
            let found = &response.topics[0].partitions[0];
            assert_eq!((found.error_code, found.offset, found.timestamp), expected, "{timestamp} v{version}");
        }
        let asked = OffsetForLeaderPartition { partition: 1, current_leader_epoch: -1, leader_epoch: 0 };
        let missing = OffsetForLeaderPartition { partition: 4, ..asked.clone() };
        let topics = vec![OffsetForLeaderTopic { topic: "orders", partitions: vec![asked, missing] }];
        let body = client.call(4, &OffsetForLeaderEpochRequest { replica_id: -2, topics }).await;
        let response = decode::<OffsetForLeaderEpochResponse>(&body, 4);
        let ends: Vec<_> = response.topics[0]
            .partitions
            .iter()
            .map(|end| (end.error_code, end.leader_epoch, end.end_offset))
            .collect();
        assert_eq!(ends, [(ErrorCode::None, 0, 5), (ErrorCode::UnknownTopicOrPartition, -1, -1)]);
    });
}

/// `kafka-topics --describe` and Connect read the whole list, with where each value comes from.
#[test]
fn settings_are_described_whole() {
    with_broker(1, &[("log.retention.hours", "1")], || async {
        let mut client = Wire::connect().await;
        client.create_topic("orders", 1).await;
        let resource = |resource_type, resource_name| DescribeConfigsResource {
            resource_type,
            resource_name,
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource(2, "orders"), resource(4, "1"), resource(4, "7"), resource(2, "gone")],
            include_synonyms: true,
            include_documentation: true,
        };
        let body = client.call(4, &request).await;
        let response = decode::<DescribeConfigsResponse>(&body, 4);
        let codes: Vec<_> = response.results.iter().map(|result| result.error_code).collect();
        let expected =
            [ErrorCode::None, ErrorCode::None, ErrorCode::InvalidRequest, ErrorCode::UnknownTopicOrPartition];
        assert_eq!(codes, expected);
        let topic = &response.results[0].configs;
        assert!(topic.len() > 25);
        let retention = topic.iter().find(|config| config.name == "retention.ms").expect("retention.ms");
        assert_eq!((retention.value, retention.config_source), (Some("3600000"), 4));
        assert!(!retention.synonyms.is_empty() && retention.documentation.is_some());
    });
}
