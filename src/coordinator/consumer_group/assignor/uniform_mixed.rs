//! `uniform` where members subscribe to different topics: every member gets as nearly the same number of partitions as its subscriptions let it,
//! and keeps what it has as far as that goes.

use super::super::Target;
use super::super::assignment::target_count;
use super::Spec;
use ringlane_protocol::TopicId;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Rounds over all topics. Each makes the loads more even; after so many what is left is not worth the moves (Kafka's bound).
const ROUNDS_MAX: usize = 16;

/// Nobody owns it.
const FREE: usize = usize::MAX;

pub fn assign(spec: &Spec<'_>) -> Vec<Target> {
    let mut plan = Plan::keeping_what_is_owned(spec);
    let order = plan.topic_order(spec);
    for topic in &order {
        plan.give_free_partitions(*topic);
    }
    plan.balance(&order);
    plan.targets(spec.members.len())
}

struct Plan {
    /// By partition: the index of its owner, or [`FREE`].
    owners: BTreeMap<TopicId, Vec<usize>>,
    subscribers: BTreeMap<TopicId, Vec<usize>>,
    /// By member: its partitions.
    loads: Vec<usize>,
}

impl Plan {
    fn keeping_what_is_owned(spec: &Spec<'_>) -> Plan {
        let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (index, member) in spec.members.iter().enumerate() {
            member.topics.iter().for_each(|topic| subscribers.entry(*topic).or_default().push(index));
        }
        let count = |topic: &TopicId| spec.partition_counts.get(topic).copied().unwrap_or(0) as usize;
        let mut owners: BTreeMap<TopicId, Vec<usize>> =
            subscribers.keys().map(|topic| (*topic, vec![FREE; count(topic)])).collect();
        let mut loads = vec![0; spec.members.len()];
        for (index, member) in spec.members.iter().enumerate() {
            for (topic, partitions) in member.owns.iter().filter(|(topic, _)| member.topics.contains(topic)) {
                let Some(owners) = owners.get_mut(topic) else { continue };
                for partition in partitions {
                    if let Some(owner) = owners.get_mut(*partition as usize).filter(|owner| **owner == FREE) {
                        *owner = index;
                        loads[index] += 1;
                    }
                }
            }
        }
        Plan { owners, subscribers, loads }
    }

    /// Topics with most partitions for each subscriber first: what is given later can still even out what was given before.
    fn topic_order(&self, spec: &Spec<'_>) -> Vec<TopicId> {
        let share = |topic: &TopicId| {
            (spec.partition_counts.get(topic).copied().unwrap_or(0) as u64, self.subscribers[topic].len() as u64)
        };
        let mut order: Vec<TopicId> = self.subscribers.keys().copied().collect();
        order.sort_by(|a, b| {
            let ((a_count, a_members), (b_count, b_members)) = (share(a), share(b));
            let by_share: Ordering = (b_count * a_members).cmp(&(a_count * b_members));
            by_share.then(a_members.cmp(&b_members)).then(a.cmp(b))
        });
        order
    }

    fn give_free_partitions(&mut self, topic: TopicId) {
        let Some(owners) = self.owners.get_mut(&topic) else { return };
        let mut least: BTreeSet<(usize, usize)> =
            self.subscribers[&topic].iter().map(|member| (self.loads[*member], *member)).collect();
        for owner in owners.iter_mut().filter(|owner| **owner == FREE) {
            let Some((load, member)) = least.pop_first() else { return };
            *owner = member;
            self.loads[member] = load + 1;
            least.insert((load + 1, member));
        }
    }

    /// Moves partitions from who has most to who has least, topic by topic, until a whole round moves none.
    fn balance(&mut self, order: &[TopicId]) {
        for _ in 0..ROUNDS_MAX {
            let moved: usize = order.iter().map(|topic| self.balance_topic(*topic)).sum();
            if moved == 0 {
                return;
            }
        }
    }

    fn balance_topic(&mut self, topic: TopicId) -> usize {
        let subscribers = &self.subscribers[&topic];
        let Some(owners) = self.owners.get_mut(&topic).filter(|_| subscribers.len() > 1) else { return 0 };
        let mut has: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (partition, owner) in owners.iter().enumerate() {
            has.entry(*owner).or_default().push(partition);
        }
        let mut least: BTreeSet<(usize, usize)> =
            subscribers.iter().map(|member| (self.loads[*member], *member)).collect();
        let mut most: BTreeSet<(usize, usize)> = has.keys().map(|member| (self.loads[*member], *member)).collect();
        let mut moved = 0;
        while let (Some((low, to)), Some((high, from))) = (least.first().copied(), most.last().copied()) {
            if high <= low + 1 {
                break;
            }
            most.remove(&(high, from));
            // Whoever has nothing of this topic to give stays loaded, and is looked at no more.
            let Some(partition) = has.get_mut(&from).and_then(Vec::pop) else { continue };
            owners[partition] = to;
            has.entry(to).or_default().push(partition);
            least.remove(&(low, to));
            least.remove(&(high, from));
            most.remove(&(low, to));
            (self.loads[from], self.loads[to]) = (high - 1, low + 1);
            for (load, member) in [(high - 1, from), (low + 1, to)] {
                least.insert((load, member));
                most.insert((load, member));
            }
            moved += 1;
        }
        moved
    }

    fn targets(self, members: usize) -> Vec<Target> {
        let mut targets = vec![Target::new(); members];
        for (topic, owners) in self.owners {
            for (partition, owner) in owners.into_iter().enumerate().filter(|(_, owner)| *owner != FREE) {
                targets[owner].entry(topic).or_default().insert(partition as i32);
            }
        }
        debug_assert!(targets.iter().zip(&self.loads).all(|(target, load)| target_count(target) == *load));
        targets
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::assignment::target_count;
    use super::super::test_kit::{run, target};
    use super::super::{Assignor, Target};

    fn uniform(members: &[(&str, Option<&str>, &[u8], Target)], topics: &[(u8, i32)]) -> Vec<Target> {
        run(Assignor::Uniform, false, members, topics)
    }

    /// A member that shares one topic and has another for itself must get less of the shared one.
    #[test]
    fn loads_are_even_over_topics() {
        let members: [(&str, Option<&str>, &[u8], Target); 2] =
            [("a", None, &[1, 2], Target::new()), ("b", None, &[1], Target::new())];
        let targets = uniform(&members, &[(1, 4), (2, 2)]);
        assert_eq!(targets.iter().map(target_count).collect::<Vec<_>>(), [3, 3]);
    }

    /// A topic with one subscriber is that one's, however loaded it is.
    #[test]
    fn a_topic_goes_to_its_only_subscriber() {
        let members: [(&str, Option<&str>, &[u8], Target); 2] =
            [("a", None, &[1], Target::new()), ("b", None, &[2], Target::new())];
        let targets = uniform(&members, &[(1, 9), (2, 1)]);
        assert_eq!(targets.iter().map(target_count).collect::<Vec<_>>(), [9, 1]);
    }

    /// What is even already must not move, and what moves must be no more than makes it even.
    #[test]
    fn members_keep_what_they_have() {
        let even: [(&str, Option<&str>, &[u8], Target); 2] =
            [("a", None, &[1], target(&[(1, &[2, 3])])), ("b", None, &[1, 2], target(&[(1, &[0, 1]), (2, &[0])]))];
        assert_eq!(uniform(&even, &[(1, 4), (2, 1)]), even.clone().map(|(_, _, _, owns)| owns));

        let uneven: [(&str, Option<&str>, &[u8], Target); 2] =
            [("a", None, &[1], Target::new()), ("b", None, &[1, 2], target(&[(1, &[0, 1, 2, 3]), (2, &[0, 1])]))];
        let targets = uniform(&uneven, &[(1, 4), (2, 2)]);
        assert_eq!(targets[1], target(&[(1, &[0]), (2, &[0, 1])]));
        assert_eq!(targets[0], target(&[(1, &[1, 2, 3])]));
    }
}
