//! Byte budgets of one shard: who wants memory takes it here first and waits, first come first served, when there is none.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A number of bytes that tasks of one shard share. Cheap to clone.
#[derive(Clone)]
pub struct Budget {
    state: Rc<RefCell<State>>,
}

struct State {
    name: &'static str,
    limit: usize,
    used: usize,
    /// Oldest first. Its bound is the number of tasks: each waits for one permit at a time.
    waiters: VecDeque<Waiter>,
    next_ticket: u64,
}

struct Waiter {
    ticket: u64,
    bytes: usize,
    waker: Waker,
}

impl Budget {
    /// A request larger than `bytes` would never be served: it is granted alone, when nothing else is held.
    pub fn new(name: &'static str, bytes: usize) -> Budget {
        let state = State { name, limit: bytes, used: 0, waiters: VecDeque::new(), next_ticket: 0 };
        Budget { state: Rc::new(RefCell::new(state)) }
    }
    pub async fn acquire(&self, bytes: usize) -> Permit {
        Acquire { budget: self, bytes, ticket: None }.await
    }
    /// `None` also when others wait already: nobody overtakes.
    pub fn try_acquire(&self, bytes: usize) -> Option<Permit> {
        let mut state = self.state.borrow_mut();
        if !state.waiters.is_empty() || !state.fits(bytes) {
            return None;
        }
        state.used += bytes;
        Some(Permit { budget: self.clone(), bytes })
    }
    pub fn used_bytes(&self) -> usize {
        self.state.borrow().used
    }
    pub fn limit_bytes(&self) -> usize {
        self.state.borrow().limit
    }
    pub fn name(&self) -> &'static str {
        self.state.borrow().name
    }

    fn wake_first(&self) {
        let waker = {
            let state = self.state.borrow();
            state.waiters.front().filter(|first| state.fits(first.bytes)).map(|first| first.waker.clone())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl State {
    fn fits(&self, bytes: usize) -> bool {
        self.used == 0 || self.used.saturating_add(bytes) <= self.limit
    }
}

struct Acquire<'a> {
    budget: &'a Budget,
    bytes: usize,
    ticket: Option<u64>,
}

impl Future for Acquire<'_> {
    type Output = Permit;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let this = &mut *self;
        let mut state = this.budget.state.borrow_mut();
        let is_first = state.waiters.front().is_none_or(|first| Some(first.ticket) == this.ticket);
        if is_first && state.fits(this.bytes) {
            state.used += this.bytes;
            if this.ticket.take().is_some() {
                state.waiters.pop_front();
            }
            drop(state);
            // What is left may be enough for the next one too.
            this.budget.wake_first();
            return Poll::Ready(Permit { budget: this.budget.clone(), bytes: this.bytes });
        }
        match this.ticket {
            Some(ticket) => {
                let waiter = state.waiters.iter_mut().find(|waiter| waiter.ticket == ticket);
                waiter.expect("a ticket is in the queue until it is served").waker.clone_from(cx.waker());
            }
            None => {
                let ticket = state.next_ticket;
                state.next_ticket += 1;
                state.waiters.push_back(Waiter { ticket, bytes: this.bytes, waker: cx.waker().clone() });
                this.ticket = Some(ticket);
            }
        }
        Poll::Pending
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.budget.state.borrow_mut().waiters.retain(|waiter| waiter.ticket != ticket);
            self.budget.wake_first();
        }
    }
}

/// Bytes held; given back on drop.
pub struct Permit {
    budget: Budget,
    bytes: usize,
}

impl Permit {
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.state.borrow_mut().used -= self.bytes;
        self.budget.wake_first();
    }
}
