//! Groups, as an operator asks for them: which there are, who is in them, how far they have read. Each is asked of its coordinator, which is
//! looked up each time: an operator asks seldom, and groups move.

use super::{Admin, check, missing};
use crate::group::wire;
use crate::retry::Retry;
use crate::{ClientError, Connection};
use ringlane_protocol::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use ringlane_protocol::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use ringlane_protocol::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ringlane_protocol::list_groups::{ListGroupsRequest, ListGroupsResponse};
use ringlane_protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ringlane_protocol::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse};
use ringlane_protocol::{ApiKey, ErrorCode};
use std::collections::BTreeMap;

/// FindCoordinator's number for groups.
const GROUP: i8 = 0;
/// OffsetCommit of somebody who is no member.
const NO_GENERATION: i32 = -1;
/// Versions that name topics: from 10 on they have ids only, and offsets of topics that are gone would not be seen.
const OFFSETS_BY_NAME: i16 = 9;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    pub group: String,
    /// `consumer` of consumers, `connect` of workers; "" of a group that only has offsets.
    pub protocol_type: String,
    pub state: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    pub group: String,
    pub state: String,
    pub protocol_type: String,
    /// How partitions are assigned, while the group is stable.
    pub protocol: String,
    pub coordinator: i32,
    pub members: Vec<GroupMember>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub host: String,
    /// Of consumers; other members' assignments are their own affair.
    pub partitions: Vec<(String, i32)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl Admin {
    /// The groups of all brokers, by name.
    pub async fn groups(&self) -> Result<Vec<GroupListing>, ClientError> {
        let what = "listing groups";
        let mut groups = BTreeMap::new();
        for broker in self.describe_cluster().await?.brokers {
            let mut retry = Retry::within(self.client.options().api_timeout);
            let listed = loop {
                let outcome = async {
                    let reply = self.client.open(broker.id).await?.call(&ListGroupsRequest::default()).await?;
                    let response: ListGroupsResponse = reply.body()?;
                    check(what, response.error_code, None)?;
                    let listing = |group: &ringlane_protocol::list_groups::ListedGroup<'_>| GroupListing {
                        group: group.group_id.to_owned(),
                        protocol_type: group.protocol_type.to_owned(),
                        state: group.group_state.to_owned(),
                    };
                    Ok(response.groups.iter().map(listing).collect::<Vec<_>>())
                };
                match outcome.await {
                    Ok(listed) => break listed,
                    Err(error) => retry.after(what, error).await?,
                }
            };
            groups.extend(listed.into_iter().map(|group| (group.group.clone(), group)));
        }
        Ok(groups.into_values().collect())
    }

    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, ClientError> {
        let what = format!("describing group {group}");
        let request = DescribeGroupsRequest { groups: vec![group], ..Default::default() };
        self.at_coordinator(&what, group, async |coordinator, connection| {
            let reply = connection.call(&request).await?;
            let response: DescribeGroupsResponse = reply.body()?;
            let found = response.groups.first().ok_or_else(|| missing(&what))?;
            check(&what, found.error_code, found.error_message)?;
            let member = |member: &ringlane_protocol::describe_groups::DescribedGroupMember<'_>| GroupMember {
                member_id: member.member_id.to_owned(),
                instance_id: member.group_instance_id.map(str::to_owned),
                client_id: member.client_id.to_owned(),
                host: member.client_host.to_owned(),
                partitions: wire::assigned(member.member_assignment).unwrap_or_default(),
            };
            Ok(GroupDescription {
                group: group.to_owned(),
                state: found.group_state.to_owned(),
                protocol_type: found.protocol_type.to_owned(),
                protocol: found.protocol_data.to_owned(),
                coordinator,
                members: found.members.iter().map(member).collect(),
            })
        })
        .await
    }

    /// All that the group has committed.
    pub async fn group_offsets(&self, group: &str) -> Result<Vec<GroupOffset>, ClientError> {
        let what = format!("offsets of group {group}");
        let of_group = OffsetFetchRequestGroup { group_id: group, topics: None, ..Default::default() };
        // Versions below 8 have one group, in another field.
        let request =
            OffsetFetchRequest { group_id: group, topics: None, groups: vec![of_group], require_stable: false };
        self.at_coordinator(&what, group, async |_, connection| {
            let version = connection.version_up_to(ApiKey::OffsetFetch, OFFSETS_BY_NAME)?;
            let reply = connection.call_at(version, &request).await?;
            let response: OffsetFetchResponse = reply.body()?;
            let mut offsets = Vec::new();
            match response.groups.first() {
                Some(found) => {
                    check(&what, found.error_code, None)?;
                    for topic in &found.topics {
                        let committed = topic.partitions.iter().map(|p| (p.partition_index, p.committed_offset));
                        offsets.extend(committed.map(|at| offset(topic.name, at)));
                    }
                }
                None => {
                    check(&what, response.error_code, None)?;
                    for topic in &response.topics {
                        let committed = topic.partitions.iter().map(|p| (p.partition_index, p.committed_offset));
                        offsets.extend(committed.map(|at| offset(topic.name, at)));
                    }
                }
            }
            Ok(offsets)
        })
        .await
    }

    /// Moves a group that has no members.
    pub async fn set_group_offsets(&self, group: &str, offsets: &[GroupOffset]) -> Result<(), ClientError> {
        let what = format!("setting offsets of group {group}");
        let mut by_topic: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for GroupOffset { topic, partition, offset } in offsets {
            by_topic.entry(topic).or_default().push(OffsetCommitRequestPartition {
                partition_index: *partition,
                committed_offset: *offset,
                committed_metadata: Some(""),
                ..Default::default()
            });
        }
        let topic = |(name, partitions)| OffsetCommitRequestTopic { name, partitions, ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: group,
            generation_id_or_member_epoch: NO_GENERATION,
            topics: by_topic.into_iter().map(topic).collect(),
            ..Default::default()
        };
        self.at_coordinator(&what, group, async |_, connection| {
            let version = connection.version_up_to(ApiKey::OffsetCommit, OFFSETS_BY_NAME)?;
            let reply = connection.call_at(version, &request).await?;
            let response: OffsetCommitResponse = reply.body()?;
            let codes = response.topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| p.error_code));
            codes.into_iter().try_for_each(|code| match code {
                ErrorCode::UnknownMemberId => check(&what, code, Some("the group has members: stop them first")),
                code => check(&what, code, None),
            })
        })
        .await
    }

    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let what = format!("deleting group {group}");
        let request = DeleteGroupsRequest { groups_names: vec![group] };
        self.at_coordinator(&what, group, async |_, connection| {
            let reply = connection.call(&request).await?;
            let response: DeleteGroupsResponse = reply.body()?;
            let result = response.results.first().ok_or_else(|| missing(&what))?;
            check(&what, result.error_code, result.error_message)
        })
        .await
    }

    async fn at_coordinator<T>(
        &self,
        what: &str,
        group: &str,
        ask: impl AsyncFn(i32, Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.at_coordinator_of(what, GROUP, group, ask).await
    }

    /// Asks the coordinator of a group or transactional id, again when it moved or is still loading.
    pub(super) async fn at_coordinator_of<T>(
        &self,
        what: &str,
        key_type: i8,
        key: &str,
        ask: impl AsyncFn(i32, Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut retry = Retry::within(self.client.options().api_timeout);
        loop {
            let outcome = async {
                let coordinator = self.coordinator_of(what, key_type, key).await?;
                ask(coordinator, self.client.open(coordinator).await?).await
            };
            match outcome.await {
                Ok(value) => return Ok(value),
                // A topic that is not there stays so.
                Err(error @ ClientError::Refused { code: ErrorCode::UnknownTopicOrPartition, .. }) => {
                    return Err(error);
                }
                Err(error) => retry.after(what, error).await?,
            }
        }
    }

    async fn coordinator_of(&self, what: &str, key_type: i8, key: &str) -> Result<i32, ClientError> {
        let request = FindCoordinatorRequest { key, key_type, coordinator_keys: vec![key] };
        let reply = self.client.any().await?.call(&request).await?;
        let response: FindCoordinatorResponse = reply.body()?;
        match response.coordinators.first() {
            Some(found) => check(what, found.error_code, found.error_message).map(|()| found.node_id),
            None => check(what, response.error_code, response.error_message).map(|()| response.node_id),
        }
    }
}

fn offset(topic: &str, (partition, offset): (i32, i64)) -> GroupOffset {
    GroupOffset { topic: topic.to_owned(), partition, offset }
}
