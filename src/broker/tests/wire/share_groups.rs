//! Share groups (KIP-932) over the wire: heartbeats, share sessions, fetch and acknowledge, what a restart leaves, what administrators do.

use crate::kit::*;
use ringlane_protocol::alter_share_group_offsets::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
    AlterShareGroupOffsetsResponse,
};
use ringlane_protocol::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use ringlane_protocol::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use ringlane_protocol::delete_share_group_offsets::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequestTopic, DeleteShareGroupOffsetsResponse,
};
use ringlane_protocol::describe_share_group_offsets::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsResponse,
};
use ringlane_protocol::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ringlane_protocol::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use ringlane_protocol::list_groups::{ListGroupsRequest, ListGroupsResponse};
use ringlane_protocol::read_share_group_state as read_state;
use ringlane_protocol::records::{Records, batches};
use ringlane_protocol::share_acknowledge as acknowledge;
use ringlane_protocol::share_fetch as fetch;
use ringlane_protocol::share_group_describe::{ShareGroupDescribeRequest, ShareGroupDescribeResponse};
use ringlane_protocol::share_group_heartbeat::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};
use ringlane_protocol::write_share_group_state as write_state;
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::sleep;
use std::time::Duration;

const AT_ONCE: &[(&str, &str)] = &[("group.share.assignment.interval.ms", "0")];
const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
const REJECT: i8 = 3;
const RENEW: i8 = 4;

/// A consumer of the group `g`, on a connection of its own.
struct Consumer {
    wire: Wire,
    member: &'static str,
    topic: TopicId,
    member_epoch: i32,
    session_epoch: i32,
}

/// First and last offset, and how often delivered.
type Acquired = Vec<(i64, i64, i16)>;
/// Offsets and the type of all of them.
type Said = (i64, i64, i8);

impl Consumer {
    async fn new(member: &'static str, topic: TopicId) -> Consumer {
        Consumer { wire: Wire::connect().await, member, topic, member_epoch: 0, session_epoch: 0 }
    }

    async fn heartbeat(&mut self, topics: Option<Vec<&str>>) -> (ErrorCode, Option<Vec<i32>>) {
        let request = ShareGroupHeartbeatRequest {
            group_id: "g",
            member_id: self.member,
            member_epoch: self.member_epoch,
            subscribed_topic_names: topics,
            ..Default::default()
        };
        let body = self.wire.call(1, &request).await;
        let response = decode::<ShareGroupHeartbeatResponse>(&body, 1);
        if response.error_code == ErrorCode::None {
            self.member_epoch = response.member_epoch;
        }
        let partitions = response.assignment.map(|assignment| {
            assignment.topic_partitions.into_iter().flat_map(|topic| topic.partitions).collect::<Vec<i32>>()
        });
        (response.error_code, partitions)
    }

    /// Joins, and waits for `count` partitions.
    async fn join(&mut self, count: usize) {
        let (mut error, mut partitions) = self.heartbeat(Some(vec!["t"])).await;
        while error == ErrorCode::CoordinatorLoadInProgress {
            sleep(Duration::from_millis(50)).await;
            (error, partitions) = self.heartbeat(Some(vec!["t"])).await;
        }
        for _ in 0..100 {
            assert_eq!(error, ErrorCode::None);
            if partitions.as_ref().is_some_and(|partitions| partitions.len() == count) {
                return;
            }
            sleep(Duration::from_millis(100)).await;
            (error, partitions) = self.heartbeat(None).await;
        }
        panic!("{} is never assigned {count} partitions", self.member);
    }

    fn asks(&self, said: &[Said]) -> fetch::ShareFetchRequest<'static> {
        let batches = said.iter().map(|(first_offset, last_offset, kind)| fetch::AcknowledgementBatch {
            first_offset: *first_offset,
            last_offset: *last_offset,
            acknowledge_types: vec![*kind],
        });
        let partition = fetch::FetchPartition { partition_index: 0, acknowledgement_batches: batches.collect() };
        fetch::ShareFetchRequest {
            group_id: Some("g"),
            member_id: Some(self.member),
            share_session_epoch: self.session_epoch,
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 1 << 20,
            max_records: 500,
            batch_size: 500,
            topics: vec![fetch::FetchTopic { topic_id: self.topic, partitions: vec![partition] }],
            ..Default::default()
        }
    }

    /// The request's error; of partition 0: error, error of what was said, records acquired; and how many records came.
    async fn ask(
        &mut self,
        request: fetch::ShareFetchRequest<'_>,
    ) -> (ErrorCode, ErrorCode, ErrorCode, Acquired, usize) {
        let body = self.wire.call(2, &request).await;
        let response = decode::<fetch::ShareFetchResponse>(&body, 2);
        if response.error_code == ErrorCode::None {
            assert_eq!(response.acquisition_lock_timeout_ms, 30_000);
            self.session_epoch += 1;
        }
        let Some(partition) = response.responses.first().and_then(|topic| topic.partitions.first()) else {
            return (response.error_code, ErrorCode::None, ErrorCode::None, Vec::new(), 0);
        };
        let acquired = partition.acquired_records.iter();
        let acquired = acquired.map(|records| (records.first_offset, records.last_offset, records.delivery_count));
        let count = batches(partition.records).map(|batch| {
            let batch = batch.expect("a whole batch");
            Records::new(&batch.header, &batch.uncompressed_body(1 << 20).unwrap()).count()
        });
        (response.error_code, partition.error_code, partition.acknowledge_error_code, acquired.collect(), count.sum())
    }

    async fn fetch(&mut self) -> Acquired {
        self.fetch_saying(&[]).await
    }

    async fn fetch_saying(&mut self, said: &[Said]) -> Acquired {
        let request = self.asks(said);
        let (error, partition_error, said_error, acquired, _) = self.ask(request).await;
        assert_eq!((error, partition_error, said_error), (ErrorCode::None, ErrorCode::None, ErrorCode::None));
        acquired
    }

    async fn say(&mut self, said: &[Said]) -> (ErrorCode, ErrorCode) {
        let (epoch, is_renew) = (self.session_epoch, said.iter().any(|(_, _, kind)| *kind == RENEW));
        self.say_at(epoch, is_renew, said).await
    }

    /// The request's error and that of partition 0.
    async fn say_at(&mut self, epoch: i32, is_renew_ack: bool, said: &[Said]) -> (ErrorCode, ErrorCode) {
        let batches = said.iter().map(|(first_offset, last_offset, kind)| acknowledge::AcknowledgementBatch {
            first_offset: *first_offset,
            last_offset: *last_offset,
            acknowledge_types: vec![*kind],
        });
        let partition =
            acknowledge::AcknowledgePartition { partition_index: 0, acknowledgement_batches: batches.collect() };
        let request = acknowledge::ShareAcknowledgeRequest {
            group_id: Some("g"),
            member_id: Some(self.member),
            share_session_epoch: epoch,
            is_renew_ack,
            topics: vec![acknowledge::AcknowledgeTopic { topic_id: self.topic, partitions: vec![partition] }],
        };
        let body = self.wire.call(2, &request).await;
        let response = decode::<acknowledge::ShareAcknowledgeResponse>(&body, 2);
        if response.error_code == ErrorCode::None && epoch > 0 {
            self.session_epoch += 1;
        }
        let partition = response.responses.first().map_or(ErrorCode::None, |topic| topic.partitions[0].error_code);
        (response.error_code, partition)
    }
}

impl Wire {
    /// Start offset and lag of partition 0.
    async fn share_offsets(&mut self) -> (i64, i64) {
        let group = DescribeShareGroupOffsetsRequestGroup { group_id: "g", topics: None };
        let body = self.call(1, &DescribeShareGroupOffsetsRequest { groups: vec![group] }).await;
        let response = decode::<DescribeShareGroupOffsetsResponse>(&body, 1);
        assert_eq!(response.groups[0].error_code, ErrorCode::None);
        let partition = response.groups[0].topics.first().map(|topic| &topic.partitions[0]);
        partition.map_or((-1, -1), |partition| (partition.start_offset, partition.lag))
    }

    async fn begin_at(&mut self, start_offset: i64) -> (ErrorCode, ErrorCode) {
        let partitions = vec![AlterShareGroupOffsetsRequestPartition { partition_index: 0, start_offset }];
        let topics = vec![AlterShareGroupOffsetsRequestTopic { topic_name: "t", partitions }];
        let body = self.call(0, &AlterShareGroupOffsetsRequest { group_id: "g", topics }).await;
        let response = decode::<AlterShareGroupOffsetsResponse>(&body, 0);
        let partition = response.responses.first().map_or(ErrorCode::None, |topic| topic.partitions[0].error_code);
        (response.error_code, partition)
    }
}

/// A topic of one partition with `count` records, and consumers that are about to read it from its start.
async fn prepared(count: usize, members: &[&'static str]) -> (Wire, Vec<Consumer>) {
    let mut wire = Wire::connect().await;
    let topic = wire.create_topic("t", 1).await;
    if count > 0 {
        assert_eq!(wire.produce("t", 0, -1, &batch(count, 10)).await.0, ErrorCode::None);
    }
    let find = FindCoordinatorRequest { key_type: 0, coordinator_keys: vec!["g"], ..Default::default() };
    wire.call(6, &find).await;
    let mut begun = wire.begin_at(0).await;
    while begun.0 == ErrorCode::CoordinatorLoadInProgress {
        sleep(Duration::from_millis(50)).await;
        begun = wire.begin_at(0).await;
    }
    assert_eq!(begun, (ErrorCode::None, ErrorCode::None));
    let mut consumers = Vec::new();
    for member in members {
        let mut consumer = Consumer::new(member, topic).await;
        consumer.join(1).await;
        consumers.push(consumer);
    }
    (wire, consumers)
}

/// The whole way of a record: acquired, accepted, or released and delivered again, to the other consumer; with more shards than partitions.
#[test]
fn records_are_shared_out_and_settled() {
    with_broker(3, AT_ONCE, || async {
        let (mut wire, mut consumers) = prepared(10, &["a", "b"]).await;
        let (a, b) = consumers.split_at_mut(1);
        let (a, b) = (&mut a[0], &mut b[0]);
        let request = fetch::ShareFetchRequest { share_acquire_mode: 1, max_records: 6, ..a.asks(&[]) };
        let (_, _, _, acquired, records) = a.ask(request).await;
        assert_eq!((acquired, records), (vec![(0, 5, 1)], 10), "a batch leaves whole");
        assert_eq!(b.fetch().await, [(6, 9, 1)]);
        assert_eq!(a.say(&[(0, 1, ACCEPT), (2, 3, RELEASE), (4, 4, REJECT)]).await, (ErrorCode::None, ErrorCode::None));
        assert_eq!(a.say(&[(4, 4, ACCEPT)]).await.1, ErrorCode::InvalidRecordState);
        assert_eq!(b.fetch_saying(&[(6, 9, ACCEPT)]).await, [(2, 3, 2)]);
        assert_eq!(b.say(&[(2, 3, ACCEPT)]).await, (ErrorCode::None, ErrorCode::None));
        assert_eq!(a.say(&[(5, 5, ACCEPT)]).await, (ErrorCode::None, ErrorCode::None));
        assert_eq!(a.say(&[(5, 5, ACCEPT)]).await.1, ErrorCode::None, "what is behind the start is done with");
        assert_eq!(a.say(&[(10, 10, ACCEPT)]).await.1, ErrorCode::InvalidRecordState);
        assert_eq!(wire.share_offsets().await.1, 0);
        assert_eq!(a.fetch().await, []);
    });
}

/// A fetch that had to come again by itself would find a record half a second late, and one that was released not before its time.
#[test]
fn a_fetch_waits_for_records_that_come_or_come_back() {
    with_broker(2, AT_ONCE, || async {
        let (mut wire, mut consumers) = prepared(0, &["a", "b"]).await;
        let (a, b) = consumers.split_at_mut(1);
        let (a, b) = (&mut a[0], &mut b[0]);
        let request = fetch::ShareFetchRequest { max_wait_ms: 20_000, ..a.asks(&[]) };
        let waits = a.wire.request(2, &request).await;
        assert!(a.wire.is_silent_for(Duration::from_secs(3)).await);
        a.wire.produce_behind(&mut wire).await;
        let body = a.wire.answer::<fetch::ShareFetchRequest>(2, waits).await;
        let response = decode::<fetch::ShareFetchResponse>(&body, 2);
        assert_eq!(response.responses[0].partitions[0].acquired_records.len(), 1);
        a.session_epoch = 1;

        let request = fetch::ShareFetchRequest { max_wait_ms: 20_000, ..b.asks(&[]) };
        let waits = b.wire.request(2, &request).await;
        assert!(b.wire.is_silent_for(Duration::from_secs(3)).await);
        assert_eq!(a.say(&[(0, 4, RELEASE)]).await, (ErrorCode::None, ErrorCode::None));
        let body = b.wire.answer::<fetch::ShareFetchRequest>(2, waits).await;
        let response = decode::<fetch::ShareFetchResponse>(&body, 2);
        assert_eq!(response.responses[0].partitions[0].acquired_records[0].delivery_count, 2);
    });
}

impl Wire {
    async fn produce_behind(&self, wire: &mut Wire) {
        assert_eq!(wire.produce("t", 0, -1, &batch(5, 10)).await.0, ErrorCode::None);
    }
}

/// A consumer that dies without a word must not keep its records for ever: its connection's end gives them back, its lock's end at the latest.
#[test]
fn locks_expire_and_connections_end() {
    with_broker(2, AT_ONCE, || async {
        let (_, mut consumers) = prepared(10, &["a", "b"]).await;
        let mut b = consumers.pop().unwrap();
        let mut a = consumers.pop().unwrap();
        assert_eq!(a.fetch().await, [(0, 9, 1)]);
        sleep(Duration::from_secs(20)).await;
        assert_eq!(b.fetch().await, []);
        let renewed = fetch::ShareFetchRequest {
            is_renew_ack: true,
            max_bytes: 0,
            min_bytes: 0,
            max_records: 0,
            max_wait_ms: 0,
            ..a.asks(&[(5, 9, RENEW)])
        };
        let (error, _, said, acquired, _) = a.ask(renewed).await;
        assert_eq!((error, said, acquired), (ErrorCode::None, ErrorCode::None, vec![]));
        let (error, ..) = a.ask(fetch::ShareFetchRequest { is_renew_ack: true, ..a.asks(&[(5, 9, RENEW)]) }).await;
        assert_eq!(error, ErrorCode::InvalidRequest, "limits must be 0");
        sleep(Duration::from_secs(11)).await;
        assert_eq!(b.fetch().await, [(0, 4, 2)]);
        assert_eq!(a.say(&[(0, 4, ACCEPT)]).await.1, ErrorCode::InvalidRecordState, "too late");
        drop(a);
        sleep(Duration::from_millis(100)).await;
        assert_eq!(b.fetch().await, [(5, 9, 2)]);
    });
}

/// A session that took a request twice, or one out of order, would lose track of what its consumer fetches.
#[test]
fn sessions_are_checked() {
    with_broker(2, &[AT_ONCE, &[("group.share.max.share.sessions", "2")]].concat(), || async {
        let (_, mut consumers) = prepared(10, &["a"]).await;
        let mut a = consumers.pop().unwrap();
        a.session_epoch = 1;
        assert_eq!(a.ask(a.asks(&[])).await.0, ErrorCode::ShareSessionNotFound);
        assert_eq!(a.say_at(1, false, &[]).await.0, ErrorCode::ShareSessionNotFound);
        assert_eq!(a.say_at(0, false, &[]).await.0, ErrorCode::InvalidShareSessionEpoch);
        assert_eq!(a.say_at(-1, false, &[]).await.0, ErrorCode::ShareSessionNotFound);
        a.session_epoch = 0;
        assert_eq!(a.ask(a.asks(&[(0, 0, ACCEPT)])).await.0, ErrorCode::InvalidRequest, "nothing was acquired yet");
        assert_eq!(a.fetch().await, [(0, 9, 1)]);
        a.session_epoch = 5;
        assert_eq!(a.ask(a.asks(&[])).await.0, ErrorCode::InvalidShareSessionEpoch);
        a.session_epoch = 1;
        let wrong = [(3, 2, ACCEPT), (0, 0, 7), (0, 0, -1), (0, 0, RENEW)];
        for said in wrong {
            let epoch = a.session_epoch;
            assert_eq!(a.say_at(epoch, false, &[said]).await, (ErrorCode::None, ErrorCode::InvalidRequest), "{said:?}");
        }
        let none = fetch::ShareFetchRequest { group_id: None, ..a.asks(&[]) };
        assert_eq!(a.ask(none).await.0, ErrorCode::InvalidRequest);
        let long = "m".repeat(37);
        let long = fetch::ShareFetchRequest { member_id: Some(&long), ..a.asks(&[]) };
        assert_eq!(a.ask(long).await.0, ErrorCode::InvalidRequest);
        let unknown =
            fetch::FetchTopic { topic_id: TopicId([9; 16]), partitions: vec![fetch::FetchPartition::default()] };
        let request = fetch::ShareFetchRequest { topics: vec![unknown], ..a.asks(&[]) };
        let (_, error, ..) = a.ask(request).await;
        assert_eq!(error, ErrorCode::UnknownTopicId);

        // One session a shard: the second of the same group waits, and is refused.
        let mut b = Consumer::new("b", a.topic).await;
        assert_eq!(b.ask(b.asks(&[])).await.0, ErrorCode::ShareSessionLimitReached);
        assert_eq!(a.say_at(-1, false, &[(0, 9, ACCEPT)]).await, (ErrorCode::None, ErrorCode::None));
        assert_eq!(b.fetch().await, []);
    });
}

/// What was acknowledged before the power went must not come again, and what was not must.
#[test]
fn a_power_cut_brings_back_only_what_was_not_acknowledged() {
    let before = || async {
        let (_, mut consumers) = prepared(10, &["a"]).await;
        let mut a = consumers.pop().unwrap();
        assert_eq!(a.fetch().await, [(0, 9, 1)]);
        assert_eq!(a.say(&[(0, 2, ACCEPT), (5, 6, REJECT), (8, 8, RELEASE)]).await, (ErrorCode::None, ErrorCode::None));
    };
    let after = || async {
        let mut wire = Wire::connect().await;
        let body = wire.metadata(12, &["t"]).await;
        let topic = decode::<ringlane_protocol::metadata::MetadataResponse>(&body, 12).topics[0].topic_id;
        let mut a = Consumer::new("a", topic).await;
        a.join(1).await;
        assert_eq!(a.fetch().await, [(3, 4, 1), (7, 7, 1), (8, 8, 2), (9, 9, 1)]);
        assert_eq!(a.say(&[(3, 4, ACCEPT), (7, 9, ACCEPT)]).await, (ErrorCode::None, ErrorCode::None));
        // The first write after the restart says where the group is now; the last one is known to be done by the lag.
        assert_eq!(wire.share_offsets().await, (3, 0));
    };
    with_power_cut(2, AT_ONCE, before, after);
}

/// A member must hear what is wrong with it, and a group id belongs to one kind of group.
#[test]
fn members_of_share_groups() {
    with_broker(2, AT_ONCE, || async {
        let (mut wire, mut consumers) = prepared(0, &["a"]).await;
        let mut a = consumers.pop().unwrap();
        assert_eq!(a.heartbeat(None).await, (ErrorCode::None, None), "nothing new");
        a.member_epoch += 1;
        assert_eq!(a.heartbeat(None).await.0, ErrorCode::FencedMemberEpoch);
        let mut b = Consumer::new("b", a.topic).await;
        b.member_epoch = 3;
        assert_eq!(b.heartbeat(None).await.0, ErrorCode::UnknownMemberId);
        b.member_epoch = 0;
        assert_eq!(b.heartbeat(None).await.0, ErrorCode::InvalidRequest);
        b.member = "";
        assert_eq!(b.heartbeat(Some(vec!["t"])).await.0, ErrorCode::InvalidRequest);

        let protocols = vec![JoinGroupRequestProtocol { name: "range", metadata: b"" }];
        let classic = JoinGroupRequest {
            group_id: "g",
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            protocol_type: "consumer",
            protocols,
            ..Default::default()
        };
        let body = wire.call(5, &classic).await;
        assert_eq!(decode::<JoinGroupResponse>(&body, 5).error_code, ErrorCode::InconsistentGroupProtocol);

        let described =
            ShareGroupDescribeRequest { group_ids: vec!["g", "none", ""], include_authorized_operations: false };
        let body = wire.call(1, &described).await;
        let groups = decode::<ShareGroupDescribeResponse>(&body, 1).groups;
        assert_eq!((groups[0].group_state, groups[0].assignor_name), ("Stable", "simple"));
        assert_eq!(groups[0].members[0].assignment.topic_partitions[0].topic_name, "t");
        assert_eq!(groups[1].error_code, ErrorCode::GroupIdNotFound);
        assert_eq!(groups[2].error_code, ErrorCode::InvalidGroupId);
        let body = wire.call(5, &ListGroupsRequest { types_filter: vec!["share"], ..Default::default() }).await;
        let listed = decode::<ListGroupsResponse>(&body, 5).groups;
        assert_eq!(
            (listed[0].group_type, listed[0].protocol_type, listed[0].group_state),
            ("share", "share", "Stable")
        );

        let gone = Duration::from_secs(46);
        sleep(gone).await;
        let body = wire.call(1, &ShareGroupDescribeRequest { group_ids: vec!["g"], ..Default::default() }).await;
        assert_eq!(decode::<ShareGroupDescribeResponse>(&body, 1).groups[0].group_state, "Empty");
    });
}

/// A group with consumers must not lose the ground under their feet; one that is deleted leaves nothing behind.
#[test]
fn offsets_are_altered_and_deleted_only_without_consumers() {
    with_broker(2, AT_ONCE, || async {
        let (mut wire, mut consumers) = prepared(10, &["a"]).await;
        let mut a = consumers.pop().unwrap();
        assert_eq!(a.fetch().await, [(0, 9, 1)]);
        assert_eq!(a.say(&[(0, 9, ACCEPT)]).await, (ErrorCode::None, ErrorCode::None));
        assert_eq!(wire.share_offsets().await.1, 0);
        assert_eq!(wire.begin_at(5).await.0, ErrorCode::NonEmptyGroup);
        let topics = || {
            vec![
                DeleteShareGroupOffsetsRequestTopic { topic_name: "t" },
                DeleteShareGroupOffsetsRequestTopic { topic_name: "u" },
            ]
        };
        let delete = || DeleteShareGroupOffsetsRequest { group_id: "g", topics: topics() };
        let body = wire.call(0, &delete()).await;
        assert_eq!(decode::<DeleteShareGroupOffsetsResponse>(&body, 0).error_code, ErrorCode::NonEmptyGroup);
        let groups = || DeleteGroupsRequest { groups_names: vec!["g"] };
        let body = wire.call(2, &groups()).await;
        assert_eq!(decode::<DeleteGroupsResponse>(&body, 2).results[0].error_code, ErrorCode::NonEmptyGroup);

        assert_eq!(a.say_at(-1, false, &[]).await.0, ErrorCode::None);
        a.member_epoch = -1;
        assert_eq!(a.heartbeat(None).await.0, ErrorCode::None);
        assert_eq!(wire.begin_at(5).await, (ErrorCode::None, ErrorCode::None));
        assert_eq!(wire.share_offsets().await, (5, 5));
        (a.member_epoch, a.session_epoch) = (0, 0);
        a.join(1).await;
        assert_eq!(a.fetch().await, [(5, 9, 1)]);
        assert_eq!(a.say_at(-1, false, &[]).await.0, ErrorCode::None);
        a.member_epoch = -1;
        a.heartbeat(None).await;

        let body = wire.call(0, &delete()).await;
        let responses = decode::<DeleteShareGroupOffsetsResponse>(&body, 0).responses;
        let code = |name: &str| responses.iter().find(|topic| topic.topic_name == name).unwrap().error_code;
        assert_eq!((code("t"), code("u")), (ErrorCode::None, ErrorCode::UnknownTopicOrPartition));
        assert_eq!(wire.share_offsets().await, (-1, -1));
        let body = wire.call(2, &groups()).await;
        assert_eq!(decode::<DeleteGroupsResponse>(&body, 2).results[0].error_code, ErrorCode::None);
        let body = wire.call(2, &groups()).await;
        assert_eq!(decode::<DeleteGroupsResponse>(&body, 2).results[0].error_code, ErrorCode::GroupIdNotFound);
        let body = wire.call(5, &ListGroupsRequest::default()).await;
        assert!(decode::<ListGroupsResponse>(&body, 5).groups.is_empty());
    });
}

/// The share coordinator's own requests, as another broker would send them: who was replaced is fenced.
#[test]
fn the_share_coordinator_fences_who_was_replaced() {
    with_broker(2, AT_ONCE, || async {
        let (mut wire, consumers) = prepared(1, &["a"]).await;
        let topic = consumers[0].topic;
        let key = format!("g:{topic}:0");
        let find = FindCoordinatorRequest { key_type: 2, coordinator_keys: vec![&key, "g"], ..Default::default() };
        let body = wire.call(6, &find).await;
        let found = decode::<FindCoordinatorResponse>(&body, 6).coordinators;
        assert_eq!(found[1].error_code, ErrorCode::InvalidRequest);
        let find = FindCoordinatorRequest { key_type: 2, coordinator_keys: vec![&key], ..Default::default() };
        let body = wire.call(6, &find).await;
        assert_eq!(decode::<FindCoordinatorResponse>(&body, 6).coordinators[0].node_id, 1);

        let partition = read_state::PartitionData { partition: 0, leader_epoch: 9 };
        let topics = vec![read_state::ReadStateData { topic_id: topic, partitions: vec![partition] }];
        let body = wire.call(0, &read_state::ReadShareGroupStateRequest { group_id: "g", topics }).await;
        let read = decode::<read_state::ReadShareGroupStateResponse>(&body, 0);
        let read = &read.results[0].partitions[0];
        assert_eq!((read.error_code, read.start_offset), (ErrorCode::None, 0));
        for (leader_epoch, state_epoch, delivery_state, expected) in [
            (8, 99, 2, ErrorCode::FencedLeaderEpoch),
            (9, 0, 2, ErrorCode::FencedStateEpoch),
            (9, 99, 1, ErrorCode::InvalidRequest),
            (9, 99, 2, ErrorCode::None),
        ] {
            let batch = write_state::StateBatch { first_offset: 0, last_offset: 0, delivery_state, delivery_count: 1 };
            let partition = write_state::PartitionData {
                partition: 0,
                state_epoch,
                leader_epoch,
                start_offset: -1,
                delivery_complete_count: 1,
                state_batches: vec![batch],
            };
            let topics = vec![write_state::WriteStateData { topic_id: topic, partitions: vec![partition] }];
            let body = wire.call(1, &write_state::WriteShareGroupStateRequest { group_id: "g", topics }).await;
            let written = decode::<write_state::WriteShareGroupStateResponse>(&body, 1);
            assert_eq!(written.results[0].partitions[0].error_code, expected, "{leader_epoch} {state_epoch}");
        }
        assert_eq!(wire.share_offsets().await, (0, 0));
    });
}

/// Clients fall back, or fail, by what the broker says that it can.
#[test]
fn share_groups_are_advertised() {
    with_broker(1, &[], || async {
        let mut wire = Wire::connect().await;
        let request =
            ApiVersionsRequest { client_software_name: "test", client_software_version: "1", ..Default::default() };
        let body = wire.call(4, &request).await;
        let versions = decode::<ApiVersionsResponse>(&body, 4);
        let level = versions.finalized_features.iter().find(|feature| feature.name == "share.version");
        assert_eq!(level.map(|feature| feature.max_version_level), Some(1));
        for key in [76, 77, 78, 79, 83, 84, 85, 86, 87, 90, 91, 92] {
            assert!(versions.api_keys.iter().any(|api| api.api_key == key), "{key}");
        }
    });
}
