//! OffsetCommit (8): how far a group has read. Topics and partitions that do not exist are answered here, the rest by the group's coordinator.

use super::Handled;
use super::request::Request;
use crate::net::CloseReason;
use ringlane_coordinator::group::{CommitOffsets, CommitPartition, CommitTopic, GroupReply, GroupRequest};
use ringlane_metadata::{Image, Topic};
use ringlane_protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ringlane_protocol::{ErrorCode, TopicId};
use std::sync::Arc;

/// First version whose clients know GROUP_ID_NOT_FOUND (KIP-848).
const GROUP_ID_NOT_FOUND_FROM: i16 = 9;
/// First version that names topics by their ids (KIP-516).
const TOPIC_IDS_FROM: i16 = 10;
/// The broker's retention rules.
const NO_RETENTION: i64 = -1;

/// Each partition of the request: its answer, or that it is the coordinator's to give.
type Codes = Vec<Vec<Option<ErrorCode>>>;

pub async fn answer(request: Request) -> Handled {
    let (asked, codes) = plan(&request)?;
    let decided = match asked.topics.is_empty() {
        true => Ok(Vec::new()),
        false => {
            let group = asked.group.clone();
            match request.shard().ask_group(&group, GroupRequest::CommitOffsets(asked)).await {
                Ok(GroupReply::CommitOffsets(codes)) => codes,
                Ok(_) => Err(ErrorCode::UnknownServerError),
                Err(error) => Err(error),
            }
        }
    };
    let body: OffsetCommitRequest = request.body()?;
    let by_id = request.version >= TOPIC_IDS_FROM;
    let (error, mut decided) = match decided {
        Ok(codes) => (ErrorCode::UnknownServerError, codes.into_iter().flatten()),
        Err(error) => (error, Vec::new().into_iter().flatten()),
    };
    let topics = body.topics.iter().zip(codes).map(|(topic, codes)| {
        let partitions = topic.partitions.iter().zip(codes).map(|(partition, code)| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: code.unwrap_or_else(|| decided.next().unwrap_or(error)),
        });
        OffsetCommitResponseTopic {
            name: if by_id { "" } else { topic.name },
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
        }
    });
    Ok(request.reply(&OffsetCommitResponse { throttle_time_ms: 0, topics: topics.collect() }))
}

fn plan(request: &Request) -> Result<(CommitOffsets, Codes), CloseReason> {
    let body: OffsetCommitRequest = request.body()?;
    let image = request.shard().image();
    let by_id = request.version >= TOPIC_IDS_FROM;
    let mut topics = Vec::new();
    let mut codes = Vec::with_capacity(body.topics.len());
    for topic in &body.topics {
        let found = find(&image, topic, by_id);
        codes.push(topic.partitions.iter().map(|partition| refusal(found, partition, by_id)).collect::<Vec<_>>());
        let Some(found) = found else { continue };
        let existing = topic.partitions.iter().filter(|partition| refusal(Some(found), partition, by_id).is_none());
        let partitions: Vec<CommitPartition> = existing.map(commit_partition).collect();
        if !partitions.is_empty() {
            topics.push(CommitTopic { name: found.name.to_string(), id: found.id, partitions });
        }
    }
    let asked = CommitOffsets {
        group: body.group_id.to_owned(),
        generation: body.generation_id_or_member_epoch,
        member_id: body.member_id.to_owned(),
        instance_id: body.group_instance_id.map(str::to_owned),
        retention_ms: Some(body.retention_time_ms).filter(|ms| *ms != NO_RETENTION),
        knows_missing_groups: request.version >= GROUP_ID_NOT_FOUND_FROM,
        topics,
    };
    Ok((asked, codes))
}

fn find<'a>(image: &'a Image, topic: &OffsetCommitRequestTopic<'_>, by_id: bool) -> Option<&'a Arc<Topic>> {
    let asked_id: TopicId = topic.topic_id;
    if by_id { image.topic(asked_id) } else { image.topic_by_name(topic.name) }
}

fn refusal(topic: Option<&Arc<Topic>>, partition: &OffsetCommitRequestPartition<'_>, by_id: bool) -> Option<ErrorCode> {
    match topic {
        None if by_id => Some(ErrorCode::UnknownTopicId),
        None => Some(ErrorCode::UnknownTopicOrPartition),
        Some(topic) if topic.partition(partition.partition_index).is_none() => Some(ErrorCode::UnknownTopicOrPartition),
        Some(_) => None,
    }
}

fn commit_partition(partition: &OffsetCommitRequestPartition<'_>) -> CommitPartition {
    CommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.unwrap_or_default().to_owned(),
    }
}
