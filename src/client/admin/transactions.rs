//! Transactions seen from outside: which are open, what they wrote to, and ending one that nobody ends.

use super::{Admin, check, missing};
use crate::coordinator::{Coordinator, CoordinatorOf};
use crate::{ClientError, Connection, TopicPartition};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::describe_producers::{DescribeProducersRequest, DescribeProducersResponse, TopicRequest};
use ringlane_protocol::describe_transactions::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use ringlane_protocol::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringlane_protocol::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};
use ringlane_protocol::records::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID};
use ringlane_protocol::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

/// ListTransactions' word for transactions of any age.
const ANY_AGE: i64 = -1;
/// Of the producer that only fences: it opens no transaction.
const FENCING_TIMEOUT_MS: i32 = 60_000;
/// A coordinator that writes markers itself has an epoch; an operator's marker has the oldest that no leader refuses.
const NO_COORDINATOR_EPOCH: i32 = 0;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionListing {
    pub transactional_id: String,
    pub producer_id: i64,
    pub state: String,
    /// Of its coordinator.
    pub coordinator: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionDescription {
    pub transactional_id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub state: String,
    pub timeout_ms: i32,
    /// Milliseconds since 1970; `None` when none is open.
    pub started: Option<i64>,
    pub partitions: Vec<TopicPartition>,
    /// HOST:PORT.
    pub coordinator: String,
}

/// A producer as a partition's leader remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerState {
    pub producer_id: i64,
    pub producer_epoch: i32,
    pub last_sequence: i32,
    /// Milliseconds since 1970.
    pub last_timestamp: i64,
    /// `None` before the first marker.
    pub coordinator_epoch: Option<i32>,
    /// Where its open transaction begins.
    pub transaction_start: Option<i64>,
}

impl Admin {
    /// Transactional ids in these states (Kafka's names; none: all), by id. Asks every broker.
    pub async fn list_transactions(&self, states: &[String]) -> Result<Vec<TransactionListing>, ClientError> {
        let mut all = Vec::new();
        for broker in self.client.brokers() {
            let what = format!("transactions of broker {}", broker.id);
            let request = ListTransactionsRequest {
                state_filters: states.iter().map(String::as_str).collect(),
                duration_filter: ANY_AGE,
                ..Default::default()
            };
            let read = async || {
                let reply = self.client.open(broker.id).await?.call(&request).await?;
                let response: ListTransactionsResponse = reply.body()?;
                check(&what, response.error_code, None)?;
                if let Some(unknown) = response.unknown_state_filters.first() {
                    let told = format!("there is no state {unknown:?}");
                    return Err(ClientError::refused(&what, ErrorCode::InvalidRequest, Some(&told)));
                }
                let listing = |found: &ringlane_protocol::list_transactions::TransactionState<'_>| TransactionListing {
                    transactional_id: found.transactional_id.to_string(),
                    producer_id: found.producer_id,
                    state: found.transaction_state.to_string(),
                    coordinator: broker.id,
                };
                Ok(response.transaction_states.iter().map(listing).collect::<Vec<_>>())
            };
            all.extend(self.patiently(&what, read).await?);
        }
        all.sort();
        Ok(all)
    }

    /// [`ErrorCode::TransactionalIdNotFound`] when nobody has used the id, or not for long.
    pub async fn describe_transaction(&self, id: &str) -> Result<TransactionDescription, ClientError> {
        let what = format!("describing transactional id {id}");
        let coordinator = Coordinator::new(&self.client, CoordinatorOf::Transaction, id);
        let request = DescribeTransactionsRequest { transactional_ids: vec![id] };
        let (request, what) = (&request, what.as_str());
        let describe = async |connection: Connection| {
            let reply = connection.call(request).await?;
            let response: DescribeTransactionsResponse = reply.body()?;
            let found = response.transaction_states.first().ok_or_else(|| missing(what))?;
            check(what, found.error_code, None)?;
            let topics = found.topics.iter();
            let partitions = topics.flat_map(|t| t.partitions.iter().map(|&p| TopicPartition::new(t.topic, p)));
            Ok(TransactionDescription {
                transactional_id: id.to_string(),
                producer_id: found.producer_id,
                producer_epoch: found.producer_epoch,
                state: found.transaction_state.to_string(),
                timeout_ms: found.transaction_timeout_ms,
                started: Some(found.transaction_start_time_ms).filter(|&ms| ms >= 0),
                partitions: partitions.collect(),
                coordinator: connection.peer().to_string(),
            })
        };
        coordinator.repeat(what, describe).await
    }

    /// Aborts what is open under a transactional id, and fences its producer: it can send no more.
    pub async fn fence_producer(&self, id: &str) -> Result<(), ClientError> {
        let what = format!("fencing transactional id {id}");
        let coordinator = Coordinator::new(&self.client, CoordinatorOf::Transaction, id);
        let request = InitProducerIdRequest {
            transactional_id: Some(id),
            transaction_timeout_ms: FENCING_TIMEOUT_MS,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
        };
        let (request, what) = (&request, what.as_str());
        let fence = async |connection: Connection| {
            let reply = connection.call(request).await?;
            let response: InitProducerIdResponse = reply.body()?;
            check(what, response.error_code, None)
        };
        coordinator.repeat(what, fence).await
    }

    /// The producers that a partition's leader remembers.
    pub async fn describe_producers(&self, at: &TopicPartition) -> Result<Vec<ProducerState>, ClientError> {
        let what = format!("producers of topic {} partition {}", at.topic, at.partition);
        let topic = TopicRequest { name: &at.topic, partition_indexes: vec![at.partition] };
        let request = DescribeProducersRequest { topics: vec![topic] };
        let (request, what) = (&request, what.as_str());
        let ask = async |connection: Connection| {
            let reply = connection.call(request).await?;
            let response: DescribeProducersResponse = reply.body()?;
            let found = response.topics.first().and_then(|topic| topic.partitions.first());
            let found = found.ok_or_else(|| missing(what))?;
            check(what, found.error_code, found.error_message)?;
            let state = |p: &ringlane_protocol::describe_producers::ProducerState| ProducerState {
                producer_id: p.producer_id,
                producer_epoch: p.producer_epoch,
                last_sequence: p.last_sequence,
                last_timestamp: p.last_timestamp,
                coordinator_epoch: Some(p.coordinator_epoch).filter(|&epoch| epoch >= 0),
                transaction_start: Some(p.current_txn_start_offset).filter(|&offset| offset >= 0),
            };
            Ok(found.active_producers.iter().map(state).collect())
        };
        self.at_leader(at, what, ask).await
    }

    /// Writes an abort marker into one partition, for a transaction that its coordinator has forgotten (KIP-664). `start`: where it begins.
    pub async fn abort_hanging(&self, at: &TopicPartition, start: i64) -> Result<ProducerState, ClientError> {
        let what = format!("aborting the transaction in topic {} partition {}", at.topic, at.partition);
        let what = what.as_str();
        let producers = self.describe_producers(at).await?;
        let producer = producers.into_iter().find(|producer| producer.transaction_start == Some(start));
        let producer = producer.ok_or_else(|| {
            let told = format!("no transaction begins at offset {start}");
            ClientError::refused(what, ErrorCode::InvalidTxnState, Some(&told))
        })?;
        let marker = WritableTxnMarker {
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch.try_into().unwrap_or(i16::MAX),
            transaction_result: false,
            topics: vec![WritableTxnMarkerTopic { name: &at.topic, partition_indexes: vec![at.partition] }],
            coordinator_epoch: producer.coordinator_epoch.unwrap_or(NO_COORDINATOR_EPOCH),
            ..Default::default()
        };
        let request = WriteTxnMarkersRequest { markers: vec![marker] };
        let request = &request;
        let write = async |connection: Connection| {
            let reply = connection.call(request).await?;
            let response: WriteTxnMarkersResponse = reply.body()?;
            let result = response.markers.first().and_then(|marker| marker.topics.first()?.partitions.first());
            check(what, result.ok_or_else(|| missing(what))?.error_code, None)
        };
        self.at_leader(at, what, write).await?;
        Ok(producer)
    }

    /// Asks a partition's leader until the answer is final.
    async fn at_leader<T>(
        &self,
        at: &TopicPartition,
        what: &str,
        ask: impl AsyncFn(Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.client.refresh(&at.topic).await?.require(at.partition)?;
        let attempt = async || {
            let info = self.client.refresh(&at.topic).await?;
            let leader = info.require(at.partition)?.leader;
            let leader = leader.ok_or_else(|| ClientError::refused(what, ErrorCode::LeaderNotAvailable, None))?;
            ask(self.client.open(leader).await?).await
        };
        self.patiently(what, attempt).await
    }
}
