//! Stories of the rules that clients rely on. The kit: a machine, its clock, its log and the answers that it has given.

mod admin;
mod consumers;
mod joins;
mod offsets;
mod sessions;
mod static_members;
mod transactions;

use super::*;
use crate::{Effects, NewRecord};
use ringlane_protocol::TopicId;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const GROUP: &str = "readers";
pub const SESSION_MS: i64 = 10_000;
pub const REBALANCE_MS: i64 = 60_000;
pub const INITIAL_DELAY_MS: i64 = 3_000;

pub struct Story {
    pub machine: GroupMachine,
    pub options: GroupOptions,
    pub now_ms: i64,
    /// With the producer of the batch, if it was part of a transaction.
    pub log: Vec<(NewRecord, Option<i64>)>,
    replies: BTreeMap<ReplyTo, GroupReply>,
    next_reply: u64,
}

impl Story {
    pub fn new() -> Story {
        Story::with(GroupOptions::default())
    }

    pub fn with(options: GroupOptions) -> Story {
        let mut story = Story {
            machine: GroupMachine::new(options.clone()),
            options,
            now_ms: 1_700_000_000_000,
            log: Vec::new(),
            replies: BTreeMap::new(),
            next_reply: 0,
        };
        let effects = story.machine.loaded(story.now_ms);
        story.take(effects, None);
        story
    }

    fn take(&mut self, effects: Effects<GroupReply>, producer_id: Option<i64>) {
        self.log.extend(effects.records.into_iter().map(|record| (record, producer_id)));
        for Reply { to, reply } in effects.replies {
            assert!(self.replies.insert(to, reply).is_none(), "two answers to {to:?}");
        }
    }

    /// Sends a request; its answer may come later.
    pub fn send(&mut self, request: GroupRequest) -> ReplyTo {
        let to = ReplyTo(self.next_reply);
        self.next_reply += 1;
        let producer_id = match &request {
            GroupRequest::CommitTransactionalOffsets(request) => Some(request.producer_id),
            _ => None,
        };
        let effects = self.machine.request(self.now_ms, to, request);
        self.take(effects, producer_id);
        to
    }

    /// Sends a request that is answered at once.
    pub fn ask(&mut self, request: GroupRequest) -> GroupReply {
        let to = self.send(request);
        self.answer(to).expect("an answer at once")
    }

    pub fn answer(&mut self, to: ReplyTo) -> Option<GroupReply> {
        self.replies.remove(&to)
    }

    /// Lets time pass, stopping wherever the machine wants to be called.
    pub fn pass(&mut self, ms: i64) {
        let until = self.now_ms + ms;
        while let Some(next) = self.machine.next_deadline().filter(|next| *next <= until) {
            self.now_ms = next.max(self.now_ms);
            let effects = self.machine.on_time(self.now_ms);
            self.take(effects, None);
        }
        self.now_ms = until;
    }

    /// The broker restarts: a new machine, from the log.
    pub fn restart(&mut self) {
        self.replies.clear();
        self.machine = replayed(&self.log, &self.options);
        let effects = self.machine.loaded(self.now_ms);
        self.take(effects, None);
    }

    pub fn join(&mut self, request: JoinGroup) -> ReplyTo {
        self.send(GroupRequest::Join(request))
    }

    pub fn joined(&mut self, to: ReplyTo) -> JoinReply {
        match self.answer(to) {
            Some(GroupReply::Join(reply)) => reply,
            other => panic!("not the answer to a JoinGroup: {other:?}"),
        }
    }

    pub fn sync(&mut self, member_id: &str, generation: i32, assignments: &[(&str, &str)]) -> ReplyTo {
        self.send(GroupRequest::Sync(SyncGroup {
            group: GROUP.into(),
            generation,
            member_id: member_id.into(),
            assignments: assignments.iter().map(|(id, bytes)| (id.to_string(), bytes.as_bytes().into())).collect(),
            ..SyncGroup::default()
        }))
    }

    pub fn synced(&mut self, to: ReplyTo) -> SyncReply {
        match self.answer(to) {
            Some(GroupReply::Sync(reply)) => reply,
            other => panic!("not the answer to a SyncGroup: {other:?}"),
        }
    }

    pub fn heartbeat(&mut self, member_id: &str, generation: i32) -> ErrorCode {
        let request = Heartbeat { group: GROUP.into(), generation, member_id: member_id.into(), instance_id: None };
        match self.ask(GroupRequest::Heartbeat(request)) {
            GroupReply::Heartbeat(code) => code,
            other => panic!("{other:?}"),
        }
    }

    pub fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<ErrorCode> {
        let leaving = members.iter().map(|(member_id, instance_id)| LeavingMember {
            member_id: member_id.to_string(),
            instance_id: instance_id.map(str::to_owned),
        });
        match self.ask(GroupRequest::Leave(LeaveGroup { group: GROUP.into(), members: leaving.collect() })) {
            GroupReply::Leave(codes) => codes,
            other => panic!("{other:?}"),
        }
    }

    /// Commits `offset` of partition 0 of topic `t`, with an answer for the one partition.
    pub fn commit(&mut self, member_id: &str, generation: i32, offset: i64) -> ErrorCode {
        self.commit_all(CommitOffsets { member_id: member_id.into(), generation, ..commit_of("t", 0, offset) })
    }

    pub fn commit_all(&mut self, request: CommitOffsets) -> ErrorCode {
        match self.ask(GroupRequest::CommitOffsets(request)) {
            GroupReply::CommitOffsets(Ok(codes)) => codes[0][0],
            GroupReply::CommitOffsets(Err(code)) => code,
            other => panic!("{other:?}"),
        }
    }

    /// What is committed of a partition; `require_stable` as asked.
    pub fn committed(&mut self, topic: &str, partition: i32, require_stable: bool) -> FetchedPartition {
        let topics = vec![FetchTopic { name: topic.into(), id: TopicId::ZERO, partitions: vec![partition] }];
        let request =
            FetchOffsets { group: GROUP.into(), topics: Some(topics), require_stable, ..FetchOffsets::default() };
        match self.ask(GroupRequest::FetchOffsets(request)) {
            GroupReply::FetchOffsets(Ok(mut topics)) => topics.remove(0).partitions.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub fn state(&mut self) -> &'static str {
        match self.ask(GroupRequest::Describe(vec![GROUP.into()])) {
            GroupReply::Describe(groups) => groups[0].state,
            other => panic!("{other:?}"),
        }
    }

    /// Two members, `a` and `b`, of whom `a` leads, in generation 1, each with an assignment.
    pub fn stable_pair(&mut self) {
        let (a, b) = (self.join(new_member("a")), self.join(new_member("b")));
        self.pass(2 * INITIAL_DELAY_MS);
        let (joined_a, joined_b) = (self.joined(a), self.joined(b));
        assert_eq!((joined_a.generation, joined_b.generation), (1, 1));
        assert_eq!((&*joined_a.leader, joined_a.members.len(), joined_b.members.len()), ("a", 2, 0));
        let b = self.sync("b", 1, &[]);
        assert!(self.answer(b).is_none());
        let a = self.sync("a", 1, &[("a", "for a"), ("b", "for b")]);
        assert_eq!(&*self.synced(a).assignment, b"for a");
        assert_eq!(&*self.synced(b).assignment, b"for b");
        assert_eq!(self.state(), "Stable");
    }
}

/// A machine that has read `log`.
pub fn replayed(log: &[(NewRecord, Option<i64>)], options: &GroupOptions) -> GroupMachine {
    let mut machine = GroupMachine::new(options.clone());
    for (record, producer_id) in log {
        match (&record.value, producer_id) {
            (Some(marker), Some(producer_id)) if record.key.is_empty() => {
                machine.replay_marker(*producer_id, marker[0] == 1)
            }
            _ => machine.replay(&record.key, record.value.as_deref(), *producer_id).expect("our own record"),
        }
    }
    machine
}

/// A subscription to topic `t`, as consumers write it.
pub fn subscription() -> Arc<[u8]> {
    (*b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff").into()
}

/// A JoinGroup of an old client, which is a member at once, under the id `id`.
pub fn new_member(id: &str) -> JoinGroup {
    JoinGroup {
        group: GROUP.into(),
        new_member_id: id.into(),
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: SESSION_MS as i32,
        rebalance_timeout_ms: REBALANCE_MS as i32,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: subscription() }],
        ..JoinGroup::default()
    }
}

/// The same of a member that has its id.
pub fn known_member(id: &str) -> JoinGroup {
    JoinGroup { member_id: id.into(), ..new_member("unused") }
}

pub fn commit_of(topic: &str, partition: i32, offset: i64) -> CommitOffsets {
    CommitOffsets {
        group: GROUP.into(),
        generation: -1,
        member_id: String::new(),
        instance_id: None,
        retention_ms: None,
        knows_missing_groups: true,
        topics: topics_of(topic, partition, offset),
    }
}

pub fn topics_of(topic: &str, partition: i32, offset: i64) -> Vec<CommitTopic> {
    let partition = CommitPartition { partition, offset, leader_epoch: 4, metadata: "m".into() };
    vec![CommitTopic { name: topic.into(), id: TopicId([1; 16]), partitions: vec![partition] }]
}

use crate::Reply;
