//! Timers of one shard.

use super::driver::{self, Driver};
use crate::Instant;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

#[derive(Default)]
pub(super) struct Timers {
    /// By deadline, then by age.
    waiting: BTreeMap<(Instant, u64), Waker>,
    made: u64,
}

impl Timers {
    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// The first one due, taken out.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Waker> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

/// Ready at `deadline`, and never before the shard has looked at its ring once: a loop of sleeps of no length gives way.
pub(super) fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { driver: driver::current(), deadline, number: None }
}

pub(super) struct Sleep {
    driver: Rc<Driver>,
    deadline: Instant,
    /// Its number among the timers, once it waits.
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut timers = this.driver.timers().borrow_mut();
        let Some(number) = this.number else {
            timers.made += 1;
            let number = timers.made;
            timers.waiting.insert((this.deadline, number), cx.waker().clone());
            this.number = Some(number);
            return Poll::Pending;
        };
        match timers.waiting.entry((this.deadline, number)) {
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().clone_from(cx.waker());
                Poll::Pending
            }
            Entry::Vacant(_) => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.driver.timers().borrow_mut().waiting.remove(&(self.deadline, number));
            drop(waker);
        }
    }
}
