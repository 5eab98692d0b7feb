//! Memory that frames, tails, journal blocks and disk reads live in: taken from the kernel once, then recycled for ever.
//!
//! A page fault costs more than everything else on the hot path (266,000 faults a GiB, 1.3 CPU-s a GiB, when frames take fresh memory), so
//! every large buffer comes from its shard's pool: size classes of four steps per power of two, carved from huge-page-advised chunks
//! of the kernel's memory. All blocks are aligned to [`BLOCK_BYTES`], so any buffer serves direct I/O. A block may be dropped on any
//! thread; it returns to the pool that made it.

use bytes::Bytes;

/// Direct I/O unit: offset, length and address of every direct read and write are multiples of this.
pub const BLOCK_BYTES: usize = 4096;

/// Exclusive bytes, like `BytesMut` over pooled, aligned memory: can be split without copying and frozen into `Bytes`.
/// `Send`; `!Clone`. Dereferences to `[u8]`.
pub struct Buffer {
    _inner: (),
}

impl Buffer {
    /// `len` bytes, contents unspecified but initialised (recycled or zero), address aligned to [`BLOCK_BYTES`] when `len` is at
    /// least that. Small buffers (< 4 KiB) share smaller classes.
    pub fn take(len: usize) -> Buffer {
        let _ = len;
        todo!()
    }
    pub fn copy_from(bytes: &[u8]) -> Buffer {
        let _ = bytes;
        todo!()
    }
    pub fn len(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes of memory that stay taken while any part of this buffer lives.
    pub fn capacity(&self) -> usize {
        todo!()
    }
    /// Splits off and returns the first `at` bytes; `self` keeps the rest. No copy; both keep the block alive.
    pub fn split_to(&mut self, at: usize) -> Buffer {
        let _ = at;
        todo!()
    }
    pub fn truncate(&mut self, len: usize) {
        let _ = len;
        todo!()
    }
    /// Immutable, shared, `Send`. No copy.
    pub fn freeze(self) -> Bytes {
        todo!()
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        todo!()
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        todo!()
    }
}
