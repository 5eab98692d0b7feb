//! AddOffsetsToTxn (25): the partition of `__consumer_offsets` that holds a group's offsets enters the transaction.

use super::Handled;
use super::init_producer_id::fenced_as;
use super::request::Request;
use crate::coordinator::{CoordinatorTopic, partition_of};
use crate::shard::Shard;
use ringlane_coordinator::transaction::{
    AddPartitions, PartitionName, ProducerIdentity, TransactionReply, TransactionRequest, TransactionVersion,
};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use std::rc::Rc;
use std::sync::Arc;

/// First version whose clients know PRODUCER_FENCED.
const PRODUCER_FENCED_FROM: i16 = 2;

pub async fn answer(request: Request) -> Handled {
    let (transactional_id, producer, group) = {
        let body: AddOffsetsToTxnRequest = request.body()?;
        let producer = ProducerIdentity { producer_id: body.producer_id, epoch: body.producer_epoch };
        (Arc::<str>::from(body.transactional_id), producer, body.group_id.to_owned())
    };
    let error = add(request.shard(), transactional_id, producer, &group).await;
    let error_code = fenced_as(error, request.version, PRODUCER_FENCED_FROM);
    Ok(request.reply(&AddOffsetsToTxnResponse { throttle_time_ms: 0, error_code }))
}

async fn add(shard: &Rc<Shard>, transactional_id: Arc<str>, producer: ProducerIdentity, group: &str) -> ErrorCode {
    // A client may add a group's offsets before it looks for the group's coordinator.
    let topic = CoordinatorTopic::Offsets;
    if topic.ensure(shard).await.is_err() {
        return ErrorCode::CoordinatorNotAvailable;
    }
    let partitions_count = shard.image().topic_by_name(topic.name()).map_or(0, |topic| topic.partitions.len());
    let partition = PartitionName::new(topic.name(), partition_of(group, partitions_count));
    let version = TransactionVersion::Zero;
    let asked = AddPartitions { transactional_id, producer, partitions: [partition].into(), version };
    match shard.ask_transaction(TransactionRequest::AddPartitions(asked), None).await {
        Ok(TransactionReply::AddPartitions(error)) => error,
        Ok(_) => ErrorCode::UnknownServerError,
        Err(error) => error,
    }
}
