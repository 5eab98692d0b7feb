//! A value that may travel between threads until its first use, and belongs to the thread of that use from then on.

use std::cell::{Cell, OnceCell};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};

/// `parts` while nobody has used it, `value` afterwards.
pub(super) struct ShardBound<P, V> {
    /// Token of the thread that used it first; [`NOBODY`] before.
    owner: AtomicU64,
    parts: Cell<Option<P>>,
    value: ManuallyDrop<OnceCell<V>>,
}

const NOBODY: u64 = 0;

thread_local! {
    static THREAD: u64 = {
        static NEXT: AtomicU64 = AtomicU64::new(NOBODY + 1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

// SAFETY: before the first use only `parts: P` is there, which is `Send`; afterwards the token lets only the owner reach what is inside,
// and `drop` leaves a value of another thread alone.
unsafe impl<P: Send, V> Send for ShardBound<P, V> {}
// SAFETY: as above; the first use is decided by one atomic exchange.
unsafe impl<P: Send, V> Sync for ShardBound<P, V> {}

impl<P, V> ShardBound<P, V> {
    pub(super) fn new(parts: P) -> ShardBound<P, V> {
        let value = ManuallyDrop::new(OnceCell::new());
        ShardBound { owner: AtomicU64::new(NOBODY), parts: Cell::new(Some(parts)), value }
    }

    /// The value, made from the parts on the first call, which also decides the thread. Panics on any other thread.
    pub(super) fn on_shard(&self, make: impl FnOnce(P) -> V) -> &V {
        let thread = THREAD.with(|thread| *thread);
        let owner = self.owner.compare_exchange(NOBODY, thread, Ordering::Relaxed, Ordering::Relaxed);
        assert!(owner.is_ok() || owner == Err(thread), "used on another thread than its first");
        self.value.get_or_init(|| make(self.parts.take().expect("the parts are taken once")))
    }
}

impl<P, V> Drop for ShardBound<P, V> {
    fn drop(&mut self) {
        let owner = *self.owner.get_mut();
        if owner == NOBODY || THREAD.try_with(|thread| *thread) == Ok(owner) {
            // SAFETY: dropped once, here; on the owner's thread, or empty.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        } else {
            tracing::warn!("a value bound to one shard was dropped on another: leaked");
        }
    }
}
