//! Who shall own what. Pure: the same members with the same subscriptions and the same partitions get the same.
//!
//! `uniform` gives every member the same number of partitions, as far as subscriptions let it, and moves as few as it can. `range` gives every
//! member of a topic neighbouring partitions, the same of each topic, for those who join topics with each other. Both are Kafka's. Neither
//! looks at racks, as in Kafka 4.x: racks only start a new assignment.

mod range;
mod uniform;
mod uniform_mixed;

use super::Target;
use ringlane_protocol::TopicId;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignor {
    Uniform,
    Range,
}

impl Assignor {
    pub const ALL: [Assignor; 2] = [Assignor::Uniform, Assignor::Range];

    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// Kafka also takes the class names of its assignors.
    pub fn from_name(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|assignor| {
            name == assignor.name() || name.rsplit('.').next().is_some_and(|class| class == assignor.class_name())
        })
    }

    fn class_name(self) -> &'static str {
        match self {
            Assignor::Uniform => "UniformAssignor",
            Assignor::Range => "RangeAssignor",
        }
    }
}

pub struct Spec<'a> {
    pub members: Vec<Subscriber<'a>>,
    /// All members subscribe to the same topics.
    pub homogeneous: bool,
    /// Of every topic that a member subscribes to.
    pub partition_counts: BTreeMap<TopicId, i32>,
}

pub struct Subscriber<'a> {
    pub id: &'a str,
    pub instance_id: Option<&'a str>,
    pub topics: &'a BTreeSet<TopicId>,
    /// What the last target assignment gave it.
    pub owns: &'a Target,
}

/// Targets in the order of the members.
pub fn assign(assignor: Assignor, spec: &Spec<'_>) -> Vec<Target> {
    match assignor {
        _ if spec.members.is_empty() => Vec::new(),
        Assignor::Range => range::assign(spec),
        Assignor::Uniform if spec.homogeneous => uniform::assign(spec),
        Assignor::Uniform => uniform_mixed::assign(spec),
    }
}

#[cfg(test)]
pub mod test_kit {
    use super::*;

    pub fn topic(number: u8) -> TopicId {
        TopicId([number; 16])
    }

    /// Members as name, topics and what they own; topics as number and partition count.
    pub fn run(
        assignor: Assignor,
        homogeneous: bool,
        members: &[(&str, Option<&str>, &[u8], Target)],
        topics: &[(u8, i32)],
    ) -> Vec<Target> {
        let subscriptions: Vec<BTreeSet<TopicId>> =
            members.iter().map(|(_, _, topics, _)| topics.iter().map(|number| topic(*number)).collect()).collect();
        let members = members
            .iter()
            .zip(&subscriptions)
            .map(|((id, instance_id, _, owns), topics)| Subscriber { id, instance_id: *instance_id, topics, owns })
            .collect();
        let partition_counts = topics.iter().map(|(number, count)| (topic(*number), *count)).collect();
        assign(assignor, &Spec { members, homogeneous, partition_counts })
    }

    pub fn target(partitions: &[(u8, &[i32])]) -> Target {
        partitions.iter().map(|(number, partitions)| (topic(*number), partitions.iter().copied().collect())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration that names an assignor as Kafka's documentation does must not stop the broker.
    #[test]
    fn assignors_have_kafkas_names() {
        assert_eq!(Assignor::from_name("uniform"), Some(Assignor::Uniform));
        let class = "org.apache.kafka.coordinator.group.assignor.RangeAssignor";
        assert_eq!(Assignor::from_name(class), Some(Assignor::Range));
        assert_eq!(Assignor::from_name("sticky"), None);
    }
}
