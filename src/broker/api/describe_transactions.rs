//! DescribeTransactions (65): where transactional ids stand (KIP-664).

use super::Handled;
use super::request::Request;
use crate::coordinator::{TransactionInput, TransactionOutput};
use crate::shard::Shard;
use ringlane_coordinator::transaction::TransactionDescription;
use ringlane_protocol::ErrorCode;
use ringlane_protocol::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, TopicData, TransactionState,
};
use std::rc::Rc;

type Described = Result<TransactionDescription, ErrorCode>;

pub async fn answer(request: Request) -> Handled {
    let ids: Vec<String> = {
        let body: DescribeTransactionsRequest = request.body()?;
        body.transactional_ids.iter().map(|id| id.to_string()).collect()
    };
    let mut described = Vec::with_capacity(ids.len());
    for id in ids {
        let found = describe(request.shard(), &id).await;
        described.push((id, found));
    }
    let states = described.iter().map(|(id, described)| match described {
        Ok(found) => TransactionState {
            error_code: ErrorCode::None,
            transactional_id: id,
            transaction_state: found.state.name(),
            transaction_timeout_ms: found.timeout_ms,
            transaction_start_time_ms: found.start_ms,
            producer_id: found.producer.producer_id,
            producer_epoch: found.producer.epoch,
            topics: topics(found),
        },
        Err(error_code) => {
            TransactionState { error_code: *error_code, transactional_id: id, ..TransactionState::default() }
        }
    });
    Ok(request.reply(&DescribeTransactionsResponse { throttle_time_ms: 0, transaction_states: states.collect() }))
}

async fn describe(shard: &Rc<Shard>, id: &str) -> Described {
    if id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    let at = shard.transaction_coordinator_of(id)?;
    match shard.ask_transactions(at, TransactionInput::Describe(vec![id.to_owned()])).await? {
        TransactionOutput::Described(mut found) => found.pop().map_or(Err(ErrorCode::UnknownServerError), |(_, it)| it),
        _ => Err(ErrorCode::UnknownServerError),
    }
}

fn topics(found: &TransactionDescription) -> Vec<TopicData<'_>> {
    let mut topics: Vec<TopicData<'_>> = Vec::new();
    for at in &found.partitions {
        match topics.last_mut().filter(|last| last.topic == &*at.topic) {
            Some(topic) => topic.partitions.push(at.partition),
            None => topics.push(TopicData { topic: &at.topic, partitions: vec![at.partition] }),
        }
    }
    topics
}
