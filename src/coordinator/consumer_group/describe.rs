//! What administrators are shown.

use super::assignment::{Owned, Target, listed};
use super::{ConsumerGroup, Context, GroupState, Member};
use ringlane_protocol::TopicId;
use std::sync::Arc;

/// ConsumerGroupDescribe's words for how a member speaks.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedConsumerGroup {
    pub state: GroupState,
    pub epoch: i32,
    pub target_epoch: i32,
    pub assignor: Arc<str>,
    pub members: Vec<DescribedConsumerMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedConsumerMember {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub rack_id: Option<Arc<str>>,
    pub epoch: i32,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub topics: Vec<Arc<str>>,
    pub regex: Arc<str>,
    /// What it has, with what it must still give back.
    pub assignment: DescribedAssignment,
    pub target: DescribedAssignment,
    pub member_type: i8,
}

/// Topics that exist, by id and name.
pub type DescribedAssignment = Vec<(TopicId, Arc<str>, Vec<i32>)>;

impl ConsumerGroup {
    pub fn describe(&self, context: &Context<'_>) -> DescribedConsumerGroup {
        let default = || context.options.default_assignor().name().into();
        DescribedConsumerGroup {
            state: self.state(),
            epoch: self.epoch,
            target_epoch: self.target_epoch,
            assignor: self.preferred_assignor().unwrap_or_else(default),
            members: self.members.iter().map(|(id, member)| self.describe_member(id, member, context)).collect(),
        }
    }

    fn describe_member(&self, id: &Arc<str>, member: &Member, context: &Context<'_>) -> DescribedConsumerMember {
        let named = |topics: Vec<(TopicId, Vec<i32>)>| {
            let name = |(id, partitions)| Some((id, context.topics.name(id)?, partitions));
            topics.into_iter().filter_map(name).collect()
        };
        let mut has: Owned = member.current.assigned.clone();
        for (topic, partitions) in &member.current.revoking {
            has.entry(*topic).or_default().extend(partitions);
        }
        let target = |target: &Target| {
            target.iter().map(|(topic, partitions)| (*topic, partitions.iter().copied().collect())).collect()
        };
        DescribedConsumerMember {
            member_id: id.clone(),
            instance_id: member.profile.instance_id.clone(),
            rack_id: member.profile.rack_id.clone(),
            epoch: member.current.epoch,
            client_id: member.profile.client_id.clone(),
            client_host: member.profile.client_host.clone(),
            topics: member.profile.topics.iter().cloned().collect(),
            regex: member.profile.regex.clone(),
            assignment: named(listed(&has)),
            target: named(self.targets.get(id).map(target).unwrap_or_default()),
            member_type: if member.is_classic() { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
        }
    }
}
