//! EndTxn (26): commit or abort. Answered when the decision is stable; markers follow.

use super::Handled;
use super::init_producer_id::fenced_as;
use super::request::Request;
use ringlane_coordinator::transaction::{
    EndTxn, Outcome, ProducerIdentity, TransactionReply, TransactionRequest, TransactionVersion,
};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::end_txn::{EndTxnRequest, EndTxnResponse};
use std::sync::Arc;

/// First version whose clients know PRODUCER_FENCED.
const PRODUCER_FENCED_FROM: i16 = 2;
/// First version whose answer bumps the producer's epoch (KIP-890).
const BUMPS_EPOCH_FROM: i16 = 5;

pub async fn answer(request: Request) -> Handled {
    let asked = {
        let body: EndTxnRequest = request.body()?;
        let producer = ProducerIdentity { producer_id: body.producer_id, epoch: body.producer_epoch };
        let version = match request.version {
            BUMPS_EPOCH_FROM.. => TransactionVersion::Two,
            _ => TransactionVersion::Zero,
        };
        let outcome = Outcome::of(body.committed);
        EndTxn { transactional_id: Arc::from(body.transactional_id), producer, outcome, version }
    };
    let ended = match request.shard().ask_transaction(TransactionRequest::EndTxn(asked), None).await {
        Ok(TransactionReply::EndTxn(ended)) => ended,
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(error) => Err(error),
    };
    let (error_code, producer) = match ended {
        Ok(producer) => (ErrorCode::None, producer),
        Err(error) => (fenced_as(error, request.version, PRODUCER_FENCED_FROM), ProducerIdentity::NONE),
    };
    let ProducerIdentity { producer_id, epoch: producer_epoch } = producer;
    Ok(request.reply(&EndTxnResponse { throttle_time_ms: 0, error_code, producer_id, producer_epoch }))
}
