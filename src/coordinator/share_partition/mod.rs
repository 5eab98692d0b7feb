//! Share partitions (KIP-932): what one share group does with the records of one partition, as Kafka 4.3 keeps it.
//!
//! One [`SharePartition`] is one (group, topic partition), owned by the broker's share host on the partition's home shard. Offsets below the
//! *start offset* are done with; those from it up to the *next offset* are in flight, each in one of four states: available, acquired by one
//! member until its lock expires, acknowledged, archived. Records from the next offset on nobody has been given yet. Acquiring needs no log;
//! what members say of records, and locks that expire, are written to the share coordinator, one write at a time.
//!
//! * [`range`]: neighbouring offsets of the same state are one entry. [`partition`]: the offsets, loading, what may be fetched.
//! * [`acquire`]: which of the records that were read go to a member. [`acknowledge`]: what members say of them, and members that go.
//! * [`write`]: what goes to the share coordinator and what its answer changes. [`timers`]: locks that expire.
//!
//! Nothing here waits, reads a clock or knows a socket. Memory is bounded by the in-flight limit: an offset has one entry at most.

mod acknowledge;
mod acquire;
#[cfg(test)]
mod model;
mod options;
mod partition;
mod range;
#[cfg(test)]
mod tests;
mod timers;
mod write;

pub use acknowledge::{AcknowledgeError, AcknowledgeType, AcknowledgementBatch};
pub use acquire::{AcquireMode, AcquireRequest, AcquiredRecords, Fetched, LogBatch};
pub use options::SharePartitionOptions;
pub use partition::{BadState, SharePartition};
pub use range::{RecordState, StateBatch};
pub use write::{StateWrite, WriteNumber};
