//! Committed offsets: the requests that write and read them, and what their answers mean.

use super::TopicPartition;
use super::classic::Identity;
use super::ownership::Places;
use crate::coordinator::Coordinator;
use crate::{Client, ClientError, Connection, Reply};
use ringlane_protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ringlane_protocol::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use ringlane_protocol::{ApiKey, ErrorCode, TopicId};
use std::collections::BTreeMap;
use std::rc::Rc;

/// First versions that name topics by id, and that ask for several groups.
const COMMIT_IDS_FROM: i16 = 10;
const FETCH_IDS_FROM: i16 = 10;
const FETCH_GROUPS_FROM: i16 = 8;

/// The next offset to read, as a group keeps it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct CommittedOffset {
    pub offset: i64,
    /// Of the last record before it; -1 when not known.
    pub leader_epoch: i32,
    /// The application's own.
    pub metadata: String,
}

impl CommittedOffset {
    pub fn at(offset: i64) -> CommittedOffset {
        CommittedOffset { offset, leader_epoch: -1, metadata: String::new() }
    }
}

/// Who commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadata {
    pub group: String,
    /// Empty from outside of the group.
    pub member_id: String,
    /// Generation, or member epoch; -1 from outside of the group.
    pub generation: i32,
    pub instance: Option<String>,
}

impl GroupMetadata {
    /// Who is no member: for groups without members, such as those whose offsets an operator moves.
    pub fn outside(group: &str) -> GroupMetadata {
        GroupMetadata { group: group.to_string(), member_id: String::new(), generation: -1, instance: None }
    }

    pub(super) fn of(group: &str, identity: Identity, instance: Option<String>) -> GroupMetadata {
        let Identity { member_id, generation } = identity;
        GroupMetadata { group: group.to_string(), member_id, generation, instance }
    }
}

pub(crate) type Offsets = BTreeMap<TopicPartition, CommittedOffset>;

/// Partitions of one topic stand together.
pub(crate) fn by_topic<'a, V>(
    offsets: impl Iterator<Item = (&'a TopicPartition, V)>,
) -> BTreeMap<&'a Rc<str>, Vec<(i32, V)>> {
    let mut topics: BTreeMap<&Rc<str>, Vec<(i32, V)>> = BTreeMap::new();
    offsets.for_each(|(at, value)| topics.entry(&at.topic).or_default().push((at.partition, value)));
    topics
}

/// The ids of topics that metadata knows; `None` if one is missing.
fn ids(client: &Client, offsets: impl Iterator<Item = Rc<str>>) -> Option<BTreeMap<Rc<str>, TopicId>> {
    let id = |topic: Rc<str>| {
        let id = client.known_topic(&topic)?.id;
        (!id.is_zero()).then_some((topic, id))
    };
    offsets.map(id).collect()
}

/// Commits once; the first partition's error, if there is one.
pub(crate) async fn commit_once(
    client: &Client,
    connection: &Connection,
    who: &GroupMetadata,
    offsets: &Offsets,
) -> Result<(), ClientError> {
    let ids = ids(client, offsets.keys().map(|at| at.topic.clone()));
    let at_most = if ids.is_some() { i16::MAX } else { COMMIT_IDS_FROM - 1 };
    let version = connection.version_up_to(ApiKey::OffsetCommit, at_most)?;
    let topics = by_topic(offsets.iter()).into_iter().map(|(topic, partitions)| OffsetCommitRequestTopic {
        name: topic,
        topic_id: ids.as_ref().and_then(|ids| ids.get(topic).copied()).unwrap_or_default(),
        partitions: partitions
            .into_iter()
            .map(|(partition_index, committed)| OffsetCommitRequestPartition {
                partition_index,
                committed_offset: committed.offset,
                committed_leader_epoch: committed.leader_epoch,
                committed_metadata: Some(&committed.metadata),
            })
            .collect(),
    });
    let request = OffsetCommitRequest {
        group_id: &who.group,
        generation_id_or_member_epoch: who.generation,
        member_id: &who.member_id,
        group_instance_id: who.instance.as_deref(),
        retention_time_ms: -1,
        topics: topics.collect(),
    };
    let reply = connection.call_at(version, &request).await?;
    let response: OffsetCommitResponse = reply.body()?;
    for topic in &response.topics {
        for partition in &topic.partitions {
            let named = || ids.iter().flatten().find(|(_, id)| **id == topic.topic_id).map(|(name, _)| &**name);
            let name = if version >= COMMIT_IDS_FROM { named().unwrap_or_default() } else { topic.name };
            let what =
                || format!("group {}: committing topic {name} partition {}", who.group, partition.partition_index);
            partition.error_code.ok().map_err(|code| ClientError::refused(what(), code, None))?;
        }
    }
    Ok(())
}

/// Asks once for what a group has committed. `partitions`: `None` for all that it has.
pub(crate) async fn fetch_once(
    client: &Client,
    connection: &Connection,
    who: &GroupMetadata,
    partitions: Option<&[TopicPartition]>,
    require_stable: bool,
) -> Result<Places, ClientError> {
    // All partitions can only be answered by name, as long as not every topic's id is known.
    let ids = partitions.and_then(|partitions| ids(client, partitions.iter().map(|at| at.topic.clone())));
    let at_most = if ids.is_some() { i16::MAX } else { FETCH_IDS_FROM - 1 };
    let version = connection.version_up_to(ApiKey::OffsetFetch, at_most)?;
    let asked = partitions.map(|partitions| by_topic(partitions.iter().map(|at| (at, ()))));
    let indexes = |partitions: &Vec<(i32, ())>| partitions.iter().map(|(partition, ())| *partition).collect();
    let id = |topic: &Rc<str>| ids.as_ref().and_then(|ids| ids.get(topic).copied()).unwrap_or_default();
    let by_group = asked.iter().flatten().map(|(topic, partitions)| OffsetFetchRequestTopics {
        name: topic,
        topic_id: id(topic),
        partition_indexes: indexes(partitions),
    });
    let by_group: Vec<OffsetFetchRequestTopics<'_>> = by_group.collect();
    let topics = asked
        .iter()
        .flatten()
        .map(|(topic, partitions)| OffsetFetchRequestTopic { name: topic, partition_indexes: indexes(partitions) });
    let topics: Vec<OffsetFetchRequestTopic<'_>> = topics.collect();
    let group = OffsetFetchRequestGroup {
        group_id: &who.group,
        member_id: Some(who.member_id.as_str()).filter(|id| !id.is_empty()),
        member_epoch: who.generation,
        topics: asked.as_ref().map(|_| by_group),
    };
    let topics = asked.as_ref().map(|_| topics);
    let request = OffsetFetchRequest { group_id: &who.group, topics, groups: vec![group], require_stable };
    let reply = connection.call_at(version, &request).await?;
    read_fetch(&reply, who, ids.as_ref())
}

fn read_fetch(
    reply: &Reply,
    who: &GroupMetadata,
    ids: Option<&BTreeMap<Rc<str>, TopicId>>,
) -> Result<Places, ClientError> {
    let response: OffsetFetchResponse = reply.body()?;
    let what = || format!("offsets of group {}", who.group);
    let mut places = Places::new();
    let mut take = |topic: &str, partition: i32, code: ErrorCode, committed: CommittedOffset| {
        let what = || format!("offset of group {} in topic {topic} partition {partition}", who.group);
        code.ok().map_err(|code| ClientError::refused(what(), code, None))?;
        let at = TopicPartition { topic: topic.into(), partition };
        places.insert(at, Some(committed).filter(|committed| committed.offset >= 0));
        Ok::<(), ClientError>(())
    };
    let committed = |offset, leader_epoch, metadata: Option<&str>| CommittedOffset {
        offset,
        leader_epoch,
        metadata: metadata.unwrap_or_default().to_string(),
    };
    if reply.version < FETCH_GROUPS_FROM {
        response.error_code.ok().map_err(|code| ClientError::refused(what(), code, None))?;
        for topic in &response.topics {
            for p in &topic.partitions {
                let at = committed(p.committed_offset, p.committed_leader_epoch, p.metadata);
                take(topic.name, p.partition_index, p.error_code, at)?;
            }
        }
        return Ok(places);
    }
    for group in &response.groups {
        group.error_code.ok().map_err(|code| ClientError::refused(what(), code, None))?;
        for topic in &group.topics {
            let named = ids.and_then(|ids| ids.iter().find(|(_, id)| **id == topic.topic_id));
            let name = if reply.version >= FETCH_IDS_FROM { named.map_or("", |(name, _)| name) } else { topic.name };
            for p in &topic.partitions {
                let at = committed(p.committed_offset, p.committed_leader_epoch, p.metadata);
                take(name, p.partition_index, p.error_code, at)?;
            }
        }
    }
    Ok(places)
}

/// Commits until it is done, or cannot be.
pub(crate) async fn commit(
    client: &Client,
    coordinator: &Coordinator,
    who: &GroupMetadata,
    offsets: &Offsets,
) -> Result<(), ClientError> {
    if offsets.is_empty() {
        return Ok(());
    }
    let what = format!("committing offsets of group {}", who.group);
    coordinator.repeat(&what, async |connection| commit_once(client, &connection, who, offsets).await).await
}

/// Asks until it is answered.
pub(crate) async fn fetch(
    client: &Client,
    coordinator: &Coordinator,
    who: &GroupMetadata,
    partitions: Option<&[TopicPartition]>,
    require_stable: bool,
) -> Result<Places, ClientError> {
    let what = format!("offsets of group {}", who.group);
    coordinator
        .repeat(&what, async |connection| fetch_once(client, &connection, who, partitions, require_stable).await)
        .await
}
