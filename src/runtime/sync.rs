//! Waiting between tasks of one shard (never across shards: that is `mesh`).

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A condition that tasks of one shard wait for. `notify_all` wakes everyone waiting now. Waiters re-check their own state: an event
/// carries none. `listen()` taken before the check closes the gap between check and wait.
#[derive(Default)]
pub struct Event {
    state: Rc<EventState>,
}

#[derive(Default)]
struct EventState {
    notified: Cell<u64>,
    /// Listeners that were polled and are not yet notified or dropped.
    waiting: RefCell<slab::Slab<Waker>>,
}

impl Event {
    pub fn notify_all(&self) {
        self.state.notified.set(self.state.notified.get() + 1);
        // Taken out first: waking must not find the list borrowed.
        let mut waiting = self.state.waiting.take();
        waiting.drain().for_each(Waker::wake);
        // Keep the allocation for the next round.
        let mut current = self.state.waiting.borrow_mut();
        if current.is_empty() {
            *current = waiting;
        }
    }
    /// Ready after the next `notify_all` that follows this call.
    pub fn listen(&self) -> impl Future<Output = ()> + 'static {
        Listener { state: self.state.clone(), since: self.state.notified.get(), key: None }
    }
}

struct Listener {
    state: Rc<EventState>,
    since: u64,
    /// Place in `waiting`; valid only while `notified` is still `since`, because a notification empties the list.
    key: Option<usize>,
}

impl Listener {
    fn is_notified(&self) -> bool {
        self.state.notified.get() != self.since
    }
}

impl Future for Listener {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_notified() {
            return Poll::Ready(());
        }
        let this = &mut *self;
        let mut waiting = this.state.waiting.borrow_mut();
        match this.key {
            Some(key) => waiting[key].clone_from(cx.waker()),
            None => this.key = Some(waiting.insert(cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(key) = self.key
            && !self.is_notified()
        {
            let waker = self.state.waiting.borrow_mut().remove(key);
            drop(waker);
        }
    }
}

/// One value from one task to another of the same shard.
pub fn oneshot<T>() -> (OneshotSender<T>, OneshotReceiver<T>) {
    let state = Rc::new(RefCell::new(Oneshot { value: None, waker: None, closed: false }));
    (OneshotSender { state: state.clone() }, OneshotReceiver { state })
}

struct Oneshot<T> {
    value: Option<T>,
    waker: Option<Waker>,
    /// One of the two ends is gone.
    closed: bool,
}

pub struct OneshotSender<T> {
    state: Rc<RefCell<Oneshot<T>>>,
}

impl<T> OneshotSender<T> {
    /// Gives the value back when the receiver is gone.
    pub fn send(self, value: T) -> Result<(), T> {
        let mut state = self.state.borrow_mut();
        if state.closed {
            return Err(value);
        }
        state.value = Some(value);
        Ok(())
        // Dropping the sender wakes the receiver.
    }
}

impl<T> Drop for OneshotSender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.state.borrow_mut();
            state.closed = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Resolves to `None` when the sender was dropped without sending.
pub struct OneshotReceiver<T> {
    state: Rc<RefCell<Oneshot<T>>>,
}

impl<T> Future for OneshotReceiver<T> {
    type Output = Option<T>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.state.borrow_mut();
        if let Some(value) = state.value.take() {
            return Poll::Ready(Some(value));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for OneshotReceiver<T> {
    fn drop(&mut self) {
        let unread = {
            let mut state = self.state.borrow_mut();
            state.closed = true;
            state.value.take()
        };
        drop(unread);
    }
}
