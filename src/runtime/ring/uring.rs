//! One private io_uring per shard: every socket and file operation of the shard goes through it.
//!
//! Lives on the shard's thread and never leaves it (the kernel enforces it: SINGLE_ISSUER). `ops` builds the operations, `net` and
//! `file` call them. Operations are pushed and cost nothing until the driver enters the kernel once for all of them.
//!
//! An operation's memory and descriptor stay until its completion, whoever stops waiting for it (fault B12): a dropped future leaves them
//! to its slot and asks the kernel to cancel.

mod ops;
mod slot;

use super::counters;
use super::descriptor::Descriptor;
use crate::Instant;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
pub(super) use ops::{Message, OPCODES};
use slab::Slab;
pub(super) use slot::Completed;
use slot::{Keep, Kept, Slot};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Operations pushed between two enters. More are submitted at once; the cost is 64 bytes each against the memlock limit.
const SUBMISSION_ENTRIES: u32 = 1024;
/// Every connection may have a receive and a send in the kernel; what does not fit is kept by the kernel and delivered later.
const COMPLETION_ENTRIES: u32 = 8 * SUBMISSION_ENTRIES;
/// Descriptors that the kernel's table holds; more are looked up each time. 8 bytes each.
const PLACES: u32 = 8192;
/// `io_uring_enter` also runs what the kernel has deferred to this thread (DEFER_TASKRUN).
const IORING_ENTER_GETEVENTS: u32 = 1;

// Completions that belong to no slot; slots are numbered from zero.
/// Of cancel requests and timer updates: nobody asks.
const IGNORED: u64 = u64::MAX;
/// Of the read of the doorbell's eventfd.
const DOORBELL: u64 = u64::MAX - 1;
/// Of the armed timer.
const TIMER: u64 = u64::MAX - 2;

pub(super) struct Ring {
    uring: RefCell<IoUring>,
    slots: RefCell<Slab<Slot>>,
    /// Completions on their way out; kept for its memory.
    reaped: Cell<Vec<cqueue::Entry>>,
    /// Free places in the kernel's table of this ring's descriptors.
    free_places: RefCell<Vec<u32>>,
    is_closing: Cell<bool>,
    doorbell: RawFd,
    /// What the kernel reads from the doorbell; nobody looks at it. Boxed: the kernel knows its address.
    doorbell_count: Box<Cell<u64>>,
    is_doorbell_armed: Cell<bool>,
    /// When the armed timer fires.
    timer: Cell<Option<Instant>>,
    has_timer_fired: Cell<bool>,
    /// The same for the kernel, which reads it when the entry is submitted.
    timer_spec: RefCell<Box<types::Timespec>>,
}

impl Ring {
    /// On the thread that will use it.
    pub(super) fn new(doorbell: RawFd) -> io::Result<Rc<Ring>> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(SUBMISSION_ENTRIES)?;
        // Refused (an old limit of open files, say), there is no table and nothing changes but the cost.
        let places = if uring.submitter().register_files_sparse(PLACES).is_ok() { PLACES } else { 0 };
        let ring = Ring {
            uring: RefCell::new(uring),
            slots: RefCell::default(),
            reaped: Cell::default(),
            free_places: RefCell::new((0..places).rev().collect()),
            is_closing: Cell::new(false),
            doorbell,
            doorbell_count: Box::default(),
            is_doorbell_armed: Cell::new(false),
            timer: Cell::new(None),
            has_timer_fired: Cell::new(false),
            timer_spec: RefCell::default(),
        };
        Ok(Rc::new(ring))
    }

    /// Enters `fd` into the kernel's table, so that operations on it need not look it up and count it; `None` when the table is full.
    pub(super) fn take_place(&self, fd: RawFd) -> Option<u32> {
        let place = self.free_places.borrow_mut().pop()?;
        if self.uring.borrow().submitter().register_files_update(place, &[fd]).is_err() {
            self.free_places.borrow_mut().push(place);
            return None;
        }
        Some(place)
    }

    pub(super) fn give_place(&self, place: u32) {
        match self.uring.borrow().submitter().register_files_update(place, &[-1]) {
            Ok(_) => self.free_places.borrow_mut().push(place),
            // The place stays taken, and its file open, until the ring ends.
            Err(error) => tracing::error!(%error, place, "io_uring did not give up a descriptor"),
        }
    }

    /// Ends every operation with ECANCELED, those of the future too.
    pub(super) fn cancel_all(&self) {
        self.is_closing.set(true);
        self.push(opcode::AsyncCancel2::new(types::CancelBuilder::any()).build().user_data(IGNORED));
    }

    /// Whether the kernel holds memory of this ring.
    pub(super) fn has_operations(&self) -> bool {
        self.is_doorbell_armed.get() || self.slots.borrow().iter().any(|(_, slot)| slot.is_in_kernel())
    }

    /// Submits what was pushed and completes what is done, without waiting. True when it was worth a system call.
    pub(super) fn enter_if_needed(&self) -> bool {
        let is_needed = {
            let mut uring = self.uring.borrow_mut();
            let submission = uring.submission();
            // TASKRUN: the kernel has completions that wait for this thread.
            !submission.is_empty() || submission.taskrun() || submission.cq_overflow() || {
                drop(submission);
                !uring.completion().is_empty()
            }
        };
        if is_needed {
            self.enter(0);
        }
        is_needed
    }

    /// Submits what was pushed, sleeps until something completes, the doorbell rings or the timer fires, and completes what is done.
    pub(super) fn wait(&self) {
        self.arm_doorbell();
        self.enter(1);
    }

    /// Whether the timer has fired since the last call.
    pub(super) fn has_timer_fired(&self) -> bool {
        self.has_timer_fired.take()
    }

    fn arm_doorbell(&self) {
        if self.is_closing.get() || self.is_doorbell_armed.replace(true) {
            return;
        }
        let count = self.doorbell_count.as_ptr().cast();
        self.push(opcode::Read::new(types::Fd(self.doorbell), count, 8).build().user_data(DOORBELL));
    }

    /// One timer is armed at most, for the first deadline; when that goes away it fires in vain, which is cheaper than to remove it.
    pub(super) fn arm_timer(&self, deadline: Instant) {
        let armed = self.timer.get();
        if self.is_closing.get() || armed.is_some_and(|armed| armed <= deadline) {
            return;
        }
        let nanos = deadline.as_nanos();
        let spec = {
            let mut spec = self.timer_spec.borrow_mut();
            **spec = types::Timespec::new().sec(nanos / 1_000_000_000).nsec((nanos % 1_000_000_000) as u32);
            &raw const **spec
        };
        let flags = types::TimeoutFlags::ABS;
        self.push(match armed {
            None => opcode::Timeout::new(spec).flags(flags).build().user_data(TIMER),
            // A completion of its own would end the sleep that it is for.
            Some(_) => {
                let update = opcode::TimeoutUpdate::new(TIMER, spec).flags(flags).build();
                update.flags(squeue::Flags::SKIP_SUCCESS).user_data(IGNORED)
            }
        });
        self.timer.set(Some(deadline));
    }

    /// Enters the kernel, waiting for `want` completions.
    fn enter(&self, want: u32) {
        counters::ring_entered();
        let mut reaped = self.reaped.take();
        let entered = {
            let mut uring = self.uring.borrow_mut();
            let pushed = uring.submission().len() as u32;
            // SAFETY: no signal mask is passed; every pushed entry's memory is kept by its operation.
            let entered =
                unsafe { uring.submitter().enter::<libc::sigset_t>(pushed, want, IORING_ENTER_GETEVENTS, None) };
            reaped.extend(uring.completion());
            entered
        };
        if let Err(error) = entered {
            match error.raw_os_error() {
                // Interrupted, or the completion queue was full: it has been emptied, and the rest goes with the next turn.
                Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) => {}
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
        match completion.user_data() {
            IGNORED => return,
            DOORBELL => return self.is_doorbell_armed.set(false),
            TIMER => {
                self.timer.set(None);
                return self.has_timer_fired.set(true);
            }
            _ => {}
        }
        let key = completion.user_data() as usize;
        let completed = Completed { result: completion.result(), flags: completion.flags() };
        let mut slots = self.slots.borrow_mut();
        match &mut slots[key] {
            Slot::Waiting(waker) => {
                let waker = waker.take();
                slots[key] = Slot::Done(completed, None);
                drop(slots);
                if let Some(waker) = waker {
                    waker.wake_by_ref();
                    self.slots.borrow_mut()[key] = Slot::Done(completed, Some(waker));
                }
            }
            Slot::Orphan(_) => {
                let orphan = slots.remove(key);
                drop(slots);
                if let Slot::Orphan(orphan) = orphan {
                    orphan.completed(completed.result);
                }
            }
            Slot::Done(..) => unreachable!("one completion per operation"),
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
                        self.enter(0);
                    }
                    _ => fatal("io_uring_enter", error),
                }
            }
        }
    }

    /// # Safety
    /// All memory that `entry` names lies in `memory` and does not move with it, and the descriptor is `descriptor`.
    unsafe fn submit<K: Keep>(entry: squeue::Entry, descriptor: &Rc<Descriptor>, memory: K) -> Op<K> {
        let ring = descriptor.ring();
        let slot = match ring.is_closing.get() {
            false => Slot::Waiting(descriptor.spare_waker(K::SENDS).take()),
            true => Slot::Done(Completed { result: -libc::ECANCELED, flags: 0 }, None),
        };
        let key = ring.slots.borrow_mut().insert(slot);
        if !ring.is_closing.get() {
            ring.push(entry.flags(descriptor.flags()).user_data(key as u64));
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
        let (completed, waker) = ready!(slots[self.key].poll(cx));
        slots.remove(self.key);
        drop(slots);
        kept.descriptor.spare_waker(K::SENDS).set(waker);
        let kept = self.kept.take().expect("it was there");
        Poll::Ready((completed, kept.memory))
    }
}

impl<K: Keep> Drop for Op<K> {
    fn drop(&mut self) {
        let Some(mut kept) = self.kept.take() else { return };
        let descriptor = kept.descriptor.clone();
        let mut slots = descriptor.ring().slots.borrow_mut();
        if let Slot::Done(completed, _) = slots[self.key] {
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
