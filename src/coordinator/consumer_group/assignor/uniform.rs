//! `uniform` where all members subscribe to the same topics: every member gets the same number of partitions, give or take one, and keeps what
//! it has up to that number.

use super::super::Target;
use super::super::assignment::target_partitions;
use super::Spec;
use ringlane_protocol::TopicId;
use std::collections::BTreeSet;

pub fn assign(spec: &Spec<'_>) -> Vec<Target> {
    let topics = spec.members[0].topics;
    let total: usize = topics.iter().map(|topic| count(spec, *topic) as usize).sum();
    let quota = total / spec.members.len();
    // Members that get one partition more than the quota: the first that have or can take one.
    let mut extra_left = total % spec.members.len();

    let mut targets = Vec::with_capacity(spec.members.len());
    let mut wants = Vec::with_capacity(spec.members.len());
    let mut kept = BTreeSet::new();
    for (index, member) in spec.members.iter().enumerate() {
        let keepable = member
            .owns
            .iter()
            .filter(|(topic, _)| topics.contains(topic))
            .flat_map(|(topic, partitions)| partitions.iter().map(|partition| (*topic, *partition)))
            .filter(|(topic, partition)| *partition < count(spec, *topic) && !kept.contains(&(*topic, *partition)));
        let keepable: Vec<_> = keepable.take(quota + usize::from(extra_left > 0)).collect();
        // Whoever has one more keeps it; whoever has not leaves it to those behind, unless there are only as many left as there are extras.
        let members_left = spec.members.len() - index;
        let has_extra = extra_left > 0 && (keepable.len() > quota || members_left <= extra_left);
        extra_left -= usize::from(has_extra);
        wants.push(quota + usize::from(has_extra) - keepable.len());
        kept.extend(keepable.iter().copied());
        let mut target = Target::new();
        for (topic, partition) in keepable {
            target.entry(topic).or_default().insert(partition);
        }
        targets.push(target);
    }

    let mut free = topics
        .iter()
        .flat_map(|topic| (0..count(spec, *topic)).map(|partition| (*topic, partition)))
        .filter(|partition| !kept.contains(partition));
    for (target, wants) in targets.iter_mut().zip(wants) {
        for (topic, partition) in free.by_ref().take(wants) {
            target.entry(topic).or_default().insert(partition);
        }
    }
    debug_assert!(free.next().is_none(), "a partition was left over");
    debug_assert_eq!(targets.iter().flat_map(target_partitions).count(), total);
    targets
}

fn count(spec: &Spec<'_>, topic: TopicId) -> i32 {
    spec.partition_counts.get(&topic).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::super::assignment::target_count;
    use super::super::test_kit::{run, target, topic};
    use super::super::{Assignor, Target};

    fn uniform(members: &[(&str, Option<&str>, &[u8], Target)], topics: &[(u8, i32)]) -> Vec<Target> {
        run(Assignor::Uniform, true, members, topics)
    }

    /// A member that comes takes only what makes it equal: every partition moved is one that nobody reads for a while.
    #[test]
    fn a_new_member_takes_its_share_and_no_more() {
        let alone = uniform(&[("a", None, &[1, 2], Target::new())], &[(1, 4), (2, 3)]);
        assert_eq!(alone[0], target(&[(1, &[0, 1, 2, 3]), (2, &[0, 1, 2])]));

        let two =
            uniform(&[("a", None, &[1, 2], alone[0].clone()), ("b", None, &[1, 2], Target::new())], &[(1, 4), (2, 3)]);
        assert_eq!(two[0], target(&[(1, &[0, 1, 2, 3])]));
        assert_eq!(two[1], target(&[(2, &[0, 1, 2])]));
    }

    /// Partitions of a member that has gone go to whoever has least.
    #[test]
    fn what_a_member_leaves_is_shared() {
        let members: [(&str, Option<&str>, &[u8], Target); 2] =
            [("a", None, &[1], target(&[(1, &[0, 1])])), ("b", None, &[1], target(&[(1, &[2])]))];
        let targets = uniform(&members, &[(1, 6)]);
        assert_eq!(targets[0], target(&[(1, &[0, 1, 3])]));
        assert_eq!(targets[1], target(&[(1, &[2, 4, 5])]));
    }

    /// A topic that is deleted or not subscribed to any more, or two members that claim one partition, must not confuse the count.
    #[test]
    fn claims_that_do_not_hold_are_dropped() {
        let members: [(&str, Option<&str>, &[u8], Target); 3] = [
            ("a", None, &[1], target(&[(1, &[0, 9]), (7, &[0])])),
            ("b", None, &[1], target(&[(1, &[0])])),
            ("c", None, &[1], Target::new()),
        ];
        let targets = uniform(&members, &[(1, 2)]);
        assert_eq!(targets.iter().map(target_count).collect::<Vec<_>>(), [1, 0, 1]);
        assert!(targets[0][&topic(1)].contains(&0));
    }

    /// The members that have one more must be those that had it: else partitions move at every assignment.
    #[test]
    fn an_assignment_that_is_good_stays() {
        let members: [(&str, Option<&str>, &[u8], Target); 3] = [
            ("a", None, &[1], target(&[(1, &[3])])),
            ("b", None, &[1], target(&[(1, &[0, 1])])),
            ("c", None, &[1], target(&[(1, &[2, 4])])),
        ];
        let targets = uniform(&members, &[(1, 5)]);
        assert_eq!(targets, members.map(|(_, _, _, owns)| owns));
    }
}
