//! Share groups seen from outside (KIP-932): who is in them, where they begin, and making them forget topics.

use super::groups::{GroupDescription, GroupMember};
use super::{Admin, check, missing};
use crate::coordinator::{Coordinator, CoordinatorOf};
use crate::{ClientError, Connection, TopicPartition};
use ringlane_protocol::delete_share_group_offsets::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequestTopic, DeleteShareGroupOffsetsResponse,
};
use ringlane_protocol::describe_share_group_offsets::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsResponse,
};
use ringlane_protocol::share_group_describe::{Member, ShareGroupDescribeRequest, ShareGroupDescribeResponse};
use std::collections::BTreeMap;

/// Where a share group begins in a partition, and how much is before it. `None`: nobody knows, as nobody has read there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareOffset {
    pub start_offset: Option<i64>,
    pub lag: Option<i64>,
}

impl Admin {
    /// Every partition that the share group has a state for.
    pub async fn share_group_offsets(&self, group: &str) -> Result<BTreeMap<TopicPartition, ShareOffset>, ClientError> {
        let what = format!("offsets of share group {group}");
        let coordinator = Coordinator::new(&self.client, CoordinatorOf::Group, group);
        let groups = vec![DescribeShareGroupOffsetsRequestGroup { group_id: group, topics: None }];
        let request = DescribeShareGroupOffsetsRequest { groups };
        let (request, what) = (&request, what.as_str());
        let read = async |connection: Connection| {
            let reply = connection.call(request).await?;
            let response: DescribeShareGroupOffsetsResponse = reply.body()?;
            let found = response.groups.first().ok_or_else(|| missing(what))?;
            check(what, found.error_code, found.error_message)?;
            let mut offsets = BTreeMap::new();
            for topic in &found.topics {
                for partition in &topic.partitions {
                    let at = TopicPartition::new(topic.topic_name, partition.partition_index);
                    check(&format!("{what} in {at}"), partition.error_code, partition.error_message)?;
                    let known = |number: i64| Some(number).filter(|number| *number >= 0);
                    offsets.insert(
                        at,
                        ShareOffset { start_offset: known(partition.start_offset), lag: known(partition.lag) },
                    );
                }
            }
            Ok(offsets)
        };
        coordinator.repeat(what, read).await
    }

    /// The share group begins anew in these topics. Refused while it has members.
    pub async fn delete_share_group_offsets(&self, group: &str, topics: &[&str]) -> Result<(), ClientError> {
        let what = format!("deleting offsets of share group {group}");
        let coordinator = Coordinator::new(&self.client, CoordinatorOf::Group, group);
        let topics = topics.iter().map(|topic_name| DeleteShareGroupOffsetsRequestTopic { topic_name });
        let request = DeleteShareGroupOffsetsRequest { group_id: group, topics: topics.collect() };
        let (request, what) = (&request, what.as_str());
        let delete = async |connection: Connection| {
            let reply = connection.call(request).await?;
            let response: DeleteShareGroupOffsetsResponse = reply.body()?;
            check(what, response.error_code, response.error_message)?;
            for topic in &response.responses {
                check(&format!("{what}: topic {}", topic.topic_name), topic.error_code, topic.error_message)?;
            }
            Ok(())
        };
        coordinator.repeat(what, delete).await
    }
}

pub(super) async fn describe(
    connection: &Connection,
    group: &str,
    what: &str,
) -> Result<GroupDescription, ClientError> {
    let request = ShareGroupDescribeRequest { group_ids: vec![group], include_authorized_operations: false };
    let reply = connection.call(&request).await?;
    let response: ShareGroupDescribeResponse = reply.body()?;
    let found = response.groups.first().ok_or_else(|| missing(what))?;
    check(what, found.error_code, found.error_message)?;
    let member = |member: &Member<'_>| {
        let topics = member.assignment.topic_partitions.iter();
        GroupMember {
            member_id: member.member_id.to_string(),
            instance: None,
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            epoch: member.member_epoch,
            assignment: topics
                .flat_map(|topic| topic.partitions.iter().map(|&index| TopicPartition::new(topic.topic_name, index)))
                .collect(),
        }
    };
    Ok(GroupDescription {
        group: group.to_string(),
        kind: "share",
        state: found.group_state.to_string(),
        protocol_type: "share".to_string(),
        assignor: found.assignor_name.to_string(),
        coordinator: connection.peer().to_string(),
        epoch: found.group_epoch,
        members: found.members.iter().map(member).collect(),
    })
}
