//! OffsetForLeaderEpoch (23): where a leader epoch ends, so that a client finds out whether its log diverged (KIP-320).

use super::Handled;
use super::request::Request;
use crate::mesh::{ShardReply, ShardRequest};
use ringlane_partition::{EpochEndEntry, EpochEndRequest, EpochEndResult, TopicPartition};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use ringlane_runtime::ShardId;
use std::collections::BTreeMap;

/// By home shard: what to ask, and where the results belong.
type Parts = BTreeMap<ShardId, (Vec<EpochEndEntry>, Vec<usize>)>;

pub async fn answer(request: Request) -> Handled {
    let (parts, mut results) = plan(&request)?;
    for (to, (entries, places)) in parts {
        let reply = request.shard().ask(to, ShardRequest::EpochEnds(EpochEndRequest { entries })).await;
        // No reply: that shard is stopping, and its results stay "not leader".
        if let Some(ShardReply::EpochEnds(reply)) = reply {
            places.iter().zip(reply.results).for_each(|(&place, result)| results[place] = result);
        }
    }
    let body: OffsetForLeaderEpochRequest = request.body()?;
    let mut rest = results.iter();
    let topics = body.topics.iter().map(|topic| OffsetForLeaderTopicResult {
        topic: topic.topic,
        partitions: topic
            .partitions
            .iter()
            .zip(rest.by_ref())
            .map(|(asked, result)| EpochEndOffset {
                error_code: result.error,
                partition: asked.partition,
                leader_epoch: result.leader_epoch,
                end_offset: result.end_offset,
            })
            .collect(),
    });
    Ok(request.reply(&OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics: topics.collect() }))
}

fn plan(request: &Request) -> Result<(Parts, Vec<EpochEndResult>), crate::net::CloseReason> {
    let body: OffsetForLeaderEpochRequest = request.body()?;
    let image = request.shard().image();
    let mut parts = Parts::new();
    let mut results = Vec::new();
    for topic in &body.topics {
        let found = image.topic_by_name(topic.topic);
        for asked in &topic.partitions {
            let known = found.filter(|found| found.partition(asked.partition).is_some());
            let error = match known {
                None => ErrorCode::UnknownTopicOrPartition,
                Some(found) => {
                    let at = TopicPartition { topic_id: found.id, partition: asked.partition };
                    let home = request.shard().placement.home(at.topic_id, at.partition);
                    let (entries, places) = parts.entry(home).or_default();
                    entries.push(EpochEndEntry {
                        at,
                        current_leader_epoch: asked.current_leader_epoch,
                        leader_epoch: asked.leader_epoch,
                    });
                    places.push(results.len());
                    ErrorCode::NotLeaderOrFollower
                }
            };
            results.push(EpochEndResult { error, leader_epoch: -1, end_offset: -1 });
        }
    }
    Ok((parts, results))
}
