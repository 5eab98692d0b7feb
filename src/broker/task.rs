//! Starting work: what usually does not have to wait, and what must never end.

use futures::FutureExt;
use ringlane_runtime::{Task, sleep, spawn};
use std::future::Future;
use std::time::Duration;

/// Between a panic of a task that must not end and its next start.
const RESTART_AFTER: Duration = Duration::from_millis(100);

/// Runs `work` at once as far as it gets; what has to wait goes on as a task. A read from the tail or an answer from memory costs no task.
pub fn start(name: &'static str, work: impl Future<Output = ()> + 'static) {
    if let Some(task) = begin(name, work) {
        task.detach();
    }
}

/// Like [`start`]; the task, if one was needed, is the caller's to keep.
pub fn begin(name: &'static str, work: impl Future<Output = ()> + 'static) -> Option<Task<()>> {
    let mut work = Box::pin(work);
    match work.as_mut().now_or_never() {
        Some(()) => None,
        None => Some(spawn(name, work)),
    }
}

/// Runs what `work` makes for as long as the shard, or until it returns. A panic has been logged and counted when we hear of it; whatever
/// request caused it is lost, those after it must not be.
pub fn keep_running<F: Future<Output = ()> + 'static>(name: &'static str, work: impl Fn() -> F + 'static) -> Task<()> {
    spawn(name, async move {
        while spawn(name, work()).await.is_err() {
            sleep(RESTART_AFTER).await;
        }
    })
}
