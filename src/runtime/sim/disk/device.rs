//! The way to a disk: each operation takes effect, and its future resolves, after a latency from the seed.

use super::Disk;
use crate::sim::completion::completion;
use crate::sim::seed::Seed;
use crate::sim::world::{Shard, World};
use std::path::Path;
use std::rc::Rc;

/// Has the device of the volume that has `path` do `effect`. A dropped future does not stop it; the end of the shard does.
pub(in crate::sim) async fn perform<R: 'static>(
    shard: &Rc<Shard>,
    path: &Path,
    kind: &'static str,
    bytes: usize,
    digest: u64,
    effect: impl FnOnce(&mut Disk, &mut Seed) -> R + 'static,
) -> R {
    let (complete, completion) = completion();
    let performer = shard.clone();
    shard.with(|world| {
        let latency_nanos = world.disk_latency_nanos(shard, path, bytes);
        world.after_if_alive(shard, latency_nanos, move |world| {
            performer.record(world, kind, bytes as u64, digest);
            let World { nodes, seed, now_nanos, .. } = world;
            let node = &mut nodes[performer.node.index()];
            let disk = &mut node.disk;
            disk.now_ms = node.wall_clock_offset_ms + (*now_nanos / 1_000_000) as i64;
            let result = effect(disk, seed);
            complete.within(world, result);
        });
    });
    completion.await
}

impl World {
    fn disk_latency_nanos(&mut self, shard: &Shard, path: &Path, bytes: usize) -> u64 {
        let World { nodes, seed, .. } = self;
        let options = nodes[shard.node.index()].disk.options_at(path);
        let transfer_nanos = bytes as u64 * 1_000_000_000 / options.bytes_per_second.max(1);
        seed.nanos_within(&options.latency) + transfer_nanos
    }
}
