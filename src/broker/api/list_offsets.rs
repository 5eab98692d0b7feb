//! ListOffsets (2): offsets by timestamp, or the log's ends.

use super::Handled;
use super::request::Request;
use crate::mesh::{ShardReply, ShardRequest};
use crate::shard::Shard;
use ringlane_partition::{Isolation, OffsetSpec, OffsetsEntry, OffsetsRequest, OffsetsResult, TopicPartition};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use ringlane_runtime::ShardId;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// First version whose client knows OFFSET_NOT_AVAILABLE.
const OFFSET_NOT_AVAILABLE_FROM: i16 = 5;

/// What goes to one home shard, and where its results belong.
type Part = (Vec<OffsetsEntry>, Vec<usize>);

struct Plan {
    isolation: Isolation,
    parts: BTreeMap<ShardId, Part>,
    /// One per partition of the request.
    results: Vec<OffsetsResult>,
}

pub async fn answer(request: Request) -> Handled {
    let plan = plan(&request)?;
    let results = ask(request.shard(), plan).await;
    let body: ListOffsetsRequest = request.body()?;
    let mut rest = results.iter();
    let topics = body.topics.iter().map(|topic| ListOffsetsTopicResponse {
        name: topic.name,
        partitions: topic
            .partitions
            .iter()
            .zip(rest.by_ref())
            .map(|(asked, result)| ListOffsetsPartitionResponse {
                partition_index: asked.partition_index,
                error_code: code(result.error, request.version),
                timestamp: result.timestamp,
                offset: result.offset,
                leader_epoch: result.leader_epoch,
            })
            .collect(),
    });
    Ok(request.reply(&ListOffsetsResponse { throttle_time_ms: 0, topics: topics.collect() }))
}

fn plan(request: &Request) -> Result<Plan, crate::net::CloseReason> {
    let body: ListOffsetsRequest = request.body()?;
    let image = request.shard().image();
    let isolation = Isolation::from_wire(body.isolation_level);
    let mut plan = Plan { isolation: isolation.unwrap_or_default(), parts: BTreeMap::new(), results: Vec::new() };
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for topic in &body.topics {
        let again = topic.partitions.iter().map(|asked| (topic.name, asked.partition_index));
        twice.extend(again.filter(|key| !seen.insert(*key)));
    }
    for topic in &body.topics {
        let found = image.topic_by_name(topic.name);
        for asked in &topic.partitions {
            let wanted = OffsetSpec::from_wire(asked.timestamp, request.version);
            let partition = found.filter(|found| found.partition(asked.partition_index).is_some());
            let place = plan.results.len();
            let (error, entry) = match (partition, wanted) {
                _ if isolation.is_none() || twice.contains(&(topic.name, asked.partition_index)) => {
                    (ErrorCode::InvalidRequest, None)
                }
                (None, _) => (ErrorCode::UnknownTopicOrPartition, None),
                (_, None) => (ErrorCode::UnsupportedVersion, None),
                (Some(found), Some(wanted)) => {
                    let at = TopicPartition { topic_id: found.id, partition: asked.partition_index };
                    let current_leader_epoch = asked.current_leader_epoch;
                    (ErrorCode::NotLeaderOrFollower, Some(OffsetsEntry { at, current_leader_epoch, wanted }))
                }
            };
            plan.results.push(OffsetsResult { error, timestamp: -1, offset: -1, leader_epoch: -1 });
            if let Some(entry) = entry {
                let home = request.shard().placement.home(entry.at.topic_id, entry.at.partition);
                let (entries, places) = plan.parts.entry(home).or_default();
                entries.push(entry);
                places.push(place);
            }
        }
    }
    Ok(plan)
}

/// All home shards at the same time.
async fn ask(shard: &Rc<Shard>, plan: Plan) -> Vec<OffsetsResult> {
    let Plan { isolation, parts, mut results } = plan;
    let mut calls = Vec::with_capacity(parts.len());
    for (to, (entries, places)) in parts {
        let request = OffsetsRequest { isolation, entries };
        calls.push((shard.call(to, ShardRequest::Offsets(request)).await, places));
    }
    for (called, places) in calls {
        // No reply: that shard is stopping, and its results stay "not leader".
        if let Some(ShardReply::Offsets(reply)) = called.await {
            places.iter().zip(reply.results).for_each(|(&place, result)| results[place] = result);
        }
    }
    results
}

fn code(error: ErrorCode, version: i16) -> ErrorCode {
    match error {
        ErrorCode::OffsetNotAvailable if version < OFFSET_NOT_AVAILABLE_FROM => ErrorCode::LeaderNotAvailable,
        other => other,
    }
}
