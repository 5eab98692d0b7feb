//! InitProducerId (22): a number for an idempotent producer. Transactions have no coordinator yet.
//!
//! Each shard hands out numbers from blocks that the controller gives it, so a new producer costs no round trip but one in a thousand.

use super::Handled;
use super::request::Request;
use crate::shard::Shard;
use ringlane_metadata::{ControllerReply, ControllerRequest};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringlane_runtime::Event;
use std::cell::Cell;
use std::rc::Rc;

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

pub async fn answer(request: Request) -> Handled {
    let error = {
        let body: InitProducerIdRequest = request.body()?;
        check(&body)
    };
    let outcome = match error {
        Some(error) => Err(error),
        None => next(request.shard()).await,
    };
    Ok(request.reply(&match outcome {
        Ok(producer_id) => InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() },
        Err(error_code) => {
            InitProducerIdResponse { error_code, producer_epoch: NO_PRODUCER_EPOCH, ..Default::default() }
        }
    }))
}

fn check(body: &InitProducerIdRequest<'_>) -> Option<ErrorCode> {
    let has_id = body.producer_id != NO_PRODUCER_ID;
    let has_epoch = body.producer_epoch != NO_PRODUCER_EPOCH;
    match body.transactional_id {
        Some("") => Some(ErrorCode::InvalidRequest),
        _ if has_id != has_epoch => Some(ErrorCode::InvalidRequest),
        Some(_) => Some(ErrorCode::CoordinatorNotAvailable),
        // A producer without transactions always gets a new number, whatever it had.
        None => None,
    }
}

async fn next(shard: &Rc<Shard>) -> Result<i64, ErrorCode> {
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
