//! How a connection shard asks the coordinator of a transactional id, on whatever shard it lives.
//!
//! Answered on the lane: a step waits for the disk at most. What might wait longer, a new producer id, is brought along.

use super::topic::{CoordinatorTopic, partition_of};
use super::transactions::{TransactionInput, TransactionOutput};
use crate::mesh::{Reply, ShardReply, ShardRequest};
use crate::shard::Shard;
use ringlane_coordinator::transaction::{TransactionReply, TransactionRequest};
use ringlane_metadata::Topic;
use ringlane_partition::TopicPartition;
use ringlane_protocol::ErrorCode;
use std::rc::Rc;

pub type TransactionResult = Result<TransactionOutput, ErrorCode>;

pub struct TransactionCall {
    pub at: TopicPartition,
    pub input: TransactionInput,
}

impl Shard {
    /// Asks the coordinator of the request's transactional id, if it is this broker.
    pub async fn ask_transaction(
        self: &Rc<Self>,
        request: TransactionRequest,
        producer_id: Option<i64>,
    ) -> Result<TransactionReply, ErrorCode> {
        let at = self.transaction_coordinator_of(request.transactional_id())?;
        match self.ask_transactions(at, TransactionInput::Client { request, producer_id }).await? {
            TransactionOutput::Answer(reply) => Ok(reply),
            _ => Err(ErrorCode::UnknownServerError),
        }
    }

    /// Asks the coordinator at `at`.
    pub async fn ask_transactions(self: &Rc<Self>, at: TopicPartition, input: TransactionInput) -> TransactionResult {
        let home = self.placement.home(at.topic_id, at.partition);
        match self.ask(home, ShardRequest::Transaction(TransactionCall { at, input })).await {
            Some(ShardReply::Transaction(result)) => result,
            _ => Err(ErrorCode::NotCoordinator),
        }
    }

    /// The partition that coordinates the transactional id. `Err`: not here.
    pub fn transaction_coordinator_of(&self, transactional_id: &str) -> Result<TopicPartition, ErrorCode> {
        let image = self.image();
        let topic = image.topic_by_name(CoordinatorTopic::Transactions.name()).ok_or(ErrorCode::NotCoordinator)?;
        let partition = partition_of(transactional_id, topic.partitions.len());
        let is_led_here = topic.partition(partition).is_some_and(|found| found.leader == self.identity.node_id);
        match is_led_here {
            true => Ok(TopicPartition { topic_id: topic.id, partition }),
            false => Err(ErrorCode::NotCoordinator),
        }
    }

    /// All partitions whose transactional ids this broker coordinates.
    pub fn coordinated_transactions(&self) -> Vec<TopicPartition> {
        let image = self.image();
        let led = |topic: &Topic| -> Vec<TopicPartition> {
            let partitions = (0..).zip(topic.partitions.iter());
            let led = partitions.filter(|(_, partition)| partition.leader == self.identity.node_id);
            led.map(|(partition, _)| TopicPartition { topic_id: topic.id, partition }).collect()
        };
        image.topic_by_name(CoordinatorTopic::Transactions.name()).map(|topic| led(topic)).unwrap_or_default()
    }

    /// The home shard's side: one step of the coordinator.
    pub fn serve_transaction(&self, call: TransactionCall, reply: Reply) {
        let TransactionCall { at, input } = call;
        let answer = move |result| reply.send(ShardReply::Transaction(result));
        self.coordinators.transactions.request(at, input, Box::new(answer));
    }
}
