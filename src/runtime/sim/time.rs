//! The virtual clock and its timers, as the facade's `time` calls them.

use super::world::{ActionId, Shard};
use crate::Instant;
use crate::context::current_sim;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

pub(crate) fn now() -> Instant {
    current_sim().with(|world| Instant { nanos: world.now_nanos })
}

pub(crate) fn wall_clock_ms() -> i64 {
    current_sim().wall_clock_ms()
}

pub(crate) fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { shard: current_sim(), deadline, timer: None }
}

/// Leaves no timer behind when it is dropped, so that the clock does not stop at deadlines that nobody waits for.
pub(crate) struct Sleep {
    shard: Rc<Shard>,
    deadline: Instant,
    timer: Option<ActionId>,
}

impl Sleep {
    fn take_back(&mut self) {
        if let Some(timer) = self.timer.take() {
            drop(self.shard.with(|world| world.take_back(timer)));
        }
    }
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.take_back();
        let (deadline, waker) = (self.deadline, cx.waker());
        let timer = self.shard.with(|world| {
            let wait_nanos = deadline.nanos.checked_sub(world.now_nanos).filter(|&nanos| nanos > 0)?;
            let waker = waker.clone();
            Some(world.after(wait_nanos, move |world| world.wake(Some(waker))))
        });
        self.timer = timer;
        if self.timer.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.take_back();
    }
}
