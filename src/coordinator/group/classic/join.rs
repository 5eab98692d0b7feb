//! JoinGroup: who may join, as whom, and whether that makes a rebalance.

use super::member::Member;
use super::{ClassicGroup, State};
use crate::ReplyTo;
use crate::group::Turn;
use crate::group::options::{NEW_MEMBER_JOIN_TIMEOUT_MS, PENDING_MEMBERS_MAX};
use crate::group::reply::{GroupReply, JoinReply, SyncReply};
use crate::group::request::{JoinGroup, Protocol};
use crate::group::timers::{Alarm, TimerKey};
use ringlane_protocol::ErrorCode;
use std::sync::Arc;

impl ClassicGroup {
    pub fn join(&mut self, request: JoinGroup, to: ReplyTo, turn: &mut Turn<'_>) {
        if !self.has_room_for(&request.member_id, turn.options.max_size) {
            self.remove_member(&request.member_id, ErrorCode::GroupMaxSizeReached, turn);
            return refuse(ErrorCode::GroupMaxSizeReached, "", to, turn);
        }
        if !self.supports(&request) {
            return refuse(ErrorCode::InconsistentGroupProtocol, &request.member_id, to, turn);
        }
        match (request.member_id.is_empty(), request.instance_id.as_deref()) {
            (true, Some(instance_id)) => match self.static_members.get(instance_id).cloned() {
                Some(old_id) => self.replace_static_member(request, old_id, to, turn),
                None => self.add_member(new_id(&request), request, to, turn),
            },
            (true, None) if request.takes_member_id => self.give_out_member_id(&request, to, turn),
            (true, None) => self.add_member(new_id(&request), request, to, turn),
            (false, _) => self.join_as_known(request, to, turn),
        }
    }

    fn join_as_known(&mut self, request: JoinGroup, to: ReplyTo, turn: &mut Turn<'_>) {
        let member_id: Arc<str> = request.member_id.as_str().into();
        if self.pending.contains_key(&member_id) {
            return match request.instance_id {
                // Ids are not given out to static members.
                Some(_) => refuse(ErrorCode::UnknownServerError, &member_id, to, turn),
                None => self.add_member(member_id, request, to, turn),
            };
        }
        if let Err(error) = self.check_member(&member_id, request.instance_id.as_deref()) {
            return refuse(error, &member_id, to, turn);
        }
        let is_unchanged = self.members.get(&member_id).is_some_and(|member| member.protocols == request.protocols);
        let has_answer = match self.state {
            State::PreparingRebalance => false,
            // Its answer was lost: the same again.
            State::CompletingRebalance => is_unchanged,
            // The leader joins again when what it assigns has changed.
            State::Stable => is_unchanged && !self.is_leader(&member_id),
            State::Empty => return refuse(ErrorCode::UnknownMemberId, &member_id, to, turn),
        };
        if has_answer {
            // The leader's followers need no list, and the leader of a generation that is not complete does.
            return turn.reply(to, GroupReply::Join(self.joined(&member_id)));
        }
        self.update_member(&member_id, request, to, turn);
        self.prepare_or_complete(turn);
    }

    /// In a rebalance those count who have come: so the last ones of a group that is too large are the ones to go.
    fn has_room_for(&self, member_id: &str, max_size: usize) -> bool {
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                let is_waiting = self.members.get(member_id).is_some_and(|member| member.joining.is_some());
                is_waiting || self.joining_count < max_size
            }
            State::CompletingRebalance | State::Stable => {
                self.members.contains_key(member_id) || self.members.len() < max_size
            }
        }
    }

    /// The members must have one protocol in common.
    fn supports(&self, request: &JoinGroup) -> bool {
        if self.state == State::Empty {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        let by_all =
            |protocol: &Protocol| self.supported.get(&protocol.name).copied().unwrap_or_default() == self.members.len();
        self.protocol_type.as_deref() == Some(&request.protocol_type) && request.protocols.iter().any(by_all)
    }

    /// KIP-394: a client whose answer is lost would leave a member behind with each try, and each would hold up a rebalance.
    fn give_out_member_id(&mut self, request: &JoinGroup, to: ReplyTo, turn: &mut Turn<'_>) {
        if self.pending.len() >= PENDING_MEMBERS_MAX {
            return refuse(ErrorCode::CoordinatorNotAvailable, "", to, turn);
        }
        let member = new_id(request);
        let mut alarm = Alarm::default();
        let due_ms = turn.after(request.session_timeout_ms.into());
        turn.timers.set(&mut alarm, due_ms, || TimerKey::Session(self.id.clone(), member.clone()));
        self.pending.insert(member.clone(), alarm);
        refuse(ErrorCode::MemberIdRequired, &member, to, turn);
    }

    fn add_member(&mut self, member_id: Arc<str>, request: JoinGroup, to: ReplyTo, turn: &mut Turn<'_>) {
        if let Some(initial) = &mut self.initial {
            initial.has_new_members = true;
        }
        self.remove_pending(&member_id, turn);
        let member = Member {
            id: member_id.clone(),
            instance_id: request.instance_id.as_deref().map(Arc::from),
            client_id: request.client_id.into(),
            client_host: request.client_host.into(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols,
            assignment: Arc::default(),
            joining: Some(to),
            syncing: None,
            is_new: true,
            owes_sync: false,
            session: Alarm::default(),
        };
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.into());
        }
        self.take_in(member);
        self.joining_count += 1;
        self.set_session(&member_id, NEW_MEMBER_JOIN_TIMEOUT_MS, turn);
        self.prepare_or_complete(turn);
    }

    pub(super) fn take_in(&mut self, member: Member) {
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.count_protocols(member.protocol_names());
        self.members.insert(member.id.clone(), member);
    }

    fn update_member(&mut self, member_id: &str, request: JoinGroup, to: ReplyTo, turn: &mut Turn<'_>) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        let before = member.protocol_names();
        member.protocols = request.protocols;
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.session_timeout_ms = request.session_timeout_ms;
        let after = member.protocol_names();
        let earlier = member.joining.replace(to);
        self.uncount_protocols(before);
        self.count_protocols(after);
        match earlier {
            // Its client gave up waiting and asks again.
            Some(to) => refuse(ErrorCode::RebalanceInProgress, member_id, to, turn),
            None => self.joining_count += 1,
        }
    }

    /// KIP-345: a static member that has lost its id takes the place that it had.
    fn replace_static_member(&mut self, request: JoinGroup, old_id: Arc<str>, to: ReplyTo, turn: &mut Turn<'_>) {
        let Some(mut member) = self.members.remove(&old_id) else { return };
        let old_leader = self.leader.clone();
        let member_id = new_id(&request);
        let (group, old) = (self.id.clone(), old_id.clone());
        turn.timers.cancel(&mut member.session, || TimerKey::Session(group.clone(), old.clone()));
        if let Some(to) = member.joining.take() {
            self.joining_count -= 1;
            refuse(ErrorCode::FencedInstanceId, &old_id, to, turn);
        }
        if let Some(to) = member.syncing.take() {
            turn.reply(to, GroupReply::Sync(SyncReply::failed(ErrorCode::FencedInstanceId)));
        }
        if std::mem::take(&mut member.owes_sync) {
            self.owing_sync_count -= 1;
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member_id.clone());
        }
        if self.is_leader(&old_id) {
            self.leader = Some(member_id.clone());
        }
        member.id = member_id.clone();
        member.is_new = false;
        self.members.insert(member_id.clone(), member);
        let can_skip_assignment = request.can_skip_assignment;
        let session_timeout_ms = request.session_timeout_ms;
        self.update_member(&member_id, request, to, turn);
        self.set_session(&member_id, session_timeout_ms.into(), turn);
        match self.state {
            State::Stable if self.protocol == self.select_protocol() => {
                self.stay_stable(&member_id, old_leader, can_skip_assignment, turn);
            }
            State::Stable => self.prepare_or_complete(turn),
            // Its old id may be with the leader already: what is assigned to that would be lost.
            State::CompletingRebalance => self.prepare_rebalance(turn),
            State::PreparingRebalance | State::Empty => self.maybe_complete_join(turn),
        }
    }

    /// No rebalance: the member gets the generation that there is. An old client must not take itself for the leader, or it would assign
    /// for a generation that is complete: it is told the id that it does not have any more.
    fn stay_stable(
        &mut self,
        member_id: &Arc<str>,
        old_leader: Option<Arc<str>>,
        can_skip_assignment: bool,
        turn: &mut Turn<'_>,
    ) {
        let Some(to) = self.members.get_mut(member_id).and_then(|member| member.joining.take()) else { return };
        self.joining_count -= 1;
        if !self.write_record(turn) {
            return refuse(ErrorCode::UnknownServerError, member_id, to, turn);
        }
        let reply = match can_skip_assignment {
            true => JoinReply { skip_assignment: self.is_leader(member_id), ..self.joined(member_id) },
            false => {
                JoinReply { leader: old_leader.unwrap_or_default(), members: Vec::new(), ..self.joined(member_id) }
            }
        };
        turn.reply(to, GroupReply::Join(reply));
    }
}

fn new_id(request: &JoinGroup) -> Arc<str> {
    request.new_member_id.as_str().into()
}

fn refuse(error: ErrorCode, member_id: &str, to: ReplyTo, turn: &mut Turn<'_>) {
    turn.reply(to, GroupReply::Join(JoinReply::failed(error, member_id)));
}
