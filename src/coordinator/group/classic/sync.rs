//! SyncGroup: the leader brings the assignment, everybody fetches their part.

use super::{ClassicGroup, State};
use crate::ReplyTo;
use crate::group::Turn;
use crate::group::reply::{GroupReply, SyncReply};
use crate::group::request::SyncGroup;
use crate::group::timers::TimerKey;
use ringlane_protocol::ErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;

impl ClassicGroup {
    pub fn sync(&mut self, request: SyncGroup, to: ReplyTo, turn: &mut Turn<'_>) {
        if let Err(error) = self.check_sync(&request) {
            return turn.reply(to, GroupReply::Sync(SyncReply::failed(error)));
        }
        self.note_sync(&request.member_id, turn);
        let is_leader = self.is_leader(&request.member_id);
        let Some(member) = self.members.get_mut(request.member_id.as_str()) else { return };
        if self.state == State::Stable {
            let assignment = member.assignment.clone();
            return turn.reply(to, GroupReply::Sync(self.synced(assignment)));
        }
        if let Some(earlier) = member.syncing.replace(to) {
            // Its client gave up waiting and asks again.
            turn.reply(earlier, GroupReply::Sync(SyncReply::failed(ErrorCode::RebalanceInProgress)));
        }
        if is_leader {
            self.assign(request.assignments, turn);
        }
    }

    fn check_sync(&self, request: &SyncGroup) -> Result<(), ErrorCode> {
        if self.state == State::Empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |asked: Option<&str>, ours: Option<&str>| asked.is_some() && ours.is_some() && asked != ours;
        let (asked_type, asked_name) = (request.protocol_type.as_deref(), request.protocol.as_deref());
        if differs(asked_type, self.protocol_type.as_deref()) || differs(asked_name, self.protocol.as_deref()) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match self.state {
            State::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    fn note_sync(&mut self, member_id: &str, turn: &mut Turn<'_>) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        if std::mem::take(&mut member.owes_sync) {
            self.owing_sync_count -= 1;
        }
        if self.owing_sync_count == 0 {
            let id = &self.id;
            turn.timers.cancel(&mut self.sync_alarm, || TimerKey::Sync(id.clone()));
        }
    }

    /// The leader's word: it is in force when it is in the log, and nobody hears of it before.
    fn assign(&mut self, assignments: Vec<(String, Arc<[u8]>)>, turn: &mut Turn<'_>) {
        let mut assignments: BTreeMap<String, Arc<[u8]>> = assignments.into_iter().collect();
        for member in self.members.values_mut() {
            // Who was forgotten gets nothing.
            member.assignment = assignments.remove(&*member.id).unwrap_or_default();
        }
        self.become_state(State::Stable, turn.now_ms);
        if !self.write_record(turn) {
            self.become_state(State::CompletingRebalance, turn.now_ms);
            self.void_assignments(ErrorCode::UnknownServerError, turn);
            return self.prepare_rebalance(turn);
        }
        let (protocol_type, protocol, id) = (self.protocol_type.clone(), self.protocol.clone(), &self.id);
        for member in self.members.values_mut() {
            let Some(to) = member.syncing.take() else { continue };
            let reply = SyncReply {
                error: ErrorCode::None,
                protocol_type: protocol_type.clone(),
                protocol: protocol.clone(),
                assignment: member.assignment.clone(),
            };
            turn.reply(to, GroupReply::Sync(reply));
            let due_ms = turn.after(member.session_timeout_ms.into());
            turn.timers.set(&mut member.session, due_ms, || TimerKey::Session(id.clone(), member.id.clone()));
        }
    }
}
