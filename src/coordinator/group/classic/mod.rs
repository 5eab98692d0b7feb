//! A classic group: members that join, are assigned their partitions by one of them, and send heartbeats.
//!
//! Rooms: `join`, `sync`, `session` (heartbeats, leaving, timeouts), `rebalance` (from one generation to the next), `record` (its record in the
//! log), `subscription` (topics of consumers). States and rules are Kafka's: Empty, PreparingRebalance (waits for JoinGroups), CompletingRebalance
//! (waits for the leader's SyncGroup), Stable.

mod join;
mod member;
mod rebalance;
mod record;
mod session;
pub mod subscription;
mod sync;

use super::Turn;
use super::reply::{DescribedGroup, DescribedMember, GroupReply, JoinReply, JoinedMember, SyncReply};
use super::timers::{Alarm, TimerKey, Timers};
use member::Member;
use rebalance::InitialDelay;
use ringlane_protocol::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use subscription::CONSUMER;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl State {
    /// As Kafka's tools show it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

#[derive(Debug)]
pub struct ClassicGroup {
    id: Arc<str>,
    state: State,
    /// `None`: read from a record of a broker that did not note it.
    state_since_ms: Option<i64>,
    generation: i32,
    /// `None`: nobody has ever joined, it only has offsets (a "simple" group).
    protocol_type: Option<Arc<str>>,
    /// What the members of this generation have agreed on.
    protocol: Option<Arc<str>>,
    leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    /// Member ids by instance id.
    static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids that were given out and have not come back yet (KIP-394).
    pending: BTreeMap<Arc<str>, Alarm>,
    /// How many members support a protocol.
    supported: BTreeMap<Arc<str>, usize>,
    /// Members whose JoinGroup waits.
    joining_count: usize,
    /// Members that have not asked for their assignment yet.
    owing_sync_count: usize,
    /// `None`: not known.
    subscribed: Option<BTreeSet<Arc<str>>>,
    /// While the first members of an empty group gather.
    initial: Option<InitialDelay>,
    join_alarm: Alarm,
    sync_alarm: Alarm,
}

impl ClassicGroup {
    pub fn new(id: Arc<str>, now_ms: i64) -> ClassicGroup {
        ClassicGroup {
            id,
            state: State::Empty,
            state_since_ms: Some(now_ms),
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending: BTreeMap::new(),
            supported: BTreeMap::new(),
            joining_count: 0,
            owing_sync_count: 0,
            subscribed: None,
            initial: None,
            join_alarm: Alarm::default(),
            sync_alarm: Alarm::default(),
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn state_since_ms(&self) -> Option<i64> {
        self.state_since_ms
    }

    pub fn protocol_type(&self) -> Option<&Arc<str>> {
        self.protocol_type.as_ref()
    }

    pub fn is_deserted(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty()
    }

    pub fn subscribed(&self) -> Option<&BTreeSet<Arc<str>>> {
        self.subscribed.as_ref()
    }

    /// A consumer group whose topics are not known may be subscribed to any.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers(),
        }
    }

    pub fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Offsets of a group whose members are no consumers may be in use, and nobody can say which.
    pub fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        match self.state != State::Empty && !self.is_of_consumers() {
            true => Err(ErrorCode::NonEmptyGroup),
            false => Ok(()),
        }
    }

    /// The checks of a commit that is not part of a transaction, or is; then keeps its member's session.
    pub fn check_commit(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        is_transactional: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.check_member(member_id, instance_id)?;
            if generation != self.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !is_transactional && self.state != State::Empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        if is_transactional {
            return Ok(());
        }
        match self.state {
            State::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
            State::Stable | State::PreparingRebalance => {
                self.keep_session(member_id, turn);
                Ok(())
            }
            State::Empty => Ok(()),
        }
    }

    pub fn describe(&self) -> DescribedGroup {
        let protocol = self.protocol.as_ref().filter(|_| self.state == State::Stable);
        let members = self.members.values().map(|member| DescribedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: protocol.map(|protocol| member.metadata(protocol)).unwrap_or_default(),
            assignment: member.assignment.clone(),
        });
        DescribedGroup {
            error: ErrorCode::None,
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.cloned().unwrap_or_default(),
            members: members.collect(),
        }
    }

    pub fn cancel_timers(&mut self, timers: &mut Timers) {
        let id = &self.id;
        timers.cancel(&mut self.join_alarm, || TimerKey::Join(id.clone()));
        timers.cancel(&mut self.sync_alarm, || TimerKey::Sync(id.clone()));
        for (member, alarm) in &mut self.pending {
            timers.cancel(alarm, || TimerKey::Session(id.clone(), member.clone()));
        }
        for member in self.members.values_mut() {
            timers.cancel(&mut member.session, || TimerKey::Session(id.clone(), member.id.clone()));
        }
    }

    /// KIP-345: of two processes with one instance id, the later one is in the group and the other is told so.
    fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(mapped) if **mapped != *member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        match self.members.contains_key(member_id) {
            true => Ok(()),
            false => Err(ErrorCode::UnknownMemberId),
        }
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// The answer of this generation to a member's JoinGroup.
    fn joined(&self, member_id: &Arc<str>) -> JoinReply {
        JoinReply {
            error: ErrorCode::None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: member_id.clone(),
            members: if self.is_leader(member_id) { self.joined_members() } else { Vec::new() },
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let joined = |member: &Member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.values().map(joined).collect()
    }

    fn synced(&self, assignment: Arc<[u8]>) -> SyncReply {
        SyncReply {
            error: ErrorCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment,
        }
    }

    fn become_state(&mut self, state: State, now_ms: i64) {
        self.state = state;
        self.state_since_ms = Some(now_ms);
    }

    fn count_protocols(&mut self, names: BTreeSet<Arc<str>>) {
        for name in names {
            *self.supported.entry(name).or_default() += 1;
        }
    }

    fn uncount_protocols(&mut self, names: BTreeSet<Arc<str>>) {
        for name in names {
            if let Some(count) = self.supported.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(&name);
                }
            }
        }
    }

    /// What waits is answered with `error`.
    fn remove_member(&mut self, member_id: &str, error: ErrorCode, turn: &mut Turn<'_>) {
        self.remove_pending(member_id, turn);
        let Some(mut member) = self.members.remove(member_id) else { return };
        let id = &self.id;
        turn.timers.cancel(&mut member.session, || TimerKey::Session(id.clone(), member.id.clone()));
        self.uncount_protocols(member.protocol_names());
        if let Some(to) = member.joining {
            self.joining_count -= 1;
            turn.reply(to, GroupReply::Join(JoinReply::failed(error, "")));
        }
        if let Some(to) = member.syncing {
            turn.reply(to, GroupReply::Sync(SyncReply::failed(error)));
        }
        if member.owes_sync {
            self.owing_sync_count -= 1;
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    fn remove_pending(&mut self, member_id: &str, turn: &mut Turn<'_>) {
        if let Some((member, mut alarm)) = self.pending.remove_entry(member_id) {
            let id = &self.id;
            turn.timers.cancel(&mut alarm, || TimerKey::Session(id.clone(), member.clone()));
        }
    }

    fn compute_subscribed(&self) -> Option<BTreeSet<Arc<str>>> {
        if !self.is_of_consumers() {
            return None;
        }
        let mut topics = BTreeSet::new();
        if self.members.is_empty() {
            return Some(topics);
        }
        let protocol = self.protocol.as_deref()?;
        for member in self.members.values() {
            subscription::add_topics(&member.metadata(protocol), &mut topics)?;
        }
        Some(topics)
    }
}
