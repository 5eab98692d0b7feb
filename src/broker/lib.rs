//! The broker: sockets to requests, requests to shards, answers back.

mod assembly;

pub use assembly::{Serving, StartError, shard_mains};
