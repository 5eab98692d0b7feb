//! The share coordinator: what share partitions are to remember, kept in one partition of `__share_group_state` (KIP-932).
//!
//! [`ShareStateMachine`] lives on the home shard of that partition, owned by the broker's coordinator host. Its state is the replay of the
//! log: snapshots, and updates on top of them. Since an update says only what has changed, the topic is not compacted: every state is
//! written whole from time to time, and what lies before the oldest snapshot is deleted.
//!
//! [`combine`]: how what is written later adds to what was written before. [`request`]: what is asked, by share partitions (read, write) and by
//! the group coordinator (initialize, delete, summary). [`prune`]: when everything has been written anew, the log may begin there.

mod combine;
mod machine;
mod prune;
mod request;
#[cfg(test)]
mod tests;

pub use combine::combine;
pub use machine::{ShareStateMachine, ShareStateOptions};
pub use prune::PruneStep;
pub use request::{
    ShareKey, ShareStateError, ShareStateReply, ShareStateRequest, ShareStateWritten, StoredState, StoredSummary,
};
