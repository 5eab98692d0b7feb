//! Tasks of one shard. A panic in a task is caught, logged and counted; it never takes the shard down (glommio fault B6).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A spawned task. Dropping it cancels the future at its next await point; [`Task::detach`] lets it run on.
#[must_use = "dropping a Task cancels it: await it, keep it or detach it"]
pub struct Task<T> {
    _result: std::marker::PhantomData<T>,
}

#[derive(Debug, thiserror::Error)]
#[error("task {name} panicked: {message}")]
pub struct TaskFailed {
    pub name: &'static str,
    pub message: String,
}

/// Runs `future` on the calling shard. `name` stands in logs and in the panic report. The future is first polled from the run
/// queue, never inside `spawn`.
pub fn spawn<T: 'static>(name: &'static str, future: impl Future<Output = T> + 'static) -> Task<T> {
    let _ = (name, future);
    todo!()
}

impl<T> Task<T> {
    pub fn detach(self) {
        todo!()
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskFailed>;
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}

/// Lets other tasks and I/O run if this shard has worked for more than about 200 us since it last looked at its ring (in the
/// simulator: always a yield). Call it inside loops whose length a client or a file decides.
pub async fn give_way() {
    todo!()
}

/// Runs `work` on a helper thread outside the shards' cores' run queues (in the simulator: at once, inline). For what the kernel only
/// offers blocking: directory walks, DNS, large CPU work. Never for the hot path.
pub async fn blocking<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TaskFailed> {
    let _ = (name, work);
    todo!()
}
