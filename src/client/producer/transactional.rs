//! The calls of a transactional producer, and the requests that they make of the coordinators.

use super::Producer;
use super::accumulator::Target;
use super::queue::Identity;
use super::sender::Shared;
use super::transaction::{End, Transaction};
use crate::coordinator::{Coordinator, CoordinatorOf};
use crate::group::offsets::{Offsets, by_topic};
use crate::{ClientError, CommittedOffset, Connection, GroupMetadata, TopicPartition};
use ringlane_protocol::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use ringlane_protocol::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
};
use ringlane_protocol::end_txn::{EndTxnRequest, EndTxnResponse};
use ringlane_protocol::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringlane_protocol::records::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID};
use ringlane_protocol::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
};
use ringlane_protocol::{ApiKey, ErrorCode};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Later versions of AddPartitionsToTxn are between brokers.
const ADD_PARTITIONS_MAX: i16 = 3;
/// The last versions with which a client tells the coordinator itself, and ends a transaction without a new epoch (KIP-890).
const PRODUCE_EXPLICIT_MAX: i16 = 11;
const TXN_OFFSETS_EXPLICIT_MAX: i16 = 4;
const END_EXPLICIT_MAX: i16 = 4;
/// The last version of TxnOffsetCommit that names topics by name.
const TXN_OFFSETS_NAMES_MAX: i16 = 5;
/// First version of InitProducerId that renews an epoch (KIP-360).
const INIT_RENEWS_FROM: i16 = 3;
const TRANSACTION_VERSION: &str = "transaction.version";

/// What a producer with a transactional id has beside the others.
pub(super) struct Transactional {
    pub(super) id: String,
    timeout: Duration,
    coordinator: Coordinator,
    pub(super) transaction: RefCell<Transaction>,
    identity: Cell<Option<Identity>>,
}

impl Transactional {
    pub(super) fn new(client: &crate::Client, id: &str, timeout: Duration) -> Transactional {
        Transactional {
            id: id.to_string(),
            timeout,
            coordinator: Coordinator::new(client, CoordinatorOf::Transaction, id),
            transaction: RefCell::default(),
            identity: Cell::new(None),
        }
    }

    /// The newest version of Produce that this transaction allows.
    pub(super) fn produce_max(&self) -> i16 {
        if self.transaction.borrow().is_implicit() { i16::MAX } else { PRODUCE_EXPLICIT_MAX }
    }

    fn current(&self) -> Result<Identity, ClientError> {
        self.identity.get().ok_or_else(|| ClientError::Misuse { what: "call init_transactions first".to_string() })
    }

    /// Asks for a producer id and epoch; whoever had the transactional id before is fenced, and its transaction aborted.
    async fn init(&self, renewed: Option<Identity>) -> Result<Identity, ClientError> {
        let what = format!("a producer id for transactional id {}", self.id);
        let request = InitProducerIdRequest {
            transactional_id: Some(&self.id),
            transaction_timeout_ms: self.timeout.as_millis().try_into().unwrap_or(i32::MAX),
            producer_id: renewed.map_or(NO_PRODUCER_ID, |identity| identity.id),
            producer_epoch: renewed.map_or(NO_PRODUCER_EPOCH, |identity| identity.epoch),
        };
        let (request, what) = (&request, what.as_str());
        let ask = async |connection: Connection| {
            let version = connection.version_of(ApiKey::InitProducerId)?;
            if renewed.is_some() && version < INIT_RENEWS_FROM {
                return Err(ClientError::refused(what, ErrorCode::UnsupportedVersion, None));
            }
            let reply = connection.call_at(version, request).await?;
            let response: InitProducerIdResponse = reply.body()?;
            response.error_code.ok().map_err(|code| ClientError::refused(what, code, None))?;
            Ok(Identity { id: response.producer_id, epoch: response.producer_epoch })
        };
        self.coordinator.repeat(what, ask).await
    }

    /// Tells the coordinator of partitions that get their first batch of this transaction.
    pub(super) async fn add_partitions(&self, targets: &[Target]) -> Result<(), ClientError> {
        let Identity { id, epoch } = self.current()?;
        let topics = targets.chunk_by(|a, b| a.topic == b.topic).map(|chunk| AddPartitionsToTxnTopic {
            name: &chunk[0].topic,
            partitions: chunk.iter().map(|target| target.partition).collect(),
        });
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: &self.id,
            v3_and_below_producer_id: id,
            v3_and_below_producer_epoch: epoch,
            v3_and_below_topics: topics.collect(),
            ..Default::default()
        };
        let request = &request;
        let ask = async |connection: Connection| {
            let version = connection.version_up_to(ApiKey::AddPartitionsToTxn, ADD_PARTITIONS_MAX)?;
            let reply = connection.call_at(version, request).await?;
            let response: AddPartitionsToTxnResponse = reply.body()?;
            let results = response.results_by_topic_v3_and_below.iter().flat_map(|topic| {
                topic
                    .results_by_partition
                    .iter()
                    .map(|partition| (topic.name, partition.partition_index, partition.partition_error_code))
            });
            // One that was not tried says nothing of why.
            let failed = results.filter(|(_, _, code)| !code.is_ok());
            let worst = failed.min_by_key(|(_, _, code)| *code == ErrorCode::OperationNotAttempted);
            match worst {
                None => Ok(()),
                Some((topic, partition, code)) => {
                    let what = format!("adding topic {topic} partition {partition} to the transaction");
                    Err(ClientError::refused(what, code, None))
                }
            }
        };
        self.coordinator.repeat("adding partitions to the transaction", ask).await
    }

    async fn add_offsets(&self, group: &str) -> Result<(), ClientError> {
        let Identity { id, epoch } = self.current()?;
        let request = AddOffsetsToTxnRequest {
            transactional_id: &self.id,
            producer_id: id,
            producer_epoch: epoch,
            group_id: group,
        };
        let (request, what) = (&request, format!("adding group {group} to the transaction"));
        let what = what.as_str();
        let ask = async |connection: Connection| {
            let reply = connection.call(request).await?;
            let response: AddOffsetsToTxnResponse = reply.body()?;
            response.error_code.ok().map_err(|code| ClientError::refused(what, code, None))
        };
        self.coordinator.repeat(what, ask).await
    }

    async fn commit_offsets(
        &self,
        client: &crate::Client,
        who: &GroupMetadata,
        offsets: &Offsets,
    ) -> Result<(), ClientError> {
        let Identity { id, epoch } = self.current()?;
        let topics = by_topic(offsets.iter()).into_iter().map(|(topic, partitions)| TxnOffsetCommitRequestTopic {
            name: topic,
            topic_id: Default::default(),
            partitions: partitions
                .into_iter()
                .map(|(partition_index, committed)| TxnOffsetCommitRequestPartition {
                    partition_index,
                    committed_offset: committed.offset,
                    committed_leader_epoch: committed.leader_epoch,
                    committed_metadata: Some(&committed.metadata),
                })
                .collect(),
        });
        let request = TxnOffsetCommitRequest {
            transactional_id: &self.id,
            group_id: &who.group,
            producer_id: id,
            producer_epoch: epoch,
            generation_id_or_member_epoch: who.generation,
            member_id: &who.member_id,
            group_instance_id: who.instance.as_deref(),
            topics: topics.collect(),
        };
        let is_implicit = self.transaction.borrow().is_implicit();
        let at_most = if is_implicit { TXN_OFFSETS_NAMES_MAX } else { TXN_OFFSETS_EXPLICIT_MAX };
        let request = &request;
        let ask = async |connection: Connection| {
            let version = connection.version_up_to(ApiKey::TxnOffsetCommit, at_most)?;
            let reply = connection.call_at(version, request).await?;
            let response: TxnOffsetCommitResponse = reply.body()?;
            let partitions = response.topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| (topic.name, p)));
            for (topic, partition) in partitions {
                let what =
                    || format!("offset of topic {topic} partition {} in the transaction", partition.partition_index);
                partition.error_code.ok().map_err(|code| ClientError::refused(what(), code, None))?;
            }
            Ok(())
        };
        let coordinator = Coordinator::new(client, CoordinatorOf::Group, &who.group);
        coordinator.repeat("committing offsets in the transaction", ask).await
    }

    /// Gives the new epoch, if the answer brings one.
    async fn end(&self, committed: bool) -> Result<Option<Identity>, ClientError> {
        let Identity { id, epoch } = self.current()?;
        let request = EndTxnRequest { transactional_id: &self.id, producer_id: id, producer_epoch: epoch, committed };
        let is_implicit = self.transaction.borrow().is_implicit();
        let at_most = if is_implicit { i16::MAX } else { END_EXPLICIT_MAX };
        let what = if committed { "committing the transaction" } else { "aborting the transaction" };
        let request = &request;
        let ask = async |connection: Connection| {
            let version = connection.version_up_to(ApiKey::EndTxn, at_most)?;
            let reply = connection.call_at(version, request).await?;
            let response: EndTxnResponse = reply.body()?;
            response.error_code.ok().map_err(|code| ClientError::refused(what, code, None))?;
            let is_new = version > END_EXPLICIT_MAX && response.producer_id >= 0;
            Ok(is_new.then_some(Identity { id: response.producer_id, epoch: response.producer_epoch }))
        };
        self.coordinator.repeat(what, ask).await
    }

    /// Whether the cluster's leaders tell the coordinator of partitions.
    async fn is_implicit(&self) -> Result<bool, ClientError> {
        let feature = async |connection: Connection| Ok(connection.feature(TRANSACTION_VERSION));
        let level = self.coordinator.repeat("the coordinator's features", feature).await?;
        Ok(level >= 2)
    }
}

impl Producer {
    fn transactional(&self) -> Result<&Transactional, ClientError> {
        self.shared.transactional.as_ref().ok_or_else(|| ClientError::Misuse {
            what: "this producer has no transactional id: set ProducerOptions::transactional_id".to_string(),
        })
    }

    /// Once, before the first transaction. Fences every earlier producer of the same transactional id, and ends what it left open.
    pub async fn init_transactions(&self) -> Result<(), ClientError> {
        let transactional = self.transactional()?;
        if transactional.transaction.borrow().is_initialized() {
            return Ok(());
        }
        let identity = transactional.init(None).await?;
        self.shared.take_identity(transactional, identity);
        transactional.transaction.borrow_mut().initialized();
        Ok(())
    }

    /// Records that are sent from now on become visible together, or not at all.
    pub async fn begin_transaction(&self) -> Result<(), ClientError> {
        let transactional = self.transactional()?;
        let is_implicit = transactional.is_implicit().await?;
        transactional.transaction.borrow_mut().begin(is_implicit)
    }

    /// Commits offsets of a group with the transaction: what was read counts as read only if what was made of it counts too. `who`: the
    /// consumer's [`crate::GroupConsumer::group_metadata`].
    pub async fn send_offsets(
        &self,
        who: &GroupMetadata,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<(), ClientError> {
        let transactional = self.transactional()?;
        transactional.transaction.borrow().check_open()?;
        if offsets.is_empty() {
            return Ok(());
        }
        let is_implicit = transactional.transaction.borrow().is_implicit();
        transactional.transaction.borrow_mut().begun();
        let sent = async {
            if !is_implicit {
                transactional.add_offsets(&who.group).await?;
            }
            transactional.commit_offsets(&self.shared.client, who, offsets).await
        };
        let sent = sent.await;
        sent.or_else(|error| self.shared.fail_transaction(transactional, error))
    }

    /// Sends what is buffered and makes the transaction visible. After [`ClientError::Abortable`] only an abort is left.
    pub async fn commit_transaction(&self) -> Result<(), ClientError> {
        let transactional = self.transactional()?;
        transactional.transaction.borrow_mut().begin_commit()?;
        // What failed is told by the state of the transaction, with its reason.
        let _ = self.flush().await;
        let failed = transactional.transaction.borrow().error();
        match failed {
            Some(error) => Err(error),
            None => self.end_transaction(transactional, true).await,
        }
    }

    /// Takes back what the transaction has sent; what is not sent yet fails. The producer can begin another.
    pub async fn abort_transaction(&self) -> Result<(), ClientError> {
        let transactional = self.transactional()?;
        transactional.transaction.borrow().begin_abort()?;
        self.shared.batches.borrow_mut().fail_waiting(&ClientError::Aborted);
        let _ = self.flush().await;
        self.end_transaction(transactional, false).await
    }

    async fn end_transaction(&self, transactional: &Transactional, committed: bool) -> Result<(), ClientError> {
        let how = transactional.transaction.borrow().end();
        let outcome = match how {
            End::Nothing => Ok(None),
            End::Ask => transactional.end(committed).await,
        };
        let new = match outcome {
            Ok(new) => new,
            // The coordinator has forgotten the id, and the transaction with it: a new one is to be had.
            Err(error) if !committed && error.code() == Some(ErrorCode::InvalidProducerIdMapping) => None,
            Err(error) => return self.shared.fail_transaction(transactional, error),
        };
        if let Some(identity) = new {
            self.shared.take_identity(transactional, identity);
        }
        let needs_new_epoch = transactional.transaction.borrow_mut().ended(new.is_some());
        self.shared.batches.borrow_mut().forget_failure();
        if needs_new_epoch {
            let identity = transactional.init(transactional.identity.get()).await;
            let identity = match identity {
                Ok(identity) => identity,
                Err(error) => return self.shared.fail_transaction(transactional, error),
            };
            self.shared.take_identity(transactional, identity);
            transactional.transaction.borrow_mut().has_new_epoch();
        }
        Ok(())
    }
}

impl Shared {
    fn take_identity(&self, transactional: &Transactional, identity: Identity) {
        transactional.identity.set(Some(identity));
        self.batches.borrow_mut().set_identity(identity);
        self.changed.notify_all();
    }

    /// Notes the error, and that nothing of this transaction will be sent any more.
    fn fail_transaction(&self, transactional: &Transactional, error: ClientError) -> Result<(), ClientError> {
        transactional.transaction.borrow_mut().failed(error);
        self.drop_what_is_lost();
        let told = transactional.transaction.borrow().error();
        told.map_or(Ok(()), Err)
    }

    /// A failed transaction takes down what waits to be sent.
    pub(super) fn drop_what_is_lost(&self) {
        let Some(transactional) = &self.transactional else { return };
        if let Some(error) = self.batches.borrow().failure() {
            transactional.transaction.borrow_mut().batch_failed(error);
        }
        let error = transactional.transaction.borrow().error();
        if let Some(error) = error {
            self.batches.borrow_mut().fail_waiting(&error);
            self.changed.notify_all();
        }
    }

    /// Tells the coordinator of new partitions, one request at a time.
    pub(super) fn add_partitions(self: &Rc<Self>) {
        let Some(transactional) = &self.transactional else { return };
        let Some(targets) = transactional.transaction.borrow_mut().partitions_to_add() else { return };
        let shared = self.clone();
        let ask = async move {
            let Some(transactional) = &shared.transactional else { return };
            let outcome = transactional.add_partitions(&targets).await;
            transactional.transaction.borrow_mut().added(targets, outcome);
            shared.drop_what_is_lost();
            shared.changed.notify_all();
        };
        ringlane_runtime::spawn("producer transaction", ask).detach();
    }
}
