//! The state of one group, and the one place that changes it.

use super::assignment::partitions;
use super::event::{Event, Replayed, Resolved};
use super::member::{Current, Member};
use super::timers::GroupTimers;
use super::{Target, Topics};
use crate::NewRecord;
use ringlane_protocol::TopicId;
use ringlane_protocol::internal::InternalRecordError;
use ringlane_protocol::internal::consumer_group::ConsumerGroupKey;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Of a group that nobody has written of yet.
const FIRST_EPOCH: i32 = 1;
/// Of a member, or a target assignment, that has been deleted while other records of it are still there.
const EPOCH_GONE: i32 = -1;

/// As administrators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    Empty,
    /// The target assignment is behind the group.
    Assigning,
    /// Members are on their way to the target assignment.
    Reconciling,
    Stable,
}

impl GroupState {
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::Assigning => "Assigning",
            GroupState::Reconciling => "Reconciling",
            GroupState::Stable => "Stable",
        }
    }
}

/// One consumer group. Equal groups have equal logs; what is not in the log stands in `soft`.
#[derive(Debug)]
pub struct ConsumerGroup {
    pub(super) id: Arc<str>,
    pub(super) epoch: i32,
    pub(super) metadata_hash: i64,
    pub(super) members: BTreeMap<Arc<str>, Member>,
    pub(super) target_epoch: i32,
    /// When the target was computed; 0 when it was not, or not by a broker that says so.
    pub(super) target_timestamp: i64,
    pub(super) targets: BTreeMap<Arc<str>, Target>,
    pub(super) regexes: BTreeMap<Arc<str>, Resolved>,
    /// The log has a record of type 4 of this group.
    has_partition_metadata: bool,
    /// Of `members`: instance id to member id.
    pub(super) instances: BTreeMap<Arc<str>, Arc<str>>,
    /// Of `members`: who has a partition and has not given it back.
    pub(super) owners: BTreeMap<(TopicId, i32), Arc<str>>,
    pub(super) soft: Soft,
}

/// What may be lost: it is made again after a replay, at the price of some work.
#[derive(Debug, Default)]
pub struct Soft {
    /// Of the topics that the group's metadata was last compared with.
    pub topics_version: Option<i64>,
    /// Of the topics that the regular expressions were last matched against, and when.
    pub regexes_refreshed: Option<(i64, i64)>,
    pub timers: GroupTimers,
    /// What takes the changes of this input back, last one first.
    undo: Vec<Event>,
}

impl ConsumerGroup {
    pub fn new(id: &str) -> ConsumerGroup {
        ConsumerGroup {
            id: id.into(),
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            members: BTreeMap::new(),
            target_epoch: FIRST_EPOCH,
            target_timestamp: 0,
            targets: BTreeMap::new(),
            regexes: BTreeMap::new(),
            has_partition_metadata: false,
            instances: BTreeMap::new(),
            owners: BTreeMap::new(),
            soft: Soft::default(),
        }
    }

    pub fn id(&self) -> &Arc<str> {
        &self.id
    }
    pub fn epoch(&self) -> i32 {
        self.epoch
    }
    pub fn target_epoch(&self) -> i32 {
        self.target_epoch
    }
    pub fn members(&self) -> &BTreeMap<Arc<str>, Member> {
        &self.members
    }
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn state(&self) -> GroupState {
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.epoch > self.target_epoch {
            GroupState::Assigning
        } else if self.members.values().all(|member| member.is_reconciled_to(self.target_epoch)) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    /// One record of the log.
    pub fn replay(&mut self, key: ConsumerGroupKey<'_>, value: Option<&[u8]>) -> Result<Replayed, InternalRecordError> {
        let event = Event::decode(key, value)?;
        let gone = event == Event::EpochGone;
        self.apply(event);
        Ok(if gone && self.members.is_empty() { Replayed::Deleted } else { Replayed::Applied })
    }

    /// Makes a change and writes it down.
    pub(super) fn change(&mut self, event: Event, records: &mut Vec<NewRecord>) {
        records.push(event.encode(&self.id));
        self.soft.undo.push(self.opposite(&event));
        self.apply(event);
    }

    pub(super) fn begin_input(&mut self) {
        self.soft.undo.clear();
    }

    /// Takes back all changes of this input.
    pub(super) fn undo(&mut self) {
        while let Some(event) = self.soft.undo.pop() {
            self.apply(event);
        }
        (self.soft.topics_version, self.soft.regexes_refreshed) = (None, None);
    }

    /// The event that puts back what `event` is about to replace.
    fn opposite(&self, event: &Event) -> Event {
        match event {
            Event::Epoch { .. } | Event::EpochGone => {
                Event::Epoch { epoch: self.epoch, metadata_hash: self.metadata_hash }
            }
            Event::Member(id, _) | Event::MemberGone(id) => match self.members.get(id) {
                Some(member) => Event::Member(id.clone(), member.profile.clone()),
                None => Event::MemberGone(id.clone()),
            },
            Event::TargetEpoch { .. } | Event::TargetEpochGone => {
                Event::TargetEpoch { epoch: self.target_epoch, timestamp: self.target_timestamp }
            }
            Event::Target(id, _) | Event::TargetGone(id) => match self.targets.get(id) {
                Some(target) => Event::Target(id.clone(), target.clone()),
                None => Event::TargetGone(id.clone()),
            },
            Event::Current(id, _) | Event::CurrentGone(id) => match self.members.get(id) {
                Some(member) => Event::Current(id.clone(), member.current.clone()),
                None => Event::MemberGone(id.clone()),
            },
            Event::Regex(regex, _) | Event::RegexGone(regex) => match self.regexes.get(regex) {
                Some(resolved) => Event::Regex(regex.clone(), resolved.clone()),
                None => Event::RegexGone(regex.clone()),
            },
            Event::PartitionMetadata | Event::PartitionMetadataGone => match self.has_partition_metadata {
                true => Event::PartitionMetadata,
                false => Event::PartitionMetadataGone,
            },
        }
    }

    /// The only place that changes what is in the log. Takes any order of records: compaction leaves the last of each key.
    fn apply(&mut self, event: Event) {
        match event {
            Event::Epoch { epoch, metadata_hash } => (self.epoch, self.metadata_hash) = (epoch, metadata_hash),
            Event::EpochGone => (self.epoch, self.metadata_hash) = (FIRST_EPOCH, 0),
            Event::Member(id, profile) => {
                let member = self.members.entry(id.clone()).or_default();
                if let Some(before) = &member.profile.instance_id
                    && self.instances.get(before) == Some(&id)
                {
                    self.instances.remove(before);
                }
                if let Some(instance) = &profile.instance_id {
                    self.instances.insert(instance.clone(), id);
                }
                member.profile = profile;
            }
            Event::MemberGone(id) => {
                let Some(member) = self.members.remove(&id) else { return };
                self.disown(&id, &member.current);
                if let Some(instance) = &member.profile.instance_id
                    && self.instances.get(instance) == Some(&id)
                {
                    self.instances.remove(instance);
                }
                self.soft.timers.forget(&id);
            }
            Event::TargetEpoch { epoch, timestamp } => (self.target_epoch, self.target_timestamp) = (epoch, timestamp),
            Event::TargetEpochGone => (self.target_epoch, self.target_timestamp) = (EPOCH_GONE, 0),
            Event::Target(id, target) => drop(self.targets.insert(id, target)),
            Event::TargetGone(id) => drop(self.targets.remove(&id)),
            Event::Current(id, current) => self.set_current(id, current),
            Event::CurrentGone(id) if self.members.contains_key(&id) => {
                let gone = Current { epoch: EPOCH_GONE, previous_epoch: EPOCH_GONE, ..Current::default() };
                self.set_current(id, gone);
            }
            Event::CurrentGone(_) => {}
            Event::Regex(regex, resolved) => drop(self.regexes.insert(regex, resolved)),
            Event::RegexGone(regex) => drop(self.regexes.remove(&regex)),
            Event::PartitionMetadata => self.has_partition_metadata = true,
            Event::PartitionMetadataGone => self.has_partition_metadata = false,
        }
    }

    fn set_current(&mut self, id: Arc<str>, current: Current) {
        let before = std::mem::take(&mut self.members.entry(id.clone()).or_default().current);
        self.disown(&id, &before);
        for partition in partitions(&current.assigned).chain(partitions(&current.revoking)) {
            self.owners.insert(partition, id.clone());
        }
        self.members.entry(id).or_default().current = current;
    }

    fn disown(&mut self, id: &Arc<str>, current: &Current) {
        for partition in partitions(&current.assigned).chain(partitions(&current.revoking)) {
            if self.owners.get(&partition) == Some(id) {
                self.owners.remove(&partition);
            }
        }
    }

    /// Deletes what older brokers left of this group.
    pub(super) fn tidy(&mut self, records: &mut Vec<NewRecord>) {
        if self.has_partition_metadata {
            self.change(Event::PartitionMetadataGone, records);
        }
    }

    /// The records that delete the group. Its owner forgets it.
    pub fn tombstones(&self, records: &mut Vec<NewRecord>) {
        let mut gone = |event: Event| records.push(event.encode(&self.id));
        self.members.keys().for_each(|id| gone(Event::CurrentGone(id.clone())));
        self.targets.keys().for_each(|id| gone(Event::TargetGone(id.clone())));
        gone(Event::TargetEpochGone);
        self.members.keys().for_each(|id| gone(Event::MemberGone(id.clone())));
        self.regexes.keys().for_each(|regex| gone(Event::RegexGone(regex.clone())));
        gone(Event::PartitionMetadataGone);
        gone(Event::EpochGone);
    }

    /// Ids of the topics that a member subscribes to, as far as they exist.
    pub(super) fn subscribed_ids(&self, member: &Member, topics: &dyn Topics) -> std::collections::BTreeSet<TopicId> {
        let by_regex = self.regexes.get(&member.profile.regex).into_iter().flat_map(|resolved| &resolved.topics);
        member.profile.topics.iter().chain(by_regex).filter_map(|name| topics.id(name)).collect()
    }
}

pub fn bytes_of(records: &[NewRecord]) -> usize {
    records.iter().map(|record| record.key.len() + record.value.as_ref().map_or(0, Vec::len)).sum()
}

/// Two groups are equal when their logs are.
impl PartialEq for ConsumerGroup {
    fn eq(&self, other: &ConsumerGroup) -> bool {
        self.id == other.id
            && (self.epoch, self.metadata_hash) == (other.epoch, other.metadata_hash)
            && (self.target_epoch, self.target_timestamp) == (other.target_epoch, other.target_timestamp)
            && self.members == other.members
            && self.targets == other.targets
            && self.regexes == other.regexes
            && self.has_partition_metadata == other.has_partition_metadata
            && self.instances == other.instances
            && self.owners == other.owners
    }
}
