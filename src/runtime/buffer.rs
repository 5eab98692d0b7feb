//! Memory that frames, tails, journal blocks and disk reads live in: taken from the kernel once, then recycled for ever.
//!
//! A page fault costs more than everything else on the hot path (266,000 faults a GiB, 1.3 CPU-s a GiB, when frames take fresh memory), so
//! every large buffer comes from its shard's pool: size classes of four steps per power of two, carved from huge-page-advised chunks
//! of the kernel's memory. All blocks are aligned to [`BLOCK_BYTES`], so any buffer serves direct I/O. A block may be dropped on any
//! thread; it returns to the pool that made it.
//!
//! Past the pool's cap, off-shard and in the simulator the same type holds memory from the allocator: callers see no difference. In the
//! simulator a fresh buffer is filled with [`POISON`], neither zeros nor what an earlier run left behind: who forgets to write what it
//! hands on fails there, always and in the same way.

mod classes;
mod pool;

use bytes::Bytes;
pub(crate) use pool::{pool_counters, start_pool, stop_pool};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

/// Direct I/O unit: offset, length and address of every direct read and write are multiples of this.
pub const BLOCK_BYTES: usize = 4096;

/// What a fresh buffer holds in the simulator. Recycled memory holds other requests' bytes; zeros would hide who relies on them.
pub(crate) const POISON: u8 = 0xa5;

/// Exclusive bytes, like `BytesMut` over pooled, aligned memory: can be split without copying and frozen into `Bytes`.
/// `Send`; `!Clone`. Dereferences to `[u8]`.
pub struct Buffer {
    block: NonNull<pool::Block>,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a buffer is the only one that reaches its range of the block (split ranges do not overlap), and the block's count of
// users and its way back to the pool are atomic.
unsafe impl Send for Buffer {}
// SAFETY: a shared buffer only hands out `&[u8]`.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// `len` bytes, contents unspecified but initialised (what the last user left, for example), address aligned to [`BLOCK_BYTES`]
    /// when `len` is at least that. Small buffers (< 4 KiB) share smaller classes.
    pub fn take(len: usize) -> Buffer {
        let (block, start) = pool::take(len);
        Buffer { block, start, len }
    }
    pub fn copy_from(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::take(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes of memory that stay taken while any part of this buffer lives.
    pub fn capacity(&self) -> usize {
        self.block().bytes
    }
    /// Splits off and returns the first `at` bytes; `self` keeps the rest. No copy; both keep the block alive.
    pub fn split_to(&mut self, at: usize) -> Buffer {
        assert!(at <= self.len, "split at {at} of {} bytes", self.len);
        // Relaxed: `self` holds the block already, so the count cannot reach zero meanwhile.
        let users = self.block().users.fetch_add(1, Ordering::Relaxed);
        assert!(users < u32::MAX / 2, "too many parts of one buffer");
        let first = Buffer { block: self.block, start: self.start, len: at };
        // SAFETY: `at <= len`, so the result lies in, or one past, the same block.
        self.start = unsafe { self.start.add(at) };
        self.len -= at;
        first
    }
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
    /// Immutable, shared, `Send`. No copy.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }

    fn block(&self) -> &pool::Block {
        // SAFETY: the block lives until its last buffer has released it.
        unsafe { self.block.as_ref() }
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `start..start + len` lies in the block, is initialised, and belongs to this buffer alone.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; the exclusive borrow of `self` makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: this buffer is one of the block's users and is not used again.
        unsafe { pool::release(self.block) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The buffer's own pool on a thread of its own, so that tests do not share one.
    fn with_pool<T: Send>(bytes: usize, test: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                start_pool(bytes).unwrap();
                let result = test();
                stop_pool();
                result
            });
            worker.join().unwrap()
        })
    }

    /// Without this a frame would take fresh memory and pay its page faults on every request.
    #[test]
    fn a_dropped_block_is_taken_again() {
        with_pool(8 << 20, || {
            let first = Buffer::take(100_000);
            let address = first.as_ptr();
            drop(first);
            assert_eq!(Buffer::take(100_000).as_ptr(), address);
        });
    }

    /// Without this the frame's memory would be recycled under a batch that still waits for its disk write.
    #[test]
    fn a_block_stays_taken_until_its_last_part_is_gone() {
        with_pool(8 << 20, || {
            let mut frame = Buffer::take(5000);
            frame.fill(7);
            let head = frame.split_to(1000);
            let body = frame.freeze();
            let slice = body.slice(10..20);
            drop(head);
            drop(body);
            let other = Buffer::take(5000);
            assert_ne!(other.as_ptr(), slice.as_ptr().wrapping_sub(1010));
            assert_eq!(&slice[..], [7; 10]);
        });
    }

    /// Frames die on the shard that wrote them to its journal, not where they were read.
    #[test]
    fn a_block_dropped_on_another_thread_comes_home() {
        with_pool(2 << 20, || {
            let before = pool_counters();
            for _ in 0..100 {
                let blocks: Vec<_> = (0..16).map(|_| Buffer::take(128 << 10)).collect();
                std::thread::spawn(move || drop(blocks)).join().unwrap();
            }
            assert_eq!(pool_counters().misses, before.misses, "every block came back to a pool of exactly this size");
        });
    }

    /// A shard that ends while another still sends its bytes must not unmap them.
    #[test]
    fn blocks_outlive_their_pool() {
        let kept = with_pool(8 << 20, || {
            let mut buffer = Buffer::take(1 << 20);
            buffer.fill(9);
            (buffer.freeze(), Buffer::take(300))
        });
        assert!(kept.0.iter().all(|byte| *byte == 9));
        drop(kept);
    }

    /// A load that first fills the pool with small frames must not push later large ones to the allocator for ever.
    #[test]
    fn free_memory_moves_between_size_classes() {
        with_pool(8 << 20, || {
            let small: Vec<_> = (0..1500).map(|_| Buffer::take(4096)).collect();
            drop(small);
            let before = pool_counters();
            let large: Vec<_> = (0..4).map(|_| Buffer::take(2 << 20)).collect();
            assert_eq!(pool_counters().misses, before.misses);
            drop(large);
        });
    }

    /// Direct I/O on an unaligned address fails with EINVAL; capacity below the length would be memory corruption.
    #[test]
    fn every_size_is_aligned_and_large_enough() {
        with_pool(64 << 20, || {
            for len in (0..70_000).step_by(97).chain([1 << 20, (1 << 20) + 1, 16 << 20, (16 << 20) + 1, 100 << 20]) {
                let mut buffer = Buffer::take(len);
                assert_eq!(buffer.len(), len);
                assert!(buffer.capacity() >= len);
                if len >= BLOCK_BYTES {
                    assert!(buffer.as_ptr().addr().is_multiple_of(BLOCK_BYTES));
                }
                if let Some(last) = buffer.last_mut() {
                    *last = 1;
                }
            }
        });
    }

    /// A full pool must slow down, not fail: the byte budgets above it decide who gets memory.
    #[test]
    fn a_full_pool_falls_back_to_the_allocator() {
        with_pool(2 << 20, || {
            let mut taken: Vec<_> = (0..8).map(|_| Buffer::take(1 << 20)).collect();
            taken.iter_mut().for_each(|buffer| buffer.fill(1));
            assert!(pool_counters().misses >= 6);
        });
    }

    /// Whoever hands on bytes that it never wrote sends, on a real machine, the last request's: zeros in the simulator would hide it.
    #[test]
    fn a_fresh_buffer_in_the_simulator_holds_no_zeros() {
        let mut sim = crate::sim::Sim::new(1, crate::sim::SimOptions::default());
        let node = sim.add_node();
        let main = || async {
            for len in [1, 100, BLOCK_BYTES, 3 << 20] {
                assert!(Buffer::take(len).iter().all(|byte| *byte == POISON));
            }
        };
        sim.start(node, vec![Box::new(move || Box::pin(main()))]);
        assert!(sim.run_until(std::time::Duration::from_secs(1), |sim| !sim.is_running(node)));
    }
}
