//! Producer ids, handed out in blocks that never overlap.

/// Ids in one block, as Kafka's: a broker asks once per thousand producers.
pub const PRODUCER_ID_BLOCK_SIZE: i32 = 1000;

/// `first .. first + len`, this broker's alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerIdBlock {
    pub first: i64,
    pub len: i32,
}
