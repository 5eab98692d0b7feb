//! Ringlane: groups and transactions as pure state machines.
//!
//! One machine is the coordinator of one partition of an internal topic (`__consumer_offsets-N`, `__transaction_state-N`) and lives on that
//! partition's home shard. Its state is the replay of the partition's log, nothing else. A machine takes a request, a moment or the result
//! of what it asked for, changes its state at once and says what its host has to do ([`Effects`]). It opens no socket and no file, knows no
//! clock (every input brings its time) and draws no random numbers (names of new members come with the request).
//!
//! What was changed at once may still be lost: therefore no reply leaves before all that the machine has asked to append until then is stable.
//! If an append fails, the host throws the machine away and replays the log: the members and producers who waited are told to come back.

pub mod consumer_group;
mod effects;
pub mod group;
pub mod share_group;
pub mod share_partition;
pub mod share_state;
pub mod transaction;

pub use effects::{Effects, NewRecord, Reply, ReplyTo, UNASKED};
