//! Kafka's `simple` assignor: every partition is read by about as many members, and every member reads about as many partitions.
//!
//! With more members than partitions a partition has several readers. What a member reads already it keeps, as far as that is even. Members
//! that subscribe to the same are assigned over all partitions together, others topic by topic.

use crate::consumer_group::Target;
use ringlane_protocol::TopicId;
use std::collections::{BTreeMap, BTreeSet};

pub const SIMPLE: &str = "simple";

/// A partition and who reads it, by index of the member.
type Readers = BTreeMap<(TopicId, i32), BTreeSet<usize>>;

/// One member: what it may read, and what it reads now.
pub struct Subscriber<'a> {
    pub topics: BTreeSet<TopicId>,
    pub reads: &'a Target,
}

/// `assignable`: the partitions that have a state. One target a member, in their order.
pub fn assign(members: &[Subscriber<'_>], assignable: &BTreeMap<TopicId, BTreeSet<i32>>) -> Vec<Target> {
    let mut targets = vec![Target::new(); members.len()];
    let is_homogeneous = members.windows(2).all(|pair| pair[0].topics == pair[1].topics);
    let all: BTreeSet<TopicId> = members.iter().flat_map(|member| member.topics.iter().copied()).collect();
    let partitions_of = |topic: &TopicId| {
        let topic = *topic;
        assignable.get(&topic).into_iter().flatten().map(move |partition| (topic, *partition))
    };
    if is_homogeneous {
        let everybody: Vec<usize> = (0..members.len()).collect();
        let partitions = all.iter().flat_map(partitions_of).collect();
        share_out(&everybody, partitions, members, &mut targets);
    } else {
        for topic in &all {
            let subscribed: Vec<usize> = (0..members.len()).filter(|&at| members[at].topics.contains(topic)).collect();
            share_out(&subscribed, partitions_of(topic).collect(), members, &mut targets);
        }
    }
    targets
}

/// Shares `partitions` out among the members at `who`.
fn share_out(who: &[usize], partitions: Vec<(TopicId, i32)>, members: &[Subscriber<'_>], targets: &mut [Target]) {
    if who.is_empty() || partitions.is_empty() {
        return;
    }
    let readers_max = who.len().div_ceil(partitions.len());
    let total = readers_max * partitions.len();
    // The first so many members have one more, spread evenly.
    let up_to = |at: usize| (total * at).div_ceil(who.len());
    let wanted: BTreeMap<usize, usize> =
        who.iter().enumerate().map(|(at, member)| (*member, up_to(at + 1) - up_to(at))).collect();
    let mut readers: Readers = partitions.into_iter().map(|partition| (partition, BTreeSet::new())).collect();
    let mut counts: BTreeMap<usize, usize> = who.iter().map(|member| (*member, 0)).collect();
    for &member in who {
        let reads = members[member].reads.iter();
        for partition in reads.flat_map(|(topic, partitions)| partitions.iter().map(|partition| (*topic, *partition))) {
            let Some(readers) = readers.get_mut(&partition) else { continue };
            let count = counts.entry(member).or_default();
            if *count < wanted[&member] && readers.len() < readers_max {
                readers.insert(member);
                *count += 1;
            }
        }
    }
    let mut unfilled: Vec<usize> = who.iter().copied().filter(|member| counts[member] < wanted[member]).collect();
    for readers in readers.values_mut() {
        // Round and round, so that the least filled come first.
        let mut passed = 0;
        while readers.len() < readers_max && passed < unfilled.len() {
            let member = unfilled[passed];
            if !readers.insert(member) {
                passed += 1;
                continue;
            }
            let count = counts.entry(member).or_default();
            *count += 1;
            unfilled.remove(passed);
            if *count < wanted[&member] {
                unfilled.push(member);
            }
        }
    }
    for ((topic, partition), readers) in readers {
        for member in readers {
            targets[member].entry(topic).or_default().insert(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TopicId = TopicId([1; 16]);
    const B: TopicId = TopicId([2; 16]);

    fn assignable(a: i32, b: i32) -> BTreeMap<TopicId, BTreeSet<i32>> {
        [(A, (0..a).collect()), (B, (0..b).collect())].into()
    }

    fn run(members: &[(&[TopicId], Target)], assignable: &BTreeMap<TopicId, BTreeSet<i32>>) -> Vec<Target> {
        let subscriber = |(topics, reads): &'_ (&[TopicId], Target)| (topics.iter().copied().collect(), reads.clone());
        let members: Vec<(BTreeSet<TopicId>, Target)> = members.iter().map(subscriber).collect();
        let members: Vec<Subscriber> =
            members.iter().map(|(topics, reads)| Subscriber { topics: topics.clone(), reads }).collect();
        assign(&members, assignable)
    }

    fn counts(targets: &[Target]) -> Vec<usize> {
        targets.iter().map(|target| target.values().map(BTreeSet::len).sum()).collect()
    }

    fn readers(targets: &[Target], topic: TopicId, partition: i32) -> usize {
        targets.iter().filter(|target| target.get(&topic).is_some_and(|of| of.contains(&partition))).count()
    }

    /// A partition that nobody reads stands still; a member without one is paid for nothing.
    #[test]
    fn every_partition_is_read_and_every_member_reads() {
        for (members, partitions) in [(1, 1), (1, 5), (3, 2), (2, 3), (7, 3), (5, 5), (200, 3), (3, 50)] {
            let all: Vec<(&[TopicId], Target)> = (0..members).map(|_| (&[A][..], Target::new())).collect();
            let targets = run(&all, &assignable(partitions, 0));
            let counts = counts(&targets);
            let spread = counts.iter().max().unwrap() - counts.iter().min().unwrap();
            assert!(counts.iter().all(|count| *count > 0) && spread <= 1, "{members} of {partitions}: {counts:?}");
            let readers: Vec<usize> = (0..partitions).map(|partition| readers(&targets, A, partition)).collect();
            assert!(readers.iter().all(|readers| *readers > 0), "{members} of {partitions}: {readers:?}");
        }
    }

    /// Moving a partition from one member to another costs both of them the records that they have prefetched.
    #[test]
    fn what_is_even_stays_where_it_is() {
        let first = run(&[(&[A, B], Target::new()), (&[A, B], Target::new())], &assignable(4, 2));
        let again = run(&[(&[A, B], first[0].clone()), (&[A, B], first[1].clone())], &assignable(4, 2));
        assert_eq!(first, again);
        let joined = run(
            &[(&[A, B], first[0].clone()), (&[A, B], first[1].clone()), (&[A, B], Target::new())],
            &assignable(4, 2),
        );
        assert_eq!(counts(&joined), [2, 2, 2]);
        for (before, after) in first.iter().zip(&joined) {
            assert!(after.iter().all(|(topic, partitions)| partitions.is_subset(&before[topic])));
        }
    }

    /// A member must not be sent to a topic that it does not know what to do with.
    #[test]
    fn nobody_reads_what_it_has_not_subscribed_to() {
        let targets = run(&[(&[A], Target::new()), (&[A, B], Target::new()), (&[B], Target::new())], &assignable(2, 3));
        assert!(!targets[0].contains_key(&B) && !targets[2].contains_key(&A));
        assert!((0..2).all(|partition| readers(&targets, A, partition) > 0));
        assert!((0..3).all(|partition| readers(&targets, B, partition) > 0));
        let gone = run(&[(&[B], targets[1].clone())], &assignable(2, 3));
        assert_eq!(gone[0], Target::from([(B, BTreeSet::from([0, 1, 2]))]));
    }
}
