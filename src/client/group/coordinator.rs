//! The requests of one group to its coordinator, wherever it is. Each method is one try: whoever calls decides what an error means.
//!
//! Joins and syncs may wait for as long as a rebalance takes. They have a connection of their own, with that patience, so that heartbeats do not
//! wait behind them.

use super::assignor::{Parts, RANGE};
use super::membership::{Identity, Joined};
use super::{GroupConsumerOptions, wire};
use crate::{Client, ClientError, Connection, Reply};
use ringlane_protocol::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ringlane_protocol::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ringlane_protocol::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use ringlane_protocol::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use ringlane_protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ringlane_protocol::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use ringlane_protocol::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use ringlane_protocol::{ApiKey, DecodeError, ErrorCode};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// FindCoordinator's number for groups.
const GROUP: i8 = 0;
const CONSUMER: &str = "consumer";
/// Versions of OffsetCommit and OffsetFetch that name topics.
const OFFSETS_BY_NAME: i16 = 9;
/// On top of a rebalance: for the answer's way.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Coordinator {
    client: Client,
    group: String,
    instance_id: Option<String>,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    open: RefCell<Open>,
}

#[derive(Default)]
struct Open {
    quick: Option<Connection>,
    patient: Option<Connection>,
}

impl Coordinator {
    pub fn new(client: &Client, options: &GroupConsumerOptions) -> Coordinator {
        Coordinator {
            client: client.clone(),
            group: options.group.clone(),
            instance_id: options.instance_id.clone(),
            session_timeout: options.session_timeout,
            rebalance_timeout: options.max_poll_interval,
            open: RefCell::default(),
        }
    }

    /// It may have moved: the next request looks for it.
    pub fn forget(&self) {
        self.open.take();
    }

    pub async fn join(&self, identity: &Identity, topics: &[String]) -> Result<Joined, ClientError> {
        let metadata = wire::subscription(topics);
        let request = JoinGroupRequest {
            group_id: &self.group,
            session_timeout_ms: millis(self.session_timeout),
            rebalance_timeout_ms: millis(self.rebalance_timeout),
            member_id: &identity.member_id,
            group_instance_id: self.instance_id.as_deref(),
            protocol_type: CONSUMER,
            protocols: vec![JoinGroupRequestProtocol { name: RANGE, metadata: &metadata }],
            reason: None,
        };
        let connection = self.patient().await?;
        let reply = connection.call(&request).await?;
        let response: JoinGroupResponse = reply.body()?;
        if response.error_code == ErrorCode::MemberIdRequired {
            return Ok(Joined::Named(response.member_id.to_owned()));
        }
        self.check("joining", response.error_code)?;
        let mut members = BTreeMap::new();
        for member in &response.members {
            let topics = wire::subscribed(member.metadata)
                .map_err(|source| malformed(&connection, ApiKey::JoinGroup, &reply, source))?;
            members.insert(member.member_id.to_owned(), topics);
        }
        Ok(Joined::Member {
            member_id: response.member_id.to_owned(),
            generation: response.generation_id,
            is_leader: response.leader == response.member_id && !response.skip_assignment,
            members,
        })
    }

    /// Gives this member's part.
    pub async fn sync(&self, identity: &Identity, parts: &Parts) -> Result<Vec<(String, i32)>, ClientError> {
        let part = |(member, partitions): (&String, &Vec<_>)| (member.clone(), wire::assignment(partitions));
        let owned: Vec<(String, Vec<u8>)> = parts.iter().map(part).collect();
        let request = SyncGroupRequest {
            group_id: &self.group,
            generation_id: identity.generation,
            member_id: &identity.member_id,
            group_instance_id: self.instance_id.as_deref(),
            protocol_type: Some(CONSUMER),
            protocol_name: Some(RANGE),
            assignments: owned
                .iter()
                .map(|(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment })
                .collect(),
        };
        let connection = self.patient().await?;
        let reply = connection.call(&request).await?;
        let response: SyncGroupResponse = reply.body()?;
        self.check("synchronizing with", response.error_code)?;
        wire::assigned(response.assignment).map_err(|source| malformed(&connection, ApiKey::SyncGroup, &reply, source))
    }

    pub async fn heartbeat(&self, identity: &Identity) -> Result<(), ClientError> {
        let request = HeartbeatRequest {
            group_id: &self.group,
            generation_id: identity.generation,
            member_id: &identity.member_id,
            group_instance_id: self.instance_id.as_deref(),
        };
        let reply = self.quick().await?.call(&request).await?;
        let response: HeartbeatResponse = reply.body()?;
        self.check("a heartbeat to", response.error_code)
    }

    pub async fn leave(&self, identity: &Identity) -> Result<(), ClientError> {
        let member = MemberIdentity { member_id: &identity.member_id, ..Default::default() };
        let request =
            LeaveGroupRequest { group_id: &self.group, member_id: &identity.member_id, members: vec![member] };
        let reply = self.quick().await?.call(&request).await?;
        let response: LeaveGroupResponse = reply.body()?;
        self.check("leaving", response.error_code)
    }

    pub async fn commit(
        &self,
        identity: &Identity,
        positions: &BTreeMap<(String, i32), i64>,
    ) -> Result<(), ClientError> {
        let mut by_topic: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for ((topic, partition), offset) in positions {
            by_topic.entry(topic).or_default().push(OffsetCommitRequestPartition {
                partition_index: *partition,
                committed_offset: *offset,
                committed_metadata: Some(""),
                ..Default::default()
            });
        }
        let topic = |(name, partitions)| OffsetCommitRequestTopic { name, partitions, ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: &self.group,
            generation_id_or_member_epoch: identity.generation,
            member_id: &identity.member_id,
            group_instance_id: self.instance_id.as_deref(),
            topics: by_topic.into_iter().map(topic).collect(),
            ..Default::default()
        };
        let connection = self.quick().await?;
        let version = connection.version_up_to(ApiKey::OffsetCommit, OFFSETS_BY_NAME)?;
        let reply = connection.call_at(version, &request).await?;
        let response: OffsetCommitResponse = reply.body()?;
        let codes = response.topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| p.error_code));
        codes.into_iter().try_for_each(|code| self.check("committing to", code))
    }

    /// What the group has committed of these partitions; those that it never has are left out.
    pub async fn committed(&self, partitions: &[(String, i32)]) -> Result<BTreeMap<(String, i32), i64>, ClientError> {
        let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in partitions {
            by_topic.entry(topic).or_default().push(*partition);
        }
        let of_group = OffsetFetchRequestGroup {
            group_id: &self.group,
            topics: Some(
                by_topic
                    .iter()
                    .map(|(name, partitions)| OffsetFetchRequestTopics {
                        name,
                        partition_indexes: partitions.clone(),
                        ..Default::default()
                    })
                    .collect(),
            ),
            ..Default::default()
        };
        // Versions below 8 have one group, in other fields.
        let topic = |(name, partitions): (&&'_ str, &Vec<i32>)| (name.to_string(), partitions.clone());
        let single: Vec<(String, Vec<i32>)> = by_topic.iter().map(topic).collect();
        let request = OffsetFetchRequest {
            group_id: &self.group,
            topics: Some(
                single
                    .iter()
                    .map(|(name, partitions)| OffsetFetchRequestTopic { name, partition_indexes: partitions.clone() })
                    .collect(),
            ),
            groups: vec![of_group],
            require_stable: true,
        };
        let connection = self.quick().await?;
        let version = connection.version_up_to(ApiKey::OffsetFetch, OFFSETS_BY_NAME)?;
        let reply = connection.call_at(version, &request).await?;
        let response: OffsetFetchResponse = reply.body()?;
        let mut committed = BTreeMap::new();
        let mut note = |topic: &str, partition: i32, offset: i64, code: ErrorCode| {
            if offset >= 0 {
                committed.insert((topic.to_owned(), partition), offset);
            }
            self.check("offsets of", code)
        };
        match response.groups.first() {
            Some(found) => {
                self.check("offsets of", found.error_code)?;
                for topic in &found.topics {
                    for p in &topic.partitions {
                        note(topic.name, p.partition_index, p.committed_offset, p.error_code)?;
                    }
                }
            }
            None => {
                self.check("offsets of", response.error_code)?;
                for topic in &response.topics {
                    for p in &topic.partitions {
                        note(topic.name, p.partition_index, p.committed_offset, p.error_code)?;
                    }
                }
            }
        }
        Ok(committed)
    }

    async fn quick(&self) -> Result<Connection, ClientError> {
        let open = self.open.borrow().quick.clone().filter(Connection::is_open);
        if let Some(connection) = open {
            return Ok(connection);
        }
        let connection = self.client.open(self.find().await?).await?;
        self.open.borrow_mut().quick = Some(connection.clone());
        Ok(connection)
    }

    async fn patient(&self) -> Result<Connection, ClientError> {
        let open = self.open.borrow().patient.clone().filter(Connection::is_open);
        if let Some(connection) = open {
            return Ok(connection);
        }
        let patience = self.rebalance_timeout + PATIENCE;
        let connection = self.client.open_patient(self.find().await?, patience).await?;
        self.open.borrow_mut().patient = Some(connection.clone());
        Ok(connection)
    }

    async fn find(&self) -> Result<i32, ClientError> {
        let key = self.group.as_str();
        let request = FindCoordinatorRequest { key, key_type: GROUP, coordinator_keys: vec![key] };
        let reply = self.client.any().await?.call(&request).await?;
        let response: FindCoordinatorResponse = reply.body()?;
        match response.coordinators.first() {
            Some(found) => self.check("finding", found.error_code).map(|()| found.node_id),
            None => self.check("finding", response.error_code).map(|()| response.node_id),
        }
    }

    fn check(&self, doing: &str, code: ErrorCode) -> Result<(), ClientError> {
        code.ok().map_err(|code| ClientError::refused(format!("{doing} group {}", self.group), code, None))
    }
}

fn malformed(connection: &Connection, api: ApiKey, reply: &Reply, source: DecodeError) -> ClientError {
    ClientError::Malformed { peer: connection.peer().to_owned(), api, version: reply.version, source }
}

fn millis(duration: Duration) -> i32 {
    duration.as_millis().try_into().unwrap_or(i32::MAX)
}
