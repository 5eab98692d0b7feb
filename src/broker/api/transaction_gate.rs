//! The coordinator's word for a first write of a transaction to a partition (KIP-890): asked by the shard whose connection wants to write, for
//! Produce and for TxnOffsetCommit alike.

use crate::shard::Shard;
use ringlane_coordinator::transaction::{
    AddPartitions, PartitionName, ProducerIdentity, TransactionReply, TransactionRequest, TransactionVersion,
};
use ringlane_protocol::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

/// What a client relies on, by the version of its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// The client adds its partitions itself; it knows of no error that only this transaction is lost with.
    VerifyForOld,
    /// The client adds its partitions itself.
    Verify,
    /// The broker adds the partitions.
    Add,
}

impl Operation {
    pub fn bumps_epoch(self) -> bool {
        self == Operation::Add
    }
}

/// Who wants to write.
#[derive(Clone, Debug)]
pub struct Writer {
    pub transactional_id: Arc<str>,
    pub producer: ProducerIdentity,
    pub operation: Operation,
}

/// The partitions that may not be written to, and why.
pub async fn ask(
    shard: &Rc<Shard>,
    writer: &Writer,
    partitions: BTreeSet<PartitionName>,
) -> BTreeMap<PartitionName, ErrorCode> {
    let version = if writer.operation.bumps_epoch() { TransactionVersion::Two } else { TransactionVersion::Zero };
    let asked = AddPartitions {
        transactional_id: writer.transactional_id.clone(),
        producer: writer.producer,
        partitions: partitions.clone(),
        version,
    };
    let asked = match writer.operation {
        Operation::Add => TransactionRequest::AddPartitions(asked),
        Operation::Verify | Operation::VerifyForOld => TransactionRequest::VerifyPartitions(asked),
    };
    let all = |error| partitions.iter().map(|at| (at.clone(), error)).collect::<Vec<_>>();
    let codes = match shard.ask_transaction(asked, None).await {
        Ok(TransactionReply::AddPartitions(error)) => all(error),
        Ok(TransactionReply::VerifyPartitions(codes)) => codes,
        Ok(_) => all(ErrorCode::UnknownServerError),
        Err(error) => all(error),
    };
    let refused = codes.into_iter().filter(|(_, code)| *code != ErrorCode::None);
    refused.map(|(at, code)| (at, as_writers_know_it(code, writer.operation))).collect()
}

fn as_writers_know_it(code: ErrorCode, operation: Operation) -> ErrorCode {
    match code {
        // To a producer that writes this is a wish to abort and begin again, not its end.
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if operation == Operation::VerifyForOld => ErrorCode::InvalidTxnState,
        code => code,
    }
}
