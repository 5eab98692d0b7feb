//! The broker: sockets to requests, requests to shards, answers back.
//!
//! `assembly` puts the shards together; `net` turns sockets into frames and answers into bytes; `api` handles one file per API key; `mesh` carries
//! requests between shards; `share` is what share groups do with records; `shard` is what one shard is made of; `quorum` is this broker's seat in the metadata quorum. Runs unchanged on
//! the ring and in the simulator.

mod api;
mod assembly;
mod compaction;
mod coordinator;
mod mesh;
mod net;
pub mod quorum;
mod settings;
mod shard;
mod share;
mod task;

pub use assembly::{Serving, StartError, shard_mains};
