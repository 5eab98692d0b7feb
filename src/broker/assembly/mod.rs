//! Puts a broker together: one main per shard, which run unchanged on the ring and in the simulator.
//!
//! `lead` is shard 0: data directory, metadata, listeners, signals, the order of start and stop. `follow` is every other shard: it opens when
//! told, serves, and ends when told.

mod directories;
mod follow;
mod lead;
mod report;

use crate::mesh::CREDITS_PER_LANE;
use crate::net::ConnectionCounts;
use ringlane_config::Config;
use ringlane_runtime::{Mesh, ShardMain};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// A broker that serves: what its banner says.
#[derive(Clone, Debug)]
pub struct Serving {
    pub node_id: i32,
    pub cluster_id: String,
    pub data_dir: PathBuf,
    pub shards: usize,
    /// (listener name, address that it accepts on). Port 0 in the configuration is a real port here.
    pub listeners: Vec<(String, SocketAddr)>,
}

/// Why the broker cannot start, or go on. The message stands alone: what was asked, what was found, how to fix it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// The shards of one broker, in shard order; give them to `ringlane_runtime::ring::run` or to a simulated node.
///
/// `report` is called on shard 0: once when every listener accepts; with an error when the start failed, or when the broker has had to stop
/// by itself. The shards end after an error, or after `Signal::Stop`, with everything written.
pub fn shard_mains(
    config: Arc<Config>,
    shards: usize,
    report: impl FnMut(Result<Serving, StartError>) + Send + 'static,
) -> Vec<ShardMain> {
    let counts = ConnectionCounts::new(shards);
    let mut ends = Mesh::build(shards, CREDITS_PER_LANE).into_iter();
    let mut mains: Vec<ShardMain> = Vec::with_capacity(shards);
    if let Some(mesh) = ends.next() {
        let (config, counts) = (config.clone(), counts.clone());
        mains.push(Box::new(move || Box::pin(lead::run(config, mesh, counts, report))));
    }
    for mesh in ends {
        let (config, counts) = (config.clone(), counts.clone());
        mains.push(Box::new(move || Box::pin(follow::run(config, mesh, counts))));
    }
    mains
}
