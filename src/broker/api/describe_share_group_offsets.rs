//! DescribeShareGroupOffsets (90): where share groups begin in each partition, and how much is before them.

use super::Handled;
use super::request::Request;
use super::share_states::summary_of;
use crate::mesh::{ShardReply, ShardRequest};
use crate::shard::Shard;
use futures::future::join_all;
use ringlane_coordinator::group::{ShareReply, ShareRequest};
use ringlane_coordinator::share_state::{ShareKey, ShareStateRequest, StoredSummary};
use ringlane_partition::{OffsetSpec, OffsetsEntry, OffsetsRequest, TopicPartition};
use ringlane_protocol::describe_share_group_offsets::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse, DescribeShareGroupOffsetsResponseGroup,
    DescribeShareGroupOffsetsResponsePartition, DescribeShareGroupOffsetsResponseTopic,
};
use ringlane_protocol::{ErrorCode, TopicId};
use std::rc::Rc;
use std::sync::Arc;

/// No offset, or no lag.
const NOT_KNOWN: i64 = -1;

struct Wanted {
    name: Arc<str>,
    id: TopicId,
    partitions: Vec<i32>,
}

struct Found {
    start_offset: i64,
    leader_epoch: i32,
    lag: i64,
    error: ErrorCode,
}

impl Found {
    /// There is nothing to tell, which is no error.
    fn nothing() -> Found {
        Found { start_offset: NOT_KNOWN, leader_epoch: 0, lag: NOT_KNOWN, error: ErrorCode::None }
    }
}

type FoundTopic = (Wanted, Vec<Found>);

pub async fn answer(request: Request) -> Handled {
    let asked: Vec<(String, Option<Vec<(String, Vec<i32>)>>)> = {
        let body: DescribeShareGroupOffsetsRequest = request.body()?;
        let groups = body.groups.iter().map(|group| {
            let topics = group.topics.as_ref().map(|topics| {
                topics.iter().map(|topic| (topic.topic_name.to_owned(), topic.partitions.clone())).collect()
            });
            (group.group_id.to_owned(), topics)
        });
        groups.collect()
    };
    let shard = request.shard();
    let mut groups = Vec::with_capacity(asked.len());
    for (group, topics) in asked {
        let found = describe(shard, &group, topics).await;
        groups.push((group, found));
    }
    let groups = groups.iter().map(|(group_id, found)| match found {
        Ok(topics) => DescribeShareGroupOffsetsResponseGroup {
            group_id,
            topics: topics.iter().map(topic).collect(),
            ..Default::default()
        },
        Err(error_code) => {
            DescribeShareGroupOffsetsResponseGroup { group_id, error_code: *error_code, ..Default::default() }
        }
    });
    Ok(request.reply(&DescribeShareGroupOffsetsResponse { throttle_time_ms: 0, groups: groups.collect() }))
}

fn topic((wanted, found): &FoundTopic) -> DescribeShareGroupOffsetsResponseTopic<'_> {
    let partitions = wanted.partitions.iter().zip(found);
    DescribeShareGroupOffsetsResponseTopic {
        topic_name: &wanted.name,
        topic_id: wanted.id,
        partitions: partitions
            .map(|(partition_index, found)| DescribeShareGroupOffsetsResponsePartition {
                partition_index: *partition_index,
                start_offset: found.start_offset,
                leader_epoch: found.leader_epoch,
                lag: found.lag,
                error_code: found.error,
                error_message: None,
            })
            .collect(),
    }
}

async fn describe(
    shard: &Rc<Shard>,
    group: &str,
    topics: Option<Vec<(String, Vec<i32>)>>,
) -> Result<Vec<FoundTopic>, ErrorCode> {
    let image = shard.image();
    let wanted: Vec<Wanted> = match topics {
        Some(topics) => {
            // Only the group's coordinator knows what its states are worth.
            shard.coordinator_of(group)?;
            let wanted = |(name, partitions): (String, Vec<i32>)| {
                let id = image.topic_by_name(&name).map_or(TopicId::ZERO, |topic| topic.id);
                Wanted { name: name.into(), id, partitions }
            };
            topics.into_iter().map(wanted).collect()
        }
        None => match shard.ask_share_group(group, ShareRequest::StatePartitions(group.to_owned())).await? {
            ShareReply::StatePartitions(topics) => {
                let topics = topics.into_iter().filter_map(|topic| {
                    let name = image.topic(topic.topic_id)?.name.clone();
                    Some(Wanted { name, id: topic.topic_id, partitions: topic.partitions })
                });
                topics.collect()
            }
            _ => return Err(ErrorCode::UnknownServerError),
        },
    };
    let group: Arc<str> = group.into();
    let found = wanted.into_iter().map(|wanted| async {
        let one = |partition: &i32| one(shard, &group, wanted.id, *partition);
        let found = join_all(wanted.partitions.iter().map(one)).await;
        (wanted, found)
    });
    Ok(join_all(found).await)
}

async fn one(shard: &Rc<Shard>, group: &Arc<str>, topic_id: TopicId, partition: i32) -> Found {
    if topic_id.is_zero() {
        return Found::nothing();
    }
    let key = ShareKey { group: group.clone(), topic_id, partition };
    let reply = shard.ask_share_state(ShareStateRequest::Summary { key }).await.ok();
    let Some(Ok(StoredSummary { leader_epoch, start_offset, delivery_complete_count, .. })) =
        reply.and_then(summary_of)
    else {
        return Found::nothing();
    };
    let found = Found { start_offset, leader_epoch, ..Found::nothing() };
    if start_offset < 0 || delivery_complete_count < 0 {
        return found;
    }
    match end_offset(shard, TopicPartition { topic_id, partition }).await {
        Ok(end) => Found { lag: end - start_offset - i64::from(delivery_complete_count), ..found },
        Err(error) => Found { error, ..Found::nothing() },
    }
}

async fn end_offset(shard: &Rc<Shard>, at: TopicPartition) -> Result<i64, ErrorCode> {
    let entry = OffsetsEntry { at, current_leader_epoch: -1, wanted: OffsetSpec::Latest };
    let request = OffsetsRequest { isolation: Default::default(), entries: vec![entry] };
    let home = shard.placement.home(at.topic_id, at.partition);
    match shard.ask(home, ShardRequest::Offsets(request)).await {
        Some(ShardReply::Offsets(mut reply)) => match reply.results.pop() {
            Some(found) if found.error == ErrorCode::None => Ok(found.offset),
            Some(found) => Err(found.error),
            None => Err(ErrorCode::UnknownServerError),
        },
        _ => Err(ErrorCode::NotLeaderOrFollower),
    }
}
