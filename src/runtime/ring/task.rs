//! glommio tasks, and giving way by our own clock (glommio's own `yield_now` and preemption look at no ring).

use super::driver;
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
    let inner = glommio::spawn_local_into(driver::counted(future), queue).expect("the current task queue exists");
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
    let driver = driver::current();
    if driver.work_lasts() > WORK {
        driver.next_turn().await;
    }
}
