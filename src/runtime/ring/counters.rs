//! What a shard counts about its machine. Plain cells of the shard's thread: nothing is shared, reading is copying.

use super::watchdog;
use crate::buffer;
use std::cell::Cell;

/// Totals since the shard's start, and gauges. In the simulator only the panics are counted.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counters {
    /// System calls that submitted operations or fetched completions.
    pub ring_enters: u64,
    /// Times that a completion woke the sleeping shard.
    pub ring_wakes: u64,
    pub task_panics: u64,
    /// Buffers that came from the allocator because the pool was full.
    pub pool_misses: u64,
    /// Bytes of pooled blocks in use, by size class.
    pub pool_used_bytes: u64,
    /// Bytes that the pool has taken from the kernel at most.
    pub pool_slab_bytes: u64,
    /// Age of the oldest kick of the watchdog that the shard has not answered (usually 0).
    pub shard_stall_ms: u64,
    /// Longest stall so far.
    pub shard_stall_max_ms: u64,
    /// Stalls past 100 ms.
    pub shard_stalls: u64,
}

thread_local! {
    static RING_ENTERS: Cell<u64> = const { Cell::new(0) };
    static RING_WAKES: Cell<u64> = const { Cell::new(0) };
    static TASK_PANICS: Cell<u64> = const { Cell::new(0) };
}

/// The calling shard's counters now.
pub fn counters() -> Counters {
    let pool = buffer::pool_counters();
    let stalls = watchdog::stalls();
    Counters {
        ring_enters: RING_ENTERS.get(),
        ring_wakes: RING_WAKES.get(),
        task_panics: TASK_PANICS.get(),
        pool_misses: pool.misses,
        pool_used_bytes: pool.used_bytes as u64,
        pool_slab_bytes: pool.slab_bytes as u64,
        shard_stall_ms: stalls.current_ms,
        shard_stall_max_ms: stalls.max_ms,
        shard_stalls: stalls.count,
    }
}

pub(crate) fn task_panicked() {
    TASK_PANICS.set(TASK_PANICS.get() + 1);
}

pub(super) fn ring_entered() {
    RING_ENTERS.set(RING_ENTERS.get() + 1);
}

pub(super) fn ring_woke() {
    RING_WAKES.set(RING_WAKES.get() + 1);
}
