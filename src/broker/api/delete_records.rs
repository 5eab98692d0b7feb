//! DeleteRecords (21): moves the start of logs, so that what is before it can no longer be read (KIP-107).

use super::Handled;
use super::metadata::is_internal;
use super::request::Request;
use crate::mesh::{ShardReply, ShardRequest};
use crate::net::CloseReason;
use crate::shard::Shard;
use ringlane_partition::{
    DeleteRecordsEntry, DeleteRecordsRequest as HomeRequest, DeleteRecordsResult, TopicPartition,
};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use ringlane_runtime::ShardId;
use std::collections::BTreeMap;
use std::rc::Rc;

struct Plan {
    timeout_ms: i32,
    /// By home shard: what to ask, and where the results belong.
    parts: BTreeMap<ShardId, (Vec<DeleteRecordsEntry>, Vec<usize>)>,
    /// One per partition of the request.
    results: Vec<DeleteRecordsResult>,
}

pub async fn answer(request: Request) -> Handled {
    let plan = plan(&request)?;
    let results = ask(request.shard(), plan).await;
    let body: DeleteRecordsRequest = request.body()?;
    let mut rest = results.iter();
    let topics = body.topics.iter().map(|topic| DeleteRecordsTopicResult {
        name: topic.name,
        partitions: topic
            .partitions
            .iter()
            .zip(rest.by_ref())
            .map(|(asked, result)| DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark: result.low_watermark,
                error_code: result.error,
            })
            .collect(),
    });
    Ok(request.reply(&DeleteRecordsResponse { throttle_time_ms: 0, topics: topics.collect() }))
}

fn plan(request: &Request) -> Result<Plan, CloseReason> {
    let body: DeleteRecordsRequest = request.body()?;
    let image = request.shard().image();
    let mut plan = Plan { timeout_ms: body.timeout_ms, parts: BTreeMap::new(), results: Vec::new() };
    for topic in &body.topics {
        let found = image.topic_by_name(topic.name);
        for asked in &topic.partitions {
            let error = match found.filter(|found| found.partition(asked.partition_index).is_some()) {
                None => ErrorCode::UnknownTopicOrPartition,
                // The broker cleans its own topics.
                Some(_) if is_internal(topic.name) => ErrorCode::InvalidTopicException,
                Some(found) => {
                    let at = TopicPartition { topic_id: found.id, partition: asked.partition_index };
                    let home = request.shard().placement.home(at.topic_id, at.partition);
                    let (entries, places) = plan.parts.entry(home).or_default();
                    entries.push(DeleteRecordsEntry { at, offset: asked.offset });
                    places.push(plan.results.len());
                    ErrorCode::NotLeaderOrFollower
                }
            };
            plan.results.push(DeleteRecordsResult { error, low_watermark: -1 });
        }
    }
    Ok(plan)
}

/// All home shards at the same time.
async fn ask(shard: &Rc<Shard>, plan: Plan) -> Vec<DeleteRecordsResult> {
    let Plan { timeout_ms, parts, mut results } = plan;
    let mut calls = Vec::with_capacity(parts.len());
    for (to, (entries, places)) in parts {
        let request = HomeRequest { timeout_ms, entries };
        calls.push((shard.call(to, ShardRequest::DeleteRecords(request)).await, places));
    }
    for (called, places) in calls {
        // No reply: that shard is stopping, and its results stay "not leader".
        if let Some(ShardReply::DeleteRecords(reply)) = called.await {
            places.iter().zip(reply.results).for_each(|(&place, result)| results[place] = result);
        }
    }
    results
}
