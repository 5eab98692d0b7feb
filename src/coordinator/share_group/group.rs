//! The state of one group, and the one place that changes it.

use super::event::{Event, Replayed};
use super::states::States;
use crate::NewRecord;
use crate::consumer_group::Target;
use ringlane_protocol::internal::InternalRecordError;
use ringlane_protocol::internal::share_group::ShareGroupKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Of a group that nobody has written of yet.
const FIRST_EPOCH: i32 = 1;
/// Of a target assignment, or a member's, that has been deleted while other records are still there.
const EPOCH_GONE: i32 = -1;

/// One share group. Equal groups have equal logs; what is not in the log stands in `soft`.
#[derive(Debug)]
pub struct ShareGroup {
    pub(super) id: Arc<str>,
    pub(super) epoch: i32,
    pub(super) metadata_hash: i64,
    pub(super) members: BTreeMap<Arc<str>, Member>,
    pub(super) target_epoch: i32,
    /// When the target was computed; 0 when it was not.
    pub(super) target_timestamp: i64,
    pub(super) targets: BTreeMap<Arc<str>, Target>,
    /// `None`: the log has no record of it.
    pub(super) states: Option<States>,
    pub(super) soft: Soft,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    pub profile: Profile,
    pub current: Current,
}

/// What a member said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    pub rack_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub topics: BTreeSet<Arc<str>>,
}

/// Where a member stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Current {
    pub epoch: i32,
    /// A member whose last answer was lost still says this.
    pub previous_epoch: i32,
    pub assigned: Target,
}

/// What may be lost: it is made again after a replay.
#[derive(Debug, Default)]
pub(super) struct Soft {
    /// Of the topics that the group's metadata was last compared with.
    pub topics_version: Option<i64>,
    /// When each member is given up.
    pub sessions: BTreeMap<Arc<str>, i64>,
    /// The earliest that a session can end. May be early, never late.
    pub earliest_ms: Option<i64>,
    /// What takes the changes of this input back, last one first.
    undo: Vec<Event>,
}

impl ShareGroup {
    pub fn new(id: &str) -> ShareGroup {
        ShareGroup {
            id: id.into(),
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            members: BTreeMap::new(),
            target_epoch: FIRST_EPOCH,
            target_timestamp: 0,
            targets: BTreeMap::new(),
            states: None,
            soft: Soft::default(),
        }
    }

    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// As administrators see it.
    pub fn state_name(&self) -> &'static str {
        if self.members.is_empty() { "Empty" } else { "Stable" }
    }

    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| member.profile.topics.contains(topic))
    }

    /// One record of the log.
    pub fn replay(&mut self, key: ShareGroupKey<'_>, value: Option<&[u8]>) -> Result<Replayed, InternalRecordError> {
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
        self.soft.topics_version = None;
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
            Event::States(_) | Event::StatesGone => match &self.states {
                Some(states) => Event::States(states.clone()),
                None => Event::StatesGone,
            },
        }
    }

    /// The only place that changes what is in the log. Takes any order of records: compaction leaves the last of each key.
    fn apply(&mut self, event: Event) {
        match event {
            Event::Epoch { epoch, metadata_hash } => (self.epoch, self.metadata_hash) = (epoch, metadata_hash),
            Event::EpochGone => (self.epoch, self.metadata_hash) = (FIRST_EPOCH, 0),
            Event::Member(id, profile) => self.members.entry(id).or_default().profile = profile,
            Event::MemberGone(id) => {
                self.members.remove(&id);
                self.soft.sessions.remove(&id);
            }
            Event::TargetEpoch { epoch, timestamp } => (self.target_epoch, self.target_timestamp) = (epoch, timestamp),
            Event::TargetEpochGone => (self.target_epoch, self.target_timestamp) = (EPOCH_GONE, 0),
            Event::Target(id, target) => drop(self.targets.insert(id, target)),
            Event::TargetGone(id) => drop(self.targets.remove(&id)),
            Event::Current(id, current) => self.members.entry(id).or_default().current = current,
            Event::CurrentGone(id) => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.current = Current { epoch: EPOCH_GONE, previous_epoch: EPOCH_GONE, assigned: Target::new() };
                }
            }
            Event::States(states) => self.states = Some(states),
            Event::StatesGone => self.states = None,
        }
    }

    /// The records that delete the group. Its owner forgets it.
    pub fn tombstones(&self, records: &mut Vec<NewRecord>) {
        let mut gone = |event: Event| records.push(event.encode(&self.id));
        self.members.keys().for_each(|id| gone(Event::CurrentGone(id.clone())));
        self.targets.keys().for_each(|id| gone(Event::TargetGone(id.clone())));
        gone(Event::TargetEpochGone);
        self.members.keys().for_each(|id| gone(Event::MemberGone(id.clone())));
        gone(Event::StatesGone);
        gone(Event::EpochGone);
    }
}

/// Two groups are equal when their logs are.
impl PartialEq for ShareGroup {
    fn eq(&self, other: &ShareGroup) -> bool {
        self.id == other.id
            && (self.epoch, self.metadata_hash) == (other.epoch, other.metadata_hash)
            && (self.target_epoch, self.target_timestamp) == (other.target_epoch, other.target_timestamp)
            && self.members == other.members
            && self.targets == other.targets
            && self.states == other.states
    }
}
