//! Transactions, as an operator asks for them (KIP-664): which there are, where they stand, and ending one whose producer is gone.

use super::{Admin, check, missing};
use crate::ClientError;
use crate::retry::Retry;
use ringlane_protocol::ErrorCode;
use ringlane_protocol::describe_transactions::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use ringlane_protocol::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringlane_protocol::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};
use std::collections::BTreeMap;

/// FindCoordinator's number for transactional ids.
const TRANSACTION: i8 = 1;
/// "Whatever its age".
const ANY_DURATION: i64 = -1;
/// The timeout that a transactional id has after it was ended by hand, until its next producer brings its own.
const TIMEOUT_MS: i32 = 60_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionListing {
    pub transactional_id: String,
    pub producer_id: i64,
    pub state: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionDetails {
    pub transactional_id: String,
    pub coordinator: i32,
    pub state: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub timeout_ms: i32,
    /// When the open transaction began, in milliseconds since 1970.
    pub start_ms: Option<i64>,
    pub partitions: Vec<(String, i32)>,
}

impl Admin {
    /// The transactional ids of all brokers, by name. `states`: only those in one of these; empty: all.
    pub async fn transactions(&self, states: &[String]) -> Result<Vec<TransactionListing>, ClientError> {
        let what = "listing transactions";
        let request = ListTransactionsRequest {
            state_filters: states.iter().map(String::as_str).collect(),
            duration_filter: ANY_DURATION,
            ..Default::default()
        };
        let mut found = BTreeMap::new();
        for broker in self.describe_cluster().await?.brokers {
            let mut retry = Retry::within(self.client.options().api_timeout);
            let listed = loop {
                let outcome = async {
                    let reply = self.client.open(broker.id).await?.call(&request).await?;
                    let response: ListTransactionsResponse = reply.body()?;
                    check(what, response.error_code, None)?;
                    let listing = |listed: &ringlane_protocol::list_transactions::TransactionState<'_>| {
                        let listing = TransactionListing {
                            transactional_id: listed.transactional_id.to_owned(),
                            producer_id: listed.producer_id,
                            state: listed.transaction_state.to_owned(),
                        };
                        (listing.transactional_id.clone(), listing)
                    };
                    Ok(response.transaction_states.iter().map(listing).collect::<Vec<_>>())
                };
                match outcome.await {
                    Ok(listed) => break listed,
                    Err(error) => retry.after(what, error).await?,
                }
            };
            found.extend(listed);
        }
        Ok(found.into_values().collect())
    }

    pub async fn describe_transaction(&self, transactional_id: &str) -> Result<TransactionDetails, ClientError> {
        let what = format!("describing transactional id {transactional_id}");
        let request = DescribeTransactionsRequest { transactional_ids: vec![transactional_id] };
        self.at_coordinator_of(&what, TRANSACTION, transactional_id, async |coordinator, connection| {
            let reply = connection.call(&request).await?;
            let response: DescribeTransactionsResponse = reply.body()?;
            let found = response.transaction_states.first().ok_or_else(|| missing(&what))?;
            check(&what, found.error_code, None)?;
            let of_topic = |topic: &ringlane_protocol::describe_transactions::TopicData<'_>| {
                let name = topic.topic.to_owned();
                topic.partitions.clone().into_iter().map(move |partition| (name.clone(), partition))
            };
            Ok(TransactionDetails {
                transactional_id: transactional_id.to_owned(),
                coordinator,
                state: found.transaction_state.to_owned(),
                producer_id: found.producer_id,
                producer_epoch: found.producer_epoch,
                timeout_ms: found.transaction_timeout_ms,
                start_ms: Some(found.transaction_start_time_ms).filter(|ms| *ms >= 0),
                partitions: found.topics.iter().flat_map(of_topic).collect(),
            })
        })
        .await
    }

    /// Aborts what is open under a transactional id and shuts its producer out; returns when it is done. An id that nobody has used yet is
    /// left alone.
    pub async fn abort_transaction(&self, transactional_id: &str) -> Result<(), ClientError> {
        self.describe_transaction(transactional_id).await?;
        let what = format!("aborting the transaction of {transactional_id}");
        let request = InitProducerIdRequest {
            transactional_id: Some(transactional_id),
            transaction_timeout_ms: TIMEOUT_MS,
            ..Default::default()
        };
        self.at_coordinator_of(&what, TRANSACTION, transactional_id, async |_, connection| {
            let reply = connection.call(&request).await?;
            let response: InitProducerIdResponse = reply.body()?;
            match response.error_code {
                // It is being aborted: asked again, the coordinator says when it is.
                code @ ErrorCode::ConcurrentTransactions => check(&what, code, Some("its markers are being written")),
                code => check(&what, code, None),
            }
        })
        .await
    }
}
