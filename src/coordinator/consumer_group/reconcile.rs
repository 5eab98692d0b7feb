//! One step of one member towards its target. A pure decision: nothing is changed here.
//!
//! A member goes on to the target's epoch when it has given back all that the target takes from it, not before: until then it keeps its epoch
//! and is told to own less. What the target gives it, it gets as soon as nobody else has it.

use super::assignment::contains;
use super::member::{Current, MemberState};
use super::request::OwnedTopic;
use super::{Owned, Target};
use ringlane_protocol::TopicId;
use std::collections::BTreeSet;

/// What the step depends on.
pub struct Step<'a> {
    pub current: &'a Current,
    pub target_epoch: i32,
    pub target: &'a Target,
    /// The member subscribes to other topics than at its last heartbeat.
    pub subscription_changed: bool,
    /// The topics that it subscribes to and that exist.
    pub subscribed: &'a BTreeSet<TopicId>,
    /// What the member says it owns; `None` if it does not say.
    pub owned: Option<&'a [OwnedTopic]>,
    /// Whether another member has a partition and has not given it back.
    pub is_taken: &'a dyn Fn(TopicId, i32) -> bool,
}

impl Step<'_> {
    /// Where the member stands after the step; `None` where it stands now.
    pub fn take(&self) -> Option<Current> {
        let next = match self.current.state {
            MemberState::Stable if self.current.epoch != self.target_epoch => self.towards_target(self.current.epoch),
            MemberState::Stable => self.without_unsubscribed()?,
            MemberState::UnrevokedPartitions if self.still_has(&self.current.revoking) => {
                self.without_unsubscribed()?
            }
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
                self.towards_target(self.current.epoch)
            }
            // The caller has made sure that such a member owns nothing.
            MemberState::Unknown => self.towards_target(self.target_epoch),
        };
        (next != *self.current).then_some(next)
    }

    fn towards_target(&self, epoch: i32) -> Current {
        let nothing = BTreeSet::new();
        let mut kept = Owned::new();
        let mut revoking = Owned::new();
        for (topic, partitions) in &self.current.assigned {
            let target = self.target.get(topic).filter(|_| self.subscribed.contains(topic)).unwrap_or(&nothing);
            for (partition, since) in partitions {
                let side = if target.contains(partition) { &mut kept } else { &mut revoking };
                side.entry(*topic).or_default().insert(*partition, *since);
            }
        }
        if !revoking.is_empty() && self.still_has(&revoking) {
            return Current {
                epoch,
                previous_epoch: self.current.epoch,
                state: MemberState::UnrevokedPartitions,
                assigned: kept,
                revoking,
            };
        }

        let mut waits = false;
        for (topic, partitions) in self.target.iter().filter(|(topic, _)| self.subscribed.contains(topic)) {
            for partition in partitions {
                if contains(&self.current.assigned, *topic, *partition) {
                    continue;
                }
                if (self.is_taken)(*topic, *partition) {
                    waits = true;
                } else {
                    kept.entry(*topic).or_default().insert(*partition, self.target_epoch);
                }
            }
        }
        Current {
            epoch: self.target_epoch,
            previous_epoch: self.current.epoch,
            state: if waits { MemberState::UnreleasedPartitions } else { MemberState::Stable },
            assigned: kept,
            revoking: Owned::new(),
        }
    }

    /// Takes away at once what the member does not subscribe to any more. `None` if it has nothing of that.
    fn without_unsubscribed(&self) -> Option<Current> {
        if !self.subscription_changed {
            return None;
        }
        let mut assigned = self.current.assigned.clone();
        let mut revoking = self.current.revoking.clone();
        assigned.retain(|topic, partitions| {
            let stays = self.subscribed.contains(topic);
            if !stays {
                revoking.entry(*topic).or_default().append(partitions);
            }
            stays
        });
        if assigned == self.current.assigned {
            return None;
        }
        let previous_epoch = self.current.epoch;
        Some(if self.still_has(&revoking) {
            let state = MemberState::UnrevokedPartitions;
            Current { epoch: self.current.epoch, previous_epoch, state, assigned, revoking }
        } else {
            Current { previous_epoch, assigned, ..self.current.clone() }
        })
    }

    /// Whether the member has one of these, or does not say that it has none.
    fn still_has(&self, partitions: &Owned) -> bool {
        self.owned.is_none_or(|owned| {
            owned
                .iter()
                .any(|topic| topic.partitions.iter().any(|partition| contains(partitions, topic.topic, *partition)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TopicId = TopicId([1; 16]);
    const U: TopicId = TopicId([2; 16]);

    fn owned(partitions: &[(TopicId, i32, i32)]) -> Owned {
        let mut owned = Owned::new();
        for (topic, partition, epoch) in partitions {
            owned.entry(*topic).or_default().insert(*partition, *epoch);
        }
        owned
    }

    fn target(partitions: &[(TopicId, i32)]) -> Target {
        let mut target = Target::new();
        for (topic, partition) in partitions {
            target.entry(*topic).or_default().insert(*partition);
        }
        target
    }

    fn says(partitions: &[i32]) -> Vec<OwnedTopic> {
        vec![OwnedTopic { topic: T, partitions: partitions.to_vec() }]
    }

    fn step(
        current: &Current,
        target_of: &Target,
        owned: Option<&[OwnedTopic]>,
        taken: &[i32],
        subscribed: &[TopicId],
        subscription_changed: bool,
    ) -> Option<Current> {
        Step {
            current,
            target_epoch: 9,
            target: target_of,
            subscription_changed,
            subscribed: &subscribed.iter().copied().collect(),
            owned,
            is_taken: &|_, partition| taken.contains(&partition),
        }
        .take()
    }

    fn stable(assigned: Owned) -> Current {
        Current { epoch: 5, previous_epoch: 4, state: MemberState::Stable, assigned, revoking: Owned::new() }
    }

    /// A member that went on before it has given up would own, at the new epoch, what another gets at that epoch.
    #[test]
    fn a_member_gives_back_before_it_goes_on() {
        let has = stable(owned(&[(T, 0, 5), (T, 1, 5)]));
        let shall = target(&[(T, 1), (T, 2)]);

        let first = step(&has, &shall, None, &[], &[T], false).unwrap();
        assert_eq!((first.epoch, first.state), (5, MemberState::UnrevokedPartitions));
        assert_eq!(first.assigned, owned(&[(T, 1, 5)]));
        assert_eq!(first.revoking, owned(&[(T, 0, 5)]));

        assert_eq!(step(&first, &shall, Some(&says(&[0, 1])), &[], &[T], false), None, "it still has partition 0");
        assert_eq!(step(&first, &shall, None, &[], &[T], false), None, "it does not say");

        let second = step(&first, &shall, Some(&says(&[1])), &[], &[T], false).unwrap();
        assert_eq!((second.epoch, second.previous_epoch, second.state), (9, 5, MemberState::Stable));
        assert_eq!(second.assigned, owned(&[(T, 1, 5), (T, 2, 9)]));
        assert!(second.revoking.is_empty());
    }

    /// A partition handed out while its old owner still reads it is consumed twice.
    #[test]
    fn a_member_waits_for_what_others_have() {
        let shall = target(&[(T, 1), (T, 2), (T, 3)]);
        let first = step(&stable(owned(&[(T, 1, 5)])), &shall, None, &[2], &[T], false).unwrap();
        assert_eq!((first.epoch, first.state), (9, MemberState::UnreleasedPartitions));
        assert_eq!(first.assigned, owned(&[(T, 1, 5), (T, 3, 9)]));

        let same = step(&first, &shall, None, &[2], &[T], false);
        assert_eq!(same.map(|current| current.assigned), Some(first.assigned.clone()));
        let second = step(&first, &shall, None, &[], &[T], false).unwrap();
        assert_eq!(second.state, MemberState::Stable);
        assert_eq!(second.assigned, owned(&[(T, 1, 5), (T, 2, 9), (T, 3, 9)]));
    }

    /// The target can be older than the subscription: a member must not be given what it has just said it does not want.
    #[test]
    fn a_topic_that_is_not_subscribed_any_more_goes_at_once() {
        let has = Current { epoch: 9, ..stable(owned(&[(T, 0, 5), (U, 0, 5)])) };
        let shall = target(&[(T, 0), (U, 0)]);
        assert_eq!(step(&has, &shall, None, &[], &[U], false), None);

        let first = step(&has, &shall, Some(&says(&[0])), &[], &[U], true).unwrap();
        assert_eq!(first.state, MemberState::UnrevokedPartitions);
        assert_eq!((first.assigned, first.revoking), (owned(&[(U, 0, 5)]), owned(&[(T, 0, 5)])));

        let gone = step(&has, &shall, Some(&[]), &[], &[U], true).unwrap();
        assert_eq!((gone.state, gone.assigned), (MemberState::Stable, owned(&[(U, 0, 5)])));

        let late = step(&stable(Owned::new()), &shall, None, &[], &[U], false).unwrap();
        assert_eq!(late.assigned, owned(&[(U, 0, 9)]));
    }
}
