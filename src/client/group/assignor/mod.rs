//! Who reads what: the leader of a classic group decides it for all, from the members' subscriptions and the topics' partitions.
//!
//! Pure. Kafka's four assignors by their names, so that members of every make can be in one group: all vote for one that all know.

mod range;
mod round_robin;
mod sticky;

use super::TopicPartition;
use ringlane_protocol::consumer_protocol::{StickyData, Subscription, TopicPartitions};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Kafka's `partition.assignment.strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Of each topic a run of neighbours: equal numbers of topics that share keys meet at one member.
    Range,
    RoundRobin,
    /// Balanced, and as little moved as can be; everything is given up for a rebalance all the same.
    Sticky,
    /// Like sticky, and members keep reading through a rebalance what stays theirs (KIP-429).
    CooperativeSticky,
}

impl Assignor {
    pub const ALL: [Assignor; 4] =
        [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky];

    pub const fn name(self) -> &'static str {
        match self {
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
            Assignor::Sticky => "sticky",
            Assignor::CooperativeSticky => "cooperative-sticky",
        }
    }

    pub fn from_name(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// What goes into the subscription's user data.
    pub(super) fn user_data(self, held: &BTreeSet<TopicPartition>, generation: i32) -> Option<Vec<u8>> {
        match self {
            Assignor::Range | Assignor::RoundRobin => None,
            Assignor::Sticky => Some(StickyData { previous: by_topic(held), generation }.encode()),
            Assignor::CooperativeSticky => Some(generation.to_be_bytes().to_vec()),
        }
    }

    /// Every partition of `topics` to at most one of the members that subscribe to its topic, and to one if there is any, except what a
    /// cooperative member has to give up first: that comes with the next rebalance.
    pub(super) fn assign(self, members: &[Member], topics: &BTreeMap<Rc<str>, usize>) -> Plan {
        match self {
            Assignor::Range => range::assign(members, topics),
            Assignor::RoundRobin => round_robin::assign(members, topics),
            Assignor::Sticky => sticky::assign(members, topics),
            Assignor::CooperativeSticky => sticky::without_moves(members, sticky::assign(members, topics)),
        }
    }
}

/// By place in the list of members.
pub(super) type Plan = Vec<BTreeSet<TopicPartition>>;

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) instance: Option<String>,
    pub(super) topics: BTreeSet<Rc<str>>,
    /// What it had, and in which generation; -1 when it had nothing.
    pub(super) owned: BTreeSet<TopicPartition>,
    pub(super) generation: i32,
}

impl Member {
    /// Reads a subscription for `assignor`. A member whose metadata cannot be read subscribes to nothing, and gets nothing.
    pub(super) fn read(id: &str, instance: Option<&str>, metadata: &[u8], assignor: Assignor) -> Member {
        let subscription = Subscription::decode(metadata).unwrap_or_default();
        let (owned, generation) = match assignor {
            // An eager member gives up all before it joins: what it had stands in its user data.
            Assignor::Sticky => match subscription.user_data.map(StickyData::decode) {
                Some(Ok(data)) => (partitions_of(&data.previous), data.generation),
                _ => (BTreeSet::new(), -1),
            },
            _ => {
                let written = subscription.user_data.and_then(|data| data.first_chunk::<4>());
                let told = written.map(|bytes| i32::from_be_bytes(*bytes)).filter(|_| subscription.generation < 0);
                (partitions_of(&subscription.owned), told.unwrap_or(subscription.generation))
            }
        };
        Member {
            id: id.to_string(),
            instance: instance.map(str::to_string),
            topics: subscription.topics.iter().map(|topic| Rc::from(*topic)).collect(),
            owned,
            generation,
        }
    }

    /// Static members first and by their instance, so that a restart, which changes a member's id, moves nothing.
    fn order(&self) -> (bool, &str) {
        match &self.instance {
            Some(instance) => (false, instance),
            None => (true, &self.id),
        }
    }
}

/// Places of the members, in the order in which Kafka's assignors go through them.
fn in_order(members: &[Member]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|&a, &b| members[a].order().cmp(&members[b].order()));
    order
}

pub(super) fn by_topic(partitions: &BTreeSet<TopicPartition>) -> Vec<TopicPartitions<'_>> {
    let mut topics: Vec<TopicPartitions<'_>> = Vec::new();
    for partition in partitions {
        match topics.last_mut().filter(|last| *last.topic == *partition.topic) {
            Some(last) => last.partitions.push(partition.partition),
            None => topics.push(TopicPartitions { topic: &partition.topic, partitions: vec![partition.partition] }),
        }
    }
    topics
}

pub(super) fn partitions_of(topics: &[TopicPartitions<'_>]) -> BTreeSet<TopicPartition> {
    let of = |topic: &TopicPartitions<'_>| {
        let name: Rc<str> = topic.topic.into();
        topic.partitions.iter().map(move |&partition| TopicPartition { topic: name.clone(), partition }).collect()
    };
    topics.iter().flat_map(|topic| -> Vec<TopicPartition> { of(topic) }).collect()
}

#[cfg(test)]
mod tests;
