//! Counts the memory of a shard's disk reads, from before the read until the last slice of it is gone, wherever that is.
//!
//! One per shard. What a client has not received yet is released on the shard of its connection, so the count is the one thing here that
//! other shards touch. Nobody waits for it: read-ahead stops at the limit, and whoever needs bytes now reads on.

use bytes::Bytes;
use ringlane_runtime::Buffer;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) struct Memory {
    used: Arc<AtomicUsize>,
    limit_bytes: usize,
}

/// Bytes that are counted.
pub(crate) struct Reserved {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl Memory {
    pub fn new(limit_bytes: usize) -> Memory {
        Memory { used: Arc::default(), limit_bytes }
    }

    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub fn reserve(&self, bytes: usize) -> Reserved {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Reserved { used: self.used.clone(), bytes }
    }

    /// `None`: that would be past the limit.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reserved> {
        (self.used_bytes() + bytes <= self.limit_bytes).then(|| self.reserve(bytes))
    }
}

impl Reserved {
    /// The buffer's bytes, counted until the last slice of them is gone.
    pub fn freeze(self, buffer: Buffer) -> Bytes {
        Bytes::from_owner(Held { buffer, _reserved: self })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Held {
    buffer: Buffer,
    _reserved: Reserved,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read-ahead that does not count what slow clients hold ends in an out-of-memory kill.
    #[test]
    fn memory_is_counted_until_the_last_slice_is_gone() {
        let memory = Memory::new(10_000);
        let bytes = memory.try_reserve(8192).expect("there is room").freeze(Buffer::take(8192));
        assert!(memory.try_reserve(1809).is_none());
        let slice = bytes.slice(100..200);
        drop(bytes);
        assert_eq!(memory.used_bytes(), 8192);
        drop(slice);
        assert_eq!(memory.used_bytes(), 0);
        assert_eq!(memory.reserve(20_000).bytes, 20_000, "who needs it now is not refused");
    }
}
