//! The shard's heart: one task, always runnable, that submits, completes, keeps time, answers other threads and sleeps.
//!
//! glommio only runs the tasks. Its own sleep needs three rings and an eventfd between them and ours (6 us of CPU and latency for every
//! sleep) and can lose wake-ups (fault B1), so the shard sleeps here instead: when no other task has run between two polls of this one,
//! the run queue is empty, and `io_uring_enter` both submits everything and waits. What ends the sleep is a completion in our ring: of an
//! operation, of the one armed timer, or of the read of the doorbell's eventfd.
//!
//! Kicks of the watchdog also let glommio look at its own rings, so that even a waker that reached it from another thread without
//! passing the doorbell is served within some 20 ms.

use super::counters;
use super::doorbell::Doorbell;
use super::timers::Timers;
use super::uring::Ring;
use crate::Instant;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// glommio calls a timer of zero length ready at once; the shortest real one makes it look at its rings.
const GLOMMIO_LOOK: Duration = Duration::from_nanos(500);
/// How long the end of a shard waits for cancelled operations.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

pub(super) struct Driver {
    ring: Rc<Ring>,
    doorbell: Arc<Doorbell>,
    timers: RefCell<Timers>,
    /// Tasks that gave way, to be woken by the next turn.
    gave_way: RefCell<Vec<Waker>>,
    /// When `give_way` was first called since the last turn.
    working_since: Cell<Option<Instant>>,
    /// Busy-poll this long before each sleep.
    spin: Duration,
    is_stopping: Cell<bool>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Driver>>> = const { RefCell::new(None) };
    /// Polls and ends of this shard's tasks.
    static POLLS: Cell<u64> = const { Cell::new(0) };
}

/// The driver of the calling shard.
pub(super) fn current() -> Rc<Driver> {
    CURRENT.with_borrow(|driver| driver.clone()).expect("on a shard of the ring backend")
}

/// `future`, seen by the driver: it sleeps only when no such future has been polled or dropped for a whole round.
pub(super) async fn counted<T>(future: impl Future<Output = T>) -> T {
    struct CountEnd;
    impl Drop for CountEnd {
        fn drop(&mut self) {
            POLLS.set(POLLS.get() + 1);
        }
    }
    // Declared first, dropped last: dropping the future may wake others, too.
    let _end = CountEnd;
    let mut future = pin!(future);
    poll_fn(|cx| {
        POLLS.set(POLLS.get() + 1);
        future.as_mut().poll(cx)
    })
    .await
}

impl Driver {
    /// Makes the calling shard's ring and begins to drive it. Called once per shard, on its executor.
    pub(super) fn start(doorbell: Arc<Doorbell>, spin: Duration) -> io::Result<Rc<Driver>> {
        let driver = Rc::new(Driver {
            ring: Ring::new(doorbell.raw())?,
            doorbell,
            timers: RefCell::default(),
            gave_way: RefCell::default(),
            working_since: Cell::new(None),
            spin,
            is_stopping: Cell::new(false),
        });
        CURRENT.replace(Some(driver.clone()));
        glommio::spawn_local(driver.clone().run()).detach();
        Ok(driver)
    }

    pub(super) fn ring(&self) -> &Rc<Ring> {
        &self.ring
    }

    pub(super) fn doorbell(&self) -> &Arc<Doorbell> {
        &self.doorbell
    }

    pub(super) fn timers(&self) -> &RefCell<Timers> {
        &self.timers
    }

    /// How long tasks have run since the last turn, counted from the first call after it: a turn itself reads no clock.
    pub(super) fn work_lasts(&self) -> Duration {
        match self.working_since.get() {
            Some(since) => since.elapsed(),
            None => {
                self.working_since.set(Some(crate::now()));
                Duration::ZERO
            }
        }
    }

    /// Lets every runnable task and one turn go by.
    pub(super) async fn next_turn(&self) {
        let mut has_waited = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut has_waited, true) {
                return Poll::Ready(());
            }
            self.gave_way.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Ends every operation with ECANCELED, so that the tasks of a shard whose main has returned close what they hold; then stops.
    pub(super) async fn close(&self) {
        self.ring.cancel_all();
        let began = crate::now();
        while self.ring.has_operations() && began.elapsed() < CLOSE_WAIT {
            self.next_turn().await;
        }
        if self.ring.has_operations() {
            // A device that does not answer may still write into their memory: it must outlive the shard.
            tracing::error!("operations did not end with their shard: their memory is left to the kernel");
            std::mem::forget(self.ring.clone());
        }
        self.doorbell.close();
        self.is_stopping.set(true);
    }

    async fn run(self: Rc<Self>) {
        poll_fn(|cx| {
            self.doorbell.driven_by(cx.waker());
            Poll::Ready(())
        })
        .await;
        let (mut seen, mut has_yielded) = (0, false);
        while !self.is_stopping.get() {
            let have_others_run = POLLS.get() != std::mem::replace(&mut seen, POLLS.get());
            // First let those run that they have woken, so that one enter serves all; but only once, so that I/O goes on.
            if have_others_run && !std::mem::replace(&mut has_yielded, true) {
                yield_now().await;
                continue;
            }
            has_yielded = false;
            self.turn(!have_others_run);
            // Only when nothing else runs: it ends when the run queue is empty.
            if self.doorbell.answer_kick() && !have_others_run {
                glommio::timer::sleep(GLOMMIO_LOOK).await;
            }
            yield_now().await;
        }
    }

    fn turn(&self, is_alone: bool) {
        self.working_since.set(None);
        let has_woken = self.wake_gave_way() | self.wake_due();
        if is_alone && !has_woken && self.sleep() {
            return;
        }
        self.doorbell.wake_all();
        self.ring.enter_if_needed();
    }

    fn wake_gave_way(&self) -> bool {
        let mut gave_way = self.gave_way.take();
        let is_any = !gave_way.is_empty();
        gave_way.drain(..).for_each(Waker::wake);
        // Its memory is kept; nothing was pushed meanwhile, because no task ran.
        self.gave_way.replace(gave_way);
        is_any
    }

    /// The kernel says when the first timer is due: only then the clock is read.
    fn wake_due(&self) -> bool {
        let Some(first) = self.timers.borrow().first_deadline() else { return false };
        if !self.ring.has_timer_fired() {
            self.ring.arm_timer(first);
            return false;
        }
        let (now, mut is_any) = (crate::now(), false);
        loop {
            let due = self.timers.borrow_mut().pop_due(now);
            match due {
                Some(waker) => waker.wake(),
                None => break,
            }
            is_any = true;
        }
        let next = self.timers.borrow().first_deadline();
        if let Some(next) = next {
            self.ring.arm_timer(next);
        }
        is_any
    }

    /// False when there is news already.
    fn sleep(&self) -> bool {
        if (!self.spin.is_zero() && self.spin()) || !self.doorbell.fall_asleep() {
            return false;
        }
        self.ring.wait();
        self.doorbell.awake();
        counters::ring_woke();
        true
    }

    /// True when something came, which the next turn takes.
    fn spin(&self) -> bool {
        let began = crate::now();
        while began.elapsed() < self.spin {
            if self.ring.enter_if_needed() || self.doorbell.has_news() {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }
}

/// To the end of the run queue.
fn yield_now() -> impl Future<Output = ()> {
    let mut has_yielded = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}
