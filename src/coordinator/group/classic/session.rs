//! Members stay by sending heartbeats; they go by saying so, or by silence.

use super::{ClassicGroup, State};
use crate::group::Turn;
use crate::group::request::{Heartbeat, LeavingMember};
use crate::group::timers::TimerKey;
use ringlane_protocol::ErrorCode;
use std::sync::Arc;

impl ClassicGroup {
    /// Costs two look-ups and changes one number, however large the group is.
    pub fn heartbeat(&mut self, request: &Heartbeat, turn: &mut Turn<'_>) -> ErrorCode {
        if let Err(error) = self.check_member(&request.member_id, request.instance_id.as_deref()) {
            return error;
        }
        if request.generation != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        match self.state {
            State::Empty => ErrorCode::UnknownMemberId,
            State::PreparingRebalance => {
                self.keep_session(&request.member_id, turn);
                ErrorCode::RebalanceInProgress
            }
            State::CompletingRebalance | State::Stable => {
                self.keep_session(&request.member_id, turn);
                ErrorCode::None
            }
        }
    }

    /// One code a member.
    pub fn leave(&mut self, members: &[LeavingMember], turn: &mut Turn<'_>) -> Vec<ErrorCode> {
        let codes: Vec<ErrorCode> = members.iter().map(|member| self.leave_one(member, turn)).collect();
        if codes.contains(&ErrorCode::None) {
            match self.state {
                State::Stable | State::CompletingRebalance => self.prepare_rebalance(turn),
                State::PreparingRebalance => self.maybe_complete_join(turn),
                State::Empty => {}
            }
        }
        codes
    }

    fn leave_one(&mut self, member: &LeavingMember, turn: &mut Turn<'_>) -> ErrorCode {
        let LeavingMember { member_id, instance_id } = member;
        if self.pending.contains_key(member_id.as_str()) {
            self.remove_pending(member_id, turn);
            return ErrorCode::None;
        }
        let by_instance = instance_id.as_deref().filter(|_| member_id.is_empty());
        let leaving: Arc<str> = match by_instance {
            Some(instance_id) => match self.static_members.get(instance_id) {
                Some(mapped) => mapped.clone(),
                None => return ErrorCode::UnknownMemberId,
            },
            None => match self.check_member(member_id, instance_id.as_deref()) {
                Ok(()) => member_id.as_str().into(),
                Err(error) => return error,
            },
        };
        self.remove_member(&leaving, ErrorCode::UnknownMemberId, turn);
        ErrorCode::None
    }

    /// A member, pending or not, has been silent for its session timeout.
    pub fn session_alarm(&mut self, member_id: &Arc<str>, turn: &mut Turn<'_>) {
        let id = self.id.clone();
        let key = || TimerKey::Session(id.clone(), member_id.clone());
        if let Some(alarm) = self.pending.get_mut(member_id) {
            if turn.timers.rings(alarm, turn.now_ms, key) {
                self.pending.remove(member_id);
                self.complete_if_all_joined(turn);
            }
            return;
        }
        let Some(member) = self.members.get_mut(member_id) else { return };
        if !turn.timers.rings(&mut member.session, turn.now_ms, key) || member.is_excused() {
            return;
        }
        self.remove_member(member_id, ErrorCode::UnknownMemberId, turn);
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(turn),
            State::PreparingRebalance => self.complete_if_all_joined(turn),
            State::Empty => {}
        }
    }

    /// After a replay every member has a whole session to be heard of.
    pub fn loaded(&mut self, turn: &mut Turn<'_>) {
        let members: Vec<(Arc<str>, i32)> =
            self.members.values().map(|member| (member.id.clone(), member.session_timeout_ms)).collect();
        for (member_id, session_timeout_ms) in members {
            self.set_session(&member_id, session_timeout_ms.into(), turn);
        }
        if self.members.len() > turn.options.max_size {
            self.prepare_rebalance(turn);
        }
    }

    pub(super) fn keep_session(&mut self, member_id: &str, turn: &mut Turn<'_>) {
        let timeout_ms = self.members.get(member_id).map(|member| member.session_timeout_ms);
        if let Some(timeout_ms) = timeout_ms {
            self.set_session(member_id, timeout_ms.into(), turn);
        }
    }

    pub(super) fn set_session(&mut self, member_id: &str, timeout_ms: i64, turn: &mut Turn<'_>) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        let (id, due_ms) = (&self.id, turn.after(timeout_ms));
        turn.timers.set(&mut member.session, due_ms, || TimerKey::Session(id.clone(), member.id.clone()));
    }
}
