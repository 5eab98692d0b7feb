//! One private io_uring per shard, driven from inside its glommio executor: every socket and file operation goes through it.
//!
//! Lives on the executor's thread and never leaves it (the kernel enforces it: SINGLE_ISSUER). `ops` builds the operations, `net` and
//! `file` call them. Operations are pushed and cost nothing until the **flusher**, a task at the tail of the run queue, enters the kernel
//! once for all of them and takes out what has completed. When the shard sleeps, a completion signals the ring's eventfd, which the
//! **waker** task reads through glommio's own ring.
//!
//! An operation's memory and descriptor stay until its completion, whoever stops waiting for it (fault B12): a dropped future leaves them
//! to its slot and asks the kernel to cancel.

mod ops;
mod slot;

use super::counters;
use super::descriptor::Descriptor;
use crate::context::Context as ShardContext;
use crate::time::Instant;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
pub(super) use ops::{Message, OPCODES};
use slab::Slab;
pub(super) use slot::Completed;
use slot::{Keep, Kept, Slot};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{Ordering, fence};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// Operations pushed between two enters. More are submitted at once; the cost is 64 bytes each against the memlock limit.
const SUBMISSION_ENTRIES: u32 = 1024;
/// Every connection may have a receive and a send in the kernel; what does not fit is kept by the kernel and delivered later.
const COMPLETION_ENTRIES: u32 = 8 * SUBMISSION_ENTRIES;
/// So long may completions feed tasks that feed completions before glommio's own ring (timers, wakes from other shards) is looked at.
const TURN: Duration = Duration::from_micros(250);
/// glommio calls a timer of zero length ready at once; the shortest real one makes the executor look at its ring.
pub(super) const LOOK_AT_RING: Duration = Duration::from_nanos(500);
/// How long the end of a shard waits for cancelled operations.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// Completions that nobody waits for: those of cancel requests.
const IGNORED: u64 = u64::MAX;
/// `io_uring_enter` also runs what the kernel has deferred to this thread (DEFER_TASKRUN).
const IORING_ENTER_GETEVENTS: u32 = 1;

pub(crate) struct Ring {
    uring: RefCell<IoUring>,
    slots: RefCell<Slab<Slot>>,
    /// Completions on their way out; kept for its memory.
    reaped: Cell<Vec<cqueue::Entry>>,
    /// Operations were pushed, or an enter was refused, since the last enter.
    is_dirty: Cell<bool>,
    flusher: Cell<Option<Waker>>,
    /// When the executor last looked at glommio's ring, as far as we know.
    turn_began: Cell<Instant>,
    /// Takes no more operations.
    is_closing: Cell<bool>,
    /// `wake_loop` may end.
    is_closed: Cell<bool>,
    eventfd: RawFd,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Ring>>> = const { RefCell::new(None) };
}

/// The ring of the calling shard.
pub(super) fn current() -> Rc<Ring> {
    CURRENT.with_borrow(|ring| ring.clone()).expect("on a shard of the ring backend")
}

impl Ring {
    /// Makes the calling shard's ring and its two tasks. Called once per shard, on its executor.
    pub(super) fn start() -> io::Result<Rc<Ring>> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(SUBMISSION_ENTRIES)?;
        // SAFETY: a plain system call; the result is checked.
        let eventfd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if eventfd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, owned by nobody else. Becomes glommio's file in `wake_loop`, which closes it.
        let eventfd = unsafe { OwnedFd::from_raw_fd(eventfd) };
        uring.submitter().register_eventfd(eventfd.as_raw_fd())?;
        let ring = Rc::new(Ring {
            uring: RefCell::new(uring),
            slots: RefCell::default(),
            reaped: Cell::default(),
            is_dirty: Cell::new(false),
            flusher: Cell::default(),
            turn_began: Cell::new(crate::now()),
            is_closing: Cell::new(false),
            is_closed: Cell::new(false),
            eventfd: eventfd.as_raw_fd(),
        });
        glommio::spawn_local(ring.clone().flush_loop()).detach();
        glommio::spawn_local(ring.clone().wake_loop(eventfd)).detach();
        CURRENT.replace(Some(ring.clone()));
        Ok(ring)
    }

    /// Ends every operation with ECANCELED, so that the tasks of a shard whose main has returned close what they hold.
    pub(super) async fn close(self: &Rc<Self>) {
        self.is_closing.set(true);
        self.push(opcode::AsyncCancel2::new(types::CancelBuilder::any()).build().user_data(IGNORED));
        let began = crate::now();
        while self.slots.borrow().iter().any(|(_, slot)| slot.is_in_kernel()) && began.elapsed() < CLOSE_WAIT {
            self.flush();
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        // Only now: the completions above wake `wake_loop` too, and it closes the eventfd when it ends.
        self.is_closed.set(true);
        let one = 1u64.to_ne_bytes();
        // SAFETY: writes eight bytes of a local array to the eventfd, which `wake_loop` holds open until it has read them.
        let written = unsafe { libc::write(self.eventfd, one.as_ptr().cast(), one.len()) };
        debug_assert_eq!(written, one.len() as isize);
        glommio::timer::sleep(Duration::from_millis(1)).await;
    }

    /// How long tasks have run since the executor looked at glommio's ring.
    pub(super) fn turn_lasts(&self) -> Duration {
        self.turn_began.get().elapsed()
    }

    pub(super) fn begin_turn(&self) {
        self.turn_began.set(crate::now());
    }

    async fn flush_loop(self: Rc<Self>) {
        loop {
            poll_fn(|cx| self.poll_dirty(cx)).await;
            self.flush();
            // While this sleeps nothing is taken out of the ring, so the run queue empties and the executor looks at its own ring: without
            // it a shard at its limit would never see a timer or a message from another shard.
            if self.turn_lasts() > TURN {
                glommio::timer::sleep(LOOK_AT_RING).await;
                self.begin_turn();
            }
        }
    }

    fn poll_dirty(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_dirty.get() {
            return Poll::Ready(());
        }
        self.flusher.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    async fn wake_loop(self: Rc<Self>, eventfd: OwnedFd) {
        // SAFETY: the descriptor is open and handed over.
        let signals = unsafe { glommio::io::BufferedFile::from_raw_fd(eventfd.into_raw_fd()) };
        while !self.is_closed.get() {
            if let Err(error) = signals.read_at(0, 8).await {
                fatal("reading the eventfd", error.into());
            }
            counters::update(|counters| counters.ring_wakes += 1);
            self.begin_turn();
            self.flush();
        }
        if let Err(error) = signals.close().await {
            tracing::warn!(%error, "closing the ring's eventfd failed");
        }
    }

    /// Submits what was pushed and completes what is done.
    ///
    /// The eventfd is silent meanwhile, or each completion would wake the shard that is awake. What completes between the enter and the
    /// moment it speaks again raised no signal: so exactly one more enter if the ring says so. Looping until it no longer says so
    /// livelocks (the kernel can leave TASKRUN set with no work); not looking again loses a wake-up.
    fn flush(&self) {
        self.is_dirty.set(false);
        self.uring.borrow_mut().completion().disable_eventfd();
        self.enter();
        let is_left = {
            let mut uring = self.uring.borrow_mut();
            uring.completion().enable_eventfd();
            fence(Ordering::SeqCst);
            let has_taskrun = uring.submission().taskrun();
            let mut completions = uring.completion();
            completions.sync();
            has_taskrun || !completions.is_empty()
        };
        if is_left {
            self.enter();
        }
    }

    fn enter(&self) {
        counters::update(|counters| counters.ring_enters += 1);
        let mut reaped = self.reaped.take();
        let entered = {
            let mut uring = self.uring.borrow_mut();
            let pushed = uring.submission().len() as u32;
            // SAFETY: no signal mask is passed; every pushed entry's memory is kept by its operation.
            let entered = unsafe { uring.submitter().enter::<libc::sigset_t>(pushed, 0, IORING_ENTER_GETEVENTS, None) };
            reaped.extend(uring.completion());
            entered
        };
        if let Err(error) = entered {
            match error.raw_os_error() {
                // Interrupted, or the completion queue was full: it has been emptied and the rest goes next time.
                Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) => self.mark_dirty(),
                _ => fatal("io_uring_enter", error),
            }
        }
        // Taken out first: what a completion wakes or drops must find the ring free.
        for completion in reaped.drain(..) {
            self.complete(completion);
        }
        self.reaped.set(reaped);
    }

    fn complete(&self, completion: cqueue::Entry) {
        if completion.user_data() == IGNORED {
            return;
        }
        let key = completion.user_data() as usize;
        let completed = Completed { result: completion.result(), flags: completion.flags() };
        let mut slots = self.slots.borrow_mut();
        match &mut slots[key] {
            Slot::Waiting(waker) => {
                let waker = waker.take();
                slots[key] = Slot::Done(completed);
                drop(slots);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Slot::Orphan(_) => {
                let orphan = slots.remove(key);
                drop(slots);
                if let Slot::Orphan(orphan) = orphan {
                    orphan.completed(completed.result);
                }
            }
            Slot::Done(_) => unreachable!("one completion per operation"),
        }
    }

    fn mark_dirty(&self) {
        if !self.is_dirty.replace(true)
            && let Some(flusher) = self.flusher.take()
        {
            flusher.wake();
        }
    }

    fn push(&self, entry: squeue::Entry) {
        loop {
            let mut uring = self.uring.borrow_mut();
            // SAFETY: the memory that the entry names is kept by its operation until its completion (`ops` and `Op`).
            if unsafe { uring.submission().push(&entry) }.is_ok() {
                break;
            }
            if let Err(error) = uring.submit() {
                match error.raw_os_error() {
                    Some(libc::EINTR | libc::EAGAIN) => continue,
                    Some(libc::EBUSY) => {
                        drop(uring);
                        self.enter();
                    }
                    _ => fatal("io_uring_enter", error),
                }
            }
        }
        self.mark_dirty();
    }

    /// # Safety
    /// All memory that `entry` names lies in `memory` and does not move with it, and the descriptor is `descriptor`.
    unsafe fn submit<K: Keep>(entry: squeue::Entry, descriptor: &Rc<Descriptor>, memory: K) -> Op<K> {
        let ring = descriptor.ring();
        let slot = match ring.is_closing.get() {
            false => Slot::Waiting(None),
            true => Slot::Done(Completed { result: -libc::ECANCELED, flags: 0 }),
        };
        let key = ring.slots.borrow_mut().insert(slot);
        if !ring.is_closing.get() {
            ring.push(entry.user_data(key as u64));
        }
        Op { key, kept: Some(Kept { memory, descriptor: descriptor.clone() }) }
    }
}

/// An operation in flight: resolves to what the kernel said and the memory it was given.
pub(super) struct Op<K: Keep> {
    key: usize,
    /// `None` once resolved. A forgotten `Op` leaks it, so that the kernel never loses its memory.
    kept: Option<Kept<K>>,
}

/// What it keeps never moves in memory by being moved.
impl<K: Keep> Unpin for Op<K> {}

impl<K: Keep> Future for Op<K> {
    type Output = (Completed, K);
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(Completed, K)> {
        let kept = self.kept.as_ref().expect("polled after its result");
        let mut slots = kept.descriptor.ring().slots.borrow_mut();
        let completed = ready!(slots[self.key].poll(cx));
        slots.remove(self.key);
        drop(slots);
        let kept = self.kept.take().expect("it was there");
        Poll::Ready((completed, kept.memory))
    }
}

impl<K: Keep> Drop for Op<K> {
    fn drop(&mut self) {
        let Some(mut kept) = self.kept.take() else { return };
        let descriptor = kept.descriptor.clone();
        let mut slots = descriptor.ring().slots.borrow_mut();
        if let Slot::Done(completed) = slots[self.key] {
            slots.remove(self.key);
            drop(slots);
            kept.memory.unclaimed(completed.result);
            return;
        }
        slots[self.key] = Slot::Orphan(Box::new(kept));
        drop(slots);
        let cancel = opcode::AsyncCancel::new(self.key as u64).build().user_data(IGNORED);
        descriptor.ring().push(cancel);
    }
}

/// A ring that the kernel refuses to enter takes every connection and file of the shard with it: nothing can be saved.
fn fatal(what: &str, error: io::Error) -> ! {
    tracing::error!(%error, "the shard's io_uring ring failed: {what}");
    eprintln!("ringlane: the shard's io_uring ring failed: {what}: {error}");
    std::process::abort()
}

/// The shard context of this backend, for the thread's whole life.
pub(super) fn enter_for_ever(context: ShardContext) {
    std::mem::forget(crate::context::enter(context));
}
