//! What administrators see of a group.

use super::assignor::SIMPLE;
use super::{ShareContext, ShareGroup};
use ringlane_protocol::TopicId;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedShareGroup {
    pub state: &'static str,
    pub epoch: i32,
    pub target_epoch: i32,
    pub assignor: &'static str,
    pub members: Vec<DescribedShareMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedShareMember {
    pub member_id: Arc<str>,
    pub rack_id: Option<Arc<str>>,
    pub epoch: i32,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub topics: Vec<Arc<str>>,
    /// Topics that are not there any more are left out.
    pub assignment: Vec<(TopicId, Arc<str>, Vec<i32>)>,
}

impl ShareGroup {
    pub fn describe(&self, context: &ShareContext<'_>) -> DescribedShareGroup {
        let members = self.members.iter().map(|(id, member)| {
            let assigned = member.current.assigned.iter().filter_map(|(topic, partitions)| {
                let name = context.topics.name(*topic)?;
                Some((*topic, name, partitions.iter().copied().collect()))
            });
            DescribedShareMember {
                member_id: id.clone(),
                rack_id: member.profile.rack_id.clone(),
                epoch: member.current.epoch,
                client_id: member.profile.client_id.clone(),
                client_host: member.profile.client_host.clone(),
                topics: member.profile.topics.iter().cloned().collect(),
                assignment: assigned.collect(),
            }
        });
        DescribedShareGroup {
            state: self.state_name(),
            epoch: self.epoch,
            target_epoch: self.target_epoch,
            assignor: SIMPLE,
            members: members.collect(),
        }
    }
}
