//! When the members of one group are given up. Not in the log: after a replay every member has a full session before it.

use super::event::Event;
use super::member::MemberState;
use super::{ConsumerGroup, Context};
use crate::NewRecord;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Records that delete a member, and what each has besides two ids.
const TOMBSTONES: usize = 3;
const TOMBSTONE_BYTES: usize = 6;

/// Deadlines by member, and the earliest that any of them can be. A heartbeat only puts its member's off, so the earliest is found again when
/// it comes due: once a session, not once a heartbeat.
#[derive(Debug, Default)]
pub struct GroupTimers {
    members: BTreeMap<Arc<str>, MemberTimers>,
    earliest_ms: Option<i64>,
}

#[derive(Debug, Default, Clone, Copy)]
struct MemberTimers {
    session_ms: Option<i64>,
    /// Until then the member must have given back its partitions; with the epoch that it would leave so.
    rebalance: Option<(i64, i32)>,
}

impl MemberTimers {
    fn earliest_ms(&self) -> Option<i64> {
        [self.session_ms, self.rebalance.map(|(ms, _)| ms)].into_iter().flatten().min()
    }
}

impl GroupTimers {
    pub fn session(&mut self, member: &Arc<str>, at_ms: i64) {
        self.earliest_ms = Some(self.earliest_ms.map_or(at_ms, |earliest_ms| earliest_ms.min(at_ms)));
        match self.members.get_mut(member) {
            Some(timers) => timers.session_ms = Some(at_ms),
            None => {
                self.members.insert(member.clone(), MemberTimers { session_ms: Some(at_ms), rebalance: None });
            }
        }
    }

    pub fn rebalance(&mut self, member: &Arc<str>, at_ms: i64, epoch: i32) {
        self.earliest_ms = Some(self.earliest_ms.map_or(at_ms, |earliest_ms| earliest_ms.min(at_ms)));
        self.members.entry(member.clone()).or_default().rebalance = Some((at_ms, epoch));
    }

    pub fn cancel_rebalance(&mut self, member: &Arc<str>) {
        if let Some(timers) = self.members.get_mut(member) {
            timers.rebalance = None;
        }
    }

    pub fn forget(&mut self, member: &Arc<str>) {
        self.members.remove(member);
    }
}

impl ConsumerGroup {
    /// When [`ConsumerGroup::on_time`] has something to do. May be early, never late.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.soft.timers.earliest_ms
    }

    /// Gives up the members whose time is over.
    pub fn on_time(&mut self, context: &Context<'_>, records: &mut Vec<NewRecord>) {
        if self.soft.timers.earliest_ms.is_none_or(|earliest_ms| earliest_ms > context.now_ms) {
            return;
        }
        self.begin_input();
        let over = |ms: i64| ms <= context.now_ms;
        let mut late: Vec<Arc<str>> = Vec::new();
        let mut tombstone_bytes = 0;
        for (id, timers) in &mut self.soft.timers.members {
            if tombstone_bytes > context.records_bytes_max / 4 {
                break;
            }
            let silent = timers.session_ms.is_some_and(over);
            let mut clings = false;
            if let Some((_, epoch)) = timers.rebalance.take_if(|(ms, _)| over(*ms)) {
                // A member that has left the epoch meanwhile has given its partitions back.
                clings = self.members.get(id).is_some_and(|member| member.current.epoch == epoch);
            }
            if silent || clings {
                tombstone_bytes += TOMBSTONES * (id.len() + self.id.len() + TOMBSTONE_BYTES);
                late.push(id.clone());
            }
        }
        self.fence(&late, context, records);
        // Names of members that are gone by other ways than this.
        let members = &self.members;
        self.soft.timers.members.retain(|id, _| members.contains_key(id));
        let earliest_ms = self.soft.timers.members.values().filter_map(MemberTimers::earliest_ms).min();
        // Those that there was no room for are next, in another batch.
        self.soft.timers.earliest_ms = earliest_ms.map(|ms| ms.max(context.now_ms + 1));
    }

    /// After the replay: nobody could send heartbeats meanwhile.
    pub fn loaded(&mut self, context: &Context<'_>) {
        for (id, member) in &self.members {
            let session_ms = match &member.profile.classic {
                Some(classic) => classic.session_timeout_ms,
                None => context.options.session_timeout_ms,
            };
            self.soft.timers.session(id, context.now_ms + i64::from(session_ms));
            if member.current.state == MemberState::UnrevokedPartitions && !member.is_classic() {
                let at_ms = context.now_ms + i64::from(member.profile.rebalance_timeout_ms);
                self.soft.timers.rebalance(id, at_ms, member.current.epoch);
            }
        }
    }

    pub(super) fn heard_of(&mut self, member: &Arc<str>, context: &Context<'_>) {
        self.soft.timers.session(member, context.now_ms + i64::from(context.options.session_timeout_ms));
    }

    /// Writes down where a member now stands, and sets the clock for what it has to give back.
    pub(super) fn move_member(
        &mut self,
        id: &Arc<str>,
        current: super::member::Current,
        context: &Context<'_>,
        records: &mut Vec<NewRecord>,
    ) {
        let (state, epoch) = (current.state, current.epoch);
        self.change(Event::Current(id.clone(), current), records);
        let Some(member) = self.members.get(id).filter(|member| !member.is_classic()) else { return };
        if state == MemberState::UnrevokedPartitions {
            let at_ms = context.now_ms + i64::from(member.profile.rebalance_timeout_ms);
            self.soft.timers.rebalance(id, at_ms, epoch);
        } else {
            self.soft.timers.cancel_rebalance(id);
        }
    }
}
