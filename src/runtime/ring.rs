//! The real machine: glommio executors pinned by a CPU list, one private io_uring ring a shard, the watchdog.

pub(crate) mod counters;
pub(crate) mod file;
pub(crate) mod fs;
pub(crate) mod helpers;
pub(crate) mod net;
pub(crate) mod random;
pub(crate) mod signal;
pub(crate) mod task;
pub(crate) mod time;

use crate::ShardMain;

#[derive(Clone, Debug)]
pub struct RingOptions {
    /// One shard per entry, pinned to that CPU.
    pub cores: Vec<usize>,
    /// Pooled memory a shard may keep (see `buffer`).
    pub pool_bytes_per_shard: usize,
    /// Busy-poll before sleeping; zero (the default) costs no CPU when idle.
    pub spin_us: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Preflight(String),
    #[error("shard {shard} on CPU {cpu} could not start: {source}")]
    Shard { shard: u16, cpu: usize, source: std::io::Error },
}

/// Starts one shard per core and returns when all have ended.
pub fn run(options: RingOptions, mains: Vec<ShardMain>) -> Result<(), StartError> {
    let _ = (options, mains);
    todo!()
}
