//! Groups seen from outside: which there are, who is in them, where they stand, and moving them elsewhere.

use super::{Admin, check, missing, share_groups};
use crate::coordinator::{Coordinator, CoordinatorOf};
use crate::group::offsets;
use crate::retry::Retry;
use crate::{ClientError, CommittedOffset, Connection, GroupMetadata, TopicPartition};
use ringlane_protocol::consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use ringlane_protocol::consumer_protocol::Assignment;
use ringlane_protocol::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use ringlane_protocol::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use ringlane_protocol::list_groups::{ListGroupsRequest, ListGroupsResponse};
use ringlane_protocol::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetDeleteResponse,
};
use ringlane_protocol::{ApiKey, ErrorCode};
use std::collections::BTreeMap;

/// What DescribeGroups below version 6 calls a group that there is not.
const DEAD: &str = "Dead";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupListing {
    pub group: String,
    /// "classic", "consumer", "share" or "streams"; empty when the broker does not tell.
    pub kind: String,
    pub state: String,
    /// "consumer" for consumers, other words for others; empty for a group that only has offsets.
    pub protocol_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    pub group: String,
    /// "classic", "consumer" or "share".
    pub kind: &'static str,
    pub state: String,
    pub protocol_type: String,
    /// Empty while the group has none.
    pub assignor: String,
    /// HOST:PORT.
    pub coordinator: String,
    /// With the consumer protocol; -1 in a classic group.
    pub epoch: i32,
    pub members: Vec<GroupMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    pub member_id: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub host: String,
    /// With the consumer protocol; -1 in a classic group.
    pub epoch: i32,
    pub assignment: Vec<TopicPartition>,
}

impl Admin {
    /// Every group of the cluster, by name. Asks every broker: each knows those that it coordinates.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, ClientError> {
        let mut groups = Vec::new();
        for broker in self.client.brokers() {
            let what = format!("groups of broker {}", broker.id);
            let request = ListGroupsRequest::default();
            let read = async || {
                let reply = self.client.open(broker.id).await?.call(&request).await?;
                let response: ListGroupsResponse = reply.body()?;
                check(&what, response.error_code, None)?;
                let listing = |group: &ringlane_protocol::list_groups::ListedGroup<'_>| GroupListing {
                    group: group.group_id.to_string(),
                    kind: group.group_type.to_string(),
                    state: group.group_state.to_string(),
                    protocol_type: group.protocol_type.to_string(),
                };
                Ok(response.groups.iter().map(listing).collect::<Vec<_>>())
            };
            groups.extend(self.patiently(&what, read).await?);
        }
        groups.sort();
        groups.dedup();
        Ok(groups)
    }

    /// [`ErrorCode::GroupIdNotFound`] when there is no such group.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, ClientError> {
        let what = format!("describing group {group}");
        let coordinator = Coordinator::new(&self.client, CoordinatorOf::Group, group);
        let what = what.as_str();
        let describe = async |connection: Connection| {
            if connection.version_of(ApiKey::ConsumerGroupDescribe).is_ok() {
                match describe_consumer(&connection, group, what).await {
                    // It speaks the classic protocol, or is no group at all.
                    Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {}
                    outcome => return outcome,
                }
            }
            match describe_classic(&connection, group, what).await {
                Err(error)
                    if error.code() == Some(ErrorCode::GroupIdNotFound)
                        && connection.version_of(ApiKey::ShareGroupDescribe).is_ok() =>
                {
                    share_groups::describe(&connection, group, what).await
                }
                outcome => outcome,
            }
        };
        coordinator.repeat(what, describe).await
    }

    /// What a group has committed.
    pub async fn group_offsets(&self, group: &str) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
        let coordinator = Coordinator::new(&self.client, CoordinatorOf::Group, group);
        let who = GroupMetadata::outside(group);
        let places = offsets::fetch(&self.client, &coordinator, &who, None, false).await?;
        Ok(places.into_iter().filter_map(|(at, place)| Some((at, place?))).collect())
    }

    /// Moves a group that has no members, or makes one of offsets alone.
    pub async fn set_group_offsets(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<(), ClientError> {
        let coordinator = Coordinator::new(&self.client, CoordinatorOf::Group, group);
        let moved = offsets::commit(&self.client, &coordinator, &GroupMetadata::outside(group), offsets).await;
        moved.map_err(|error| match error.code() {
            // The coordinator takes only members' commits while there are any.
            Some(ErrorCode::UnknownMemberId | ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => {
                let told = "stop its members first, or wait until their sessions end";
                ClientError::refused(format!("moving group {group}"), ErrorCode::NonEmptyGroup, Some(told))
            }
            _ => error,
        })
    }

    /// Deletes a group that has no members, and its offsets.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let what = format!("deleting group {group}");
        let coordinator = Coordinator::new(&self.client, CoordinatorOf::Group, group);
        let request = DeleteGroupsRequest { groups_names: vec![group] };
        let (request, what) = (&request, what.as_str());
        let delete = async |connection: Connection| {
            let reply = connection.call(request).await?;
            let response: DeleteGroupsResponse = reply.body()?;
            let result = response.results.first().ok_or_else(|| missing(what))?;
            check(what, result.error_code, result.error_message)
        };
        coordinator.repeat(what, delete).await
    }

    /// Forgets what a group has committed in these partitions. Refused for topics that a member reads.
    pub async fn delete_group_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        let what = format!("deleting offsets of group {group}");
        let coordinator = Coordinator::new(&self.client, CoordinatorOf::Group, group);
        let topics = offsets::by_topic(partitions.iter().map(|at| (at, ()))).into_iter().map(|(topic, partitions)| {
            let partition = |(partition_index, ())| OffsetDeleteRequestPartition { partition_index };
            OffsetDeleteRequestTopic { name: topic, partitions: partitions.into_iter().map(partition).collect() }
        });
        let request = OffsetDeleteRequest { group_id: group, topics: topics.collect() };
        let (request, what) = (&request, what.as_str());
        let delete = async |connection: Connection| {
            let reply = connection.call(request).await?;
            let response: OffsetDeleteResponse = reply.body()?;
            check(what, response.error_code, None)?;
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let what = || format!("{what}: topic {} partition {}", topic.name, partition.partition_index);
                    partition.error_code.ok().map_err(|code| ClientError::refused(what(), code, None))?;
                }
            }
            Ok(())
        };
        coordinator.repeat(what, delete).await
    }

    /// Asks until the answer is final.
    pub(super) async fn patiently<T>(
        &self,
        what: &str,
        ask: impl AsyncFn() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut retry = Retry::within(self.client.options().api_timeout);
        loop {
            match ask().await {
                Ok(value) => return Ok(value),
                Err(error) => retry.after(what, error).await?,
            }
        }
    }
}

async fn describe_consumer(connection: &Connection, group: &str, what: &str) -> Result<GroupDescription, ClientError> {
    let request = ConsumerGroupDescribeRequest { group_ids: vec![group], include_authorized_operations: false };
    let reply = connection.call(&request).await?;
    let response: ConsumerGroupDescribeResponse = reply.body()?;
    let found = response.groups.first().ok_or_else(|| missing(what))?;
    check(what, found.error_code, found.error_message)?;
    let member = |member: &ringlane_protocol::consumer_group_describe::Member<'_>| GroupMember {
        member_id: member.member_id.to_string(),
        instance: member.instance_id.map(str::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: member.member_epoch,
        assignment: member
            .assignment
            .topic_partitions
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|&p| TopicPartition::new(topic.topic_name, p)))
            .collect(),
    };
    Ok(GroupDescription {
        group: group.to_string(),
        kind: "consumer",
        state: found.group_state.to_string(),
        protocol_type: "consumer".to_string(),
        assignor: found.assignor_name.to_string(),
        coordinator: connection.peer().to_string(),
        epoch: found.group_epoch,
        members: found.members.iter().map(member).collect(),
    })
}

async fn describe_classic(connection: &Connection, group: &str, what: &str) -> Result<GroupDescription, ClientError> {
    let request = DescribeGroupsRequest { groups: vec![group], include_authorized_operations: false };
    let reply = connection.call(&request).await?;
    let response: DescribeGroupsResponse = reply.body()?;
    let found = response.groups.first().ok_or_else(|| missing(what))?;
    check(what, found.error_code, found.error_message)?;
    if found.group_state == DEAD {
        return Err(ClientError::refused(what, ErrorCode::GroupIdNotFound, None));
    }
    let member = |member: &ringlane_protocol::describe_groups::DescribedGroupMember<'_>| {
        // Members of other types (Connect) have assignments of their own.
        let assignment = Assignment::decode(member.member_assignment).unwrap_or_default();
        let partitions = assignment.partitions.iter();
        GroupMember {
            member_id: member.member_id.to_string(),
            instance: member.group_instance_id.map(str::to_string),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            epoch: -1,
            assignment: partitions
                .flat_map(|topic| topic.partitions.iter().map(|&p| TopicPartition::new(topic.topic, p)))
                .collect(),
        }
    };
    Ok(GroupDescription {
        group: group.to_string(),
        kind: "classic",
        state: found.group_state.to_string(),
        protocol_type: found.protocol_type.to_string(),
        assignor: found.protocol_data.to_string(),
        coordinator: connection.peer().to_string(),
        epoch: -1,
        members: found.members.iter().map(member).collect(),
    })
}
