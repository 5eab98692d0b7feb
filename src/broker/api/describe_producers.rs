//! DescribeProducers (61): who writes to a partition, and since where a transaction is open there (KIP-664).

use super::Handled;
use super::auto_create::check_name;
use super::request::Request;
use crate::mesh::{ShardReply, ShardRequest};
use crate::shard::Shard;
use ringlane_partition::{ActiveProducer, TopicPartition};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use ringlane_runtime::ShardId;
use std::collections::BTreeMap;

type Described = Result<Vec<ActiveProducer>, ErrorCode>;

pub async fn answer(request: Request) -> Handled {
    let mut parts: BTreeMap<ShardId, (Vec<TopicPartition>, Vec<usize>)> = BTreeMap::new();
    let mut described: Vec<Described> = Vec::new();
    {
        let body: DescribeProducersRequest = request.body()?;
        for topic in &body.topics {
            for &partition in &topic.partition_indexes {
                let found = place_of(request.shard(), topic.name, partition);
                if let Ok((at, home)) = found {
                    let (wanted, places) = parts.entry(home).or_default();
                    wanted.push(at);
                    places.push(described.len());
                }
                described.push(Err(found.err().unwrap_or(ErrorCode::NotLeaderOrFollower)));
            }
        }
    }
    for (home, (wanted, places)) in parts {
        let Some(ShardReply::Producers(reply)) = request.shard().ask(home, ShardRequest::Producers(wanted)).await
        else {
            continue;
        };
        places.into_iter().zip(reply.results).for_each(|(place, result)| described[place] = result);
    }
    let body: DescribeProducersRequest = request.body()?;
    let mut described = described.iter();
    let topics = body.topics.iter().map(|topic| TopicResponse {
        name: topic.name,
        partitions: topic
            .partition_indexes
            .iter()
            .zip(described.by_ref())
            .map(|(&partition_index, described)| partition_response(partition_index, described))
            .collect(),
    });
    Ok(request.reply(&DescribeProducersResponse { throttle_time_ms: 0, topics: topics.collect() }))
}

fn place_of(shard: &Shard, topic: &str, partition: i32) -> Result<(TopicPartition, ShardId), ErrorCode> {
    check_name(topic)?;
    let image = shard.image();
    let topic = image.topic_by_name(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    topic.partition(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let at = TopicPartition { topic_id: topic.id, partition };
    Ok((at, shard.placement.home(at.topic_id, at.partition)))
}

fn partition_response(partition_index: i32, described: &Described) -> PartitionResponse<'_> {
    let producers = described.as_deref().unwrap_or_default().iter().map(|producer| ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: producer.epoch.into(),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.transaction_start_offset,
    });
    PartitionResponse {
        partition_index,
        error_code: described.as_ref().err().copied().unwrap_or(ErrorCode::None),
        error_message: None,
        active_producers: producers.collect(),
    }
}
