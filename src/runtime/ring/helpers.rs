//! The process's helper threads, for what the kernel only offers blocking. Two for files (they answer in milliseconds), two for
//! everything else (name lookups may take seconds and must not hold up a rename). They run on any CPU that the process may use.
//!
//! The queues are as long as there are tasks that wait, and closed files.

use crate::context::RemoteWaker;
use futures::FutureExt;
use futures::channel::oneshot;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Context;

const THREADS_PER_CREW: usize = 2;

type Job = Box<dyn FnOnce() + Send>;

/// Which threads do a job.
pub(super) type Crew = &'static OnceLock<Sender<Job>>;

pub(super) static FILES: Crew = {
    static FILES: OnceLock<Sender<Job>> = OnceLock::new();
    &FILES
};
pub(crate) static BLOCKING: Crew = {
    static BLOCKING: OnceLock<Sender<Job>> = OnceLock::new();
    &BLOCKING
};

/// Starts the threads. Called before the shards start, because a thread inherits the CPUs of the one that makes it.
pub(super) fn start_crews() {
    FILES.get_or_init(|| start_crew("ringlane-files"));
    BLOCKING.get_or_init(|| start_crew("ringlane-helper"));
}

fn start_crew(name: &str) -> Sender<Job> {
    let (sender, receiver) = channel::<Job>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..THREADS_PER_CREW {
        let jobs = receiver.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&jobs));
        thread.expect("the process can start a thread");
    }
    sender
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        // The lock covers the wait only: nothing that can panic.
        let job = jobs.lock().expect("no holder panics").recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}

/// Queues `job`; nobody waits for it. A panic in it is lost, so jobs that can panic go through [`run`].
pub(super) fn start(crew: Crew, job: impl FnOnce() + Send + 'static) {
    let sender = crew.get_or_init(|| start_crew("ringlane-helper"));
    sender.send(Box::new(job)).expect("helper threads live as long as the process");
}

/// Runs `work` on a helper thread; a panic in it goes on in the caller (fault B5 of glommio's pool: there it would hang the caller).
pub(crate) async fn run<T: Send + 'static>(crew: Crew, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, mut receiver) = oneshot::channel();
    start(crew, move || {
        // The caller may have gone away.
        let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
    });
    let mut waker = RemoteWaker::default();
    // The answer comes from another thread.
    let answer = poll_fn(|cx| receiver.poll_unpin(&mut Context::from_waker(waker.of(cx.waker())))).await;
    match answer.expect("the helper always answers") {
        Ok(result) => result,
        Err(panic) => resume_unwind(panic),
    }
}
