//! What a member has, and what the application was told of it. Pure.
//!
//! The group gives and takes partitions; the application must have let go of one before another member may have it. So each change is a
//! notice in a queue: the next poll hands it out, and the poll after that says that the application has acted on it.

use super::TopicPartition;
use super::offsets::CommittedOffset;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Given and taken partitions with where to begin; `None`: nothing was committed.
pub(super) type Places = BTreeMap<TopicPartition, Option<CommittedOffset>>;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Notice {
    Assigned(Places),
    /// To be given up in order: what was read can still be committed.
    Revoked(BTreeSet<TopicPartition>),
    /// Gone already: another member may be reading.
    Lost(BTreeSet<TopicPartition>),
}

#[derive(Default)]
pub(super) struct Ownership {
    /// What the group gave and did not take back.
    held: BTreeSet<TopicPartition>,
    /// Of these, those whose committed offset is not known yet; the application has not heard of them.
    unplaced: BTreeSet<TopicPartition>,
    notices: VecDeque<Notice>,
    /// The first notice was handed out and not acted on yet.
    is_out: bool,
}

impl Ownership {
    pub(super) fn held(&self) -> &BTreeSet<TopicPartition> {
        &self.held
    }

    /// What the member has, and what the application has not let go of yet.
    pub(super) fn may_be_read(&self) -> BTreeSet<&TopicPartition> {
        let leaving = self.notices.iter().filter_map(|notice| match notice {
            Notice::Assigned(_) => None,
            Notice::Revoked(gone) | Notice::Lost(gone) => Some(gone),
        });
        leaving.flatten().chain(&self.held).collect()
    }

    /// Makes `target` what the member has. True if the application has to give something up for it.
    pub(super) fn become_holder_of(&mut self, target: BTreeSet<TopicPartition>) -> bool {
        let is_revoking = self.revoke(|partition| !target.contains(partition));
        let new: Vec<TopicPartition> = target.difference(&self.held).cloned().collect();
        self.unplaced.extend(new.iter().cloned());
        self.held.extend(new);
        is_revoking
    }

    /// Takes back what `which` says. True if the application had any of it.
    pub(super) fn revoke(&mut self, which: impl Fn(&TopicPartition) -> bool) -> bool {
        let told = self.let_go(which);
        let is_revoking = !told.is_empty();
        if is_revoking {
            self.notices.push_back(Notice::Revoked(told));
        }
        is_revoking
    }

    /// All is gone without a chance to give it up in order.
    pub(super) fn lose_all(&mut self) {
        let told = self.let_go(|_| true);
        if !told.is_empty() {
            self.notices.push_back(Notice::Lost(told));
        }
    }

    /// Gives what the application had heard of.
    fn let_go(&mut self, which: impl Fn(&TopicPartition) -> bool) -> BTreeSet<TopicPartition> {
        let gone: BTreeSet<TopicPartition> = self.held.iter().filter(|&partition| which(partition)).cloned().collect();
        self.held.retain(|partition| !gone.contains(partition));
        let told = gone.difference(&self.unplaced).cloned().collect();
        self.unplaced.retain(|partition| !gone.contains(partition));
        told
    }

    /// Partitions whose committed offsets are to be asked for.
    pub(super) fn wants_places(&self) -> Vec<TopicPartition> {
        self.unplaced.iter().cloned().collect()
    }

    /// Their offsets; those taken back meanwhile are left out.
    pub(super) fn placed(&mut self, mut places: Places) {
        places.retain(|partition, _| self.unplaced.remove(partition));
        if !places.is_empty() {
            self.notices.push_back(Notice::Assigned(places));
        }
    }

    /// Whether something is still to be given up.
    pub(super) fn is_revoking(&self) -> bool {
        self.notices.iter().any(|notice| !matches!(notice, Notice::Assigned(_)))
    }

    /// The next notice for the application, once.
    pub(super) fn hand_out(&mut self) -> Option<Notice> {
        if self.is_out {
            return None;
        }
        let notice = self.notices.front().cloned();
        self.is_out = notice.is_some();
        notice
    }

    /// The application has acted on what was handed out: gives it back.
    pub(super) fn acted(&mut self) -> Option<Notice> {
        if std::mem::take(&mut self.is_out) { self.notices.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(partitions: &[i32]) -> BTreeSet<TopicPartition> {
        partitions.iter().map(|&partition| TopicPartition { topic: "t".into(), partition }).collect()
    }

    fn places(partitions: &[i32]) -> Places {
        set(partitions).into_iter().map(|partition| (partition, None)).collect()
    }

    /// A partition whose application still reads must not go on to another member; one that it never heard of may at once.
    #[test]
    fn only_what_the_application_knows_waits_for_it() {
        let mut ownership = Ownership::default();
        assert!(!ownership.become_holder_of(set(&[0, 1])));
        ownership.placed(places(&[0, 1]));
        assert_eq!(ownership.hand_out(), Some(Notice::Assigned(places(&[0, 1]))));
        assert_eq!(ownership.hand_out(), None, "until it was acted on");
        assert!(ownership.acted().is_some());

        assert!(ownership.become_holder_of(set(&[1, 2])));
        assert!(ownership.is_revoking());
        assert_eq!(ownership.wants_places(), Vec::from_iter(set(&[2])));
        assert!(!ownership.revoke(|partition| partition.partition == 2), "nobody was told of 2");
        ownership.placed(places(&[2]));
        assert_eq!(ownership.hand_out(), Some(Notice::Revoked(set(&[0]))));
        assert!(ownership.is_revoking());
        ownership.acted();
        assert!(!ownership.is_revoking());
        assert_eq!(ownership.hand_out(), None, "2 came and went");
        assert_eq!(ownership.held(), &set(&[1]));
    }

    /// Notices in another order than the changes would leave the application with what it lost.
    #[test]
    fn notices_keep_their_order() {
        let mut ownership = Ownership::default();
        ownership.become_holder_of(set(&[0]));
        ownership.placed(places(&[0]));
        ownership.lose_all();
        ownership.become_holder_of(set(&[0]));
        ownership.placed(places(&[0]));
        let mut order = Vec::new();
        while let Some(notice) = ownership.hand_out() {
            order.push(notice);
            ownership.acted();
        }
        let expected = [Notice::Assigned(places(&[0])), Notice::Lost(set(&[0])), Notice::Assigned(places(&[0]))];
        assert_eq!(order, expected);
    }
}
