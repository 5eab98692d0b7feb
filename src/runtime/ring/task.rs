//! glommio tasks, and giving way by our own clock.

use super::uring;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Work between two looks at the rings: what a neighbour waits at most for one long loop.
const WORK: Duration = Duration::from_micros(200);

pub(crate) struct Task<T> {
    inner: glommio::Task<T>,
}

pub(crate) fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    // Into a queue: plain `spawn_local` would run the future inside this call.
    let queue = glommio::executor().current_task_queue();
    let inner = glommio::spawn_local_into(future, queue).expect("the current task queue exists");
    Task { inner }
}

impl<T> Task<T> {
    pub(crate) fn detach(self) {
        self.inner.detach();
    }
}

impl<T> Future for Task<T> {
    type Output = T;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

pub(crate) async fn give_way() {
    let ring = uring::current();
    if ring.turn_lasts() > WORK {
        // glommio's own `yield_now` would not look at any ring.
        glommio::timer::sleep(uring::LOOK_AT_RING).await;
        ring.begin_turn();
    }
}
