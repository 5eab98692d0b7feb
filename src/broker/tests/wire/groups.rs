//! Groups over the wire: one consumer's life in every version, on several shards, and what waits for minutes without being in the way.

use crate::kit::*;
use ringlane_protocol::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use ringlane_protocol::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use ringlane_protocol::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse};
use ringlane_protocol::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use ringlane_protocol::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ringlane_protocol::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ringlane_protocol::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use ringlane_protocol::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use ringlane_protocol::list_groups::{ListGroupsRequest, ListGroupsResponse};
use ringlane_protocol::metadata::MetadataResponse;
use ringlane_protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ringlane_protocol::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetDeleteResponse,
};
use ringlane_protocol::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use ringlane_protocol::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use ringlane_protocol::{ErrorCode, TopicId};
use std::time::Duration;

/// Without waiting for more members.
const AT_ONCE: &[(&str, &str)] = &[("group.initial.rebalance.delay.ms", "0")];
const SUBSCRIPTION: &[u8] = b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff";

/// A member as a client knows it.
struct Member {
    id: String,
    generation: i32,
}

impl Wire {
    async fn find_coordinator(&mut self, version: i16, group: &str) -> (ErrorCode, i32, i32) {
        let request = FindCoordinatorRequest { key: group, key_type: 0, coordinator_keys: vec![group] };
        let body = self.call(version, &request).await;
        let response = decode::<FindCoordinatorResponse>(&body, version);
        match response.coordinators.first() {
            Some(found) => (found.error_code, found.node_id, found.port),
            None => (response.error_code, response.node_id, response.port),
        }
    }

    async fn join_once(&mut self, version: i16, group: &str, member_id: &str) -> (ErrorCode, Member) {
        let body = self.call(version, &join_request(group, member_id)).await;
        let response = decode::<JoinGroupResponse>(&body, version);
        (response.error_code, Member { id: response.member_id.to_owned(), generation: response.generation_id })
    }

    /// As every client does it: with the id that the first answer gives, if that asks for it.
    async fn join(&mut self, version: i16, group: &str) -> Member {
        match self.join_once(version, group, "").await {
            (ErrorCode::MemberIdRequired, member) => {
                assert!(version >= 4 && member.id.starts_with("test-"), "{}", member.id);
                let (code, member) = self.join_once(version, group, &member.id).await;
                assert_eq!(code, ErrorCode::None);
                member
            }
            (code, member) => {
                assert_eq!((code, version < 4), (ErrorCode::None, true));
                member
            }
        }
    }

    /// As the only member, who leads: gives the assignment that comes back.
    async fn sync(&mut self, version: i16, group: &str, member: &Member) -> (ErrorCode, Vec<u8>) {
        let request = SyncGroupRequest {
            group_id: group,
            generation_id: member.generation,
            member_id: &member.id,
            protocol_type: (version >= 5).then_some("consumer"),
            protocol_name: (version >= 5).then_some("range"),
            assignments: vec![SyncGroupRequestAssignment { member_id: &member.id, assignment: b"mine" }],
            ..Default::default()
        };
        let body = self.call(version, &request).await;
        let response = decode::<SyncGroupResponse>(&body, version);
        (response.error_code, response.assignment.to_vec())
    }

    async fn heartbeat(&mut self, version: i16, group: &str, member: &Member) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: group,
            generation_id: member.generation,
            member_id: &member.id,
            group_instance_id: None,
        };
        let body = self.call(version, &request).await;
        decode::<HeartbeatResponse>(&body, version).error_code
    }

    async fn leave(&mut self, version: i16, group: &str, member: &Member) -> ErrorCode {
        let identity = MemberIdentity { member_id: &member.id, ..Default::default() };
        let request = LeaveGroupRequest { group_id: group, member_id: &member.id, members: vec![identity] };
        let body = self.call(version, &request).await;
        let response = decode::<LeaveGroupResponse>(&body, version);
        response.members.first().map_or(response.error_code, |member| member.error_code)
    }

    async fn commit(
        &mut self,
        version: i16,
        group: &str,
        member: Option<&Member>,
        topic: (&str, TopicId),
        partitions: &[(i32, i64)],
    ) -> Vec<ErrorCode> {
        let partition = |&(partition_index, committed_offset): &(i32, i64)| OffsetCommitRequestPartition {
            partition_index,
            committed_offset,
            committed_metadata: Some("note"),
            ..Default::default()
        };
        let topics = vec![OffsetCommitRequestTopic {
            name: if version >= 10 { "" } else { topic.0 },
            topic_id: topic.1,
            partitions: partitions.iter().map(partition).collect(),
        }];
        let request = OffsetCommitRequest {
            group_id: group,
            generation_id_or_member_epoch: member.map_or(-1, |member| member.generation),
            member_id: member.map_or("", |member| &member.id),
            topics,
            ..Default::default()
        };
        let body = self.call(version, &request).await;
        let response = decode::<OffsetCommitResponse>(&body, version);
        response.topics[0].partitions.iter().map(|partition| partition.error_code).collect()
    }

    /// Error and offset of each partition.
    async fn fetch(
        &mut self,
        version: i16,
        group: &str,
        topic: (&str, TopicId),
        partitions: &[i32],
    ) -> Vec<(ErrorCode, i64)> {
        let request = OffsetFetchRequest {
            group_id: group,
            topics: Some(vec![OffsetFetchRequestTopic { name: topic.0, partition_indexes: partitions.to_vec() }]),
            groups: vec![OffsetFetchRequestGroup {
                group_id: group,
                topics: Some(vec![OffsetFetchRequestTopics {
                    name: if version >= 10 { "" } else { topic.0 },
                    topic_id: topic.1,
                    partition_indexes: partitions.to_vec(),
                }]),
                ..Default::default()
            }],
            require_stable: version >= 7,
        };
        let body = self.call(version, &request).await;
        let response = decode::<OffsetFetchResponse>(&body, version);
        match response.groups.first() {
            Some(group) if group.error_code != ErrorCode::None => vec![(group.error_code, -1)],
            Some(group) => group.topics[0].partitions.iter().map(|p| (p.error_code, p.committed_offset)).collect(),
            None => response.topics[0].partitions.iter().map(|p| (p.error_code, p.committed_offset)).collect(),
        }
    }

    async fn describe(&mut self, version: i16, group: &str) -> (ErrorCode, String, usize) {
        let request = DescribeGroupsRequest { groups: vec![group], include_authorized_operations: version >= 3 };
        let body = self.call(version, &request).await;
        let response = decode::<DescribeGroupsResponse>(&body, version);
        let group = &response.groups[0];
        (group.error_code, group.group_state.to_owned(), group.members.len())
    }

    async fn list(&mut self, version: i16, states: Vec<&str>) -> Vec<String> {
        let body = self.call(version, &ListGroupsRequest { states_filter: states, types_filter: Vec::new() }).await;
        let response = decode::<ListGroupsResponse>(&body, version);
        assert_eq!(response.error_code, ErrorCode::None);
        let mut groups: Vec<String> = response.groups.iter().map(|group| group.group_id.to_owned()).collect();
        groups.sort();
        groups
    }

    async fn delete_group(&mut self, version: i16, group: &str) -> ErrorCode {
        let body = self.call(version, &DeleteGroupsRequest { groups_names: vec![group] }).await;
        decode::<DeleteGroupsResponse>(&body, version).results[0].error_code
    }
}

fn join_request<'a>(group_id: &'a str, member_id: &'a str) -> JoinGroupRequest<'a> {
    JoinGroupRequest {
        group_id,
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id,
        protocol_type: "consumer",
        protocols: vec![JoinGroupRequestProtocol { name: "range", metadata: SUBSCRIPTION }],
        ..Default::default()
    }
}

/// Clients find out who coordinates their group before anything else; the first one makes the topic, as Kafka makes it.
#[test]
fn the_first_to_ask_for_a_coordinator_makes_its_topic() {
    with_broker(2, &[], || async {
        let mut client = Wire::connect().await;
        for version in 0..=6 {
            let found = client.find_coordinator(version, "readers").await;
            assert_eq!(found, (ErrorCode::None, 1, 9092), "v{version}");
        }
        let body = client.metadata(9, &["__consumer_offsets"]).await;
        let metadata = decode::<MetadataResponse>(&body, 9);
        assert_eq!((metadata.topics[0].partitions.len(), metadata.topics[0].is_internal), (50, true));
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: 2,
                resource_name: "__consumer_offsets",
                configuration_keys: None,
            }],
            ..Default::default()
        };
        let body = client.call(4, &request).await;
        let response = decode::<DescribeConfigsResponse>(&body, 4);
        let value = |name| {
            let found = response.results[0].configs.iter().find(|config| config.name == name);
            found.and_then(|config| config.value).map(str::to_owned)
        };
        assert_eq!(value("cleanup.policy").as_deref(), Some("compact"));
        assert_eq!(value("segment.bytes").as_deref(), Some("104857600"));
        assert_eq!(value("compression.type").as_deref(), Some("producer"));
    });
}

/// What nobody coordinates must be told from what is not there yet: clients give up at the one and ask again at the other.
#[test]
fn what_has_no_coordinator_yet_is_told_to_come_again() {
    with_broker(1, &[], || async {
        let mut client = Wire::connect().await;
        for (key_type, expected) in
            [(1, ErrorCode::None), (2, ErrorCode::InvalidRequest), (3, ErrorCode::InvalidRequest)]
        {
            let request = FindCoordinatorRequest { key: "it", key_type, coordinator_keys: vec!["it"] };
            let body = client.call(6, &request).await;
            let code = decode::<FindCoordinatorResponse>(&body, 6).coordinators[0].error_code;
            assert_eq!(code, expected, "key type {key_type}");
        }
        let nobody = Member { id: "a".into(), generation: 1 };
        assert_eq!(client.heartbeat(4, "readers", &nobody).await, ErrorCode::NotCoordinator);
    });
}

/// Old clients speak old versions of eight APIs: a field at the wrong place in one of them and they see a broken broker.
#[test]
fn a_consumer_lives_in_every_version() {
    with_broker(3, AT_ONCE, || async {
        let mut client = Wire::connect().await;
        let topic = ("t", client.create_topic("t", 2).await);
        let unknown = ("nowhere", TopicId([9; 16]));
        for step in 0..=10i16 {
            let group = format!("group-{step}");
            assert_eq!(client.find_coordinator(step.min(6), &group).await.0, ErrorCode::None);
            let member = client.join(step.min(9), &group).await;
            assert_eq!(member.generation, 1);
            assert_eq!(client.sync(step.min(5), &group, &member).await, (ErrorCode::None, b"mine".to_vec()));
            assert_eq!(client.heartbeat(step.min(4), &group, &member).await, ErrorCode::None);

            let (commit, fetch) = (step.clamp(2, 10), step.clamp(1, 10));
            let codes = client.commit(commit, &group, Some(&member), topic, &[(0, 5), (1, 6), (2, 7)]).await;
            assert_eq!(codes, [ErrorCode::None, ErrorCode::None, ErrorCode::UnknownTopicOrPartition]);
            let missing = if commit >= 10 { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
            assert_eq!(client.commit(commit, &group, Some(&member), unknown, &[(0, 5)]).await, [missing]);
            let fetched = client.fetch(fetch, &group, topic, &[1, 0, 2]).await;
            assert_eq!(fetched, [(ErrorCode::None, 6), (ErrorCode::None, 5), (ErrorCode::None, -1)], "v{fetch}");

            assert_eq!(client.describe(step.min(6), &group).await, (ErrorCode::None, "Stable".into(), 1));
            assert_eq!(client.delete_group(step.min(3), &group).await, ErrorCode::NonEmptyGroup);
            assert_eq!(client.leave(step.min(5), &group, &member).await, ErrorCode::None);
            assert_eq!(client.describe(step.min(6), &group).await, (ErrorCode::None, "Empty".into(), 0));
            assert_eq!(client.heartbeat(step.min(4), &group, &member).await, ErrorCode::UnknownMemberId);
        }
        let all: Vec<String> = client.list(5, vec!["Empty"]).await;
        assert_eq!(all.len(), 11);
        assert_eq!(client.list(0, Vec::new()).await, all);
        assert_eq!(client.delete_group(2, "group-0").await, ErrorCode::None);
        assert_eq!(client.describe(5, "group-0").await, (ErrorCode::None, "Dead".into(), 0));
        assert_eq!(client.describe(6, "group-0").await, (ErrorCode::GroupIdNotFound, "Dead".into(), 0));
        assert_eq!(client.fetch(8, "group-0", topic, &[0]).await, [(ErrorCode::None, -1)]);
    });
}

/// Tools commit and delete offsets of groups that they are not in.
#[test]
fn offsets_are_set_and_deleted_from_outside() {
    with_broker(2, AT_ONCE, || async {
        let mut client = Wire::connect().await;
        let topic = ("t", client.create_topic("t", 1).await);
        client.find_coordinator(6, "readers").await;
        assert_eq!(client.commit(8, "readers", None, topic, &[(0, 3)]).await, [ErrorCode::None]);
        let delete = |topic| OffsetDeleteRequest {
            group_id: "readers",
            topics: vec![OffsetDeleteRequestTopic {
                name: topic,
                partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
            }],
        };
        for (topic, expected) in [("t", ErrorCode::None), ("nowhere", ErrorCode::UnknownTopicOrPartition)] {
            let body = client.call(0, &delete(topic)).await;
            let response = decode::<OffsetDeleteResponse>(&body, 0);
            assert_eq!(response.topics[0].partitions[0].error_code, expected);
        }
        assert_eq!(client.fetch(8, "readers", topic, &[0]).await, [(ErrorCode::None, -1)]);
        let member = client.join(9, "readers").await;
        client.sync(5, "readers", &member).await;
        let body = client.call(0, &delete("t")).await;
        let response = decode::<OffsetDeleteResponse>(&body, 0);
        assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::GroupSubscribedToTopic);
        assert_eq!(client.commit(8, "readers", None, topic, &[(0, 3)]).await, [ErrorCode::UnknownMemberId]);
    });
}

/// Old tools commit under the group id "", which no member can have: Kafka lets them, shows the group and deletes it.
#[test]
fn the_empty_group_id_has_offsets_and_no_members() {
    with_broker(1, AT_ONCE, || async {
        let mut client = Wire::connect().await;
        let topic = ("t", client.create_topic("t", 1).await);
        client.find_coordinator(6, "").await;
        assert_eq!(client.commit(8, "", None, topic, &[(0, 3)]).await, [ErrorCode::None]);
        assert_eq!(client.fetch(8, "", topic, &[0]).await, [(ErrorCode::None, 3)]);
        assert_eq!(client.join_once(9, "", "").await.0, ErrorCode::InvalidGroupId);
        assert_eq!(client.describe(6, "").await, (ErrorCode::None, "Empty".into(), 0));
        assert_eq!(client.delete_group(2, "").await, ErrorCode::None);
        assert_eq!(client.describe(6, "").await, (ErrorCode::GroupIdNotFound, "Dead".into(), 0));
    });
}

/// Members that wait for a rebalance hold nothing that others need: more of them than a lane has credits, and the broker goes on serving.
#[test]
fn members_that_wait_are_in_nobodys_way() {
    const MEMBERS: usize = 1_500;
    with_broker(2, &[("group.initial.rebalance.delay.ms", "60000")], || async {
        let mut waiting = Wire::connect().await;
        waiting.create_topic("t", 4).await;
        waiting.find_coordinator(6, "any").await;
        let mut asked = Vec::new();
        for number in 0..MEMBERS {
            let group = format!("group-{number}");
            asked.push(waiting.request(3, &join_request(&group, "")).await);
        }
        let mut client = Wire::connect().await;
        for partition in 0..4 {
            let (code, _) = client.produce("t", partition, -1, &batch(1, 10)).await;
            assert_eq!(code, ErrorCode::None);
        }
        for correlation_id in asked {
            let body = waiting.answer::<JoinGroupRequest>(3, correlation_id).await;
            assert_eq!(decode::<JoinGroupResponse>(&body, 3).error_code, ErrorCode::None);
        }
    });
}

/// A broker that stops answers members that wait at once: they go and find another coordinator.
#[test]
fn a_stop_does_not_wait_for_a_rebalance() {
    with_broker(2, &[], || async {
        let mut client = Wire::connect().await;
        client.find_coordinator(6, "readers").await;
        client.request(3, &join_request("readers", "")).await;
        assert!(client.is_silent_for(Duration::from_secs(1)).await);
    });
}

/// A power cut must not take back what a group was told: its members, its generation and what it has committed come back with the log. Until
/// the log is read nobody is told that the group is gone.
#[test]
fn a_group_survives_a_power_cut() {
    let before = || async {
        let mut client = Wire::connect().await;
        let topic = ("t", client.create_topic("t", 1).await);
        client.find_coordinator(6, "readers").await;
        let member = client.join(3, "readers").await;
        client.sync(4, "readers", &member).await;
        for offset in 1..=300 {
            assert_eq!(client.commit(8, "readers", Some(&member), topic, &[(0, offset)]).await, [ErrorCode::None]);
        }
        // The second life knows it by this.
        assert_eq!(client.commit(8, &member.id, None, topic, &[(0, 4)]).await, [ErrorCode::None]);
    };
    let after = || async {
        let mut client = Wire::connect().await;
        let topic = ("t", TopicId::ZERO);
        let fetched = loop {
            match client.fetch(8, "readers", topic, &[0]).await[..] {
                [(ErrorCode::CoordinatorLoadInProgress, _)] => ringlane_runtime::sleep(Duration::from_millis(10)).await,
                [fetched] => break fetched,
                _ => panic!("one partition was asked for"),
            }
        };
        assert_eq!(fetched, (ErrorCode::None, 300));
        assert_eq!(client.describe(6, "readers").await, (ErrorCode::None, "Stable".into(), 1));
        let groups = loop {
            let body = client.call(5, &ListGroupsRequest::default()).await;
            let response = decode::<ListGroupsResponse>(&body, 5);
            match response.error_code {
                ErrorCode::CoordinatorLoadInProgress => ringlane_runtime::sleep(Duration::from_millis(10)).await,
                code => {
                    assert_eq!(code, ErrorCode::None);
                    break response.groups.iter().map(|group| group.group_id.to_owned()).collect::<Vec<_>>();
                }
            }
        };
        let id = groups.into_iter().find(|group| group != "readers").expect("the member's id, committed under");
        let member = Member { id, generation: 1 };
        assert_eq!(client.heartbeat(4, "readers", &member).await, ErrorCode::None);
        assert_eq!(client.commit(8, "readers", Some(&member), topic, &[(0, 301)]).await, [ErrorCode::None]);
    };
    with_power_cut(2, AT_ONCE, before, after);
}

/// A new topic of the same name begins at its own start, not where somebody had read the old one to.
#[test]
fn a_deleted_topic_takes_its_offsets_along() {
    with_broker(2, AT_ONCE, || async {
        let mut client = Wire::connect().await;
        let topic = ("t", client.create_topic("t", 1).await);
        client.find_coordinator(6, "readers").await;
        client.commit(8, "readers", None, topic, &[(0, 7)]).await;
        let state = DeleteTopicState { name: Some("t"), ..Default::default() };
        client.call(6, &DeleteTopicsRequest { topics: vec![state], timeout_ms: 1_000, ..Default::default() }).await;
        let topic = ("t", client.create_topic("t", 1).await);
        for _ in 0..100 {
            if client.fetch(8, "readers", topic, &[0]).await == [(ErrorCode::None, -1)] {
                return;
            }
            ringlane_runtime::sleep(Duration::from_millis(10)).await;
        }
        panic!("the offset of the deleted topic is still there");
    });
}

/// An offset that the disk has refused is not committed, whatever the coordinator's memory says; and who waits is told to go elsewhere.
#[test]
fn a_disk_that_refuses_ends_the_coordinator_and_tells_everybody() {
    let before = || async {
        let mut client = Wire::connect().await;
        let topic = ("t", client.create_topic("t", 1).await);
        client.find_coordinator(6, "readers").await;
        // Enough groups for both shards to have written to their journals.
        for group in ["readers", "a", "b", "c", "d", "e", "f", "g"] {
            assert_eq!(client.commit(8, group, None, topic, &[(0, 1)]).await, [ErrorCode::None]);
        }
    };
    let after = || async {
        let (mut waiting, mut client) = (Wire::connect().await, Wire::connect().await);
        // Of a group that is new: its first record is refused as well.
        let asked = waiting.request(3, &join_request("others", "")).await;
        let codes = client.commit(8, "readers", None, ("t", TopicId::ZERO), &[(0, 2)]).await;
        assert_eq!(codes, [ErrorCode::NotCoordinator]);
        let body = waiting.answer::<JoinGroupRequest>(3, asked).await;
        assert_eq!(decode::<JoinGroupResponse>(&body, 3).error_code, ErrorCode::NotCoordinator);
        ringlane_runtime::sleep(Duration::from_secs(3)).await;
        assert_eq!(client.fetch(8, "readers", ("t", TopicId::ZERO), &[0]).await, [(ErrorCode::NotCoordinator, -1)]);
        client.assert_served().await;
    };
    with_failing_journal(2, &[], before, after);
}
