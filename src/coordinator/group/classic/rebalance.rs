//! From one generation to the next: waits for the members, agrees on a protocol, tells everybody.

use super::{ClassicGroup, State};
use crate::group::Turn;
use crate::group::options::REARM_MS_MIN;
use crate::group::reply::{GroupReply, SyncReply};
use crate::group::timers::TimerKey;
use ringlane_protocol::ErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first rebalance of an empty group waits for more members, so that a deployment of many does not make as many rebalances (KIP-134).
#[derive(Debug)]
pub struct InitialDelay {
    delay_ms: i64,
    /// What may still be added to it.
    left_ms: i64,
    pub has_new_members: bool,
}

impl ClassicGroup {
    pub(super) fn prepare_or_complete(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            State::PreparingRebalance => self.maybe_complete_join(turn),
            State::Empty | State::CompletingRebalance | State::Stable => self.prepare_rebalance(turn),
        }
    }

    pub(super) fn prepare_rebalance(&mut self, turn: &mut Turn<'_>) {
        if self.state == State::CompletingRebalance {
            self.void_assignments(ErrorCode::RebalanceInProgress, turn);
        }
        self.owe_no_sync(turn);
        let is_initial = self.state == State::Empty;
        self.become_state(State::PreparingRebalance, turn.now_ms);
        if !is_initial {
            self.initial = None;
            return match self.have_all_joined() {
                true => self.complete_join(turn),
                false => self.await_joins(self.rebalance_timeout_ms(), turn),
            };
        }
        let delay_ms = turn.options.initial_rebalance_delay_ms;
        let left_ms = (self.rebalance_timeout_ms() - delay_ms).max(0);
        self.initial = Some(InitialDelay { delay_ms, left_ms, has_new_members: false });
        self.await_joins(delay_ms, turn);
    }

    pub(super) fn maybe_complete_join(&mut self, turn: &mut Turn<'_>) {
        if self.state == State::PreparingRebalance && self.initial.is_none() && self.have_all_joined() {
            self.complete_join(turn);
        }
    }

    /// Like [`Self::maybe_complete_join`], also while the first members gather.
    pub(super) fn complete_if_all_joined(&mut self, turn: &mut Turn<'_>) {
        if self.state == State::PreparingRebalance && self.have_all_joined() {
            self.complete_join(turn);
        }
    }

    /// The time for members to join is over.
    pub fn join_alarm(&mut self, turn: &mut Turn<'_>) {
        let id = &self.id;
        if !turn.timers.rings(&mut self.join_alarm, turn.now_ms, || TimerKey::Join(id.clone())) {
            return;
        }
        if self.state != State::PreparingRebalance {
            return;
        }
        if let Some(initial) = &mut self.initial
            && initial.has_new_members
            && initial.left_ms > 0
        {
            initial.has_new_members = false;
            let delay_ms = turn.options.initial_rebalance_delay_ms.min(initial.left_ms);
            initial.left_ms = (initial.left_ms - initial.delay_ms).max(0);
            initial.delay_ms = delay_ms;
            return self.await_joins(delay_ms, turn);
        }
        self.complete_join(turn);
    }

    /// The time for members to fetch their assignments is over: who did not is out.
    pub fn sync_alarm(&mut self, turn: &mut Turn<'_>) {
        let id = &self.id;
        if !turn.timers.rings(&mut self.sync_alarm, turn.now_ms, || TimerKey::Sync(id.clone())) {
            return;
        }
        if !matches!(self.state, State::CompletingRebalance | State::Stable) || self.owing_sync_count == 0 {
            return;
        }
        let owing = self.members.values().filter(|member| member.owes_sync);
        let owing: Vec<Arc<str>> = owing.map(|member| member.id.clone()).collect();
        for member_id in owing {
            self.remove_member(&member_id, ErrorCode::UnknownMemberId, turn);
        }
        self.prepare_rebalance(turn);
    }

    fn have_all_joined(&self) -> bool {
        self.joining_count == self.members.len() && self.pending.is_empty()
    }

    /// The most patient member's.
    fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|member| i64::from(member.rebalance_timeout_ms)).max().unwrap_or(0).max(0)
    }

    fn await_joins(&mut self, ms: i64, turn: &mut Turn<'_>) {
        let (id, due_ms) = (&self.id, turn.after(ms));
        turn.timers.set(&mut self.join_alarm, due_ms, || TimerKey::Join(id.clone()));
    }

    fn complete_join(&mut self, turn: &mut Turn<'_>) {
        let id = self.id.clone();
        turn.timers.cancel(&mut self.join_alarm, || TimerKey::Join(id.clone()));
        let absent = self.members.values().filter(|member| member.joining.is_none() && member.instance_id.is_none());
        let absent: Vec<Arc<str>> = absent.map(|member| member.id.clone()).collect();
        for member_id in absent {
            self.remove_member(&member_id, ErrorCode::UnknownMemberId, turn);
        }
        if self.members.is_empty() {
            return self.become_empty(turn);
        }
        if !self.elect_joined_leader() {
            // Only static members, and none of them has come: until their sessions are over they may.
            return self.await_joins(self.rebalance_timeout_ms().max(REARM_MS_MIN), turn);
        }
        self.begin_generation();
        self.become_state(State::CompletingRebalance, turn.now_ms);
        let members: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for member_id in members {
            self.answer_join(&member_id, turn);
        }
        self.joining_count = 0;
        self.owing_sync_count = self.members.len();
        let due_ms = turn.after(self.rebalance_timeout_ms());
        turn.timers.set(&mut self.sync_alarm, due_ms, || TimerKey::Sync(id.clone()));
    }

    fn answer_join(&mut self, member_id: &Arc<str>, turn: &mut Turn<'_>) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.is_new = false;
        member.owes_sync = true;
        let session_timeout_ms = member.session_timeout_ms;
        if let Some(to) = member.joining.take() {
            turn.reply(to, GroupReply::Join(self.joined(member_id)));
        }
        self.set_session(member_id, session_timeout_ms.into(), turn);
    }

    fn become_empty(&mut self, turn: &mut Turn<'_>) {
        self.begin_generation();
        self.become_state(State::Empty, turn.now_ms);
        // Small: it has no members.
        self.write_record(turn);
    }

    fn begin_generation(&mut self) {
        self.initial = None;
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        self.protocol = self.select_protocol();
        self.subscribed = self.compute_subscribed();
    }

    /// Whether the leader, or another in its place, has joined.
    fn elect_joined_leader(&mut self) -> bool {
        let leader = self.leader.as_deref().and_then(|leader| self.members.get(leader));
        if leader.is_some_and(|leader| leader.joining.is_some()) {
            return true;
        }
        let joined = self.members.values().find(|member| member.joining.is_some());
        if let Some(joined) = joined {
            self.leader = Some(joined.id.clone());
        }
        joined.is_some()
    }

    /// Each member votes for the first of its protocols that all support. `None` without members.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let by_all = |name: &Arc<str>| self.supported.get(name) == Some(&self.members.len());
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(choice) = member.protocols.iter().find(|protocol| by_all(&protocol.name)) {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.clone())
    }

    /// Nobody has an assignment any more; who waits for one is told why.
    pub(super) fn void_assignments(&mut self, error: ErrorCode, turn: &mut Turn<'_>) {
        let id = &self.id;
        for member in self.members.values_mut() {
            member.assignment = Arc::default();
            if let Some(to) = member.syncing.take() {
                turn.reply(to, GroupReply::Sync(SyncReply::failed(error)));
                let due_ms = turn.after(member.session_timeout_ms.into());
                turn.timers.set(&mut member.session, due_ms, || TimerKey::Session(id.clone(), member.id.clone()));
            }
        }
    }

    fn owe_no_sync(&mut self, turn: &mut Turn<'_>) {
        if self.owing_sync_count > 0 {
            self.members.values_mut().for_each(|member| member.owes_sync = false);
            self.owing_sync_count = 0;
        }
        let id = &self.id;
        turn.timers.cancel(&mut self.sync_alarm, || TimerKey::Sync(id.clone()));
    }
}
