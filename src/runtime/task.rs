//! Tasks of one shard. A panic in a task is caught, logged and counted; it never takes the shard down (glommio fault B6).

use crate::context::{Backend, backend, backend_of_shard};
use crate::{ring, shard, sim};
use futures::FutureExt;
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A spawned task. Dropping it cancels the future at its next await point; [`Task::detach`] lets it run on.
#[must_use = "dropping a Task cancels it: await it, keep it or detach it"]
pub struct Task<T> {
    inner: Inner<Result<T, TaskFailed>>,
}

enum Inner<T> {
    Ring(ring::task::Task<T>),
    Sim(sim::task::Task<T>),
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
    let guarded =
        AssertUnwindSafe(future).catch_unwind().map(move |result| result.map_err(|panic| failed(name, panic)));
    let inner = match backend_of_shard("spawn") {
        Backend::Sim => Inner::Sim(sim::task::spawn(name, guarded)),
        _ => Inner::Ring(ring::task::spawn(guarded)),
    };
    Task { inner }
}

impl<T> Task<T> {
    pub fn detach(self) {
        match self.inner {
            Inner::Ring(task) => task.detach(),
            Inner::Sim(task) => task.detach(),
        }
    }
}

impl<T> Unpin for Task<T> {}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskFailed>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match &mut self.inner {
            Inner::Ring(task) => ready!(Pin::new(task).poll(cx)),
            Inner::Sim(task) => ready!(Pin::new(task).poll(cx)),
        })
    }
}

/// Lets other tasks and I/O run if this shard has worked for more than about 200 us since it last looked at its ring (in the
/// simulator: always a yield). Call it inside loops whose length a client or a file decides.
pub async fn give_way() {
    match backend_of_shard("give_way") {
        Backend::Sim => sim::task::yield_now().await,
        _ => ring::task::give_way().await,
    }
}

/// Runs `work` on a helper thread outside the shards' cores' run queues (in the simulator: at once, inline). For what the kernel only
/// offers blocking: directory walks, DNS, large CPU work. Never for the hot path.
pub async fn blocking<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TaskFailed> {
    let guarded = move || catch_unwind(AssertUnwindSafe(work));
    let result = match backend_of_shard("blocking") {
        Backend::Sim => guarded(),
        _ => ring::helpers::run(ring::helpers::BLOCKING, guarded).await,
    };
    result.map_err(|panic| failed(name, panic))
}

fn failed(name: &'static str, panic: Box<dyn Any + Send>) -> TaskFailed {
    let message = match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().map_or("(no message)", |message| message).to_owned(),
    };
    tracing::error!(task = name, shard = shard().0, %message, "task panicked");
    match backend() {
        Backend::Sim => sim::task::panicked(name, &message),
        _ => ring::counters::task_panicked(),
    }
    TaskFailed { name, message }
}
