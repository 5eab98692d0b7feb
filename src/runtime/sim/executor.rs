//! Owns the tasks of all shards and decides which runs next: the seed picks among the runnable ones, so that every seed is another
//! interleaving.
//!
//! A poll happens with nothing borrowed and with its shard as the current context; so does the drop of a task's future.

use super::world::{Shard, World, with};
use crate::context::{self, Context as ShardContext};
use crossbeam_queue::SegQueue;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

#[derive(Default)]
pub(super) struct Tasks {
    slots: BTreeMap<TaskId, Slot>,
    runnable: Vec<TaskId>,
    woken: Arc<SegQueue<TaskId>>,
    next_id: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct TaskId(u64);

struct Slot {
    shard: Rc<Shard>,
    name: &'static str,
    /// Absent while it is polled.
    future: Option<TaskFuture>,
    waker: Arc<TaskWaker>,
    /// The shard ends with this task.
    is_main: bool,
}

type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

/// A future that left the executor, on its way to be dropped where nothing is borrowed.
#[must_use = "drop it through `drop_tasks`, in its shard's context"]
pub(super) struct Removed {
    shard: Rc<Shard>,
    future: Option<TaskFuture>,
}

pub(super) struct Turn {
    id: TaskId,
    pub(super) shard: Rc<Shard>,
    pub(super) name: &'static str,
    future: TaskFuture,
    waker: Arc<TaskWaker>,
    pub(super) is_main: bool,
}

pub(super) enum Polled {
    Pending,
    Ended,
    Panicked(String),
}

impl World {
    /// Adds a task and makes it runnable. On a shard that has ended it never runs.
    pub(super) fn add_task(
        &mut self,
        shard: &Rc<Shard>,
        name: &'static str,
        is_main: bool,
        future: TaskFuture,
    ) -> Result<TaskId, Removed> {
        if !shard.is_alive() {
            return Err(Removed { shard: shard.clone(), future: Some(future) });
        }
        let id = TaskId(self.tasks.next_id);
        self.tasks.next_id += 1;
        let waker = Arc::new(TaskWaker { id, queued: AtomicBool::new(true), woken: self.tasks.woken.clone() });
        let slot = Slot { shard: shard.clone(), name, future: Some(future), waker, is_main };
        self.tasks.slots.insert(id, slot);
        self.tasks.runnable.push(id);
        Ok(id)
    }

    pub(super) fn remove_task(&mut self, id: TaskId) -> Option<Removed> {
        self.tasks.slots.remove(&id).map(|slot| Removed { shard: slot.shard, future: slot.future })
    }

    pub(super) fn remove_tasks_of(&mut self, ended: impl Fn(&Shard) -> bool) -> Vec<Removed> {
        let gone = self.tasks.slots.extract_if(.., |_, slot| ended(&slot.shard));
        gone.map(|(_, slot)| Removed { shard: slot.shard, future: slot.future }).collect()
    }

    /// Takes the task whose turn it is; `None` when nothing is runnable.
    pub(super) fn next_turn(&mut self) -> Option<Turn> {
        while let Some(woken) = self.tasks.woken.pop() {
            self.tasks.runnable.push(woken);
        }
        while !self.tasks.runnable.is_empty() {
            let chosen = self.schedule.below(self.tasks.runnable.len() as u64) as usize;
            let id = self.tasks.runnable.swap_remove(chosen);
            // Not there: it ended or was cancelled after it was woken.
            let Some(slot) = self.tasks.slots.get_mut(&id) else { continue };
            let future = slot.future.take().expect("one turn at a time");
            let (shard, name, waker, is_main) = (slot.shard.clone(), slot.name, slot.waker.clone(), slot.is_main);
            shard.record(self, "run", id.0, 0);
            return Some(Turn { id, shard, name, future, waker, is_main });
        }
        None
    }

    /// Puts the future of a turn back, or returns it if the task was cancelled by what it did.
    fn put_back(&mut self, id: TaskId, future: TaskFuture) -> Option<TaskFuture> {
        match self.tasks.slots.get_mut(&id) {
            Some(slot) => {
                slot.future = Some(future);
                None
            }
            None => Some(future),
        }
    }
}

/// Polls once, in the context of the task's shard, and keeps or drops the future.
pub(super) fn poll(world: &RefCell<World>, mut turn: Turn) -> Polled {
    let _entered = context::enter(ShardContext::Sim(turn.shard.clone()));
    turn.waker.queued.store(false, Ordering::Relaxed);
    let waker = Waker::from(turn.waker.clone());
    let future = &mut turn.future;
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        future.as_mut().poll(&mut Context::from_waker(&waker))
    }));
    match polled {
        Ok(Poll::Pending) => {
            let cancelled = with(world, |world| world.put_back(turn.id, turn.future));
            drop(cancelled);
            Polled::Pending
        }
        Ok(Poll::Ready(())) => {
            drop(with(world, |world| world.remove_task(turn.id)).map(|slot| slot.future));
            Polled::Ended
        }
        Err(panic) => {
            drop(with(world, |world| world.remove_task(turn.id)).map(|slot| slot.future));
            Polled::Panicked(message_of(&*panic))
        }
    }
}

/// Drops futures as their shard would: in its context, with nothing borrowed.
pub(super) fn drop_tasks(removed: impl IntoIterator<Item = Removed>) {
    for Removed { shard, future } in removed {
        let _entered = context::enter(ShardContext::Sim(shard));
        drop(future);
    }
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no message)".to_owned())
}

/// `Send` and `Sync` as a waker must be, by a lock-free queue, though all of it stays on one thread.
struct TaskWaker {
    id: TaskId,
    /// In `woken` or `runnable` already.
    queued: AtomicBool,
    woken: Arc<SegQueue<TaskId>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.woken.push(self.id);
        }
    }
}
