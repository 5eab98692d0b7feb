//! Who gets which input: requests, moments, markers and records of the log.

use super::admin::{self, Groups};
use super::classic::ClassicGroup;
use super::consumer;
use super::offsets::{self, Committed, Offsets};
use super::options::{EXPIRED_PER_STEP, FIRED_PER_STEP, GroupOptions};
use super::reply::{GroupReply, JoinReply, SyncReply};
use super::request::{
    CommitOffsets, CommitTransactionalOffsets, DeleteOffsets, FetchOffsets, GroupRequest, Heartbeat, JoinGroup,
    LeaveGroup, SyncGroup,
};
use super::share;
use super::timers::{Alarm, TimerKey, Timers};
use super::{Group, Turn};
use crate::consumer_group::{TopicTable, Topics, bytes_of};
use crate::{Effects, ReplyTo};
use ringlane_protocol::internal::InternalRecordError;
use ringlane_protocol::internal::consumer_group::ConsumerGroupKey;
use ringlane_protocol::internal::consumer_offsets::{GroupValue, OffsetValue, OffsetsKey};
use ringlane_protocol::internal::share_group::ShareGroupKey;
use ringlane_protocol::{ErrorCode, TopicId};
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

/// All groups of one partition of `__consumer_offsets`.
///
/// Made empty; given the partition's log record by record ([`Self::replay`], [`Self::replay_marker`]), then [`Self::loaded`] once, then requests and
/// moments. Its state is bounded by what is in the log, and by limits on what is not (members that join).
#[derive(Debug)]
pub struct GroupMachine {
    options: GroupOptions,
    /// The cluster's topics as they are now.
    topics: Rc<dyn Topics>,
    groups: Groups,
    offsets: Offsets,
    timers: Timers,
    expiry: Alarm,
    /// Where an expiry that was interrupted goes on: behind this group.
    expired_up_to: Option<Arc<str>>,
    /// Topics whose offsets have not all been deleted yet.
    deleted_topics: Vec<(TopicId, String)>,
}

impl GroupMachine {
    pub fn new(options: GroupOptions) -> GroupMachine {
        GroupMachine {
            options,
            topics: Rc::new(TopicTable::default()),
            groups: Groups::new(),
            offsets: Offsets::default(),
            timers: Timers::default(),
            expiry: Alarm::default(),
            expired_up_to: None,
            deleted_topics: Vec::new(),
        }
    }

    /// Where to look for topics: the groups of the new protocol assign their partitions.
    pub fn with_topics(self, topics: Rc<dyn Topics>) -> GroupMachine {
        GroupMachine { topics, ..self }
    }

    pub fn request(&mut self, now_ms: i64, to: ReplyTo, request: GroupRequest) -> Effects<GroupReply> {
        let mut effects = Effects::default();
        match request {
            GroupRequest::Join(request) => self.join(request, to, now_ms, &mut effects),
            GroupRequest::Sync(request) => self.sync(request, to, now_ms, &mut effects),
            GroupRequest::Heartbeat(request) => {
                let code = self.heartbeat(&request, now_ms, &mut effects);
                effects.reply(to, GroupReply::Heartbeat(code));
            }
            GroupRequest::Leave(request) => {
                let codes = self.leave(&request, now_ms, &mut effects);
                effects.reply(to, GroupReply::Leave(codes));
            }
            GroupRequest::CommitOffsets(request) => {
                let codes = self.commit(&request, now_ms, &mut effects);
                effects.reply(to, GroupReply::CommitOffsets(codes));
            }
            GroupRequest::CommitTransactionalOffsets(request) => {
                let codes = self.commit_in_transaction(&request, now_ms, &mut effects);
                effects.reply(to, GroupReply::CommitOffsets(codes));
            }
            GroupRequest::FetchOffsets(request) => {
                let topics = self.check_fetch(&request).map(|()| offsets::fetch(&self.offsets, &request));
                effects.reply(to, GroupReply::FetchOffsets(topics));
            }
            GroupRequest::DeleteOffsets(request) => {
                let codes = self.delete_offsets(&request, now_ms, &mut effects);
                effects.reply(to, GroupReply::DeleteOffsets(codes));
            }
            GroupRequest::Describe(ids) => {
                effects.reply(to, GroupReply::Describe(admin::describe(&self.groups, &ids)));
            }
            GroupRequest::List(filter) => {
                effects.reply(to, GroupReply::List(admin::list(&self.groups, &filter)));
            }
            GroupRequest::Delete(ids) => {
                let (groups, offsets, mut turn) = self.split(now_ms, &mut effects);
                let codes = admin::delete(groups, offsets, &ids, &mut turn);
                effects.reply(to, GroupReply::Delete(codes));
            }
            GroupRequest::ConsumerHeartbeat(request) => {
                let (groups, _, mut turn) = self.split(now_ms, &mut effects);
                let reply = consumer::heartbeat(groups, &request, &mut turn);
                effects.reply(to, GroupReply::ConsumerHeartbeat(reply));
            }
            GroupRequest::Share(request) => {
                let (groups, _, mut turn) = self.split(now_ms, &mut effects);
                let reply = share::request(groups, request, &mut turn);
                effects.reply(to, GroupReply::Share(reply));
            }
            GroupRequest::DescribeConsumers(ids) => {
                let (groups, _, turn) = self.split(now_ms, &mut effects);
                let described = consumer::describe(groups, &ids, &turn);
                effects.reply(to, GroupReply::DescribeConsumers(described));
            }
        }
        effects
    }

    /// When [`Self::on_time`] wants to be called. May be early; changes with every input.
    pub fn next_deadline(&self) -> Option<i64> {
        match self.deleted_topics.is_empty() {
            true => self.timers.next_ms(),
            false => Some(i64::MIN),
        }
    }

    pub fn on_time(&mut self, now_ms: i64) -> Effects<GroupReply> {
        let mut effects = Effects::default();
        if !self.deleted_topics.is_empty() {
            self.delete_offsets_of_topics(now_ms, &mut effects);
            return effects;
        }
        for _ in 0..FIRED_PER_STEP {
            // What one timer asks for is a quarter of a batch at most.
            if bytes_of(&effects.records) > self.options.records_bytes_max / 2 {
                break;
            }
            let Some(key) = self.timers.pop(now_ms) else { break };
            if key == TimerKey::Expiry {
                self.expire(now_ms, &mut effects);
                // May have asked for many records: the rest is for the next step.
                break;
            }
            self.ring(key, now_ms, &mut effects);
        }
        effects
    }

    /// These topics are no more.
    pub fn topics_deleted(&mut self, topics: Vec<(TopicId, String)>) {
        self.deleted_topics.extend(topics);
    }

    /// The marker that ends a producer's transaction has been appended to the partition.
    pub fn transaction_ended(&mut self, producer_id: i64, is_commit: bool) {
        self.offsets.end_transaction(producer_id, is_commit);
    }

    /// One record of the log, in order. `producer_id`: of a batch that belongs to a transaction or to an idempotent producer.
    pub fn replay(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        producer_id: Option<i64>,
    ) -> Result<(), InternalRecordError> {
        match (OffsetsKey::decode(key)?, value) {
            (OffsetsKey::Offset(key), Some(value)) => {
                let committed = Committed::from_record(&OffsetValue::decode(value)?);
                self.group_of_offsets(key.group, committed.commit_ms);
                self.offsets.put(&key, committed, producer_id);
            }
            (OffsetsKey::Offset(key), None) => self.offsets.remove(&key),
            (OffsetsKey::Group(id), Some(value)) => {
                let group = ClassicGroup::from_record(id.into(), &GroupValue::decode(value)?);
                self.groups.insert(id.into(), Group::Classic(group));
            }
            (OffsetsKey::Group(id), None) => drop(self.groups.remove(id)),
            (OffsetsKey::Other(_), value) => {
                // Kinds of groups that this machine does not coordinate are passed over.
                if let Some(key) = ConsumerGroupKey::decode(key)? {
                    consumer::replay(&mut self.groups, key, value)?;
                } else if let Some(key) = ShareGroupKey::decode(key)? {
                    share::replay(&mut self.groups, key, value)?;
                }
            }
        }
        Ok(())
    }

    /// A control record of the log, in order with the others.
    pub fn replay_marker(&mut self, producer_id: i64, is_commit: bool) {
        self.offsets.end_transaction(producer_id, is_commit);
    }

    /// The log has been replayed to its end: time begins.
    pub fn loaded(&mut self, now_ms: i64) -> Effects<GroupReply> {
        let mut effects = Effects::default();
        let (groups, _, mut turn) = self.split(now_ms, &mut effects);
        for group in groups.values_mut() {
            match group {
                Group::Classic(group) => group.loaded(&mut turn),
                Group::Consumers(consumers) => consumers.loaded(&mut turn),
                Group::Shares(shares) => shares.loaded(&mut turn),
            }
        }
        let due_ms = turn.after(turn.options.offsets_retention_check_interval_ms);
        self.timers.set(&mut self.expiry, due_ms, || TimerKey::Expiry);
        effects
    }

    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    fn split<'a>(
        &'a mut self,
        now_ms: i64,
        effects: &'a mut Effects<GroupReply>,
    ) -> (&'a mut Groups, &'a mut Offsets, Turn<'a>) {
        let (options, topics) = (&self.options, &*self.topics);
        let turn = Turn { now_ms, options, topics, timers: &mut self.timers, effects };
        (&mut self.groups, &mut self.offsets, turn)
    }

    fn join(&mut self, request: JoinGroup, to: ReplyTo, now_ms: i64, effects: &mut Effects<GroupReply>) {
        let session_timeouts = self.options.session_timeout_min_ms..=self.options.session_timeout_max_ms;
        let refused = match () {
            () if request.group.is_empty() => Some(ErrorCode::InvalidGroupId),
            () if !session_timeouts.contains(&request.session_timeout_ms) => Some(ErrorCode::InvalidSessionTimeout),
            () if !request.member_id.is_empty() && !self.groups.contains_key(request.group.as_str()) => {
                Some(ErrorCode::UnknownMemberId)
            }
            () => None,
        };
        if let Some(error) = refused {
            return effects.reply(to, GroupReply::Join(JoinReply::failed(error, &request.member_id)));
        }
        let (groups, _, mut turn) = self.split(now_ms, effects);
        consumer::make_way(groups, &request.group, &mut turn);
        match groups.get_mut(request.group.as_str()) {
            Some(Group::Classic(group)) => group.join(request, to, &mut turn),
            Some(Group::Consumers(_) | Group::Shares(_)) => {
                let failed = JoinReply::failed(ErrorCode::InconsistentGroupProtocol, &request.member_id);
                turn.reply(to, GroupReply::Join(failed));
            }
            None => {
                let id: Arc<str> = request.group.as_str().into();
                let mut group = ClassicGroup::new(id.clone(), now_ms);
                let written = turn.effects.records.len();
                // Written before its first member has joined, so that what is in memory is also in the log.
                group.write_record(&mut turn);
                group.join(request, to, &mut turn);
                match group.is_deserted() {
                    true => turn.effects.records.truncate(written),
                    false => drop(groups.insert(id, Group::Classic(group))),
                }
            }
        }
    }

    fn sync(&mut self, request: SyncGroup, to: ReplyTo, now_ms: i64, effects: &mut Effects<GroupReply>) {
        if request.group.is_empty() {
            return effects.reply(to, GroupReply::Sync(SyncReply::failed(ErrorCode::InvalidGroupId)));
        }
        let (groups, _, mut turn) = self.split(now_ms, effects);
        match groups.get_mut(request.group.as_str()) {
            Some(Group::Classic(group)) => group.sync(request, to, &mut turn),
            Some(Group::Consumers(_) | Group::Shares(_)) | None => {
                turn.reply(to, GroupReply::Sync(SyncReply::failed(ErrorCode::UnknownMemberId)))
            }
        }
    }

    fn heartbeat(&mut self, request: &Heartbeat, now_ms: i64, effects: &mut Effects<GroupReply>) -> ErrorCode {
        if request.group.is_empty() {
            return ErrorCode::InvalidGroupId;
        }
        let (groups, _, mut turn) = self.split(now_ms, effects);
        match groups.get_mut(request.group.as_str()) {
            Some(Group::Classic(group)) => group.heartbeat(request, &mut turn),
            Some(Group::Consumers(_) | Group::Shares(_)) | None => ErrorCode::UnknownMemberId,
        }
    }

    fn leave(&mut self, request: &LeaveGroup, now_ms: i64, effects: &mut Effects<GroupReply>) -> Vec<ErrorCode> {
        let all = |code| vec![code; request.members.len()];
        if request.group.is_empty() {
            return all(ErrorCode::InvalidGroupId);
        }
        let (groups, _, mut turn) = self.split(now_ms, effects);
        match groups.get_mut(request.group.as_str()) {
            Some(Group::Classic(group)) => group.leave(&request.members, &mut turn),
            Some(Group::Consumers(_) | Group::Shares(_)) | None => all(ErrorCode::UnknownMemberId),
        }
    }

    fn commit(
        &mut self,
        request: &CommitOffsets,
        now_ms: i64,
        effects: &mut Effects<GroupReply>,
    ) -> Result<Vec<Vec<ErrorCode>>, ErrorCode> {
        let id = request.group.as_str();
        let (groups, offsets, mut turn) = self.split(now_ms, effects);
        match groups.get_mut(id) {
            Some(Group::Classic(group)) => {
                let (member_id, instance_id) = (&request.member_id, request.instance_id.as_deref());
                group.check_commit(member_id, instance_id, request.generation, false, &mut turn)?;
            }
            Some(Group::Consumers(consumers)) => {
                let member = (request.member_id.as_str(), request.instance_id.as_deref(), request.generation);
                // Since version 9 a commit can be of a member of a consumer group.
                let version = if request.knows_missing_groups { 9 } else { 8 };
                let codes = consumer::check_commit(&consumers.group, member, Some(version), &request.topics, &turn)?;
                let allowed = consumer::only_allowed(&request.topics, &codes);
                let committed = offsets::commit(offsets, id, &allowed, request.retention_ms, &mut turn);
                return Ok(consumer::merged(codes, committed));
            }
            Some(Group::Shares(_)) => return Err(ErrorCode::GroupIdNotFound),
            None if request.generation < 0 => {}
            None if request.knows_missing_groups => return Err(ErrorCode::GroupIdNotFound),
            None => return Err(ErrorCode::IllegalGeneration),
        }
        let codes = offsets::commit(offsets, id, &request.topics, request.retention_ms, &mut turn);
        if !effects.records.is_empty() {
            self.group_of_offsets(id, now_ms);
        }
        Ok(codes)
    }

    fn commit_in_transaction(
        &mut self,
        request: &CommitTransactionalOffsets,
        now_ms: i64,
        effects: &mut Effects<GroupReply>,
    ) -> Result<Vec<Vec<ErrorCode>>, ErrorCode> {
        let id = request.group.as_str();
        if id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let (groups, offsets, mut turn) = self.split(now_ms, effects);
        match groups.get_mut(id) {
            Some(Group::Classic(group)) => {
                let (member_id, instance_id) = (&request.member_id, request.instance_id.as_deref());
                group.check_commit(member_id, instance_id, request.generation, true, &mut turn)?;
            }
            Some(Group::Consumers(consumers)) => {
                let member = (request.member_id.as_str(), request.instance_id.as_deref(), request.generation);
                let codes = consumer::check_commit(&consumers.group, member, None, &request.topics, &turn)?;
                let allowed = consumer::only_allowed(&request.topics, &codes);
                let producer_id = request.producer_id;
                let committed = offsets::commit_in_transaction(offsets, id, &allowed, producer_id, &mut turn);
                return Ok(consumer::merged(codes, committed));
            }
            Some(Group::Shares(_)) => return Err(ErrorCode::GroupIdNotFound),
            None if request.generation < 0 => {}
            None => return Err(ErrorCode::IllegalGeneration),
        }
        let codes = offsets::commit_in_transaction(offsets, id, &request.topics, request.producer_id, &mut turn);
        if !effects.records.is_empty() {
            self.group_of_offsets(id, now_ms);
        }
        Ok(codes)
    }

    /// A member of a consumer group reads offsets only while it is one.
    fn check_fetch(&self, request: &FetchOffsets) -> Result<(), ErrorCode> {
        if let Some(Group::Shares(_)) = self.groups.get(request.group.as_str()) {
            return Err(ErrorCode::GroupIdNotFound);
        }
        let (Some(epoch), Some(Group::Consumers(consumers))) =
            (request.member_epoch, self.groups.get(request.group.as_str()))
        else {
            return Ok(());
        };
        consumers.group.check_fetch(request.member_id.as_deref(), epoch).map_err(|error| error.code())
    }

    fn delete_offsets(
        &mut self,
        request: &DeleteOffsets,
        now_ms: i64,
        effects: &mut Effects<GroupReply>,
    ) -> Result<Vec<Vec<ErrorCode>>, ErrorCode> {
        let id = request.group.as_str();
        if id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let (groups, offsets, mut turn) = self.split(now_ms, effects);
        let group = groups.get(id).ok_or(ErrorCode::GroupIdNotFound)?;
        group.check_offset_delete()?;
        Ok(offsets::delete_requested(offsets, group, id, &request.topics, &mut turn))
    }

    /// Offsets need a group to belong to: whoever commits without being a member makes one that has nothing else.
    fn group_of_offsets(&mut self, id: &str, now_ms: i64) {
        if !self.groups.contains_key(id) {
            let id: Arc<str> = id.into();
            self.groups.insert(id.clone(), Group::Classic(ClassicGroup::new(id, now_ms)));
        }
    }

    fn ring(&mut self, key: TimerKey, now_ms: i64, effects: &mut Effects<GroupReply>) {
        let (groups, _, mut turn) = self.split(now_ms, effects);
        match key {
            TimerKey::Join(id) => {
                if let Some(Group::Classic(group)) = groups.get_mut(&id) {
                    group.join_alarm(&mut turn);
                }
            }
            TimerKey::Sync(id) => {
                if let Some(Group::Classic(group)) = groups.get_mut(&id) {
                    group.sync_alarm(&mut turn);
                }
            }
            TimerKey::Session(id, member_id) => {
                if let Some(Group::Classic(group)) = groups.get_mut(&id) {
                    group.session_alarm(&member_id, &mut turn);
                }
            }
            TimerKey::Consumers(id) => {
                if let Some(Group::Consumers(consumers)) = groups.get_mut(&id) {
                    consumers.ring(&mut turn);
                }
            }
            TimerKey::Shares(id) => {
                if let Some(Group::Shares(shares)) = groups.get_mut(&id) {
                    shares.ring(&mut turn);
                }
            }
            TimerKey::Expiry => {}
        }
    }

    /// Deletes what has grown old, and groups that nothing is left of: some of it now, the rest at the next step.
    fn expire(&mut self, now_ms: i64, effects: &mut Effects<GroupReply>) {
        if !self.timers.rings(&mut self.expiry, now_ms, || TimerKey::Expiry) {
            return;
        }
        let from = self.expired_up_to.take().map_or(Bound::Unbounded, Bound::Excluded);
        let ids: Vec<Arc<str>> = self.groups.range((from, Bound::Unbounded)).map(|(id, _)| id.clone()).collect();
        let mut is_done = true;
        let mut before = None;
        let (groups, offsets, mut turn) = self.split(now_ms, effects);
        for id in ids {
            let asked = turn.effects.records.len();
            if asked >= EXPIRED_PER_STEP {
                is_done = false;
                break;
            }
            let Some(group) = groups.get(&id) else { continue };
            match offsets::expire_group(offsets, group, &id, EXPIRED_PER_STEP - asked, &mut turn) {
                Some(true) if group.is_deserted() => admin::remove(groups, &id, &mut turn),
                Some(_) => {}
                None => {
                    is_done = false;
                    break;
                }
            }
            before = Some(id);
        }
        let due_ms = match is_done {
            true => turn.after(turn.options.offsets_retention_check_interval_ms),
            false => now_ms,
        };
        self.expired_up_to = before.filter(|_| !is_done);
        self.timers.set(&mut self.expiry, due_ms, || TimerKey::Expiry);
    }

    fn delete_offsets_of_topics(&mut self, now_ms: i64, effects: &mut Effects<GroupReply>) {
        let deleted = std::mem::take(&mut self.deleted_topics);
        let (groups, offsets, mut turn) = self.split(now_ms, effects);
        let ids: Vec<TopicId> = deleted.iter().map(|(id, _)| *id).collect();
        share::topics_deleted(groups, &ids, &mut turn);
        if !offsets::of_deleted_topics(offsets, &deleted, EXPIRED_PER_STEP, &mut turn) {
            self.deleted_topics = deleted;
        }
    }
}

#[cfg(test)]
impl GroupMachine {
    pub(super) fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(super) fn timer_count(&self) -> usize {
        self.timers.len()
    }
}
