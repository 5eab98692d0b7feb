//! Which backend the running code belongs to: the one place where `ring` and `sim` part.
//!
//! Every public type of this crate holds an enum over the backends and every free function matches on [`backend`]. On `ring` the thread
//! of a shard is marked once, at its start. In `sim` all shards share one thread: the simulator calls [`enter`] around every poll and
//! every drop of a task, so that code always sees the shard whose turn it is.
//!
//! Off-shard (the thread that starts the shards, helper threads, unit tests) the clock, randomness and buffers are the machine's own;
//! tasks, timers, sockets and files need a shard and panic without one.
//!
//! What `sim` provides for the dispatch, all with the signature of the facade item of the same name, all reading their node and
//! shard from [`current_sim`]:
//! - `sim::Shard` with `id() -> ShardId` and `count() -> usize`
//! - `sim::task::{spawn(name, future) -> Task<T>, yield_now()}`; `Task<T>: Future<Output = T> + Unpin`, cancelled on drop, `detach()`; first polled
//!   from the run queue. Panics are caught by the facade: the future given to `spawn` does not unwind
//! - `sim::time::{now, wall_clock_ms, sleep_until}`
//! - `sim::random::fill(&mut [u8])`
//! - `sim::net::{Listener, Socket, Stream, resolve}`, `sim::file::File`, `sim::fs::*` with `DirLock`, `sim::signal::next_signal`
//!
//! `Buffer`, `Event`, `oneshot`, `Budget`, `Mesh`, `timeout` and `blocking` (inline in `sim`) are one code for both.

use crate::{ShardId, ring, sim};
use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;

/// The shard that the running code belongs to.
#[derive(Clone)]
pub(crate) enum Context {
    Ring { id: ShardId, count: usize },
    Sim(Rc<sim::Shard>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Ring,
    Sim,
    /// No shard: the starting thread, a helper thread, a unit test.
    None,
}

thread_local! {
    static CURRENT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

/// Makes `context` the current one until the guard is dropped.
pub(crate) fn enter(context: Context) -> Entered {
    Entered { previous: CURRENT.replace(Some(context)) }
}

#[must_use = "the context ends with the guard"]
pub(crate) struct Entered {
    previous: Option<Context>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.replace(self.previous.take());
    }
}

pub(crate) fn backend() -> Backend {
    CURRENT.with_borrow(|current| match current {
        Some(Context::Ring { .. }) => Backend::Ring,
        Some(Context::Sim(_)) => Backend::Sim,
        None => Backend::None,
    })
}

/// The backend for something that only a shard has.
pub(crate) fn backend_of_shard(what: &str) -> Backend {
    match backend() {
        Backend::None => panic!("{what} needs a shard: call it from a future given to ring::run or to the simulator"),
        backend => backend,
    }
}

pub(crate) fn shard_and_count() -> (ShardId, usize) {
    CURRENT.with_borrow(|current| match current {
        Some(Context::Ring { id, count }) => (*id, *count),
        Some(Context::Sim(shard)) => (shard.id(), shard.count()),
        None => panic!("not on a shard: shard() and shard_count() are for tasks"),
    })
}

/// The simulated shard whose turn it is. Called by `sim` only, behind a dispatch that found [`Backend::Sim`].
pub(crate) fn current_sim() -> Rc<sim::Shard> {
    CURRENT.with_borrow(|current| match current {
        Some(Context::Sim(shard)) => shard.clone(),
        _ => panic!("not in the simulator"),
    })
}

/// Makes a task's waker one that other shards and threads may use; remembers the last one, since a task keeps its own.
#[derive(Default)]
pub(crate) struct RemoteWaker {
    made: Option<(Waker, Waker)>,
}

impl RemoteWaker {
    pub(crate) fn of(&mut self, local: &Waker) -> &Waker {
        if !self.made.as_ref().is_some_and(|(from, _)| from.will_wake(local)) {
            let remote = match backend() {
                Backend::Ring => ring::doorbell::waker_for_others(local),
                // One thread, or an executor of somebody else.
                Backend::Sim | Backend::None => local.clone(),
            };
            self.made = Some((local.clone(), remote));
        }
        let (_, remote) = self.made.as_ref().expect("just made");
        remote
    }
}
