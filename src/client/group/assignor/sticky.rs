//! "sticky" and "cooperative-sticky": members keep what they had, as far as that leaves the group balanced.
//!
//! Three passes: who keeps what he had (of two that claim a partition, the one of the later generation), then what nobody has to those
//! with least, then single moves from members with much to members with two fewer. Each move lowers the sum of squares, so it ends.

use super::{Member, Plan, TopicPartition, in_order};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub(super) fn assign(members: &[Member], topics: &BTreeMap<Rc<str>, usize>) -> Plan {
    let mut work = Work::begin(members, topics);
    work.hand_out();
    work.balance();
    work.plan
}

/// A cooperative member gives up what moves before another may have it (KIP-429): takes from the plan what somebody else still has.
pub(super) fn without_moves(members: &[Member], mut plan: Plan) -> Plan {
    let holders = holders(members);
    for (member, planned) in plan.iter_mut().enumerate() {
        planned.retain(|partition| holders.get(partition).is_none_or(|holders| holders.all_but(member) == 0));
    }
    plan
}

/// The members that say that they have a partition.
struct Holders {
    /// The one of the latest generation; `None` when two are equal, and so neither can be believed.
    keeper: Option<usize>,
    generation: i32,
    all: Vec<usize>,
}

impl Holders {
    fn all_but(&self, member: usize) -> usize {
        self.all.iter().filter(|&&holder| holder != member).count()
    }
}

fn holders(members: &[Member]) -> BTreeMap<&TopicPartition, Holders> {
    let mut holders: BTreeMap<&TopicPartition, Holders> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        for partition in &member.owned {
            let known = holders.entry(partition).or_insert(Holders { keeper: None, generation: i32::MIN, all: vec![] });
            known.all.push(at);
            match member.generation.cmp(&known.generation) {
                std::cmp::Ordering::Greater => (known.keeper, known.generation) = (Some(at), member.generation),
                std::cmp::Ordering::Equal => known.keeper = None,
                std::cmp::Ordering::Less => {}
            }
        }
    }
    holders
}

struct Work<'a> {
    members: &'a [Member],
    /// Places in Kafka's order: decides between equals, so that every leader decides alike.
    rank: Vec<usize>,
    plan: Plan,
    /// By topic: the members that subscribe, as (count, rank, member), fewest first.
    readers: BTreeMap<Rc<str>, BTreeSet<(usize, usize, usize)>>,
    unassigned: BTreeSet<TopicPartition>,
}

impl<'a> Work<'a> {
    fn begin(members: &'a [Member], topics: &BTreeMap<Rc<str>, usize>) -> Work<'a> {
        let mut plan = Plan::new();
        plan.resize_with(members.len(), Default::default);
        let mut rank = vec![0; members.len()];
        in_order(members).into_iter().enumerate().for_each(|(at, member)| rank[member] = at);
        let holders = holders(members);
        let mut unassigned = BTreeSet::new();
        for (topic, &partitions) in topics {
            for partition in 0..partitions as i32 {
                let partition = TopicPartition { topic: topic.clone(), partition };
                let keeper = holders.get(&partition).and_then(|holders| holders.keeper);
                match keeper.filter(|&keeper| members[keeper].topics.contains(topic)) {
                    Some(keeper) => drop(plan[keeper].insert(partition)),
                    None => drop(unassigned.insert(partition)),
                }
            }
        }
        let of_topic = |topic: &Rc<str>| {
            let subscribed = (0..members.len()).filter(|&member| members[member].topics.contains(topic));
            subscribed.map(|member| (plan[member].len(), rank[member], member)).collect()
        };
        let readers = topics.keys().map(|topic| (topic.clone(), of_topic(topic))).collect();
        Work { members, rank, plan, readers, unassigned }
    }

    /// Topics with the fewest readers first: the others have more to choose from.
    fn hand_out(&mut self) {
        let mut unassigned: Vec<TopicPartition> = std::mem::take(&mut self.unassigned).into_iter().collect();
        unassigned.sort_by_key(|partition| self.readers.get(&partition.topic).map_or(0, BTreeSet::len));
        for partition in unassigned {
            if let Some(&(_, _, member)) = self.readers.get(&partition.topic).and_then(BTreeSet::first) {
                self.change(member, |planned| planned.insert(partition));
            }
        }
    }

    fn balance(&mut self) {
        while let Some((from, to, partition)) = self.next_move() {
            self.change(from, |planned| planned.remove(&partition));
            self.change(to, |planned| planned.insert(partition));
        }
    }

    /// From the fullest member that can give to one that has at least two fewer.
    fn next_move(&self) -> Option<(usize, usize, TopicPartition)> {
        let mut fullest: Vec<usize> = (0..self.members.len()).collect();
        fullest.sort_by_key(|&member| (std::cmp::Reverse(self.plan[member].len()), self.rank[member]));
        for from in fullest {
            let mut looked_at: Option<&Rc<str>> = None;
            // The last ones first: they came last.
            for partition in self.plan[from].iter().rev() {
                if looked_at == Some(&partition.topic) {
                    continue;
                }
                looked_at = Some(&partition.topic);
                if let Some(&(count, _, to)) = self.readers[&partition.topic].first()
                    && count + 2 <= self.plan[from].len()
                {
                    return Some((from, to, self.newest_of(from, &partition.topic)));
                }
            }
        }
        None
    }

    /// What a member gives of a topic: rather what it did not have before.
    fn newest_of(&self, member: usize, topic: &Rc<str>) -> TopicPartition {
        let of_topic = || self.plan[member].iter().rev().filter(|partition| partition.topic == *topic);
        let new = of_topic().find(|partition| !self.members[member].owned.contains(partition));
        new.or_else(|| of_topic().next()).expect("it has one of this topic").clone()
    }

    fn change(&mut self, member: usize, change: impl FnOnce(&mut BTreeSet<TopicPartition>) -> bool) {
        let before = self.plan[member].len();
        change(&mut self.plan[member]);
        let after = self.plan[member].len();
        for topic in &self.members[member].topics {
            if let Some(readers) = self.readers.get_mut(topic) {
                readers.remove(&(before, self.rank[member], member));
                readers.insert((after, self.rank[member], member));
            }
        }
    }
}
