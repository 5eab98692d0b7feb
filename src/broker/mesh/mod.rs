//! Requests between shards: what they are (`message`), where they go (`placement`), who serves them (`serve`), how they are asked (`call`).
//!
//! A request to the own shard takes the same way minus the lane. A handler on a home shard never awaits another shard, so credits cannot wait
//! for each other in a circle: only the controller on shard 0 does (it publishes before it answers), and what it waits for,
//! `Publish`, is served without asking anyone.

mod call;
mod message;
mod placement;
mod serve;

pub use call::Called;
pub use message::{ShardReply, ShardRequest};
pub use placement::Placement;
pub use serve::{Reply, serve};

/// Requests in flight from one shard to another. Waiting fetches hold one each, up to half of them.
pub const CREDITS_PER_LANE: usize = 1024;
/// Requests served before the shard looks at its sockets and disks again.
const SERVED_PER_TURN: usize = 32;
