//! Lanes between shards: bounded queues of typed messages, a request holding a credit until its reply is received.
//!
//! A reply can always be sent: reply lanes are sized to the credits. Requests from one shard to another arrive in the order in which they
//! were sent. The same code runs in both backends.
//!
//! From each shard to each other one there is a request lane and, back, a reply lane; both hold `credits` messages and one thread writes,
//! one thread reads. A shard has one waker for all lanes of requests to it, and one for all lanes of replies to it: a task per shard takes
//! replies out and wakes whoever waits for each, so that a burst of replies costs one wake across threads.

mod bound;
mod replies;

use crate::context::RemoteWaker;
use crate::{Budget, Permit, ShardId, shard};
use bound::ShardBound;
use crossbeam_queue::ArrayQueue;
use futures::task::AtomicWaker;
pub use replies::{PendingReply, ReplyTo};
use replies::{Replies, ReplyLane, ReplySender};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// All lanes of one process, before its shards start.
pub struct Mesh;

impl Mesh {
    /// One end per shard, in shard order. `credits`: requests in flight from one shard to another, the bound of each lane.
    pub fn build<Q: Send + 'static, R: Send + 'static>(shards: usize, credits: usize) -> Vec<MeshEnd<Q, R>> {
        assert!(credits > 0, "a lane needs at least one credit");
        let inboxes: Vec<_> = (0..shards).map(|_| Arc::new(Inbox::new(shards, credits))).collect();
        let outboxes: Vec<_> = (0..shards).map(|_| Arc::new(Outbox::new(shards, credits))).collect();
        let end = |own: usize| {
            let replies_out = outboxes.iter().map(|outbox| ReplySender::new(outbox.clone(), own)).collect();
            let parts =
                Parts { own, credits, inboxes: inboxes.clone(), replies_in: outboxes[own].clone(), replies_out };
            MeshEnd { shared: Arc::new(ShardBound::new(parts)) }
        };
        (0..shards).map(end).collect()
    }
}

/// What other shards ask of one shard.
struct Inbox<Q> {
    /// By sender; the own place stays empty.
    lanes: Vec<ArrayQueue<(u32, Q)>>,
    waker: AtomicWaker,
}

impl<Q> Inbox<Q> {
    fn new(shards: usize, credits: usize) -> Inbox<Q> {
        Inbox { lanes: (0..shards).map(|_| ArrayQueue::new(credits)).collect(), waker: AtomicWaker::new() }
    }
}

/// What other shards answer to one shard.
struct Outbox<R> {
    /// By the shard that answers.
    lanes: Vec<ReplyLane<R>>,
    waker: AtomicWaker,
}

impl<R> Outbox<R> {
    fn new(shards: usize, credits: usize) -> Outbox<R> {
        Outbox { lanes: (0..shards).map(|_| ReplyLane::new(credits)).collect(), waker: AtomicWaker::new() }
    }
}

/// One end while it may still travel.
struct Parts<Q, R> {
    own: usize,
    credits: usize,
    inboxes: Vec<Arc<Inbox<Q>>>,
    replies_in: Arc<Outbox<R>>,
    /// Dropped on the way, they tell the others that nobody will answer from here.
    replies_out: Vec<ReplySender<R>>,
}

/// One shard's end of every lane. `Send` until first used on its shard; then clone it freely there.
pub struct MeshEnd<Q, R> {
    shared: Arc<ShardBound<Parts<Q, R>, Rc<End<Q, R>>>>,
}

impl<Q, R> Clone for MeshEnd<Q, R> {
    fn clone(&self) -> Self {
        MeshEnd { shared: self.shared.clone() }
    }
}

/// One end on its shard.
struct End<Q, R> {
    own: usize,
    requests_in: Arc<Inbox<Q>>,
    requests_out: Vec<Arc<Inbox<Q>>>,
    credits: Vec<Budget>,
    replies_in: Rc<Replies<R>>,
    replies_out: Vec<Rc<ReplySender<R>>>,
    /// Where `next` looks first.
    turn: Cell<usize>,
    waker: RefCell<RemoteWaker>,
}

impl<Q: Send + 'static, R: Send + 'static> MeshEnd<Q, R> {
    /// The right to send one request to `to`; waits, in order, while all are in use. `to` must not be the own shard.
    pub async fn credit(&self, to: ShardId) -> Credit<Q, R> {
        let (end, to) = (self.end(), to.0 as usize);
        assert!(to != end.own, "shard {to} asks itself through the mesh");
        let permit = end.credits[to].acquire(1).await;
        Credit { end, to, permit }
    }
    /// The next request from any other shard, fair between senders. One task per shard calls this in a loop.
    pub async fn next(&self) -> Incoming<Q, R> {
        let end = self.end();
        poll_fn(|cx| end.poll_next(cx)).await
    }
    /// Requests received but not yet taken by `next`, all senders together.
    pub fn depth(&self) -> usize {
        self.end().requests_in.lanes.iter().map(ArrayQueue::len).sum()
    }

    fn end(&self) -> Rc<End<Q, R>> {
        self.shared.on_shard(End::new).clone()
    }
}

impl<Q: Send + 'static, R: Send + 'static> End<Q, R> {
    fn new(parts: Parts<Q, R>) -> Rc<End<Q, R>> {
        let own = parts.own;
        assert_eq!(own, shard().0 as usize, "the mesh ends are in shard order: this one belongs to another shard");
        let end = End {
            own,
            requests_in: parts.inboxes[own].clone(),
            credits: parts.inboxes.iter().map(|_| Budget::new("mesh credits", parts.credits)).collect(),
            requests_out: parts.inboxes,
            replies_in: Replies::start(parts.replies_in),
            replies_out: parts.replies_out.into_iter().map(Rc::new).collect(),
            turn: Cell::new(0),
            waker: RefCell::default(),
        };
        Rc::new(end)
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Incoming<Q, R>> {
        if let Some(incoming) = self.take_next() {
            return Poll::Ready(incoming);
        }
        self.requests_in.waker.register(self.waker.borrow_mut().of(cx.waker()));
        // Again, because a request may have come before the waker was in place.
        self.take_next().map_or(Poll::Pending, Poll::Ready)
    }

    fn take_next(&self) -> Option<Incoming<Q, R>> {
        let shards = self.requests_in.lanes.len();
        let first = self.turn.get();
        let in_turn = (0..shards).map(|step| (first + step) % shards);
        for from in in_turn {
            if let Some((slot, request)) = self.requests_in.lanes[from].pop() {
                self.turn.set((from + 1) % shards);
                let reply = ReplyTo::new(self.replies_out[from].clone(), slot);
                return Some(Incoming { from: ShardId(from as u16), request, reply });
            }
        }
        None
    }
}

pub struct Credit<Q, R> {
    end: Rc<End<Q, R>>,
    to: usize,
    permit: Permit,
}

impl<Q: Send + 'static, R: Send + 'static> Credit<Q, R> {
    /// Puts the request into the lane at once; never blocks.
    pub fn send(self, request: Q) -> PendingReply<R> {
        let pending = Replies::expect(&self.end.replies_in, self.to, self.permit);
        let inbox = &self.end.requests_out[self.to];
        let pushed = inbox.lanes[self.end.own].push((pending.slot(), request));
        assert!(pushed.is_ok(), "a lane holds as many requests as there are credits");
        inbox.waker.wake();
        pending
    }
}

pub struct Incoming<Q, R> {
    pub from: ShardId,
    pub request: Q,
    pub reply: ReplyTo<R>,
}
