//! TxnOffsetCommit (28): offsets that count when the producer's transaction commits. Topics and partitions that do not exist are answered
//! here; the transaction's coordinator must agree that the group's partition belongs to the transaction; the rest is the group's to decide.

use super::Handled;
use super::request::Request;
use super::transaction_gate::{Operation, Writer, ask};
use crate::coordinator::CoordinatorTopic;
use crate::mesh::{ShardReply, ShardRequest};
use crate::net::CloseReason;
use crate::shard::Shard;
use ringlane_coordinator::group::{CommitPartition, CommitTopic, CommitTransactionalOffsets, GroupReply, GroupRequest};
use ringlane_coordinator::transaction::{PartitionName, ProducerIdentity};
use ringlane_metadata::{Image, Topic};
use ringlane_partition::{Gate, TopicPartition, VerificationGuard, VerifyEntry, VerifyRequest};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::NO_SEQUENCE;
use ringlane_protocol::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use std::rc::Rc;
use std::sync::Arc;

/// First version whose clients know that a coordinator may be loading.
const LOADING_FROM: i16 = 2;
/// First version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 4;
/// First version whose group the broker adds to the transaction.
const ADDS_FROM: i16 = 5;
/// First version that names topics by their ids (KIP-516).
const TOPIC_IDS_FROM: i16 = 6;

/// Each partition of the request: its answer, or that it is the coordinator's to give.
type Codes = Vec<Vec<Option<ErrorCode>>>;
type Decided = Result<Vec<Vec<ErrorCode>>, ErrorCode>;

pub async fn answer(request: Request) -> Handled {
    let (writer, asked, codes) = plan(&request)?;
    let decided = match asked.topics.is_empty() {
        true => Ok(Vec::new()),
        false => commit(request.shard(), &writer, asked).await,
    };
    let body: TxnOffsetCommitRequest = request.body()?;
    let by_id = request.version >= TOPIC_IDS_FROM;
    let (error, mut decided) = match decided {
        Ok(codes) => (ErrorCode::UnknownServerError, codes.into_iter().flatten()),
        Err(error) => (error, Vec::new().into_iter().flatten()),
    };
    let topics = body.topics.iter().zip(codes).map(|(topic, codes)| {
        let partitions = topic.partitions.iter().zip(codes).map(|(partition, code)| {
            let error_code = code.unwrap_or_else(|| decided.next().unwrap_or(error));
            TxnOffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: as_client_knows_it(error_code, request.version),
            }
        });
        TxnOffsetCommitResponseTopic {
            name: if by_id { "" } else { topic.name },
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
        }
    });
    Ok(request.reply(&TxnOffsetCommitResponse { throttle_time_ms: 0, topics: topics.collect() }))
}

async fn commit(shard: &Rc<Shard>, writer: &Writer, asked: CommitTransactionalOffsets) -> Decided {
    let at = shard.coordinator_of(&asked.group)?;
    let guard = admit(shard, writer, at).await?;
    match shard.ask_coordinator_guarded(at, GroupRequest::CommitTransactionalOffsets(asked), guard).await? {
        GroupReply::CommitOffsets(codes) => codes,
        _ => Err(ErrorCode::UnknownServerError),
    }
}

/// That the group's partition belongs to the transaction. The guard is `None` when it is known there already.
async fn admit(shard: &Rc<Shard>, writer: &Writer, at: TopicPartition) -> Result<Option<VerificationGuard>, ErrorCode> {
    let home = shard.placement.home(at.topic_id, at.partition);
    let entry = VerifyEntry {
        at,
        producer_id: writer.producer.producer_id,
        epoch: writer.producer.epoch,
        base_sequence: NO_SEQUENCE,
        bumps_epoch: writer.operation.bumps_epoch(),
    };
    let verify = ShardRequest::Verify(VerifyRequest { entries: vec![entry] });
    let gate = match shard.ask(home, verify).await {
        Some(ShardReply::Verify(mut reply)) => reply.results.pop(),
        _ => None,
    };
    match gate {
        Some(Ok(Gate::Open)) => Ok(None),
        Some(Ok(Gate::Verify(guard))) => {
            let name = PartitionName::new(CoordinatorTopic::Offsets.name(), at.partition);
            let refused = ask(shard, writer, [name].into()).await;
            refused.into_values().next().map_or(Ok(Some(guard)), Err)
        }
        Some(Err(failure)) if failure.error == ErrorCode::InvalidProducerEpoch => Err(failure.error),
        Some(Err(_)) | None => Err(ErrorCode::NotCoordinator),
    }
}

fn plan(request: &Request) -> Result<(Writer, CommitTransactionalOffsets, Codes), CloseReason> {
    let body: TxnOffsetCommitRequest = request.body()?;
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
    let operation = match request.version {
        ADDS_FROM.. => Operation::Add,
        ABORTABLE_FROM.. => Operation::Verify,
        _ => Operation::VerifyForOld,
    };
    let producer = ProducerIdentity { producer_id: body.producer_id, epoch: body.producer_epoch };
    let writer = Writer { transactional_id: Arc::from(body.transactional_id), producer, operation };
    let asked = CommitTransactionalOffsets {
        group: body.group_id.to_owned(),
        producer_id: body.producer_id,
        producer_epoch: body.producer_epoch,
        generation: body.generation_id_or_member_epoch,
        member_id: body.member_id.to_owned(),
        instance_id: body.group_instance_id.map(str::to_owned),
        topics,
    };
    Ok((writer, asked, codes))
}

fn find<'a>(image: &'a Image, topic: &TxnOffsetCommitRequestTopic<'_>, by_id: bool) -> Option<&'a Arc<Topic>> {
    if by_id { image.topic(topic.topic_id) } else { image.topic_by_name(topic.name) }
}

fn refusal(
    topic: Option<&Arc<Topic>>,
    partition: &TxnOffsetCommitRequestPartition<'_>,
    by_id: bool,
) -> Option<ErrorCode> {
    match topic {
        None if by_id => Some(ErrorCode::UnknownTopicId),
        None => Some(ErrorCode::UnknownTopicOrPartition),
        Some(topic) if topic.partition(partition.partition_index).is_none() => Some(ErrorCode::UnknownTopicOrPartition),
        Some(_) => None,
    }
}

fn commit_partition(partition: &TxnOffsetCommitRequestPartition<'_>) -> CommitPartition {
    CommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.unwrap_or_default().to_owned(),
    }
}

fn as_client_knows_it(error: ErrorCode, version: i16) -> ErrorCode {
    match error {
        // Producers before 2.0 could end on it (KAFKA-7296).
        ErrorCode::CoordinatorLoadInProgress if version < LOADING_FROM => ErrorCode::CoordinatorNotAvailable,
        error => error,
    }
}
