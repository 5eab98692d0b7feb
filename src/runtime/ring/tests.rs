//! The backend on this machine's own kernel, through the public types.

mod files;
mod lanes;
mod sockets;
mod tasks;

use super::{RingOptions, allowed_cores, run};
use crate::{ShardMain, shard};
use std::future::Future;

/// Runs `main` on every one of `count` shards; their cores are shared when the machine has fewer.
fn on_shards<F: Future<Output = ()> + 'static>(count: usize, main: impl Fn(usize) -> F + Clone + Send + 'static) {
    let cores = allowed_cores().into_iter().cycle().take(count).collect();
    let options = RingOptions { cores, pool_bytes_per_shard: 64 << 20, spin_us: 0 };
    let shard_main = |_| -> ShardMain {
        let main = main.clone();
        Box::new(move || Box::pin(main(shard().0 as usize)))
    };
    run(options, (0..count).map(shard_main).collect()).unwrap();
}

fn on_shard<F: Future<Output = ()> + 'static>(main: impl FnOnce() -> F + Send + 'static) {
    let options = RingOptions { cores: vec![allowed_cores()[0]], pool_bytes_per_shard: 64 << 20, spin_us: 0 };
    run(options, vec![Box::new(move || Box::pin(main()))]).unwrap();
}
