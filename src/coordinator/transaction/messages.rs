//! What is asked of a transaction coordinator, what it answers, and what else it wants done.

use super::state::{Outcome, TransactionState, TransactionVersion};
use crate::{Effects, ReplyTo};
use ringlane_protocol::ErrorCode;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A partition as `__transaction_state` names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionName {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl PartitionName {
    pub fn new(topic: &str, partition: i32) -> PartitionName {
        PartitionName { topic: Arc::from(topic), partition }
    }
}

/// Who writes: the number of a producer and which of its lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProducerIdentity {
    pub producer_id: i64,
    pub epoch: i16,
}

impl ProducerIdentity {
    /// "None", where an answer has no identity to tell.
    pub const NONE: ProducerIdentity = ProducerIdentity { producer_id: -1, epoch: -1 };
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransactionRequest {
    InitProducerId(InitProducerId),
    /// Also AddOffsetsToTxn, whose partition is the group's of `__consumer_offsets`, and what a broker adds for a produce request (KIP-890).
    AddPartitions(AddPartitions),
    /// Whether the partitions are in the transaction: asked by a broker before a first append.
    VerifyPartitions(AddPartitions),
    EndTxn(EndTxn),
}

impl TransactionRequest {
    pub fn transactional_id(&self) -> &str {
        match self {
            TransactionRequest::InitProducerId(request) => &request.transactional_id,
            TransactionRequest::AddPartitions(request) | TransactionRequest::VerifyPartitions(request) => {
                &request.transactional_id
            }
            TransactionRequest::EndTxn(request) => &request.transactional_id,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InitProducerId {
    pub transactional_id: Arc<str>,
    pub timeout_ms: i32,
    /// What the producer had, if it wants to go on after an error (KIP-360).
    pub current: Option<ProducerIdentity>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddPartitions {
    pub transactional_id: Arc<str>,
    pub producer: ProducerIdentity,
    pub partitions: BTreeSet<PartitionName>,
    /// Two if a produce request adds its partition, else Zero.
    pub version: TransactionVersion,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndTxn {
    pub transactional_id: Arc<str>,
    pub producer: ProducerIdentity,
    pub outcome: Outcome,
    /// Two from version 5 of the request, else Zero.
    pub version: TransactionVersion,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransactionReply {
    /// The producer's identity from now on.
    InitProducerId(Result<ProducerIdentity, ErrorCode>),
    AddPartitions(ErrorCode),
    /// Per partition that was asked for, in order.
    VerifyPartitions(Vec<(PartitionName, ErrorCode)>),
    /// The identity of the next transaction; [`ProducerIdentity::NONE`] for clients of the first protocol, whose identity stays.
    EndTxn(Result<ProducerIdentity, ErrorCode>),
}

/// What DescribeTransactions says of one transactional id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransactionDescription {
    pub state: TransactionState,
    pub producer: ProducerIdentity,
    pub timeout_ms: i32,
    /// -1 when none is open.
    pub start_ms: i64,
    /// Those whose marker is still to be written, when the transaction is ending.
    pub partitions: BTreeSet<PartitionName>,
}

/// Which transactional ids ListTransactions wants. Empty lists ask for all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TransactionFilter {
    pub producer_ids: Vec<i64>,
    /// Names of states; unknown ones match none.
    pub states: Vec<String>,
    /// Only those that began more than so long ago; negative: all.
    pub duration_ms: i64,
}

/// One line of ListTransactions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedTransaction {
    pub transactional_id: Arc<str>,
    pub producer_id: i64,
    pub state: TransactionState,
}

/// All that follows from one input. Everything but `producer_ids_wanted` waits until these records, and all before them, are stable.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TransactionEffects {
    pub base: Effects<TransactionReply>,
    /// To be written at the leaders of their partitions. Each partition of each must have a [`MarkerResult`] in the end, however late:
    /// who cannot reach a leader says [`MarkerResult::Retry`].
    pub markers: Vec<MarkerRequest>,
    /// So many more are wanted, besides those that were wanted before.
    pub producer_ids_wanted: usize,
}

impl TransactionEffects {
    pub(super) fn reply(&mut self, to: ReplyTo, reply: TransactionReply) {
        self.base.reply(to, reply);
    }
}

/// Names the end of one transaction while its machine lives; never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EndId(pub u64);

/// Markers that end one transaction in some of its partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MarkerRequest {
    pub transactional_id: Arc<str>,
    pub end: EndId,
    /// With the epoch that the marker carries.
    pub producer: ProducerIdentity,
    pub outcome: Outcome,
    pub coordinator_epoch: i32,
    /// Two: the marker's epoch must be above that of the records.
    pub version: TransactionVersion,
    pub partitions: Vec<PartitionName>,
}

/// What became of one partition's marker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MarkerResult {
    /// Written and replicated; or nothing of this transaction can be open there any more: a later epoch was seen, the partition is deleted.
    Done,
    /// Its leader has moved, did not answer, or could not write it now.
    Retry,
    /// A later coordinator has written there: this one is no coordinator any more and must not go on.
    Fenced,
}

impl MarkerResult {
    /// The one place where WriteTxnMarkers' errors become results.
    pub fn of(error: ErrorCode) -> MarkerResult {
        match error {
            ErrorCode::None | ErrorCode::InvalidProducerEpoch => MarkerResult::Done,
            ErrorCode::TransactionCoordinatorFenced => MarkerResult::Fenced,
            _ => MarkerResult::Retry,
        }
    }
}
