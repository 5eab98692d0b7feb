//! Wakes the one task that waits for a condition of its connection.
//!
//! Cheaper than `runtime::Event` where there is never a second waiter: a ring allocates nothing, and ringing before anyone waits is
//! remembered, so that a check followed by a wait misses nothing. Lives on the connection shard.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[derive(Default)]
pub struct Bell {
    rung: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Bell {
    /// Wakes the waiter, or lets the next wait return at once. The waiter re-checks its condition: a bell carries none.
    pub fn ring(&self) {
        self.rung.set(true);
        let waiter = self.waiter.borrow_mut().take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// Ready once rung since the last wait returned. One task at a time.
    pub async fn wait(&self) {
        poll_fn(|context| {
            if self.rung.take() {
                return Poll::Ready(());
            }
            let mut waiter = self.waiter.borrow_mut();
            match &mut *waiter {
                Some(known) => known.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await;
    }
}
