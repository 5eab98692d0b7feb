//! OffsetFetch (9): how far groups have read. One group a request, from version 8 several; from version 10 topics by their ids.

use super::Handled;
use super::request::Request;
use crate::net::{Answer, CloseReason};
use crate::shard::Shard;
use ringlane_coordinator::group::{FetchOffsets, FetchTopic, FetchedPartition, FetchedTopic, GroupReply, GroupRequest};
use ringlane_metadata::Image;
use ringlane_protocol::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestTopics, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use ringlane_protocol::{ErrorCode, TopicId};
use std::rc::Rc;

/// First version with an error for the whole of its group.
const GROUP_ERROR_FROM: i16 = 2;
/// First version for several groups (KIP-709).
const BATCHED_FROM: i16 = 8;
/// First version that says which member of a consumer group asks (KIP-848).
const MEMBERS_FROM: i16 = 9;
/// First version that names topics by their ids (KIP-516).
const TOPIC_IDS_FROM: i16 = 10;

/// What one group has committed, or why that is not known.
struct Fetched {
    group: String,
    result: Result<Vec<FetchedTopic>, ErrorCode>,
}

pub async fn answer(request: Request) -> Handled {
    let groups = asked(&request)?;
    let by_id = request.version >= TOPIC_IDS_FROM;
    let mut fetched = Vec::with_capacity(groups.len());
    for asked in groups {
        fetched.push(fetch(request.shard(), asked, by_id, request.version < GROUP_ERROR_FROM).await);
    }
    Ok(match request.version {
        BATCHED_FROM.. => reply_batched(&request, &fetched, by_id),
        _ => reply_single(&request, &fetched),
    })
}

fn asked(request: &Request) -> Result<Vec<FetchOffsets>, CloseReason> {
    let body: OffsetFetchRequest = request.body()?;
    let require_stable = body.require_stable;
    if request.version < BATCHED_FROM {
        let topic = |topic: &ringlane_protocol::offset_fetch::OffsetFetchRequestTopic<'_>| FetchTopic {
            name: topic.name.to_owned(),
            id: TopicId::ZERO,
            partitions: topic.partition_indexes.clone(),
        };
        let topics = body.topics.as_ref().map(|topics| topics.iter().map(topic).collect());
        return Ok(vec![FetchOffsets {
            group: body.group_id.to_owned(),
            topics,
            require_stable,
            ..FetchOffsets::default()
        }]);
    }
    let image = request.shard().image();
    let topic = |topic: &OffsetFetchRequestTopics<'_>| FetchTopic {
        name: match topic.topic_id.is_zero() {
            true => topic.name.to_owned(),
            // "" is no topic's name: nothing is committed there.
            false => image.topic(topic.topic_id).map(|found| found.name.to_string()).unwrap_or_default(),
        },
        id: topic.topic_id,
        partitions: topic.partition_indexes.clone(),
    };
    let groups = body.groups.iter().map(|group| FetchOffsets {
        group: group.group_id.to_owned(),
        topics: group.topics.as_ref().map(|topics| topics.iter().map(topic).collect()),
        require_stable,
        member_id: group.member_id.map(str::to_owned),
        member_epoch: (request.version >= MEMBERS_FROM).then_some(group.member_epoch),
    });
    Ok(groups.collect())
}

async fn fetch(shard: &Rc<Shard>, asked: FetchOffsets, by_id: bool, has_no_group_error: bool) -> Fetched {
    let group = asked.group.clone();
    let topics = asked.topics.clone();
    let result = match shard.ask_group(&group, GroupRequest::FetchOffsets(asked)).await {
        Ok(GroupReply::FetchOffsets(result)) => result,
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(error) => Err(error),
    };
    let result = match result {
        Ok(topics) if by_id => Ok(with_ids(&shard.image(), topics)),
        Err(error) if has_no_group_error => Ok(failed(topics.unwrap_or_default(), error)),
        result => result,
    };
    Fetched { group, result }
}

/// Clients that speak of ids cannot be told of a topic without one.
fn with_ids(image: &Image, topics: Vec<FetchedTopic>) -> Vec<FetchedTopic> {
    let one = |mut topic: FetchedTopic| {
        if topic.id.is_zero() {
            topic.id = image.topic_by_name(&topic.name)?.id;
        } else if topic.name.is_empty() {
            topic.partitions.iter_mut().for_each(|partition| partition.error = ErrorCode::UnknownTopicId);
        }
        Some(topic)
    };
    topics.into_iter().filter_map(one).collect()
}

fn failed(topics: Vec<FetchTopic>, error: ErrorCode) -> Vec<FetchedTopic> {
    let topic = |topic: FetchTopic| FetchedTopic {
        name: topic.name.into(),
        id: topic.id,
        partitions: topic.partitions.into_iter().map(|partition| FetchedPartition::none(partition, error)).collect(),
    };
    topics.into_iter().map(topic).collect()
}

fn reply_batched(request: &Request, fetched: &[Fetched], by_id: bool) -> Answer {
    let groups = fetched.iter().map(|fetched| {
        let topics = fetched.result.iter().flatten().map(|topic| {
            let partitions = topic.partitions.iter().map(|found| OffsetFetchResponsePartitions {
                partition_index: found.partition,
                committed_offset: found.offset,
                committed_leader_epoch: found.leader_epoch,
                metadata: Some(&found.metadata),
                error_code: found.error,
            });
            OffsetFetchResponseTopics {
                name: if by_id { "" } else { &topic.name },
                topic_id: topic.id,
                partitions: partitions.collect(),
            }
        });
        OffsetFetchResponseGroup {
            group_id: &fetched.group,
            topics: topics.collect(),
            error_code: fetched.result.as_ref().err().copied().unwrap_or_default(),
        }
    });
    request.reply(&OffsetFetchResponse { groups: groups.collect(), ..Default::default() })
}

fn reply_single(request: &Request, fetched: &[Fetched]) -> Answer {
    let Some(fetched) = fetched.first() else { return request.reply(&OffsetFetchResponse::default()) };
    let topics = fetched.result.iter().flatten().map(|topic| {
        let partitions = topic.partitions.iter().map(|found| OffsetFetchResponsePartition {
            partition_index: found.partition,
            committed_offset: found.offset,
            committed_leader_epoch: found.leader_epoch,
            metadata: Some(&found.metadata),
            error_code: found.error,
        });
        OffsetFetchResponseTopic { name: &topic.name, partitions: partitions.collect() }
    });
    request.reply(&OffsetFetchResponse {
        topics: topics.collect(),
        error_code: fetched.result.as_ref().err().copied().unwrap_or_default(),
        ..Default::default()
    })
}
