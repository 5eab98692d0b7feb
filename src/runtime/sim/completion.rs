//! One value from the simulated machine to the future that waits for it. Either side may go first: a dropped future leaves the
//! machine's action undisturbed (as a real write goes on when its future is dropped), a dropped action leaves the future waiting.

use super::world::World;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

pub(super) fn completion<T>() -> (Complete<T>, Completion<T>) {
    let state = Rc::new(RefCell::new(State { value: None, waiter: None }));
    (Complete { state: state.clone() }, Completion { state })
}

struct State<T> {
    value: Option<T>,
    waiter: Option<Waker>,
}

pub(super) struct Complete<T> {
    state: Rc<RefCell<State<T>>>,
}

impl<T> Complete<T> {
    /// From a task.
    pub(super) fn with(self, value: T) {
        if let Some(waiter) = self.put(value) {
            waiter.wake();
        }
    }

    /// From a planned action.
    pub(super) fn within(self, world: &mut World, value: T) {
        let waiter = self.put(value);
        world.wake(waiter);
    }

    fn put(self, value: T) -> Option<Waker> {
        let mut state = self.state.borrow_mut();
        state.value = Some(value);
        state.waiter.take()
    }
}

pub(super) struct Completion<T> {
    state: Rc<RefCell<State<T>>>,
}

impl<T> Unpin for Completion<T> {}

impl<T> Future for Completion<T> {
    type Output = T;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut state = self.state.borrow_mut();
        match state.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                state.waiter = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
