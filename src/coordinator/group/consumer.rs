//! Consumer groups of the new protocol (KIP-848) among the groups of a machine: which group an input is for, and its timer.
//!
//! A group id is of one kind at a time. A member of the new protocol makes an empty classic group its own, and a classic member an empty
//! consumer group; a group that has members of the other kind refuses them, as Kafka does with `group.consumer.migration.policy=disabled`.

use super::admin::Groups;
use super::classic::State;
use super::request::CommitTopic;
use super::timers::{Alarm, TimerKey, Timers};
use super::{Group, Turn};
use crate::consumer_group::{
    CommitCheck, ConsumerGroup, ConsumerGroupError, ConsumerHeartbeat, ConsumerHeartbeatReply, DescribedConsumerGroup,
    Replayed,
};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::internal::InternalRecordError;
use ringlane_protocol::internal::consumer_group::ConsumerGroupKey;
use ringlane_protocol::internal::consumer_offsets::encode_group_key;

/// A consumer group and when it wants to be called.
#[derive(Debug)]
pub struct Consumers {
    pub group: ConsumerGroup,
    alarm: Alarm,
}

impl Consumers {
    pub fn new(group: ConsumerGroup) -> Consumers {
        Consumers { group, alarm: Alarm::default() }
    }

    /// The machine calls the group when its first member may be late.
    fn arm(&mut self, timers: &mut Timers) {
        let id = self.group.id();
        if let Some(due_ms) = self.group.next_deadline_ms() {
            timers.set(&mut self.alarm, due_ms, || TimerKey::Consumers(id.clone()));
        }
    }

    pub fn loaded(&mut self, turn: &mut Turn<'_>) {
        self.group.loaded(&turn.context());
        self.arm(turn.timers);
    }

    pub fn ring(&mut self, turn: &mut Turn<'_>) {
        let id = self.group.id().clone();
        if turn.timers.rings(&mut self.alarm, turn.now_ms, || TimerKey::Consumers(id.clone())) {
            let context = turn.context();
            self.group.on_time(&context, &mut turn.effects.records);
        }
        self.arm(turn.timers);
    }

    pub fn cancel_timers(&mut self, timers: &mut Timers) {
        let id = self.group.id();
        timers.cancel(&mut self.alarm, || TimerKey::Consumers(id.clone()));
    }
}

pub fn heartbeat(
    groups: &mut Groups,
    said: &ConsumerHeartbeat,
    turn: &mut Turn<'_>,
) -> Result<ConsumerHeartbeatReply, ConsumerGroupError> {
    said.validate(&turn.options.consumer)?;
    let id = said.group.as_str();
    let is_new = match groups.get(id) {
        Some(Group::Consumers(_)) => false,
        Some(Group::Classic(classic)) if said.joins() && classic.state() == State::Empty => true,
        None if said.joins() => true,
        Some(Group::Classic(_) | Group::Shares(_)) | None => {
            return Err(ConsumerGroupError::GroupNotFound(said.group.clone()));
        }
    };
    if is_new {
        let mut consumers = Consumers::new(ConsumerGroup::new(id));
        let context = turn.context();
        let mut records = Vec::new();
        let reply = consumers.group.heartbeat(said, &context, &mut records)?;
        if let Some(mut classic) = groups.remove(id) {
            classic.cancel_timers(turn.timers);
            turn.effects.append(encode_group_key(id), None);
        }
        turn.effects.records.append(&mut records);
        consumers.arm(turn.timers);
        groups.insert(id.into(), Group::Consumers(consumers));
        return Ok(reply);
    }
    let Some(Group::Consumers(consumers)) = groups.get_mut(id) else {
        return Err(ConsumerGroupError::GroupNotFound(said.group.clone()));
    };
    let context = turn.context();
    let reply = consumers.group.heartbeat(said, &context, &mut turn.effects.records);
    consumers.arm(turn.timers);
    reply
}

/// `None` for ids that are no consumer groups.
pub fn describe(groups: &Groups, ids: &[String], turn: &Turn<'_>) -> Vec<Option<DescribedConsumerGroup>> {
    let one = |id: &String| match groups.get(id.as_str()) {
        Some(Group::Consumers(consumers)) => Some(consumers.group.describe(&turn.context())),
        _ => None,
    };
    ids.iter().map(one).collect()
}

/// A classic member finds no consumer group in its way that nobody is in.
pub fn make_way(groups: &mut Groups, id: &str, turn: &mut Turn<'_>) {
    if let Some(Group::Consumers(consumers)) = groups.get_mut(id)
        && consumers.group.is_empty()
    {
        consumers.group.tombstones(&mut turn.effects.records);
        consumers.cancel_timers(turn.timers);
        groups.remove(id);
    }
}

pub fn replay(groups: &mut Groups, key: ConsumerGroupKey<'_>, value: Option<&[u8]>) -> Result<(), InternalRecordError> {
    let id = key.group();
    if !matches!(groups.get(id), Some(Group::Consumers(_))) {
        // A record that deletes something of a group that is not there, or not any more.
        if value.is_none() {
            return Ok(());
        }
        groups.insert(id.into(), Group::Consumers(Consumers::new(ConsumerGroup::new(id))));
    }
    if let Some(Group::Consumers(consumers)) = groups.get_mut(id)
        && consumers.group.replay(key, value)? == Replayed::Deleted
    {
        groups.remove(id);
    }
    Ok(())
}

/// What of a commit counts: `Err` is the answer to every partition, else one code a partition.
pub fn check_commit(
    group: &ConsumerGroup,
    member: (&str, Option<&str>, i32),
    version: Option<i16>,
    topics: &[CommitTopic],
    turn: &Turn<'_>,
) -> Result<Vec<Vec<ErrorCode>>, ErrorCode> {
    let (member_id, instance_id, epoch) = member;
    let check = group.check_commit(member_id, instance_id, epoch, version).map_err(|error| error.code())?;
    let codes = |topic: &CommitTopic| {
        let id = Some(topic.id).filter(|id| !id.is_zero()).or_else(|| turn.topics.id(&topic.name)).unwrap_or_default();
        let code = |partition: i32| match check {
            CommitCheck::All => ErrorCode::None,
            CommitCheck::Since { .. } => check.partition(id, partition),
        };
        topic.partitions.iter().map(|partition| code(partition.partition)).collect()
    };
    Ok(topics.iter().map(codes).collect())
}

/// The partitions that may be committed, and how to put their codes among those of the others.
pub fn only_allowed(topics: &[CommitTopic], codes: &[Vec<ErrorCode>]) -> Vec<CommitTopic> {
    let allowed = |(topic, codes): (&CommitTopic, &Vec<ErrorCode>)| {
        let partitions = topic.partitions.iter().zip(codes).filter(|(_, code)| **code == ErrorCode::None);
        CommitTopic { partitions: partitions.map(|(partition, _)| partition.clone()).collect(), ..topic.clone() }
    };
    topics.iter().zip(codes).map(allowed).collect()
}

pub fn merged(mut codes: Vec<Vec<ErrorCode>>, committed: Vec<Vec<ErrorCode>>) -> Vec<Vec<ErrorCode>> {
    for (codes, committed) in codes.iter_mut().zip(committed) {
        let open = codes.iter_mut().filter(|code| **code == ErrorCode::None);
        open.zip(committed).for_each(|(code, committed)| *code = committed);
    }
    codes
}
