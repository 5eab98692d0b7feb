//! Members that go: by their own word, for a while, or because they are given up.

use super::event::Event;
use super::member::Current;
use super::request::{ConsumerHeartbeat, ConsumerHeartbeatReply, LEAVE_STATIC};
use super::{ConsumerGroup, ConsumerGroupError, Context, Owned};
use crate::NewRecord;
use std::collections::BTreeSet;
use std::sync::Arc;

impl ConsumerGroup {
    pub(super) fn leave(
        &mut self,
        said: &ConsumerHeartbeat,
        context: &Context<'_>,
        records: &mut Vec<NewRecord>,
    ) -> Result<ConsumerHeartbeatReply, ConsumerGroupError> {
        let id = match &said.instance_id {
            None if self.members.contains_key(said.member_id.as_str()) => self.key_of(&said.member_id),
            None => return Err(self.unknown(&said.member_id)),
            Some(instance) => {
                let owner = self.instances.get(instance.as_str()).cloned().ok_or_else(|| self.unknown(instance))?;
                self.check_instance(instance, &owner, &said.member_id)?;
                owner
            }
        };
        if said.epoch == LEAVE_STATIC {
            self.leave_for_a_while(&id, records);
        } else {
            self.fence(std::slice::from_ref(&id), context, records);
        }
        Ok(ConsumerHeartbeatReply { member_id: id, epoch: said.epoch, heartbeat_interval_ms: 0, assignment: None })
    }

    /// The static member keeps what it has until its session is over. What it was to give back it has, as it is away.
    fn leave_for_a_while(&mut self, id: &Arc<str>, records: &mut Vec<NewRecord>) {
        let current = self.members[id].current.clone();
        let away = Current {
            epoch: LEAVE_STATIC,
            assigned: as_of_epoch_zero(current.assigned),
            revoking: Owned::new(),
            ..current
        };
        self.change(Event::Current(id.clone(), away), records);
    }

    /// Removes members; whatever they had is free.
    pub(super) fn fence(&mut self, ids: &[Arc<str>], context: &Context<'_>, records: &mut Vec<NewRecord>) {
        let mut regexes = BTreeSet::new();
        let mut any = false;
        for id in ids {
            let Some(member) = self.members.get(id) else { continue };
            regexes.insert(member.profile.regex.clone());
            self.remove(id, records);
            any = true;
        }
        if !any {
            return;
        }
        for regex in regexes {
            if self.regexes.contains_key(&regex) && self.regex_subscribers(&regex) == 0 {
                self.change(Event::RegexGone(regex), records);
            }
        }
        self.refresh_epoch(true, context, records);
    }

    /// A static member comes back under another member id and gets what it had.
    pub(super) fn replace(&mut self, old: &Arc<str>, new: &Arc<str>, records: &mut Vec<NewRecord>) {
        let (member, target) = (self.members[old].clone(), self.targets.get(old).cloned().unwrap_or_default());
        self.remove(old, records);
        self.change(Event::Member(new.clone(), member.profile), records);
        self.change(Event::Target(new.clone(), target), records);
        let current = Current { epoch: 0, previous_epoch: 0, ..member.current };
        self.change(Event::Current(new.clone(), current), records);
    }

    fn remove(&mut self, id: &Arc<str>, records: &mut Vec<NewRecord>) {
        self.change(Event::CurrentGone(id.clone()), records);
        self.change(Event::TargetGone(id.clone()), records);
        self.change(Event::MemberGone(id.clone()), records);
    }
}

/// The instance that comes back has another member id, and its epochs begin anew.
fn as_of_epoch_zero(mut assigned: Owned) -> Owned {
    assigned.values_mut().flat_map(|partitions| partitions.values_mut()).for_each(|epoch| *epoch = 0);
    assigned
}
