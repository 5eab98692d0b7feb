//! AddPartitionsToTxn (24): one transaction of a client below version 4; from there on any number, from brokers that add or verify (KIP-890).

use super::Handled;
use super::init_producer_id::fenced_as;
use super::request::Request;
use crate::shard::Shard;
use ringlane_coordinator::transaction::{
    AddPartitions, PartitionName, ProducerIdentity, TransactionReply, TransactionRequest, TransactionVersion,
};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnResult,
    AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult,
};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// First version with several transactions in one request.
const BATCHED_FROM: i16 = 4;
/// First version whose clients know PRODUCER_FENCED.
const PRODUCER_FENCED_FROM: i16 = 2;
/// First version that speaks for clients whose epoch is bumped with every transaction.
const BUMPS_EPOCH_FROM: i16 = 5;

struct Asked {
    add: AddPartitions,
    verify_only: bool,
}

type Codes = BTreeMap<PartitionName, ErrorCode>;

pub async fn answer(request: Request) -> Handled {
    let asked = {
        let body: AddPartitionsToTxnRequest = request.body()?;
        match request.version >= BATCHED_FROM {
            true => body
                .transactions
                .iter()
                .map(|asked| {
                    let producer = ProducerIdentity { producer_id: asked.producer_id, epoch: asked.producer_epoch };
                    let add = add_partitions(&request, asked.transactional_id, producer, &asked.topics);
                    Asked { add, verify_only: asked.verify_only }
                })
                .collect(),
            false => {
                let epoch = body.v3_and_below_producer_epoch;
                let producer = ProducerIdentity { producer_id: body.v3_and_below_producer_id, epoch };
                let (id, topics) = (body.v3_and_below_transactional_id, &body.v3_and_below_topics);
                vec![Asked { add: add_partitions(&request, id, producer, topics), verify_only: false }]
            }
        }
    };
    let mut results: Vec<(Arc<str>, Codes)> = Vec::with_capacity(asked.len());
    for Asked { add, verify_only } in asked {
        let id = add.transactional_id.clone();
        let mut codes = decide(request.shard(), add, verify_only).await;
        codes.values_mut().for_each(|code| *code = fenced_as(*code, request.version, PRODUCER_FENCED_FROM));
        results.push((id, codes));
    }
    let mut by_transaction: Vec<AddPartitionsToTxnResult> = results
        .iter()
        .map(|(id, codes)| AddPartitionsToTxnResult { transactional_id: id, topic_results: by_topic(codes) })
        .collect();
    let response = match request.version >= BATCHED_FROM {
        true => AddPartitionsToTxnResponse { results_by_transaction: by_transaction, ..Default::default() },
        false => AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: by_transaction.pop().map(|only| only.topic_results).unwrap_or_default(),
            ..Default::default()
        },
    };
    Ok(request.reply(&response))
}

fn add_partitions(
    request: &Request,
    transactional_id: &str,
    producer: ProducerIdentity,
    topics: &[AddPartitionsToTxnTopic<'_>],
) -> AddPartitions {
    let of_topic = |topic: &AddPartitionsToTxnTopic<'_>| {
        let name: Arc<str> = Arc::from(topic.name);
        let named = |&partition: &i32| PartitionName { topic: name.clone(), partition };
        topic.partitions.iter().map(named).collect::<Vec<_>>()
    };
    let version = match request.version {
        BUMPS_EPOCH_FROM.. => TransactionVersion::Two,
        _ => TransactionVersion::Zero,
    };
    AddPartitions {
        transactional_id: Arc::from(transactional_id),
        producer,
        partitions: topics.iter().flat_map(of_topic).collect(),
        version,
    }
}

/// All partitions are added, or none: one that does not exist spoils the others.
async fn decide(shard: &Rc<Shard>, add: AddPartitions, verify_only: bool) -> Codes {
    let missing: Vec<&PartitionName> = {
        let image = shard.image();
        let exists = |at: &PartitionName| {
            image.topic_by_name(&at.topic).is_some_and(|topic| topic.partition(at.partition).is_some())
        };
        add.partitions.iter().filter(|at| !exists(at)).collect()
    };
    if !missing.is_empty() {
        let code = |at: &PartitionName| match missing.contains(&at) {
            true => ErrorCode::UnknownTopicOrPartition,
            false => ErrorCode::OperationNotAttempted,
        };
        return add.partitions.iter().map(|at| (at.clone(), code(at))).collect();
    }
    let partitions = add.partitions.clone();
    let all = |error| partitions.iter().map(|at| (at.clone(), error)).collect();
    let asked = match verify_only {
        true => TransactionRequest::VerifyPartitions(add),
        false => TransactionRequest::AddPartitions(add),
    };
    match shard.ask_transaction(asked, None).await {
        Ok(TransactionReply::AddPartitions(error)) => all(error),
        Ok(TransactionReply::VerifyPartitions(codes)) => codes.into_iter().collect(),
        Ok(_) => all(ErrorCode::UnknownServerError),
        Err(error) => all(error),
    }
}

fn by_topic(codes: &Codes) -> Vec<AddPartitionsToTxnTopicResult<'_>> {
    let mut topics: Vec<AddPartitionsToTxnTopicResult<'_>> = Vec::new();
    for (at, code) in codes {
        let result = AddPartitionsToTxnPartitionResult { partition_index: at.partition, partition_error_code: *code };
        match topics.last_mut().filter(|last| last.name == &*at.topic) {
            Some(topic) => topic.results_by_partition.push(result),
            None => {
                topics.push(AddPartitionsToTxnTopicResult { name: &at.topic, results_by_partition: vec![result] });
            }
        }
    }
    topics
}
