//! WriteTxnMarkers (27): markers from coordinators on other brokers, and from administrators who end a hanging transaction (KIP-664).

use super::Handled;
use super::request::Request;
use crate::mesh::{ShardReply, ShardRequest};
use crate::shard::Shard;
use ringlane_log::EndMarker;
use ringlane_partition::{MarkerEntry, MarkersRequest, TopicPartition};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::ControlType;
use ringlane_protocol::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use ringlane_runtime::ShardId;
use std::collections::BTreeMap;

/// Kafka's `request.timeout.ms` between brokers.
const TIMEOUT_MS: i32 = 30_000;

/// One home shard's part: its entries, and where in the answer their results belong.
#[derive(Default)]
struct Part {
    entries: Vec<MarkerEntry>,
    places: Vec<usize>,
}

pub async fn answer(request: Request) -> Handled {
    let (parts, mut codes) = plan(&request)?;
    let shard = request.shard();
    let mut calls = Vec::new();
    for (home, Part { entries, places }) in parts {
        let request = MarkersRequest { timeout_ms: TIMEOUT_MS, entries };
        calls.push((places, shard.call(home, ShardRequest::Markers(request)).await));
    }
    for (places, called) in calls {
        // No reply: that shard is stopping, and the coordinator asks again.
        let Some(ShardReply::Append(written)) = called.await else { continue };
        places.into_iter().zip(written.results).for_each(|(place, result)| codes[place] = result.error());
    }
    let body: WriteTxnMarkersRequest = request.body()?;
    let mut codes = codes.into_iter();
    let markers = body.markers.iter().map(|marker| WritableTxnMarkerResult {
        producer_id: marker.producer_id,
        topics: marker
            .topics
            .iter()
            .map(|topic| WritableTxnMarkerTopicResult {
                name: topic.name,
                partitions: topic
                    .partition_indexes
                    .iter()
                    .map(|&partition_index| WritableTxnMarkerPartitionResult {
                        partition_index,
                        error_code: codes.next().unwrap_or(ErrorCode::UnknownServerError),
                    })
                    .collect(),
            })
            .collect(),
    });
    Ok(request.reply(&WriteTxnMarkersResponse { markers: markers.collect() }))
}

/// What goes where, and what is answered meanwhile for each partition, in the request's order.
fn plan(request: &Request) -> Result<(BTreeMap<ShardId, Part>, Vec<ErrorCode>), crate::net::CloseReason> {
    let body: WriteTxnMarkersRequest = request.body()?;
    let shard = request.shard();
    let mut parts: BTreeMap<ShardId, Part> = BTreeMap::new();
    let mut codes = Vec::new();
    for marker in &body.markers {
        for topic in &marker.topics {
            for &partition in &topic.partition_indexes {
                match place_of(shard, topic.name, partition) {
                    Some((at, home)) => {
                        let part = parts.entry(home).or_default();
                        part.entries.push(entry_of(at, marker));
                        part.places.push(codes.len());
                        codes.push(ErrorCode::NotLeaderOrFollower);
                    }
                    None => codes.push(ErrorCode::UnknownTopicOrPartition),
                }
            }
        }
    }
    Ok((parts, codes))
}

fn place_of(shard: &Shard, topic: &str, partition: i32) -> Option<(TopicPartition, ShardId)> {
    let image = shard.image();
    let topic = image.topic_by_name(topic)?;
    topic.partition(partition)?;
    let at = TopicPartition { topic_id: topic.id, partition };
    Some((at, shard.placement.home(at.topic_id, at.partition)))
}

fn entry_of(at: TopicPartition, marker: &WritableTxnMarker<'_>) -> MarkerEntry {
    let kind = if marker.transaction_result { ControlType::Commit } else { ControlType::Abort };
    MarkerEntry {
        at,
        producer_id: marker.producer_id,
        epoch: marker.producer_epoch,
        marker: EndMarker { kind, coordinator_epoch: marker.coordinator_epoch },
        transaction_version: marker.transaction_version.into(),
    }
}
