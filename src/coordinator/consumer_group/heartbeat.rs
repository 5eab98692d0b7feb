//! ConsumerGroupHeartbeat: members join, say what they want and own, and hear what they shall own.

use super::assignment::{contains, listed};
use super::event::Event;
use super::group::bytes_of;
use super::member::{Member, MemberState};
use super::reconcile::Step;
use super::regex::compile;
use super::request::{ConsumerHeartbeat, ConsumerHeartbeatReply, LEAVE_STATIC};
use super::{ConsumerGroup, ConsumerGroupError, Context, Owned, OwnedTopic, Target};
use crate::NewRecord;
use std::sync::Arc;

impl ConsumerGroup {
    /// One heartbeat that has passed [`ConsumerHeartbeat::validate`]. After an error nothing has changed.
    pub fn heartbeat(
        &mut self,
        said: &ConsumerHeartbeat,
        context: &Context<'_>,
        records: &mut Vec<NewRecord>,
    ) -> Result<ConsumerHeartbeatReply, ConsumerGroupError> {
        let from = records.len();
        self.begin_input();
        let reply = self.hear(said, context, records)?;
        if bytes_of(&records[from..]) > context.records_bytes_max {
            // An append that fails takes the whole machine down, and with it the groups that are well.
            records.truncate(from);
            self.undo();
            return Err(ConsumerGroupError::TooLarge(context.records_bytes_max));
        }
        Ok(reply)
    }

    fn hear(
        &mut self,
        said: &ConsumerHeartbeat,
        context: &Context<'_>,
        records: &mut Vec<NewRecord>,
    ) -> Result<ConsumerHeartbeatReply, ConsumerGroupError> {
        if said.leaves() {
            return self.leave(said, context, records);
        }
        self.check_room(said.named(), context)?;
        let replaced = self.check_member(said)?;
        self.check_regex(said)?;

        let id = self.key_of(said.named());
        if let Some(old) = replaced {
            self.replace(&old, &id, records);
        }
        let before = self.members.get(&id).map(|member| member.current.assigned.clone()).unwrap_or_default();
        let subscription_changed = self.subscribe(&id, said, context, records);
        self.refresh_target(context, records);
        self.reconcile(&id, said.owned.as_deref(), subscription_changed, context, records);
        self.heard_of(&id, context);

        let current = &self.members[&id].current;
        let tell = said.joins() || said.is_full() || current.assigned != before;
        Ok(ConsumerHeartbeatReply {
            epoch: current.epoch,
            heartbeat_interval_ms: context.options.heartbeat_interval_ms,
            assignment: tell.then(|| listed(&current.assigned)),
            member_id: id,
        })
    }

    pub(super) fn check_room(&self, member: &str, context: &Context<'_>) -> Result<(), ConsumerGroupError> {
        if self.members.len() >= context.options.max_size && !self.members.contains_key(member) {
            return Err(ConsumerGroupError::Full(context.options.max_size));
        }
        Ok(())
    }

    /// Whether the member may speak. `Some` is the member whose instance id it takes over.
    fn check_member(&self, said: &ConsumerHeartbeat) -> Result<Option<Arc<str>>, ConsumerGroupError> {
        let Some(instance) = &said.instance_id else {
            match self.members.get(said.named()) {
                Some(member) => check_epoch(said, member)?,
                None if said.joins() => {}
                None => return Err(self.unknown(said.named())),
            }
            return Ok(None);
        };
        match self.instances.get(instance.as_str()) {
            None if said.joins() => Ok(None),
            None => Err(self.unknown(instance)),
            Some(owner) if said.joins() => {
                let member = &self.members[owner];
                // The same process, which begins anew.
                if &**owner == said.named() && member.current.epoch != LEAVE_STATIC {
                    return Ok(None);
                }
                // A classic member does not say that it goes: whoever has its instance id replaces it.
                if member.current.epoch != LEAVE_STATIC && !member.is_classic() {
                    let (instance, owner) = (instance.clone(), owner.to_string());
                    return Err(ConsumerGroupError::UnreleasedInstance { instance, owner });
                }
                Ok(Some(owner.clone()))
            }
            Some(owner) => {
                self.check_instance(instance, owner, said.named())?;
                check_epoch(said, &self.members[owner]).map(|()| None)
            }
        }
    }

    pub(super) fn check_instance(&self, instance: &str, owner: &str, member: &str) -> Result<(), ConsumerGroupError> {
        if owner == member {
            return Ok(());
        }
        Err(ConsumerGroupError::FencedInstance { instance: instance.to_owned(), owner: owner.to_owned() })
    }

    /// A pattern that no member has yet must be one.
    fn check_regex(&self, said: &ConsumerHeartbeat) -> Result<(), ConsumerGroupError> {
        match said.regex.as_deref() {
            Some(regex)
                if !regex.is_empty() && !self.regexes.contains_key(regex) && self.regex_subscribers(regex) == 0 =>
            {
                compile(regex).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Takes what the member says of itself. True if it subscribes to something else than before.
    fn subscribe(
        &mut self,
        id: &Arc<str>,
        said: &ConsumerHeartbeat,
        context: &Context<'_>,
        records: &mut Vec<NewRecord>,
    ) -> bool {
        let before = self.members.get(id).map(|member| member.profile.clone());
        let is_new = before.is_none();
        let before = before.unwrap_or_default();
        let mut changed = false;
        if let Some(profile) = before.updated(said) {
            let (topics, regex) = (profile.topics != before.topics, profile.regex.clone());
            self.change(Event::Member(id.clone(), profile), records);
            if regex != before.regex {
                self.change_regex(&before.regex, &regex, context, records);
            }
            changed = topics || regex != before.regex;
        } else if is_new {
            self.change(Event::Member(id.clone(), before), records);
        }
        let matches_others = self.refresh_regexes(context, records);
        self.refresh_epoch(changed || matches_others, context, records);
        changed
    }

    /// Moves a member one step towards its target.
    pub(super) fn reconcile(
        &mut self,
        id: &Arc<str>,
        owned: Option<&[OwnedTopic]>,
        subscription_changed: bool,
        context: &Context<'_>,
        records: &mut Vec<NewRecord>,
    ) {
        let Some(member) = self.members.get(id) else { return };
        if !subscription_changed && member.is_reconciled_to(self.target_epoch) {
            return;
        }
        let nothing = Target::new();
        let step = Step {
            current: &member.current,
            target_epoch: self.target_epoch,
            target: self.targets.get(id).unwrap_or(&nothing),
            subscription_changed,
            subscribed: &self.subscribed_ids(member, context.topics),
            owned,
            is_taken: &|topic, partition| self.owners.get(&(topic, partition)).is_some_and(|owner| owner != id),
        };
        if let Some(next) = step.take() {
            self.move_member(id, next, context, records);
        }
    }

    pub(super) fn unknown(&self, member: &str) -> ConsumerGroupError {
        ConsumerGroupError::UnknownMember(member.to_owned(), self.id.to_string())
    }

    pub(super) fn key_of(&self, member: &str) -> Arc<str> {
        self.members.get_key_value(member).map_or_else(|| member.into(), |(id, _)| id.clone())
    }
}

/// A member is at the epoch that it was told last, or at the one before if it has not got that answer and owns nothing beyond it. One that
/// joins again says 0.
fn check_epoch(said: &ConsumerHeartbeat, member: &Member) -> Result<(), ConsumerGroupError> {
    let current = &member.current;
    let fenced = Err(ConsumerGroupError::FencedMemberEpoch { received: said.epoch, known: current.epoch });
    let answer_lost = || said.epoch == current.previous_epoch && is_subset(said.owned.as_deref(), &current.assigned);
    if said.joins() {
        return Ok(());
    }
    if said.epoch > current.epoch || (said.epoch < current.epoch && !answer_lost()) {
        return fenced;
    }
    let owns_nothing = said.owned.as_ref().is_some_and(Vec::is_empty);
    if current.state == MemberState::Unknown && !owns_nothing {
        return fenced;
    }
    Ok(())
}

fn is_subset(owned: Option<&[OwnedTopic]>, assigned: &Owned) -> bool {
    owned.is_some_and(|owned| {
        owned.iter().all(|topic| topic.partitions.iter().all(|partition| contains(assigned, topic.topic, *partition)))
    })
}
