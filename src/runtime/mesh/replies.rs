//! The way back: reply lanes, and what waits for a reply on the asking shard.

use super::Outbox;
use crate::context::RemoteWaker;
use crate::{Permit, Task, spawn};
use crossbeam_queue::ArrayQueue;
use futures::task::AtomicWaker;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

/// Replies from one shard to another, each with the slot of its request.
pub(super) struct ReplyLane<R> {
    queue: ArrayQueue<(u32, Option<R>)>,
    /// Nobody is left who could answer.
    closed: AtomicBool,
}

impl<R> ReplyLane<R> {
    pub(super) fn new(credits: usize) -> ReplyLane<R> {
        ReplyLane { queue: ArrayQueue::new(credits), closed: AtomicBool::new(false) }
    }

    pub(super) fn close(&self, waker: &AtomicWaker) {
        self.closed.store(true, Ordering::Release);
        waker.wake();
    }
}

/// The answering end of one reply lane; the lane closes with the last clone of its `Rc`.
pub(super) struct ReplySender<R> {
    outbox: Arc<Outbox<R>>,
    own: usize,
}

impl<R> ReplySender<R> {
    pub(super) fn new(outbox: Arc<Outbox<R>>, own: usize) -> ReplySender<R> {
        ReplySender { outbox, own }
    }

    fn send(&self, slot: u32, reply: Option<R>) {
        let pushed = self.outbox.lanes[self.own].queue.push((slot, reply));
        assert!(pushed.is_ok(), "a reply lane holds as many replies as there are credits");
        self.outbox.waker.wake();
    }
}

impl<R> Drop for ReplySender<R> {
    fn drop(&mut self) {
        self.outbox.lanes[self.own].close(&self.outbox.waker);
    }
}

/// Answers one request, now or later, from the shard that received it.
pub struct ReplyTo<R> {
    sender: Rc<ReplySender<R>>,
    slot: u32,
    answered: bool,
}

impl<R> ReplyTo<R> {
    pub(super) fn new(sender: Rc<ReplySender<R>>, slot: u32) -> ReplyTo<R> {
        ReplyTo { sender, slot, answered: false }
    }
}

impl<R: Send + 'static> ReplyTo<R> {
    /// Never blocks.
    pub fn send(mut self, reply: R) {
        self.answered = true;
        self.sender.send(self.slot, Some(reply));
    }
}

impl<R> Drop for ReplyTo<R> {
    fn drop(&mut self) {
        if !self.answered {
            self.sender.send(self.slot, None);
        }
    }
}

/// Requests of one shard that wait for their replies.
pub(super) struct Replies<R> {
    outbox: Arc<Outbox<R>>,
    slots: RefCell<Slab<Slot<R>>>,
    /// Takes replies out of the lanes; ends with `self`.
    receiver: Cell<Option<Task<()>>>,
}

struct Slot<R> {
    /// The shard that was asked.
    asked: usize,
    /// Held until the reply is received.
    permit: Option<Permit>,
    state: State<R>,
}

enum State<R> {
    Waiting(Option<Waker>),
    Received(Option<R>),
    /// Nobody waits any more; the slot stays until the reply is received, because the other side will name it.
    Abandoned,
}

impl<R: Send + 'static> Replies<R> {
    pub(super) fn start(outbox: Arc<Outbox<R>>) -> Rc<Replies<R>> {
        let replies = Rc::new(Replies { outbox, slots: RefCell::default(), receiver: Cell::default() });
        let weak = Rc::downgrade(&replies);
        let mut waker = RemoteWaker::default();
        let receiver = spawn(
            "mesh replies",
            poll_fn(move |cx| match weak.upgrade() {
                Some(replies) => {
                    // Before looking, so that what comes after the look wakes this task.
                    replies.outbox.waker.register(waker.of(cx.waker()));
                    replies.receive_all();
                    Poll::Pending
                }
                None => Poll::Ready(()),
            }),
        );
        replies.receiver.set(Some(receiver));
        replies
    }

    pub(super) fn expect(self: &Rc<Self>, asked: usize, permit: Permit) -> PendingReply<R> {
        let closed = self.outbox.lanes[asked].closed.load(Ordering::Acquire);
        let slot = match closed {
            false => Slot { asked, permit: Some(permit), state: State::Waiting(None) },
            true => Slot { asked, permit: None, state: State::Received(None) },
        };
        let key = self.slots.borrow_mut().insert(slot);
        PendingReply { replies: self.clone(), slot: Some(key) }
    }

    fn receive_all(&self) {
        for (asked, lane) in self.outbox.lanes.iter().enumerate() {
            // Read before the queue: what was sent before the close is in it.
            let closed = lane.closed.load(Ordering::Acquire);
            while let Some((slot, reply)) = lane.queue.pop() {
                self.received(slot as usize, reply);
            }
            if closed {
                self.asked_in_vain(asked);
            }
        }
    }

    fn received(&self, key: usize, reply: Option<R>) {
        // What is dropped here may wake tasks or free memory: only after the borrow.
        let (_permit, _unwanted) = {
            let mut slots = self.slots.borrow_mut();
            let slot = &mut slots[key];
            let permit = slot.permit.take();
            match std::mem::replace(&mut slot.state, State::Received(None)) {
                State::Waiting(waker) => {
                    slot.state = State::Received(reply);
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                    (permit, None)
                }
                State::Abandoned => {
                    slots.remove(key);
                    (permit, reply)
                }
                State::Received(_) => unreachable!("one reply per request"),
            }
        };
    }

    fn asked_in_vain(&self, asked: usize) {
        let is_open = |slot: &Slot<R>| slot.asked == asked && !matches!(slot.state, State::Received(_));
        let slots = self.slots.borrow();
        let open: Vec<_> = slots.iter().filter(|(_, slot)| is_open(slot)).map(|(key, _)| key).collect();
        drop(slots);
        for key in open {
            self.received(key, None);
        }
    }
}

/// Resolves to `None` when the other side dropped its [`ReplyTo`] unanswered or its shard ended. Dropping it discards the reply.
pub struct PendingReply<R> {
    replies: Rc<Replies<R>>,
    /// `None` once resolved.
    slot: Option<usize>,
}

impl<R> PendingReply<R> {
    pub(super) fn slot(&self) -> u32 {
        self.slot.map(|key| u32::try_from(key).expect("fewer slots than 2^32")).expect("not resolved yet")
    }
}

impl<R> Future for PendingReply<R> {
    type Output = Option<R>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<R>> {
        let this = &mut *self;
        let key = this.slot.expect("polled after its reply");
        let mut slots = this.replies.slots.borrow_mut();
        if let State::Waiting(waker) = &mut slots[key].state {
            match waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        this.slot = None;
        match slots.remove(key).state {
            State::Received(reply) => Poll::Ready(reply),
            _ => unreachable!("abandoned only by drop"),
        }
    }
}

impl<R> Drop for PendingReply<R> {
    fn drop(&mut self) {
        let Some(key) = self.slot else { return };
        let _unwanted = {
            let mut slots = self.replies.slots.borrow_mut();
            match std::mem::replace(&mut slots[key].state, State::Abandoned) {
                State::Received(reply) => {
                    slots.remove(key);
                    reply
                }
                _ => None,
            }
        };
    }
}
