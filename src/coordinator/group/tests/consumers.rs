//! Groups of the new protocol among the others: through the machine, with its clock and its log.

use super::{CommitOffsets, CommitPartition, CommitTopic, FetchOffsets, JoinGroup, ListGroups, Protocol};
use crate::consumer_group::{ConsumerHeartbeat, ConsumerHeartbeatReply, Topic, TopicTable};
use crate::group::{GroupMachine, GroupOptions, GroupReply, GroupRequest};
use crate::{Effects, NewRecord, ReplyTo};
use ringlane_protocol::{ErrorCode, TopicId};
use std::rc::Rc;

const TOPIC: TopicId = TopicId([7; 16]);

struct Kit {
    machine: GroupMachine,
    log: Vec<NewRecord>,
    now_ms: i64,
}

fn machine() -> GroupMachine {
    let mut topics = TopicTable::default();
    topics.set("orders", Topic { id: TOPIC, partition_count: 2, racks: Vec::new() });
    GroupMachine::new(GroupOptions::default()).with_topics(Rc::new(topics))
}

impl Kit {
    fn new() -> Kit {
        let mut kit = Kit { machine: machine(), log: Vec::new(), now_ms: 1_000_000 };
        let effects = kit.machine.loaded(kit.now_ms);
        kit.take(effects);
        kit
    }

    fn take(&mut self, effects: Effects<GroupReply>) -> Option<GroupReply> {
        self.log.extend(effects.records);
        effects.replies.into_iter().next().map(|reply| reply.reply)
    }

    fn ask(&mut self, request: GroupRequest) -> GroupReply {
        let effects = self.machine.request(self.now_ms, ReplyTo(1), request);
        self.take(effects).expect("an answer at once")
    }

    fn hear(&mut self, member: &str, epoch: i32) -> Result<ConsumerHeartbeatReply, ErrorCode> {
        let joins = epoch == 0;
        let said = ConsumerHeartbeat {
            group: "g".into(),
            member_id: member.into(),
            must_name_itself: true,
            epoch,
            rebalance_timeout_ms: if joins { 60_000 } else { -1 },
            topics: joins.then(|| vec!["orders".into()]),
            owned: joins.then(Vec::new),
            ..ConsumerHeartbeat::default()
        };
        match self.ask(GroupRequest::ConsumerHeartbeat(Box::new(said))) {
            GroupReply::ConsumerHeartbeat(reply) => reply.map_err(|error| error.code()),
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, member: &str, epoch: i32) -> Result<ErrorCode, ErrorCode> {
        let partition = CommitPartition { partition: 0, offset: 5, leader_epoch: -1, metadata: String::new() };
        let topics = vec![CommitTopic { name: "orders".into(), id: TopicId::ZERO, partitions: vec![partition] }];
        match self.ask(GroupRequest::CommitOffsets(CommitOffsets {
            group: "g".into(),
            generation: epoch,
            member_id: member.into(),
            instance_id: None,
            retention_ms: None,
            knows_missing_groups: true,
            topics,
        })) {
            GroupReply::CommitOffsets(codes) => codes.map(|codes| codes[0][0]),
            other => panic!("{other:?}"),
        }
    }

    fn fetch(&mut self, member: &str, epoch: i32) -> Result<i64, ErrorCode> {
        let request = FetchOffsets {
            group: "g".into(),
            member_id: Some(member.into()),
            member_epoch: Some(epoch),
            ..FetchOffsets::default()
        };
        match self.ask(GroupRequest::FetchOffsets(request)) {
            GroupReply::FetchOffsets(topics) => topics.map(|topics| topics[0].partitions[0].offset),
            other => panic!("{other:?}"),
        }
    }

    /// The classic protocol's answer.
    fn join_classic(&mut self, member_id: &str) -> Option<ErrorCode> {
        let request = JoinGroup {
            group: "g".into(),
            member_id: member_id.into(),
            new_member_id: "new".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            protocol_type: "consumer".into(),
            protocols: vec![Protocol { name: "range".into(), metadata: Default::default() }],
            ..JoinGroup::default()
        };
        let effects = self.machine.request(self.now_ms, ReplyTo(2), GroupRequest::Join(request));
        match self.take(effects)? {
            GroupReply::Join(reply) => Some(reply.error),
            other => panic!("{other:?}"),
        }
    }

    fn listed(&mut self, kind: &str) -> Vec<&'static str> {
        let filter = ListGroups { types: vec![kind.into()], ..ListGroups::default() };
        match self.ask(GroupRequest::List(filter)) {
            GroupReply::List(groups) => groups.iter().map(|group| group.state).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn pass(&mut self, ms: i64) {
        let until = self.now_ms + ms;
        while let Some(next) = self.machine.next_deadline().filter(|next| *next <= until) {
            self.now_ms = next.max(self.now_ms);
            let effects = self.machine.on_time(self.now_ms);
            self.take(effects);
        }
        self.now_ms = until;
    }

    fn restart(&mut self) {
        self.machine = machine();
        for record in &self.log {
            self.machine.replay(&record.key, record.value.as_deref(), None).unwrap();
        }
        let effects = self.machine.loaded(self.now_ms);
        self.take(effects);
    }
}

/// A group that its machine does not keep over a restart, or does not call in time, has members that nobody gives up.
#[test]
fn a_consumer_group_lives_in_the_machine() {
    let mut kit = Kit::new();
    assert_eq!(kit.hear("a", 3), Err(ErrorCode::GroupIdNotFound));
    let first = kit.hear("a", 0).unwrap();
    assert_eq!(first.assignment, Some(vec![(TOPIC, vec![0, 1])]));
    assert_eq!(kit.listed("consumer"), ["Stable"]);
    assert_eq!(kit.listed("classic"), [""; 0]);

    kit.restart();
    assert_eq!(kit.hear("a", first.epoch).unwrap().epoch, first.epoch);
    kit.pass(44_000);
    kit.hear("a", first.epoch).unwrap();
    kit.pass(44_000);
    assert_eq!(kit.listed("consumer"), ["Stable"]);
    kit.pass(1_000);
    assert_eq!(kit.listed("consumer"), ["Empty"]);
    assert_eq!(kit.hear("a", first.epoch), Err(ErrorCode::UnknownMemberId));
    kit.restart();
    assert_eq!(kit.listed("consumer"), ["Empty"]);
}

/// Offsets are the reason for all of it: of a member that is gone they would put its successor back.
#[test]
fn members_commit_and_fetch_while_they_are_members() {
    let mut kit = Kit::new();
    let epoch = kit.hear("a", 0).unwrap().epoch;
    assert_eq!(kit.commit("a", epoch), Ok(ErrorCode::None));
    assert_eq!(kit.commit("a", epoch + 1), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(kit.commit("a", epoch - 1), Ok(ErrorCode::StaleMemberEpoch), "it had not the partition then");
    assert_eq!(kit.commit("b", epoch), Err(ErrorCode::UnknownMemberId));
    assert_eq!(kit.fetch("a", epoch), Ok(5));
    assert_eq!(kit.fetch("a", epoch - 1), Err(ErrorCode::StaleMemberEpoch));
    kit.restart();
    assert_eq!(kit.fetch("a", epoch), Ok(5));

    kit.hear("a", -1).unwrap();
    assert_eq!(kit.commit("", -1), Ok(ErrorCode::None), "an administrator resets an empty group");
    match kit.ask(GroupRequest::Delete(vec!["g".into()])) {
        GroupReply::Delete(codes) => assert_eq!(codes, [ErrorCode::None]),
        other => panic!("{other:?}"),
    }
    kit.restart();
    assert_eq!(kit.machine.group_count(), 0);
}

/// One id, two kinds: whoever comes into an empty group decides, and whoever comes too late is told so.
#[test]
fn a_group_changes_its_kind_only_when_it_is_empty() {
    let mut kit = Kit::new();
    assert_eq!(kit.commit("", -1), Ok(ErrorCode::None), "offsets alone make a classic group");
    assert_eq!(kit.listed("classic"), ["Empty"]);
    let epoch = kit.hear("a", 0).unwrap().epoch;
    assert_eq!(kit.listed("classic"), [""; 0]);
    assert_eq!(kit.fetch("a", epoch), Ok(5), "the offsets stay");
    kit.restart();
    assert_eq!(kit.listed("consumer"), ["Stable"]);

    assert_eq!(kit.join_classic(""), Some(ErrorCode::InconsistentGroupProtocol));
    match kit.ask(GroupRequest::Describe(vec!["g".into()])) {
        GroupReply::Describe(groups) => assert_eq!(groups[0].error, ErrorCode::GroupIdNotFound),
        other => panic!("{other:?}"),
    }
    kit.hear("a", -1).unwrap();
    assert_eq!(kit.join_classic(""), None, "it waits for others to join");
    assert_eq!(kit.listed("consumer"), [""; 0]);
    assert_eq!(kit.hear("a", 0), Err(ErrorCode::GroupIdNotFound));
    match kit.ask(GroupRequest::DescribeConsumers(vec!["g".into()])) {
        GroupReply::DescribeConsumers(groups) => assert_eq!(groups, [None]),
        other => panic!("{other:?}"),
    }
    kit.restart();
    assert_eq!(kit.listed("consumer"), [""; 0]);
}
