//! Which shard a task runs on, and what a shard is started with.

use crate::context;
use std::future::Future;
use std::pin::Pin;

/// One pinned core and its executor; 0 .. shard count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ShardId(pub u16);

/// What a shard runs, made on the starting thread and called on the shard. The shard ends when the future does.
pub type ShardMain = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The shard of the calling task. Panics off-shard.
pub fn shard() -> ShardId {
    context::shard_and_count().0
}

/// How many shards this process (in the simulator: this node) has.
pub fn shard_count() -> usize {
    context::shard_and_count().1
}
