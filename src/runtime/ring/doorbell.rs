//! How other threads wake a shard: a queue of wakers and an eventfd that the sleeping shard's ring reads.
//!
//! Waking a glommio task from another thread directly would reach only glommio's own rings, in which the shard does not sleep
//! (`driver`), and is what loses wake-ups there (fault B1). So a waker that leaves its shard is wrapped by [`waker_for_others`].

use super::driver;
use super::net::check;
use crossbeam_queue::SegQueue;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};

/// Of one shard; rung by any thread, answered by the shard's driver.
pub(super) struct Doorbell {
    /// Tasks to wake. As many as wait for other threads: each waker is pushed when it is taken from where it waits.
    wakers: SegQueue<Waker>,
    /// The shard waits in its ring, or is about to: whoever rings next must write the eventfd.
    is_asleep: AtomicBool,
    /// Kicks by the watchdog, which writes this ...
    kicked: AtomicU64,
    /// ... and those that the shard has seen, which it writes.
    answered: AtomicU64,
    /// glommio's own waker of the driver, for [`Doorbell::rescue`].
    driver: OnceLock<Waker>,
    /// The shard has ended: nobody answers any more.
    is_closed: AtomicBool,
    eventfd: OwnedFd,
}

impl Doorbell {
    pub(super) fn new() -> io::Result<Doorbell> {
        // SAFETY: a plain system call; the result is checked.
        let eventfd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
        Ok(Doorbell {
            wakers: SegQueue::new(),
            is_asleep: AtomicBool::new(false),
            kicked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            driver: OnceLock::new(),
            is_closed: AtomicBool::new(false),
            // SAFETY: just made, owned by nobody else.
            eventfd: unsafe { OwnedFd::from_raw_fd(eventfd) },
        })
    }

    fn wake(&self, waker: Waker) {
        if !self.is_closed.load(Ordering::Relaxed) {
            self.wakers.push(waker);
            self.ring();
        }
    }

    /// By the watchdog alone.
    pub(super) fn kick(&self) {
        self.kicked.store(self.kicked.load(Ordering::Relaxed) + 1, Ordering::Release);
        self.ring();
    }

    /// Wakes glommio itself, in case that it fell asleep with the driver runnable (fault B1) when it looked at its rings.
    pub(super) fn rescue(&self) {
        if let Some(driver) = self.driver.get() {
            driver.wake_by_ref();
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire) == self.kicked.load(Ordering::Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    fn ring(&self) {
        // Pairs with the fence in `fall_asleep`: either the shard sees the news there, or we see here that it sleeps.
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::Relaxed) {
            let one = 1u64.to_ne_bytes();
            // SAFETY: writes eight bytes of a local array to an open descriptor. It cannot fail: the count is far from its limit.
            let written = unsafe { libc::write(self.eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
            debug_assert_eq!(written, one.len() as isize);
        }
    }

    // By the shard:

    pub(super) fn driven_by(&self, driver: &Waker) {
        self.driver.get_or_init(|| driver.clone());
    }

    pub(super) fn raw(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }

    pub(super) fn has_news(&self) -> bool {
        !self.wakers.is_empty() || self.kicked.load(Ordering::Acquire) != self.answered.load(Ordering::Relaxed)
    }

    /// From now on news write the eventfd. False, and no change, when there are some already.
    pub(super) fn fall_asleep(&self) -> bool {
        self.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.has_news() {
            self.awake();
            return false;
        }
        true
    }

    pub(super) fn awake(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
    }

    /// Wakes what others asked for.
    pub(super) fn wake_all(&self) {
        while let Some(waker) = self.wakers.pop() {
            waker.wake();
        }
    }

    /// True when the watchdog has kicked since the last call.
    pub(super) fn answer_kick(&self) -> bool {
        let kicked = self.kicked.load(Ordering::Acquire);
        kicked != self.answered.swap(kicked, Ordering::Release)
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        while self.wakers.pop().is_some() {}
    }
}

/// A waker of the calling shard that other threads may use.
pub(crate) fn waker_for_others(waker: &Waker) -> Waker {
    Waker::from(Arc::new(Remote { waker: waker.clone(), doorbell: driver::current().doorbell().clone() }))
}

struct Remote {
    waker: Waker,
    doorbell: Arc<Doorbell>,
}

impl Wake for Remote {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.doorbell.wake(self.waker.clone());
    }
}
