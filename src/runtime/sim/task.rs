//! Tasks and yields, as the facade's `task` calls them.

use super::completion::{Completion, completion};
use super::executor::{TaskId, drop_tasks};
use super::world::Shard;
use crate::context::current_sim;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

pub(crate) struct Task<T> {
    result: Completion<T>,
    cancel: Option<Cancel>,
}

struct Cancel {
    shard: Rc<Shard>,
    task: TaskId,
}

pub(crate) fn spawn<T: 'static>(name: &'static str, future: impl Future<Output = T> + 'static) -> Task<T> {
    let shard = current_sim();
    let (complete, result) = completion();
    let run = Box::pin(async move { complete.with(future.await) });
    let cancel = match shard.with(|world| world.add_task(&shard, name, false, run)) {
        Ok(task) => Some(Cancel { shard, task }),
        Err(never_runs) => {
            drop_tasks([never_runs]);
            None
        }
    };
    Task { result, cancel }
}

impl<T> Task<T> {
    pub(crate) fn detach(mut self) {
        self.cancel = None;
    }
}

impl<T> Unpin for Task<T> {}

impl<T> Future for Task<T> {
    type Output = T;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.result).poll(cx)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(Cancel { shard, task }) = self.cancel.take() {
            drop_tasks(shard.with(|world| world.remove_task(task)));
        }
    }
}

/// A panic that the facade caught.
pub(crate) fn panicked(task: &'static str, message: &str) {
    let shard = current_sim();
    shard.with(|world| world.panicked(&shard, task, message.to_owned()));
}

/// To the back of the queue, so to say: the seed decides who is next.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
