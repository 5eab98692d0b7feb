//! InitProducerId (22): a number for an idempotent producer; for a transactional one its coordinator decides.
//!
//! Each shard hands out numbers from blocks that the controller gives it, so a new producer costs no round trip but one in a thousand.

use super::Handled;
use super::request::Request;
use crate::shard::Shard;
use ringlane_coordinator::transaction::{InitProducerId, ProducerIdentity, TransactionReply, TransactionRequest};
use ringlane_metadata::{ControllerReply, ControllerRequest};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringlane_runtime::Event;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

const NO_PRODUCER_ID: i64 = -1;
const NO_PRODUCER_EPOCH: i16 = -1;

/// The block that this shard hands out from.
#[derive(Default)]
pub struct ProducerIds {
    next: Cell<i64>,
    end: Cell<i64>,
    /// One producer fetches the next block for all that wait.
    is_fetching: Cell<bool>,
    fetched: Event,
}

/// First version whose clients know PRODUCER_FENCED.
const PRODUCER_FENCED_FROM: i16 = 4;

pub async fn answer(request: Request) -> Handled {
    let asked = {
        let body: InitProducerIdRequest = request.body()?;
        check(&body)
    };
    let outcome = match asked {
        Err(error) => Err(error),
        // A producer without transactions always gets a new number, whatever it had.
        Ok(None) => {
            next_producer_id(request.shard()).await.map(|producer_id| ProducerIdentity { producer_id, epoch: 0 })
        }
        Ok(Some(asked)) => init(request.shard(), asked).await,
    };
    let outcome = outcome.map_err(|error| fenced_as(error, request.version, PRODUCER_FENCED_FROM));
    Ok(request.reply(&match outcome {
        Ok(ProducerIdentity { producer_id, epoch: producer_epoch }) => {
            InitProducerIdResponse { producer_id, producer_epoch, ..Default::default() }
        }
        Err(error_code) => {
            InitProducerIdResponse { error_code, producer_epoch: NO_PRODUCER_EPOCH, ..Default::default() }
        }
    }))
}

/// What a transactional producer asks of its coordinator; `None`: the producer is not transactional.
fn check(body: &InitProducerIdRequest<'_>) -> Result<Option<InitProducerId>, ErrorCode> {
    let current = match (body.producer_id, body.producer_epoch) {
        (NO_PRODUCER_ID, NO_PRODUCER_EPOCH) => None,
        (NO_PRODUCER_ID, _) | (_, NO_PRODUCER_EPOCH) => return Err(ErrorCode::InvalidRequest),
        (producer_id, epoch) => Some(ProducerIdentity { producer_id, epoch }),
    };
    match body.transactional_id {
        None => Ok(None),
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(id) => Ok(Some(InitProducerId {
            transactional_id: Arc::from(id),
            timeout_ms: body.transaction_timeout_ms,
            current,
        })),
    }
}

async fn init(shard: &Rc<Shard>, asked: InitProducerId) -> Result<ProducerIdentity, ErrorCode> {
    let producer_id = next_producer_id(shard).await?;
    match shard.ask_transaction(TransactionRequest::InitProducerId(asked), Some(producer_id)).await? {
        TransactionReply::InitProducerId(result) => result,
        _ => Err(ErrorCode::UnknownServerError),
    }
}

/// Old clients know a fenced producer by another name.
pub fn fenced_as(error: ErrorCode, version: i16, known_from: i16) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced if version < known_from => ErrorCode::InvalidProducerEpoch,
        error => error,
    }
}

/// A number that no other producer has or will have.
pub async fn next_producer_id(shard: &Rc<Shard>) -> Result<i64, ErrorCode> {
    let ids = &shard.producer_ids;
    loop {
        let next = ids.next.get();
        if next < ids.end.get() {
            ids.next.set(next + 1);
            return Ok(next);
        }
        if ids.is_fetching.get() {
            ids.fetched.listen().await;
            continue;
        }
        let fetching = Fetching::begin(ids);
        let block = fetch_block(shard).await?;
        drop(fetching);
        ids.next.set(block.first);
        ids.end.set(block.first + i64::from(block.len));
    }
}

/// One fetch under way. Ends, and wakes who waits for it, also when its connection goes away in the middle.
struct Fetching<'a>(&'a ProducerIds);

impl<'a> Fetching<'a> {
    fn begin(ids: &'a ProducerIds) -> Fetching<'a> {
        ids.is_fetching.set(true);
        Fetching(ids)
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.0.is_fetching.set(false);
        self.0.fetched.notify_all();
    }
}

async fn fetch_block(shard: &Rc<Shard>) -> Result<ringlane_metadata::controller::ProducerIdBlock, ErrorCode> {
    let broker = shard.identity.node_id;
    let epoch = shard.image().broker(broker).map_or(-1, |own| own.epoch);
    match shard.ask_controller(ControllerRequest::AllocateProducerIds { broker, epoch }).await {
        ControllerReply::AllocateProducerIds(Ok(block)) => Ok(block),
        // Producers take this one as passing and ask again.
        _ => Err(ErrorCode::CoordinatorLoadInProgress),
    }
}
