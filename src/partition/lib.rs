//! Partitions: sequencing, producer state, leader epochs, high watermark, delayed produce and fetch.
//!
//! Everything here lives on a partition's home shard, except [`prepare_batch`], which a connection shard calls before it sends a batch. The
//! mesh calls [`HomeShard`]; `HomeShard` calls `log`. No socket and no file is touched here, and no call waits for another shard.

mod config;
mod delayed_fetch;
mod delayed_produce;
mod high_watermark;
mod home_shard;
mod leader_epochs;
mod marker;
mod message;
mod open_transactions;
mod partition;
mod prepare;
mod producer_state;
mod snapshot;
#[cfg(test)]
mod test_kit;
mod verification;

pub use config::TopicConfig;
pub use home_shard::{ApplyError, CleanablePartition, HomeShard, HomeShardOptions, LogRange, PartitionSpec};
pub use message::*;
pub use prepare::prepare_batch;
pub use verification::VerificationGuard;
