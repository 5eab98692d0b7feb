//! A member of a classic group: join, sync, heartbeat, and again. Pure: says what to ask next, takes the answers.
//!
//! One request at a time. While the application gives partitions up the heartbeats go on, so that a slow one is not taken for dead.
//! Eager assignors give all up before they join; cooperative ones (KIP-429) join with what they have and give up only what the new
//! assignment takes, then join once more so that another can have it.

use super::TopicPartition;
use super::assignor::{self, Assignor};
use super::ownership::Ownership;
use super::settings::Settings;
use crate::ClientError;
use ringlane_protocol::ErrorCode;
use ringlane_protocol::consumer_protocol::{Assignment, Subscription, TopicPartitions};
use ringlane_runtime::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// Kafka's `retry.backoff.ms`.
const PAUSE: Duration = Duration::from_millis(100);
const NO_GENERATION: i32 = -1;

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Ask {
    Join(Join),
    /// Tell how many partitions these topics have: the leader decides by it.
    Count(BTreeSet<Rc<str>>),
    Sync(Sync),
    Heartbeat(Identity),
}

/// Who asks, as the coordinator knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) member_id: String,
    pub(super) generation: i32,
}

#[derive(Debug, PartialEq)]
pub(super) struct Join {
    pub(super) member_id: String,
    /// Name and subscription, the favourite first.
    pub(super) protocols: Vec<(&'static str, Vec<u8>)>,
    pub(super) reason: &'static str,
}

#[derive(Debug, PartialEq)]
pub(super) struct Sync {
    pub(super) identity: Identity,
    pub(super) protocol: String,
    /// By member id; empty from all but the leader.
    pub(super) assignments: Vec<(String, Vec<u8>)>,
}

/// The answer to a join, of a member that is in.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub(super) member_id: String,
    pub(super) generation: i32,
    pub(super) protocol: String,
    pub(super) leader: String,
    /// A static leader that came back: the group goes on with the assignment that it has (KIP-814).
    pub(super) skip_assignment: bool,
    /// Id, instance and subscription of each; empty for all but the leader.
    pub(super) members: Vec<(String, Option<String>, Vec<u8>)>,
}

enum Phase {
    /// Nothing is subscribed, or the member has left.
    Out,
    /// About to join, when the application has given up what it must.
    Preparing,
    Joining,
    Counting(Vec<assignor::Member>),
    Syncing(Sync),
    Stable,
}

pub(super) struct Classic {
    phase: Phase,
    topics: BTreeSet<Rc<str>>,
    member_id: String,
    generation: i32,
    assignor: Assignor,
    reason: &'static str,
    not_before: Instant,
    next_heartbeat: Instant,
    /// What sticky assignors tell: the last assignment, and its generation.
    last: (BTreeSet<TopicPartition>, i32),
    /// Partitions of the topics that a leader decided by; `None` when this is not the leader.
    counts: Option<BTreeMap<Rc<str>, usize>>,
    /// Join again when all that moves is given up.
    is_moving: bool,
}

impl Classic {
    pub(super) fn new(settings: &Settings) -> Classic {
        Classic {
            phase: Phase::Out,
            topics: BTreeSet::new(),
            member_id: String::new(),
            generation: NO_GENERATION,
            assignor: settings.assignors.first().copied().unwrap_or(Assignor::Range),
            reason: "",
            not_before: Instant::default(),
            next_heartbeat: Instant::default(),
            last: (BTreeSet::new(), NO_GENERATION),
            counts: None,
            is_moving: false,
        }
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { member_id: self.member_id.clone(), generation: self.generation }
    }
    pub(super) fn is_out(&self) -> bool {
        matches!(self.phase, Phase::Out)
    }

    pub(super) fn subscribe(&mut self, topics: BTreeSet<Rc<str>>, settings: &Settings, ownership: &mut Ownership) {
        if topics != self.topics || self.is_out() {
            self.topics = topics;
            self.rejoin("the subscription changed", settings, ownership);
        }
    }

    /// Out of the group, at the application's wish or because it stopped polling. The caller tells the coordinator.
    pub(super) fn leave(&mut self) {
        self.phase = Phase::Out;
        (self.generation, self.counts, self.is_moving) = (NO_GENERATION, None, false);
        self.member_id.clear();
    }

    /// What to ask now, or when to look again.
    pub(super) fn step(
        &mut self,
        now: Instant,
        settings: &Settings,
        ownership: &mut Ownership,
    ) -> Result<Ask, Option<Instant>> {
        if self.is_moving && !ownership.is_revoking() {
            self.is_moving = false;
            self.rejoin("what another member gets was given up", settings, ownership);
        }
        if matches!(self.phase, Phase::Preparing) && !ownership.is_revoking() {
            self.phase = Phase::Joining;
        }
        if matches!(self.phase, Phase::Joining | Phase::Counting(_) | Phase::Syncing(_)) && now < self.not_before {
            return Err(Some(self.not_before));
        }
        match &mut self.phase {
            Phase::Out => Err(None),
            Phase::Joining => Ok(Ask::Join(self.join(settings, ownership))),
            Phase::Counting(members) => {
                Ok(Ask::Count(members.iter().flat_map(|member| member.topics.iter().cloned()).collect()))
            }
            Phase::Syncing(sync) => Ok(Ask::Sync(Sync {
                identity: sync.identity.clone(),
                protocol: sync.protocol.clone(),
                assignments: sync.assignments.clone(),
            })),
            // Without a generation there is nothing to keep alive.
            Phase::Preparing if self.generation == NO_GENERATION => Err(None),
            Phase::Preparing | Phase::Stable if now < self.next_heartbeat => Err(Some(self.next_heartbeat)),
            Phase::Preparing | Phase::Stable => Ok(Ask::Heartbeat(self.identity())),
        }
    }

    fn join(&self, settings: &Settings, ownership: &Ownership) -> Join {
        let topics: Vec<&str> = self.topics.iter().map(|topic| &**topic).collect();
        let protocol = |&assignor: &Assignor| {
            let (last, last_generation) = &self.last;
            let user_data = assignor.user_data(last, *last_generation);
            let subscription = Subscription {
                topics: topics.clone(),
                user_data: user_data.as_deref(),
                owned: assignor::by_topic(ownership.held()),
                generation: self.generation,
                rack: settings.rack.as_deref(),
            };
            (assignor.name(), subscription.encode())
        };
        Join {
            member_id: self.member_id.clone(),
            protocols: settings.assignors.iter().map(protocol).collect(),
            reason: self.reason,
        }
    }

    /// The answer to a join.
    pub(super) fn joined(
        &mut self,
        answer: Result<Joined, (ErrorCode, String)>,
        now: Instant,
        settings: &Settings,
        ownership: &mut Ownership,
    ) -> Result<(), ClientError> {
        if !matches!(self.phase, Phase::Joining) {
            return Ok(()); // It left meanwhile.
        }
        let joined = match answer {
            Ok(joined) => joined,
            // KIP-394: the coordinator has given an id, under which to ask again.
            Err((ErrorCode::MemberIdRequired, member_id)) => {
                self.member_id = member_id;
                return Ok(());
            }
            Err((code, _)) => return self.refused(code, "joining", now, settings, ownership),
        };
        let Some(assignor) = Assignor::from_name(&joined.protocol).filter(|it| settings.assignors.contains(it)) else {
            return Err(settings.refused("joining", ErrorCode::InconsistentGroupProtocol));
        };
        (self.member_id, self.generation, self.assignor) = (joined.member_id, joined.generation, assignor);
        self.next_heartbeat = now + settings.heartbeat_interval;
        self.counts = None;
        if joined.leader == self.member_id && !joined.skip_assignment {
            let read = |(id, instance, metadata): &(String, Option<String>, Vec<u8>)| {
                assignor::Member::read(id, instance.as_deref(), metadata, assignor)
            };
            self.phase = Phase::Counting(joined.members.iter().map(read).collect());
        } else {
            self.phase = Phase::Syncing(self.sync(Vec::new()));
        }
        Ok(())
    }

    /// The partitions of the topics that [`Ask::Count`] named; those that do not exist are left out.
    pub(super) fn counted(&mut self, counts: BTreeMap<Rc<str>, usize>) {
        let Phase::Counting(members) = &self.phase else { return };
        let plan = self.assignor.assign(members, &counts);
        let encode = |(member, partitions): (&assignor::Member, &BTreeSet<TopicPartition>)| {
            let assignment = Assignment { partitions: assignor::by_topic(partitions), user_data: None };
            (member.id.clone(), assignment.encode())
        };
        let assignments = members.iter().zip(&plan).map(encode).collect();
        self.counts = Some(counts);
        self.phase = Phase::Syncing(self.sync(assignments));
    }

    fn sync(&self, assignments: Vec<(String, Vec<u8>)>) -> Sync {
        Sync { identity: self.identity(), protocol: self.assignor.name().to_string(), assignments }
    }

    /// The answer to a sync: this member's assignment.
    pub(super) fn synced(
        &mut self,
        answer: Result<&[u8], ErrorCode>,
        now: Instant,
        settings: &Settings,
        ownership: &mut Ownership,
    ) -> Result<(), ClientError> {
        if !matches!(self.phase, Phase::Syncing(_)) {
            return Ok(());
        }
        let bytes = match answer {
            Ok(bytes) => bytes,
            Err(code) => return self.refused(code, "waiting for an assignment", now, settings, ownership),
        };
        // A leader that gives a member nothing may send no bytes at all.
        let assignment = if bytes.is_empty() { Ok(Assignment::default()) } else { Assignment::decode(bytes) };
        let partitions: Vec<TopicPartitions<'_>> = match assignment {
            Ok(assignment) => assignment.partitions,
            Err(_) => {
                return Err(settings.refused("reading the leader's assignment", ErrorCode::InconsistentGroupProtocol));
            }
        };
        let target = assignor::partitions_of(&partitions);
        self.last = (target.clone(), self.generation);
        self.phase = Phase::Stable;
        self.next_heartbeat = now + settings.heartbeat_interval;
        let is_revoking = ownership.become_holder_of(target);
        self.is_moving = is_revoking && settings.is_cooperative();
        Ok(())
    }

    pub(super) fn heartbeat_answered(
        &mut self,
        code: ErrorCode,
        now: Instant,
        settings: &Settings,
        ownership: &mut Ownership,
    ) -> Result<(), ClientError> {
        self.next_heartbeat = now + settings.heartbeat_interval;
        match (&self.phase, code) {
            (_, ErrorCode::None) | (Phase::Out, _) => Ok(()),
            (Phase::Stable, ErrorCode::RebalanceInProgress) => {
                self.rejoin("the group rebalances", settings, ownership);
                Ok(())
            }
            (_, ErrorCode::RebalanceInProgress) => Ok(()),
            (_, code) if code.is_retriable() => {
                self.next_heartbeat = now + PAUSE;
                Ok(())
            }
            (_, code) => self.refused(code, "heartbeat", now, settings, ownership),
        }
    }

    /// No answer came: the coordinator is looked for again.
    pub(super) fn unanswered(&mut self, now: Instant) {
        self.not_before = now + PAUSE;
        self.next_heartbeat = now + PAUSE;
        if matches!(self.phase, Phase::Syncing(_)) {
            // The group may have gone on without it.
            self.phase = Phase::Joining;
        }
    }

    /// Topics that the leader watches, whose partitions it has counted.
    pub(super) fn watched(&self) -> Option<&BTreeMap<Rc<str>, usize>> {
        self.counts.as_ref().filter(|_| matches!(self.phase, Phase::Stable))
    }

    /// Counted again: other partitions than before need another assignment.
    pub(super) fn recounted(
        &mut self,
        counts: &BTreeMap<Rc<str>, usize>,
        settings: &Settings,
        ownership: &mut Ownership,
    ) {
        if self.watched().is_some_and(|known| known != counts) {
            self.rejoin("the partitions of a topic changed", settings, ownership);
        }
    }

    pub(super) fn rejoin(&mut self, reason: &'static str, settings: &Settings, ownership: &mut Ownership) {
        self.reason = reason;
        if self.topics.is_empty() {
            ownership.revoke(|_| true);
            self.phase = Phase::Out;
            return;
        }
        if self.generation == NO_GENERATION {
            ownership.lose_all();
        } else if settings.is_cooperative() {
            ownership.revoke(|partition| !self.topics.contains(&partition.topic));
        } else {
            ownership.revoke(|_| true);
        }
        self.is_moving = false;
        self.phase = Phase::Preparing;
    }

    /// What an error to a join, a sync or a heartbeat means. `Err`: it cannot go on.
    fn refused(
        &mut self,
        code: ErrorCode,
        doing: &'static str,
        now: Instant,
        settings: &Settings,
        ownership: &mut Ownership,
    ) -> Result<(), ClientError> {
        match code {
            ErrorCode::UnknownMemberId => {
                self.member_id.clear();
                self.generation = NO_GENERATION;
                self.rejoin("the coordinator does not know the member", settings, ownership);
            }
            ErrorCode::IllegalGeneration => {
                self.generation = NO_GENERATION;
                self.rejoin("the group went on without the member", settings, ownership);
            }
            ErrorCode::RebalanceInProgress => self.rejoin("the group rebalances", settings, ownership),
            code if code.is_retriable() => {
                self.not_before = now + PAUSE;
                if matches!(self.phase, Phase::Syncing(_)) {
                    self.rejoin("the coordinator moved", settings, ownership);
                }
            }
            code => return Err(settings.refused(doing, code)),
        }
        Ok(())
    }
}
