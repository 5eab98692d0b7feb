//! Waiting between tasks of one shard (never across shards: that is `mesh`).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A condition that tasks of one shard wait for. `notify_all` wakes everyone waiting now. Waiters re-check their own state: an event
/// carries none. `listen()` taken before the check closes the gap between check and wait.
#[derive(Default)]
pub struct Event {}

impl Event {
    pub fn notify_all(&self) {
        todo!()
    }
    /// Ready after the next `notify_all` that follows this call.
    pub fn listen(&self) -> impl Future<Output = ()> + 'static {
        std::future::pending()
    }
}

/// One value from one task to another of the same shard.
pub fn oneshot<T>() -> (OneshotSender<T>, OneshotReceiver<T>) {
    todo!()
}

pub struct OneshotSender<T> {
    _value: std::marker::PhantomData<T>,
}

impl<T> OneshotSender<T> {
    /// Gives the value back when the receiver is gone.
    pub fn send(self, value: T) -> Result<(), T> {
        Err(value)
    }
}

/// Resolves to `None` when the sender was dropped without sending.
pub struct OneshotReceiver<T> {
    _value: std::marker::PhantomData<T>,
}

impl<T> Future for OneshotReceiver<T> {
    type Output = Option<T>;
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<T>> {
        todo!()
    }
}
