//! A member of a group whose coordinator decides (KIP-848): one kind of request, the heartbeat, says what the member wants and has, and its
//! answer what it should have. Pure: says what to ask next, takes the answers.
//!
//! A new target is taken up in one go: what it lacks is given up, what is new is placed, then a heartbeat says so. Until then the old
//! state is told, and the coordinator gives what was given up to nobody.

use super::TopicPartition;
use super::classic::Identity;
use super::ownership::Ownership;
use super::settings::Settings;
use crate::ClientError;
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(100);
/// Until a topic of the assignment is asked for again that metadata does not know yet.
const RESOLVE_PAUSE: Duration = Duration::from_millis(500);
/// Epochs that say what the member does.
const JOIN: i32 = 0;
const LEAVE: i32 = -1;
/// A static member goes, and will be back.
const LEAVE_FOR_NOW: i32 = -2;

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Ask {
    Heartbeat(Heartbeat),
    /// Tell the names of these topics.
    Resolve(BTreeSet<TopicId>),
}

/// `None`: as the coordinator knows it.
#[derive(Debug, PartialEq, Clone, Default)]
pub(super) struct Heartbeat {
    pub(super) identity: Identity,
    pub(super) is_full: bool,
    pub(super) topics: Option<Vec<Rc<str>>>,
    pub(super) pattern: Option<String>,
    pub(super) owned: Option<BTreeMap<TopicId, Vec<i32>>>,
}

impl Default for Identity {
    fn default() -> Identity {
        Identity { member_id: String::new(), generation: JOIN }
    }
}

/// The answer to a heartbeat that was taken.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Only coordinators of the first version give one.
    pub(super) member_id: Option<String>,
    pub(super) epoch: i32,
    pub(super) interval: Duration,
    /// `None`: as before.
    pub(super) assignment: Option<BTreeMap<TopicId, BTreeSet<i32>>>,
}

pub(super) struct Modern {
    is_in: bool,
    topics: BTreeSet<Rc<str>>,
    pattern: Option<String>,
    member_id: String,
    epoch: i32,
    interval: Duration,
    next_heartbeat: Instant,
    names: BTreeMap<TopicId, Rc<str>>,
    /// What the coordinator wants this member to have.
    target: BTreeMap<TopicId, BTreeSet<i32>>,
    /// `target` is not, or not all, what the member has.
    is_reconciling: bool,
    resolve_at: Instant,
    /// What the coordinator was told last that the member has.
    told: BTreeMap<TopicId, Vec<i32>>,
    /// What goes into the next heartbeat beside the epoch.
    tells_all: bool,
    tells_subscription: bool,
    tells_owned: bool,
}

impl Modern {
    /// `member_id`: a random id, the member's for life.
    pub(super) fn new(member_id: String, settings: &Settings) -> Modern {
        Modern {
            is_in: false,
            topics: BTreeSet::new(),
            pattern: None,
            member_id,
            epoch: JOIN,
            interval: settings.heartbeat_interval,
            next_heartbeat: Instant::default(),
            names: BTreeMap::new(),
            target: BTreeMap::new(),
            is_reconciling: false,
            resolve_at: Instant::default(),
            told: BTreeMap::new(),
            tells_all: true,
            tells_subscription: false,
            tells_owned: false,
        }
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { member_id: self.member_id.clone(), generation: self.epoch }
    }
    pub(super) fn is_out(&self) -> bool {
        !self.is_in
    }

    pub(super) fn subscribe(&mut self, topics: BTreeSet<Rc<str>>, pattern: Option<String>) {
        if !self.is_in {
            (self.epoch, self.tells_all) = (JOIN, true);
        } else if self.topics != topics || self.pattern != pattern {
            self.tells_subscription = true;
        }
        (self.is_in, self.topics, self.pattern) = (true, topics, pattern);
        self.next_heartbeat = Instant::default();
    }

    /// Out of the group. Gives the last heartbeat, which the caller sends.
    pub(super) fn leave(&mut self, settings: &Settings) -> Heartbeat {
        let generation = if settings.instance.is_some() { LEAVE_FOR_NOW } else { LEAVE };
        self.is_in = false;
        self.forget();
        Heartbeat { identity: Identity { member_id: self.member_id.clone(), generation }, ..Heartbeat::default() }
    }

    fn forget(&mut self) {
        self.target.clear();
        self.told.clear();
        (self.epoch, self.is_reconciling) = (JOIN, false);
        (self.tells_all, self.tells_owned) = (true, false);
    }

    pub(super) fn step(&mut self, now: Instant, ownership: &mut Ownership) -> Result<Ask, Option<Instant>> {
        if !self.is_in {
            return Err(None);
        }
        // What was lost must be let go before the group is joined anew.
        if self.epoch == JOIN && ownership.is_revoking() {
            return Err(None);
        }
        if self.is_reconciling && !ownership.is_revoking() {
            let unknown: BTreeSet<TopicId> =
                self.target.keys().filter(|id| !self.names.contains_key(id)).copied().collect();
            if !unknown.is_empty() && now >= self.resolve_at {
                self.resolve_at = now + RESOLVE_PAUSE;
                return Ok(Ask::Resolve(unknown));
            }
            let is_revoking = ownership.become_holder_of(self.known_target());
            if !is_revoking && ownership.held() == &self.known_target() {
                self.is_reconciling = !unknown.is_empty();
                self.tells_owned |= unknown.is_empty() || self.by_id(ownership) != self.told;
            }
        }
        if now >= self.next_heartbeat || self.tells_owned || self.tells_subscription {
            return Ok(Ask::Heartbeat(self.heartbeat(ownership)));
        }
        Err(Some(if self.is_reconciling { self.next_heartbeat.min(self.resolve_at) } else { self.next_heartbeat }))
    }

    fn known_target(&self) -> BTreeSet<TopicPartition> {
        let of = |(id, partitions): (&TopicId, &BTreeSet<i32>)| {
            let name = self.names.get(id).cloned();
            let named = |name: Rc<str>| {
                partitions.iter().map(move |&partition| TopicPartition { topic: name.clone(), partition })
            };
            name.map(named).into_iter().flatten().collect::<Vec<_>>()
        };
        self.target.iter().flat_map(of).collect()
    }

    /// What is told counts as told: an answer that does not come has everything told again. What the application still has to let go of
    /// is told as the member's: said too early, another would read it too.
    fn heartbeat(&mut self, ownership: &Ownership) -> Heartbeat {
        let tells_all = std::mem::take(&mut self.tells_all);
        let tells_subscription = std::mem::take(&mut self.tells_subscription) || tells_all;
        let tells_owned = std::mem::take(&mut self.tells_owned) || tells_all;
        if tells_owned {
            self.told = self.by_id(ownership);
        }
        Heartbeat {
            identity: self.identity(),
            is_full: tells_all,
            topics: tells_subscription.then(|| self.topics.iter().cloned().collect()),
            pattern: self.pattern.clone().filter(|_| tells_subscription),
            owned: tells_owned.then(|| self.told.clone()),
        }
    }

    /// What the member has or the application may still read.
    fn by_id(&self, ownership: &Ownership) -> BTreeMap<TopicId, Vec<i32>> {
        let mut by_id: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
        for partition in ownership.may_be_read() {
            if let Some((id, _)) = self.names.iter().find(|(_, name)| **name == partition.topic) {
                by_id.entry(*id).or_default().push(partition.partition);
            }
        }
        by_id
    }

    /// Names of topics that [`Ask::Resolve`] asked for, as far as there are any.
    pub(super) fn resolved(&mut self, names: BTreeMap<TopicId, Rc<str>>) {
        // A topic that was made anew has its name from now on; the id of the old one names nothing.
        self.names.retain(|_, name| !names.values().any(|new| new == name));
        self.names.extend(names);
    }

    /// The answer to the heartbeat that was sent.
    pub(super) fn answered(
        &mut self,
        answer: Result<Told, ErrorCode>,
        now: Instant,
        settings: &Settings,
        ownership: &mut Ownership,
    ) -> Result<(), ClientError> {
        if !self.is_in {
            return Ok(());
        }
        match answer {
            Ok(told) => {
                self.member_id = told.member_id.filter(|id| !id.is_empty()).unwrap_or(self.member_id.clone());
                (self.epoch, self.interval) = (told.epoch, told.interval);
                self.next_heartbeat = now + self.interval;
                if let Some(target) = told.assignment {
                    self.target = target;
                    self.is_reconciling = true;
                }
                Ok(())
            }
            Err(ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId) => {
                self.forget();
                ownership.lose_all();
                self.next_heartbeat = now;
                Ok(())
            }
            Err(code) if code.is_retriable() => {
                self.unanswered(now);
                Ok(())
            }
            // Its old self is still in: it may leave, or its session end.
            Err(ErrorCode::UnreleasedInstanceId) if self.epoch == JOIN => {
                self.tells_all = true;
                self.next_heartbeat = now + self.interval;
                Ok(())
            }
            Err(code) => Err(settings.refused("heartbeat", code)),
        }
    }

    /// Nothing is known of what the coordinator heard: everything is said again.
    pub(super) fn unanswered(&mut self, now: Instant) {
        self.tells_all = true;
        (self.tells_owned, self.tells_subscription) = (false, false);
        self.next_heartbeat = now + PAUSE;
    }
}
