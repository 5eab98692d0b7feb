//! Producer ids, handed out in blocks that never overlap.

use crate::controller::{Decision, Refused, brokers};
use crate::{BrokerId, Image, Record};
use ringlane_protocol::ErrorCode;

/// Ids in one block, as Kafka's: a broker asks once per thousand producers.
pub const PRODUCER_ID_BLOCK_SIZE: i32 = 1000;

/// `first .. first + len`, this broker's alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerIdBlock {
    pub first: i64,
    pub len: i32,
}

/// Hands the next block to a broker. A block that is not used up when the broker dies is lost; there are enough.
pub fn allocate_producer_ids(
    image: &Image,
    broker: BrokerId,
    broker_epoch: i64,
) -> Decision<Result<ProducerIdBlock, Refused>> {
    if let Err(refused) = brokers::check_epoch(image, broker, broker_epoch) {
        return Decision::none(Err(refused));
    }
    let first = image.next_producer_id();
    let Some(next) = first.checked_add(PRODUCER_ID_BLOCK_SIZE.into()) else {
        let refused = Refused::new(ErrorCode::UnknownServerError, "all producer ids of this cluster are used up");
        return Decision::none(Err(refused));
    };
    Decision {
        records: vec![Record::ProducerIds { broker, broker_epoch, next }],
        answer: Ok(ProducerIdBlock { first, len: PRODUCER_ID_BLOCK_SIZE }),
    }
}
