//! Share groups (KIP-932) among the groups of a machine: which group an input is for, and its timer.
//!
//! A group id is of one kind at a time; share groups neither take over other groups nor are taken over.

use super::admin::Groups;
use super::timers::{Alarm, TimerKey, Timers};
use super::{Group, Turn};
use crate::share_group::{
    AlterTopic, Altered, DeletePlan, DescribedShareGroup, Replayed, ShareContext, ShareGroup, ShareGroupError,
    ShareHeartbeat, ShareHeartbeatReply, TopicPartitions,
};
use ringlane_protocol::TopicId;
use ringlane_protocol::internal::InternalRecordError;
use ringlane_protocol::internal::share_group::ShareGroupKey;

/// What is asked of a share group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ShareRequest {
    Heartbeat(ShareHeartbeat),
    Describe(String),
    /// The share coordinator has made these states, or has not.
    Initialized(String, Vec<TopicPartitions>),
    NotInitialized(String, Vec<TopicPartitions>),
    /// Which partitions have a state?
    StatePartitions(String),
    AlterOffsets(String, Vec<AlterTopic>),
    DeleteOffsets(String, Vec<String>),
    /// Before the group is deleted.
    DeleteStates(String),
    /// The share coordinator has deleted the states of these topics.
    OffsetsDeleted(String, Vec<TopicId>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ShareReply {
    Heartbeat(Result<ShareHeartbeatReply, ShareGroupError>),
    Describe(Result<DescribedShareGroup, ShareGroupError>),
    Done,
    StatePartitions(Vec<TopicPartitions>),
    AlterOffsets(Result<Altered, ShareGroupError>),
    /// To both kinds of deletion. Of a group that is of another kind: `None`.
    Delete(Result<Option<DeletePlan>, ShareGroupError>),
}

/// A share group and when it wants to be called.
#[derive(Debug)]
pub struct Shares {
    pub group: ShareGroup,
    alarm: Alarm,
}

impl Shares {
    fn new(id: &str) -> Shares {
        Shares { group: ShareGroup::new(id), alarm: Alarm::default() }
    }

    /// The machine calls the group when its first member may be late.
    fn arm(&mut self, timers: &mut Timers) {
        let id = self.group.id();
        if let Some(due_ms) = self.group.next_deadline_ms() {
            timers.set(&mut self.alarm, due_ms, || TimerKey::Shares(id.clone()));
        }
    }

    pub fn loaded(&mut self, turn: &mut Turn<'_>) {
        self.group.loaded(&context(turn));
        self.arm(turn.timers);
    }

    pub fn ring(&mut self, turn: &mut Turn<'_>) {
        let id = self.group.id().clone();
        if turn.timers.rings(&mut self.alarm, turn.now_ms, || TimerKey::Shares(id.clone())) {
            let context = context(turn);
            self.group.on_time(&context, &mut turn.effects.records);
        }
        self.arm(turn.timers);
    }

    pub fn cancel_timers(&mut self, timers: &mut Timers) {
        let id = self.group.id();
        timers.cancel(&mut self.alarm, || TimerKey::Shares(id.clone()));
    }
}

pub fn request(groups: &mut Groups, request: ShareRequest, turn: &mut Turn<'_>) -> ShareReply {
    match request {
        ShareRequest::Heartbeat(said) => ShareReply::Heartbeat(heartbeat(groups, &said, turn)),
        ShareRequest::Describe(id) => {
            ShareReply::Describe(find(groups, &id).map(|shares| shares.group.describe(&context(turn))))
        }
        ShareRequest::Initialized(id, topics) => {
            let context = context(turn);
            if let Ok(shares) = find(groups, &id) {
                shares.group.are_initialized(&topics, &context, &mut turn.effects.records);
            }
            ShareReply::Done
        }
        ShareRequest::NotInitialized(id, topics) => {
            if let Ok(shares) = find(groups, &id) {
                shares.group.not_initialized(&topics, &mut turn.effects.records);
            }
            ShareReply::Done
        }
        ShareRequest::StatePartitions(id) => {
            ShareReply::StatePartitions(find(groups, &id).map_or(Vec::new(), |shares| shares.group.initialized()))
        }
        ShareRequest::AlterOffsets(id, topics) => ShareReply::AlterOffsets(alter(groups, &id, topics, turn)),
        ShareRequest::DeleteOffsets(id, names) => {
            let context = context(turn);
            let plan = find(groups, &id)
                .and_then(|shares| shares.group.begin_delete(names, &context, &mut turn.effects.records));
            ShareReply::Delete(plan.map(Some))
        }
        ShareRequest::DeleteStates(id) => {
            let context = context(turn);
            let Ok(shares) = find(groups, &id) else { return ShareReply::Delete(Ok(None)) };
            let plan = shares.group.begin_delete_all(&context, &mut turn.effects.records);
            ShareReply::Delete(plan.map(Some))
        }
        ShareRequest::OffsetsDeleted(id, topics) => {
            if let Ok(shares) = find(groups, &id) {
                shares.group.end_delete(&topics, &mut turn.effects.records);
            }
            ShareReply::Done
        }
    }
}

fn heartbeat(
    groups: &mut Groups,
    said: &ShareHeartbeat,
    turn: &mut Turn<'_>,
) -> Result<ShareHeartbeatReply, ShareGroupError> {
    said.validate()?;
    let context = context(turn);
    if said.joins() && !groups.contains_key(said.group.as_str()) {
        let mut shares = Shares::new(&said.group);
        let mut records = Vec::new();
        let reply = shares.group.heartbeat(said, &context, &mut records)?;
        turn.effects.records.append(&mut records);
        shares.arm(turn.timers);
        groups.insert(said.group.as_str().into(), Group::Shares(shares));
        return Ok(reply);
    }
    let shares = find(groups, &said.group)?;
    let reply = shares.group.heartbeat(said, &context, &mut turn.effects.records);
    shares.arm(turn.timers);
    reply
}

/// Also makes a group: its members will begin there when they come.
fn alter(
    groups: &mut Groups,
    id: &str,
    topics: Vec<AlterTopic>,
    turn: &mut Turn<'_>,
) -> Result<Altered, ShareGroupError> {
    let context = context(turn);
    if !groups.contains_key(id) {
        let mut shares = Shares::new(id);
        let written = turn.effects.records.len();
        let altered = shares.group.alter(topics, &context, &mut turn.effects.records)?;
        if turn.effects.records.len() > written {
            groups.insert(id.into(), Group::Shares(shares));
        }
        return Ok(altered);
    }
    find(groups, id)?.group.alter(topics, &context, &mut turn.effects.records)
}

fn find<'a>(groups: &'a mut Groups, id: &str) -> Result<&'a mut Shares, ShareGroupError> {
    match groups.get_mut(id) {
        Some(Group::Shares(shares)) => Ok(shares),
        Some(_) => Err(ShareGroupError::NotAShareGroup(id.to_owned())),
        None => Err(ShareGroupError::GroupNotFound(id.to_owned())),
    }
}

pub fn topics_deleted(groups: &mut Groups, gone: &[TopicId], turn: &mut Turn<'_>) {
    for group in groups.values_mut() {
        if let Group::Shares(shares) = group {
            shares.group.topics_deleted(gone, &mut turn.effects.records);
        }
    }
}

pub fn replay(groups: &mut Groups, key: ShareGroupKey<'_>, value: Option<&[u8]>) -> Result<(), InternalRecordError> {
    let id = key.group();
    if !matches!(groups.get(id), Some(Group::Shares(_))) {
        // A record that deletes something of a group that is not there, or not any more.
        if value.is_none() {
            return Ok(());
        }
        groups.insert(id.into(), Group::Shares(Shares::new(id)));
    }
    if let Some(Group::Shares(shares)) = groups.get_mut(id)
        && shares.group.replay(key, value)? == Replayed::Deleted
    {
        groups.remove(id);
    }
    Ok(())
}

fn context<'a>(turn: &Turn<'a>) -> ShareContext<'a> {
    ShareContext {
        now_ms: turn.now_ms,
        topics: turn.topics,
        options: &turn.options.share,
        records_bytes_max: turn.options.records_bytes_max,
    }
}
