//! ShareGroupHeartbeat: members join, stay and leave, and hear what they shall read; sessions that end.

use super::assignor::{self, Subscriber};
use super::event::Event;
use super::group::{Current, Member, Profile};
use super::offsets::TopicPartitions;
use super::request::{LEAVE, ShareHeartbeat, ShareHeartbeatReply};
use super::states::States;
use super::{ShareContext, ShareGroup, ShareGroupError};
use crate::NewRecord;
use crate::consumer_group::{Target, Topics, bytes_of, metadata_hash};
use ringlane_protocol::TopicId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl ShareGroup {
    /// One heartbeat that has passed [`ShareHeartbeat::validate`]. After an error nothing has changed.
    pub fn heartbeat(
        &mut self,
        said: &ShareHeartbeat,
        context: &ShareContext<'_>,
        records: &mut Vec<NewRecord>,
    ) -> Result<ShareHeartbeatReply, ShareGroupError> {
        let from = records.len();
        self.begin_input();
        let reply = if said.leaves() { self.leave(said, context, records) } else { self.hear(said, context, records) }?;
        if bytes_of(&records[from..]) > context.records_bytes_max {
            // An append that fails takes the whole machine down, and with it the groups that are well.
            records.truncate(from);
            self.undo();
            return Err(ShareGroupError::TooLarge(context.records_bytes_max));
        }
        Ok(reply)
    }

    fn hear(
        &mut self,
        said: &ShareHeartbeat,
        context: &ShareContext<'_>,
        records: &mut Vec<NewRecord>,
    ) -> Result<ShareHeartbeatReply, ShareGroupError> {
        let is_known = self.members.contains_key(said.member_id.as_str());
        if !is_known && self.members.len() >= context.options.max_size {
            return Err(ShareGroupError::Full(context.options.max_size));
        }
        match self.members.get(said.member_id.as_str()) {
            Some(member) => check_epoch(said, &member.current)?,
            None if said.joins() => {}
            None => return Err(self.unknown(&said.member_id)),
        }
        let id = self.key_of(&said.member_id);
        let before = self.members.get(&id).map(|member| member.current.assigned.clone()).unwrap_or_default();
        let subscription_changed = self.subscribe(&id, said, records);
        let unassigned = self.target_epoch >= self.epoch && self.has_unassigned();
        let bumped = self.refresh_epoch(subscription_changed || unassigned, context, records);
        self.refresh_target(context, records);
        self.reconcile(&id, bumped, context.topics, records);
        self.heard_of(&id, context);
        let initialize = self.begin_initializing(context, records);

        let current = &self.members[&id].current;
        let tell = said.joins() || said.topics.is_some() || current.assigned != before;
        let listed = |(topic, partitions): (&TopicId, &BTreeSet<i32>)| (*topic, partitions.iter().copied().collect());
        Ok(ShareHeartbeatReply {
            epoch: current.epoch,
            heartbeat_interval_ms: context.options.heartbeat_interval_ms,
            assignment: tell.then(|| current.assigned.iter().map(listed).collect()),
            member_id: id,
            initialize,
        })
    }

    fn leave(
        &mut self,
        said: &ShareHeartbeat,
        context: &ShareContext<'_>,
        records: &mut Vec<NewRecord>,
    ) -> Result<ShareHeartbeatReply, ShareGroupError> {
        if !self.members.contains_key(said.member_id.as_str()) {
            return Err(self.unknown(&said.member_id));
        }
        let id = self.key_of(&said.member_id);
        self.fence(std::slice::from_ref(&id), context, records);
        Ok(ShareHeartbeatReply {
            member_id: id,
            epoch: LEAVE,
            heartbeat_interval_ms: 0,
            assignment: None,
            initialize: None,
        })
    }

    /// These members are no more.
    fn fence(&mut self, ids: &[Arc<str>], context: &ShareContext<'_>, records: &mut Vec<NewRecord>) {
        for id in ids {
            self.change(Event::CurrentGone(id.clone()), records);
            self.change(Event::TargetGone(id.clone()), records);
            self.change(Event::MemberGone(id.clone()), records);
        }
        if !ids.is_empty() {
            let metadata_hash = metadata_hash(self.subscribed().into_iter(), context.topics);
            self.change(Event::Epoch { epoch: self.epoch + 1, metadata_hash }, records);
        }
    }

    /// Takes what the member says of itself. True if it subscribes to something else than before.
    fn subscribe(&mut self, id: &Arc<str>, said: &ShareHeartbeat, records: &mut Vec<NewRecord>) -> bool {
        let before = self.members.get(id).map(|member| member.profile.clone());
        let is_new = before.is_none();
        let before = before.unwrap_or_default();
        let profile = Profile {
            rack_id: said.rack_id.as_deref().map(Arc::from).or_else(|| before.rack_id.clone()),
            client_id: said.client_id.as_str().into(),
            client_host: said.client_host.as_str().into(),
            topics: match &said.topics {
                Some(topics) => topics.iter().map(|topic| topic.as_str().into()).collect(),
                None => before.topics.clone(),
            },
        };
        let changed = profile.topics != before.topics;
        if is_new || profile != before {
            self.change(Event::Member(id.clone(), profile), records);
        }
        changed
    }

    pub(super) fn subscribed(&self) -> BTreeSet<&Arc<str>> {
        self.members.values().flat_map(|member| &member.profile.topics).collect()
    }

    /// Some partition got its state since the last assignment, or lost it.
    fn has_unassigned(&self) -> bool {
        let Some(states) = &self.states else { return false };
        let mut assigned: BTreeMap<TopicId, BTreeSet<i32>> = BTreeMap::new();
        for (topic, partitions) in self.targets.values().flatten() {
            assigned.entry(*topic).or_default().extend(partitions);
        }
        let subscribed = self.subscribed();
        let is_different = |(id, topic): (&TopicId, &super::states::StateTopic)| {
            subscribed.contains(&topic.name) && assigned.get(id) != Some(&topic.partitions)
        };
        states.initialized.iter().any(is_different)
    }

    /// Starts a new epoch if members or topics have changed. True if it did.
    fn refresh_epoch(&mut self, changed: bool, context: &ShareContext<'_>, records: &mut Vec<NewRecord>) -> bool {
        let version = context.topics.version();
        if !changed && self.soft.topics_version == Some(version) {
            return false;
        }
        let metadata_hash = metadata_hash(self.subscribed().into_iter(), context.topics);
        let bump = changed || metadata_hash != self.metadata_hash;
        if bump {
            self.change(Event::Epoch { epoch: self.epoch + 1, metadata_hash }, records);
        }
        self.soft.topics_version = Some(version);
        bump
    }

    /// Brings the target assignment up to the group's epoch, unless the last one is too young.
    fn refresh_target(&mut self, context: &ShareContext<'_>, records: &mut Vec<NewRecord>) {
        let age_ms = context.now_ms - self.target_timestamp;
        let too_young = (0..i64::from(context.options.assignment_interval_ms)).contains(&age_ms);
        if self.target_epoch >= self.epoch || (self.target_timestamp != 0 && too_young) {
            return;
        }
        let assignable: BTreeMap<TopicId, BTreeSet<i32>> = match &self.states {
            Some(states) => {
                let exists = |id: &TopicId| context.topics.partition_count(*id).is_some();
                let initialized = states.initialized.iter().filter(|(id, _)| exists(id));
                initialized.map(|(id, topic)| (*id, topic.partitions.clone())).collect()
            }
            None => BTreeMap::new(),
        };
        let nothing = Target::new();
        let members: Vec<Subscriber<'_>> = self
            .members
            .iter()
            .map(|(id, member)| Subscriber {
                topics: subscribed_ids(member, context.topics),
                reads: self.targets.get(id).unwrap_or(&nothing),
            })
            .collect();
        let targets = assignor::assign(&members, &assignable);
        let changed: Vec<(Arc<str>, Target)> = self
            .members
            .keys()
            .zip(targets)
            .filter(|(id, target)| self.targets.get(*id) != Some(target))
            .map(|(id, target)| (id.clone(), target))
            .collect();
        let mut written_bytes = 0;
        for (id, target) in changed {
            if written_bytes > context.records_bytes_max / 4 {
                // Too many for one batch: the next heartbeat goes on, and the epoch comes with the last.
                return;
            }
            self.change(Event::Target(id, target), records);
            written_bytes += records.last().map_or(0, |record| bytes_of(std::slice::from_ref(record)));
        }
        self.change(Event::TargetEpoch { epoch: self.epoch, timestamp: context.now_ms }, records);
    }

    /// A member takes its target at once.
    fn reconcile(&mut self, id: &Arc<str>, bumped: bool, topics: &dyn Topics, records: &mut Vec<NewRecord>) {
        let Some(member) = self.members.get(id) else { return };
        let (before, is_behind) = (&member.current, member.current.epoch != self.target_epoch);
        if !bumped && !is_behind {
            return;
        }
        let subscribed = subscribed_ids(member, topics);
        let target = self.targets.get(id).cloned().unwrap_or_default();
        let assigned = target.into_iter().filter(|(topic, _)| subscribed.contains(topic)).collect();
        let next = match is_behind {
            true => Current { epoch: self.target_epoch, previous_epoch: before.epoch, assigned },
            false => Current { assigned, ..before.clone() },
        };
        if next != *before {
            self.change(Event::Current(id.clone(), next), records);
        }
    }

    /// Notes which subscribed partitions have no state, and says so.
    fn begin_initializing(
        &mut self,
        context: &ShareContext<'_>,
        records: &mut Vec<NewRecord>,
    ) -> Option<(i32, Vec<TopicPartitions>)> {
        let since_ms = context.now_ms - context.options.initialize_retry_interval_ms;
        let mut missing = BTreeMap::new();
        let subscribed = self.subscribed();
        match &self.states {
            Some(states) => missing.extend(states.missing(subscribed.into_iter(), context.topics, since_ms)),
            None => missing.extend(States::default().missing(subscribed.into_iter(), context.topics, since_ms)),
        }
        if missing.is_empty() {
            return None;
        }
        let mut states = self.states.clone().unwrap_or_default();
        for (id, (name, partitions)) in &missing {
            states.begin_initializing(*id, name, partitions, context.now_ms);
        }
        self.change(Event::States(states), records);
        let wanted = missing.into_iter().map(|(topic_id, (_, partitions))| TopicPartitions {
            topic_id,
            partitions: partitions.into_iter().collect(),
        });
        Some((self.epoch, wanted.collect()))
    }

    fn heard_of(&mut self, id: &Arc<str>, context: &ShareContext<'_>) {
        let at_ms = context.now_ms + i64::from(context.options.session_timeout_ms);
        self.soft.sessions.insert(id.clone(), at_ms);
        self.soft.earliest_ms = Some(self.soft.earliest_ms.map_or(at_ms, |earliest_ms| earliest_ms.min(at_ms)));
    }

    /// After the replay: nobody could send heartbeats meanwhile.
    pub fn loaded(&mut self, context: &ShareContext<'_>) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        ids.iter().for_each(|id| self.heard_of(id, context));
    }

    /// When [`Self::on_time`] has something to do. May be early, never late.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.soft.earliest_ms
    }

    /// Gives up the members whose session is over. A group has a thousand members at most: their records fit one batch.
    pub fn on_time(&mut self, context: &ShareContext<'_>, records: &mut Vec<NewRecord>) {
        if self.soft.earliest_ms.is_none_or(|earliest_ms| earliest_ms > context.now_ms) {
            return;
        }
        self.begin_input();
        let over = self.soft.sessions.iter().filter(|(_, at_ms)| **at_ms <= context.now_ms);
        let late: Vec<Arc<str>> = over.map(|(id, _)| id.clone()).collect();
        self.fence(&late, context, records);
        let members = &self.members;
        self.soft.sessions.retain(|id, _| members.contains_key(id));
        self.soft.earliest_ms = self.soft.sessions.values().min().copied();
    }

    fn unknown(&self, member: &str) -> ShareGroupError {
        ShareGroupError::UnknownMember(member.to_owned(), self.id.to_string())
    }

    fn key_of(&self, member: &str) -> Arc<str> {
        self.members.get_key_value(member).map_or_else(|| member.into(), |(id, _)| id.clone())
    }
}

/// A member is at the epoch that it was told last, or at the one before if it has not got that answer.
fn check_epoch(said: &ShareHeartbeat, current: &Current) -> Result<(), ShareGroupError> {
    let is_known = said.epoch == current.epoch || said.epoch == current.previous_epoch;
    if said.joins() || (is_known && said.epoch <= current.epoch) {
        return Ok(());
    }
    Err(ShareGroupError::FencedMemberEpoch { received: said.epoch, known: current.epoch })
}

fn subscribed_ids(member: &Member, topics: &dyn Topics) -> BTreeSet<TopicId> {
    member.profile.topics.iter().filter_map(|name| topics.id(name)).collect()
}
