//! Agreement on one sequence of batches: the raft core, its bytes, its journal's format.
//!
//! Everything here is pure: the owner (`ringlane_broker::quorum` on shard 0, or a test) passes ticks, messages and "this is durable" in,
//! and takes out what is to be written and sent. The algorithm is crate `raft`; what that crate asks of its user and does not
//! check is kept by [`MetaCore`], each point with a test:
//!
//! 1. election timeouts are a function of (seed, id, term, role), not of the thread's random source;
//! 2. a leader that applies its own removal steps down;
//! 3. nothing is reported applied before it is durable;
//! 4. a hard state that needs no sync still keeps its place in the journal;
//! 5. a snapshot is made of the live state, so it always knows its receiver;
//! 6. every snapshot sent is reported as received or lost;
//! 7. any number of steps share one journal write;
//! 8. messages that only a node itself may make are refused from the wire, and only a leader proposes;
//! 9. sizes of messages, of uncommitted entries and of each turn's work are bounded.

pub mod codec;
mod conf_change;
mod core;
pub mod journal;
mod log;
mod logger;

#[cfg(test)]
mod chaos;

pub use self::core::{Applied, CoreError, CoreOptions, MetaCore, Persist, ProposeError, Turn};
pub use self::log::{Checkpoint, OutOfPlace};
pub use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState, HardState, Message, MessageType};
