//! One member of a group, whichever protocol it speaks: what to do next, in which order, and what the application is told. Pure.
//!
//! Called by `driver`, which performs one step at a time, and by the application's polls. Before a partition is given up, what was read of
//! it is committed; a partition that came is read only when its committed offset is known.

use super::TopicPartition;
use super::classic::{self, Classic, Identity, Joined};
use super::modern::{self, Modern, Told};
use super::offsets::{CommittedOffset, GroupMetadata, Offsets};
use super::ownership::{Notice, Ownership, Places};
use super::settings::Settings;
use crate::ClientError;
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(100);
/// Tries of the commit before partitions are given up. What is not committed then is read again by the next reader.
const LAST_COMMIT_TRIES_MAX: u32 = 5;
/// A leader counts its topics' partitions again. Kafka's clients do when their metadata is old, after five minutes; waiting members and new
/// partitions need not wait that long.
const WATCH_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing, until then or until something changes.
    Wait(Option<Instant>),
    Classic(classic::Ask),
    Modern(modern::Ask),
    Commit(GroupMetadata, Offsets),
    /// Ask for the committed offsets of these.
    Place(GroupMetadata, Vec<TopicPartition>),
    /// Count the partitions of these topics.
    Watch(Vec<Rc<str>>),
    Leave(Leave),
}

#[derive(Debug, PartialEq)]
pub(super) enum Leave {
    Classic { member_id: String, reason: &'static str },
    Modern(modern::Heartbeat),
}

/// Why a request was not granted.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    Refused(ErrorCode),
    /// A join was refused, and given the id under which to ask again.
    IdGiven(String),
    Unanswered(ClientError),
}

#[derive(Debug)]
pub(super) enum Outcome {
    Joined(Result<Joined, Failure>),
    Counted(BTreeMap<Rc<str>, usize>),
    Synced(Result<Vec<u8>, Failure>),
    Beaten(Result<(), Failure>),
    Told(Result<Told, Failure>),
    Resolved(BTreeMap<TopicId, Rc<str>>),
    Committed(Offsets, Result<(), ClientError>),
    Placed(Result<Places, ClientError>),
    Watched(BTreeMap<Rc<str>, usize>),
    Left,
    /// The application wants to leave at once.
    Interrupted,
}

enum Protocol {
    Classic(Classic),
    Modern(Modern),
}

/// What was read and polled past, and what of it is committed.
#[derive(Default)]
struct Commits {
    consumed: Offsets,
    committed: Offsets,
    next: Instant,
    /// Partitions are being given up: now, and this often.
    tries_left: u32,
}

pub(super) struct Member {
    settings: Settings,
    protocol: Protocol,
    ownership: Ownership,
    commits: Commits,
    topics: BTreeSet<Rc<str>>,
    pattern: Option<String>,
    is_inside_poll: bool,
    polled_at: Instant,
    /// Left because nobody polled; joins again with the next poll.
    is_away: bool,
    leaving: Option<Leave>,
    /// Until the coordinator was told.
    is_leaving: bool,
    place_at: Instant,
    watch_at: Instant,
    failure: Option<ClientError>,
}

impl Member {
    pub(super) fn classic(settings: Settings) -> Member {
        let protocol = Protocol::Classic(Classic::new(&settings));
        Member::new(settings, protocol)
    }

    pub(super) fn modern(settings: Settings, member_id: String) -> Member {
        let protocol = Protocol::Modern(Modern::new(member_id, &settings));
        Member::new(settings, protocol)
    }

    fn new(settings: Settings, protocol: Protocol) -> Member {
        Member {
            settings,
            protocol,
            ownership: Ownership::default(),
            commits: Commits::default(),
            topics: BTreeSet::new(),
            pattern: None,
            is_inside_poll: false,
            polled_at: Instant::default(),
            is_away: false,
            leaving: None,
            is_leaving: false,
            place_at: Instant::default(),
            watch_at: Instant::default(),
            failure: None,
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    fn identity(&self) -> Identity {
        match &self.protocol {
            Protocol::Classic(classic) => classic.identity(),
            Protocol::Modern(modern) => modern.identity(),
        }
    }

    /// Who commits.
    pub(super) fn metadata(&self) -> GroupMetadata {
        GroupMetadata::of(&self.settings.group, self.identity(), self.settings.instance.clone())
    }

    pub(super) fn assignment(&self) -> &BTreeSet<TopicPartition> {
        self.ownership.held()
    }

    pub(super) fn is_out(&self) -> bool {
        match &self.protocol {
            Protocol::Classic(classic) => classic.is_out(),
            Protocol::Modern(modern) => modern.is_out(),
        }
    }

    pub(super) fn failure(&self) -> Option<ClientError> {
        self.failure.clone()
    }
    pub(super) fn fail(&mut self, error: ClientError) {
        self.failure.get_or_insert(error);
    }

    pub(super) fn subscribe(&mut self, topics: BTreeSet<Rc<str>>, pattern: Option<String>, now: Instant) {
        (self.topics, self.pattern, self.polled_at) = (topics, pattern, now);
        self.commits.next = self.settings.auto_commit.map_or(now, |interval| now + interval);
        self.join();
    }

    fn join(&mut self) {
        self.is_away = false;
        match &mut self.protocol {
            Protocol::Classic(classic) => {
                classic.subscribe(self.topics.clone(), &self.settings, &mut self.ownership);
            }
            Protocol::Modern(modern) => modern.subscribe(self.topics.clone(), self.pattern.clone()),
        }
    }

    /// Gives up everything and leaves the group. What was read is to be committed before.
    pub(super) fn leave(&mut self, reason: &'static str) {
        if self.is_out() {
            return;
        }
        match &mut self.protocol {
            Protocol::Classic(classic) => {
                let Identity { member_id, .. } = classic.identity();
                classic.leave();
                // A static member's place is kept for it, up to its session's end.
                if self.settings.instance.is_none() && !member_id.is_empty() {
                    self.leaving = Some(Leave::Classic { member_id, reason });
                }
            }
            Protocol::Modern(modern) => self.leaving = Some(Leave::Modern(modern.leave(&self.settings))),
        }
        self.is_leaving = self.leaving.is_some();
    }

    /// After [`Member::leave`], when the application does not poll any more.
    pub(super) fn let_go(&mut self) -> BTreeSet<TopicPartition> {
        let held = self.ownership.held().clone();
        self.ownership = Ownership::default();
        self.commits = Commits::default();
        held
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// A poll begins: the application has acted on what the last one gave, and has worked on its records. `consumed`: where it stands.
    pub(super) fn poll_begins(&mut self, consumed: Offsets) {
        self.is_inside_poll = true;
        self.commits.consumed.extend(consumed);
        if self.is_away {
            self.join();
        }
        match self.ownership.acted() {
            Some(Notice::Assigned(places)) => {
                let known = places.into_iter().filter_map(|(at, place)| Some((at, place?)));
                self.commits.committed.extend(known);
            }
            Some(Notice::Revoked(_)) if self.settings.auto_commit.is_some() => {
                self.commits.tries_left = LAST_COMMIT_TRIES_MAX;
                self.commits.next = Instant::default();
            }
            Some(Notice::Lost(gone) | Notice::Revoked(gone)) => self.commits.forget(|at| gone.contains(at)),
            None => {}
        }
    }

    pub(super) fn poll_ends(&mut self, now: Instant) {
        (self.is_inside_poll, self.polled_at) = (false, now);
    }

    pub(super) fn hand_out(&mut self) -> Option<Notice> {
        self.ownership.hand_out()
    }

    /// What was read and is not committed.
    pub(super) fn uncommitted(&self) -> Offsets {
        let commits = &self.commits;
        let is_new = |(at, place): &(&TopicPartition, &CommittedOffset)| {
            commits.committed.get(*at).is_none_or(|committed| committed.offset != place.offset)
        };
        commits.consumed.iter().filter(is_new).map(|(at, place)| (at.clone(), place.clone())).collect()
    }

    /// These are committed, by the application or by the driver.
    pub(super) fn committed(&mut self, offsets: &Offsets) {
        self.commits.committed.extend(offsets.iter().map(|(at, place)| (at.clone(), place.clone())));
    }

    /// What to do now.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        if let Some(leave) = self.leaving.take() {
            return Step::Leave(leave);
        }
        if self.failure.is_some() || (self.is_out() && !self.is_away) {
            return Step::Wait(None);
        }
        let poll_by = self.polled_at + self.settings.max_poll_interval;
        if !self.is_inside_poll && now >= poll_by && !self.is_away {
            self.leave("no poll within max.poll.interval.ms");
            self.ownership.lose_all();
            self.is_away = true;
            return self.step(now);
        }
        if self.is_away {
            return Step::Wait(None);
        }
        if let Some(commit) = self.commit(now) {
            return commit;
        }
        if self.commits.tries_left > 0 {
            return Step::Wait(Some(self.commits.next));
        }
        let unplaced = self.ownership.wants_places();
        if !unplaced.is_empty() && now >= self.place_at {
            return Step::Place(self.metadata(), unplaced);
        }
        let watched = match &self.protocol {
            Protocol::Classic(classic) => classic.watched(),
            Protocol::Modern(_) => None,
        };
        if let Some(watched) = watched.filter(|_| now >= self.watch_at) {
            self.watch_at = now + WATCH_INTERVAL;
            return Step::Watch(watched.keys().cloned().collect());
        }
        let is_watching = watched.is_some();
        let asked = match &mut self.protocol {
            Protocol::Classic(classic) => classic.step(now, &self.settings, &mut self.ownership).map(Step::Classic),
            Protocol::Modern(modern) => modern.step(now, &mut self.ownership).map(Step::Modern),
        };
        asked.unwrap_or_else(|until| {
            let unplaced = self.ownership.wants_places();
            let times = [
                until,
                (!self.is_inside_poll).then_some(poll_by),
                self.settings.auto_commit.map(|_| self.commits.next),
                is_watching.then_some(self.watch_at),
                (!unplaced.is_empty()).then_some(self.place_at),
            ];
            Step::Wait(times.into_iter().flatten().min())
        })
    }

    fn commit(&mut self, now: Instant) -> Option<Step> {
        let interval = self.settings.auto_commit?;
        if now < self.commits.next {
            return None;
        }
        self.commits.next = now + interval;
        let offsets = self.uncommitted();
        if !offsets.is_empty() {
            return Some(Step::Commit(self.metadata(), offsets));
        }
        if self.commits.tries_left > 0 {
            self.last_commit_is_over();
        }
        None
    }

    fn last_commit_is_over(&mut self) {
        self.commits.tries_left = 0;
        let held = self.ownership.held();
        self.commits.forget(|at| !held.contains(at));
    }

    /// What came of a step.
    pub(super) fn performed(&mut self, outcome: Outcome, now: Instant) {
        if let Err(error) = self.took(outcome, now) {
            self.fail(error);
        }
    }

    fn took(&mut self, outcome: Outcome, now: Instant) -> Result<(), ClientError> {
        let (settings, ownership) = (&self.settings, &mut self.ownership);
        match (outcome, &mut self.protocol) {
            (Outcome::Committed(offsets, outcome), _) => self.took_commit(&offsets, outcome, now),
            (Outcome::Placed(outcome), _) => match outcome {
                Ok(places) => ownership.placed(places),
                // A member that was put out learns it by its heartbeat.
                Err(error) if may_pass(&error) => self.place_at = now + PAUSE,
                Err(error) => return Err(error),
            },
            (Outcome::Joined(outcome), Protocol::Classic(classic)) => {
                let answer = match outcome {
                    Ok(joined) => Ok(joined),
                    Err(Failure::IdGiven(member_id)) => Err((ErrorCode::MemberIdRequired, member_id)),
                    Err(Failure::Refused(code)) => Err((code, String::new())),
                    Err(Failure::Unanswered(error)) => return unanswered(classic, error, now),
                };
                classic.joined(answer, now, settings, ownership)?;
            }
            (Outcome::Counted(counts), Protocol::Classic(classic)) => {
                self.watch_at = now + WATCH_INTERVAL;
                classic.counted(counts);
            }
            (Outcome::Synced(outcome), Protocol::Classic(classic)) => match outcome {
                Ok(bytes) => classic.synced(Ok(&bytes), now, settings, ownership)?,
                Err(Failure::Refused(code)) => classic.synced(Err(code), now, settings, ownership)?,
                Err(Failure::Unanswered(error)) => return unanswered(classic, error, now),
                Err(Failure::IdGiven(_)) => {}
            },
            (Outcome::Beaten(outcome), Protocol::Classic(classic)) => match outcome {
                Ok(()) => classic.heartbeat_answered(ErrorCode::None, now, settings, ownership)?,
                Err(Failure::Refused(code)) => classic.heartbeat_answered(code, now, settings, ownership)?,
                Err(Failure::Unanswered(error)) => return unanswered(classic, error, now),
                Err(Failure::IdGiven(_)) => {}
            },
            (Outcome::Watched(counts), Protocol::Classic(classic)) => classic.recounted(&counts, settings, ownership),
            (Outcome::Told(outcome), Protocol::Modern(modern)) => match outcome {
                Ok(told) => modern.answered(Ok(told), now, settings, ownership)?,
                Err(Failure::Refused(code)) => modern.answered(Err(code), now, settings, ownership)?,
                Err(Failure::Unanswered(error)) if error.is_retriable() => modern.unanswered(now),
                Err(Failure::Unanswered(error)) => return Err(error),
                Err(Failure::IdGiven(_)) => {}
            },
            (Outcome::Resolved(names), Protocol::Modern(modern)) => modern.resolved(names),
            (Outcome::Left, _) => self.is_leaving = false,
            (Outcome::Interrupted, Protocol::Classic(classic)) => classic.unanswered(now),
            (Outcome::Interrupted, Protocol::Modern(modern)) => modern.unanswered(now),
            _ => {}
        }
        Ok(())
    }

    fn took_commit(&mut self, offsets: &Offsets, outcome: Result<(), ClientError>, now: Instant) {
        let is_last = self.commits.tries_left > 0;
        match outcome {
            Ok(()) => {
                self.committed(offsets);
                if is_last {
                    self.last_commit_is_over();
                }
            }
            Err(error) => {
                tracing::warn!(group = %self.settings.group, %error, "offsets were not committed");
                self.commits.tries_left = self.commits.tries_left.saturating_sub(1);
                if may_pass(&error) && (self.commits.tries_left > 0 || !is_last) {
                    self.commits.next = now + if is_last { PAUSE } else { PAUSE * 5 };
                } else if is_last {
                    self.last_commit_is_over();
                }
            }
        }
    }
}

impl Commits {
    fn forget(&mut self, which: impl Fn(&TopicPartition) -> bool) {
        self.consumed.retain(|at, _| !which(at));
        self.committed.retain(|at, _| !which(at));
    }
}

fn unanswered(classic: &mut Classic, error: ClientError, now: Instant) -> Result<(), ClientError> {
    if !error.is_retriable() {
        return Err(error);
    }
    classic.unanswered(now);
    Ok(())
}

/// Whether an error to a commit or to a question for offsets may pass, or shows itself better elsewhere: who is put out of the group learns
/// it by a heartbeat, and what to do.
fn may_pass(error: &ClientError) -> bool {
    let Some(code) = error.code() else { return error.is_retriable() };
    use ErrorCode::*;
    code.is_retriable()
        || matches!(
            code,
            RebalanceInProgress | IllegalGeneration | UnknownMemberId | StaleMemberEpoch | FencedMemberEpoch
        )
}
