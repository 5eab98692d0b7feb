//! Consumer groups of the new protocol (KIP-848) over the wire: heartbeats in both versions, offsets with member epochs, what tools see.

use crate::kit::*;
use ringlane_protocol::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use ringlane_protocol::consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use ringlane_protocol::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, RequestTopicPartitions,
};
use ringlane_protocol::find_coordinator::FindCoordinatorRequest;
use ringlane_protocol::list_groups::{ListGroupsRequest, ListGroupsResponse};
use ringlane_protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ringlane_protocol::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse};
use ringlane_protocol::{ErrorCode, TopicId};

const AT_ONCE: &[(&str, &str)] = &[("group.consumer.assignment.interval.ms", "0")];

/// What a member is told.
#[derive(Debug, PartialEq)]
struct Told {
    error: ErrorCode,
    member_id: String,
    epoch: i32,
    partitions: Option<Vec<i32>>,
}

fn join<'a>(group: &'a str, member: &'a str) -> ConsumerGroupHeartbeatRequest<'a> {
    ConsumerGroupHeartbeatRequest {
        group_id: group,
        member_id: member,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["t"]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

fn beat<'a>(group: &'a str, member: &'a str, member_epoch: i32) -> ConsumerGroupHeartbeatRequest<'a> {
    ConsumerGroupHeartbeatRequest {
        member_epoch,
        rebalance_timeout_ms: -1,
        subscribed_topic_names: None,
        topic_partitions: None,
        ..join(group, member)
    }
}

impl Wire {
    async fn hear(&mut self, version: i16, request: &ConsumerGroupHeartbeatRequest<'_>) -> Told {
        let body = self.call(version, request).await;
        let response = decode::<ConsumerGroupHeartbeatResponse>(&body, version);
        let partitions = response.assignment.map(|assignment| {
            assignment.topic_partitions.into_iter().flat_map(|topic| topic.partitions).collect::<Vec<i32>>()
        });
        if response.error_code == ErrorCode::None && response.member_epoch >= 0 {
            assert_eq!(response.heartbeat_interval_ms, 5_000);
        }
        Told {
            error: response.error_code,
            member_id: response.member_id.unwrap_or_default().to_owned(),
            epoch: response.member_epoch,
            partitions,
        }
    }

    /// The internal topic is made by the first who looks for a coordinator.
    async fn find(&mut self, group: &str) {
        let request = FindCoordinatorRequest { key: group, key_type: 0, coordinator_keys: vec![group] };
        self.call(6, &request).await;
    }

    /// Waits out the loading of the coordinator.
    async fn hear_when_loaded(&mut self, version: i16, request: &ConsumerGroupHeartbeatRequest<'_>) -> Told {
        loop {
            let told = self.hear(version, request).await;
            if ![ErrorCode::CoordinatorLoadInProgress, ErrorCode::NotCoordinator].contains(&told.error) {
                return told;
            }
        }
    }

    async fn commit_as(&mut self, topic: TopicId, member: &str, epoch: i32, version: i16) -> ErrorCode {
        let partition = OffsetCommitRequestPartition { committed_offset: 3, ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: "readers",
            generation_id_or_member_epoch: epoch,
            member_id: member,
            topics: vec![OffsetCommitRequestTopic {
                name: if version >= 10 { "" } else { "t" },
                topic_id: topic,
                partitions: vec![partition],
            }],
            ..Default::default()
        };
        let body = self.call(version, &request).await;
        decode::<OffsetCommitResponse>(&body, version).topics[0].partitions[0].error_code
    }

    async fn fetch_as(&mut self, member: Option<&str>, member_epoch: i32) -> (ErrorCode, usize) {
        let group = OffsetFetchRequestGroup { group_id: "readers", member_id: member, member_epoch, topics: None };
        let body = self.call(9, &OffsetFetchRequest { groups: vec![group], ..Default::default() }).await;
        let response = decode::<OffsetFetchResponse>(&body, 9);
        (response.groups[0].error_code, response.groups[0].topics.len())
    }
}

/// A consumer of the new protocol from its first heartbeat to its last, and a second one that takes its part.
#[test]
fn members_share_a_topic_by_heartbeats() {
    with_broker(2, AT_ONCE, || async {
        let mut client = Wire::connect().await;
        let topic = client.create_topic("t", 2).await;
        client.find("readers").await;

        let first = client.hear_when_loaded(1, &join("readers", "a")).await;
        assert_eq!((first.error, first.partitions), (ErrorCode::None, Some(vec![0, 1])));
        let second = client.hear(0, &join("readers", "")).await;
        assert_eq!((second.error, second.partitions), (ErrorCode::None, Some(Vec::new())));
        assert_eq!(second.member_id.len(), 22, "version 0 is given an id");
        let b = second.member_id;

        let revoke = client.hear(1, &beat("readers", "a", first.epoch)).await;
        assert_eq!(revoke.partitions, Some(vec![0]));
        let owned = vec![RequestTopicPartitions { topic_id: topic, partitions: vec![0] }];
        let owning =
            ConsumerGroupHeartbeatRequest { topic_partitions: Some(owned), ..beat("readers", "a", revoke.epoch) };
        let a = client.hear(1, &owning).await;
        assert_eq!(a.epoch, second.epoch);
        let given = client.hear(1, &beat("readers", &b, second.epoch)).await;
        assert_eq!(given.partitions, Some(vec![1]));

        assert_eq!(client.commit_as(topic, "a", a.epoch, 10).await, ErrorCode::None);
        assert_eq!(client.commit_as(topic, "a", a.epoch, 8).await, ErrorCode::UnsupportedVersion);
        assert_eq!(client.commit_as(topic, &b, given.epoch - 1, 9).await, ErrorCode::StaleMemberEpoch);
        assert_eq!(client.commit_as(topic, "c", a.epoch, 9).await, ErrorCode::UnknownMemberId);
        assert_eq!(client.fetch_as(Some("a"), a.epoch).await, (ErrorCode::None, 1));
        assert_eq!(client.fetch_as(Some("a"), a.epoch - 1).await, (ErrorCode::StaleMemberEpoch, 0));
        assert_eq!(client.fetch_as(None, -1).await, (ErrorCode::None, 1));

        let body = client
            .call(
                1,
                &ConsumerGroupDescribeRequest {
                    group_ids: vec!["readers", "nobody"],
                    include_authorized_operations: true,
                },
            )
            .await;
        let described = decode::<ConsumerGroupDescribeResponse>(&body, 1);
        let (readers, nobody) = (&described.groups[0], &described.groups[1]);
        assert_eq!((readers.group_state, readers.assignor_name, readers.members.len()), ("Stable", "uniform", 2));
        assert_eq!((readers.group_epoch, readers.assignment_epoch), (a.epoch, a.epoch));
        for member in &readers.members {
            assert_eq!(member.assignment, member.target_assignment);
            assert_eq!(member.assignment.topic_partitions[0].topic_name, "t");
            assert!(member.client_host.starts_with('/'), "{}", member.client_host);
            assert_eq!(member.member_type, 1);
        }
        assert_eq!(nobody.error_code, ErrorCode::GroupIdNotFound);

        let request = ListGroupsRequest { types_filter: vec!["consumer"], ..Default::default() };
        let body = client.call(5, &request).await;
        let listed = decode::<ListGroupsResponse>(&body, 5);
        assert_eq!(listed.groups.len(), 1);
        let group = &listed.groups[0];
        assert_eq!((group.group_type, group.group_state, group.protocol_type), ("consumer", "Stable", "consumer"));

        assert_eq!(client.hear(1, &beat("readers", "a", -1)).await.epoch, -1);
        assert_eq!(client.hear(1, &beat("readers", "a", a.epoch)).await.error, ErrorCode::UnknownMemberId);
        let alone = client.hear(1, &beat("readers", &b, given.epoch)).await;
        assert_eq!(alone.partitions, Some(vec![0, 1]));
    });
}

/// Clients tell a request that was wrong from a coordinator that is elsewhere: the first must not be sent again.
#[test]
fn bad_heartbeats_are_refused_by_their_codes() {
    with_broker(1, AT_ONCE, || async {
        let mut client = Wire::connect().await;
        client.find("readers").await;
        client.hear_when_loaded(1, &beat("readers", "a", 1)).await;
        assert_eq!(client.hear(1, &beat("", "a", 1)).await.error, ErrorCode::InvalidRequest);
        assert_eq!(client.hear(1, &join("readers", "")).await.error, ErrorCode::InvalidRequest);
        assert_eq!(client.hear(1, &beat("readers", "a", 1)).await.error, ErrorCode::GroupIdNotFound);
        let unknown = ConsumerGroupHeartbeatRequest { server_assignor: Some("sticky"), ..join("readers", "a") };
        assert_eq!(client.hear(1, &unknown).await.error, ErrorCode::UnsupportedAssignor);
        let regex = ConsumerGroupHeartbeatRequest {
            subscribed_topic_names: None,
            subscribed_topic_regex: Some("("),
            ..join("readers", "a")
        };
        assert_eq!(client.hear(1, &regex).await.error, ErrorCode::InvalidRegularExpression);

        let body = client
            .call(
                3,
                &ApiVersionsRequest {
                    client_software_name: "test",
                    client_software_version: "1",
                    ..Default::default()
                },
            )
            .await;
        let versions = decode::<ApiVersionsResponse>(&body, 3);
        let level = versions.finalized_features.iter().find(|feature| feature.name == "group.version");
        assert_eq!(level.map(|feature| feature.max_version_level), Some(1));
    });
}
