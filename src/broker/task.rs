//! Starting work that usually does not have to wait.

use futures::FutureExt;
use ringlane_runtime::{Task, spawn};
use std::future::Future;

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
