//! Lanes between shards: bounded queues of typed messages, a request holding a credit until its reply is received.
//!
//! A reply can always be sent: reply lanes are sized to the credits. Requests from one shard to another arrive in the order in which they
//! were sent. The same code runs in both backends.

use crate::ShardId;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// All lanes of one process, before its shards start.
pub struct Mesh;

impl Mesh {
    /// One end per shard, in shard order. `credits`: requests in flight from one shard to another, the bound of each lane.
    pub fn build<Q: Send + 'static, R: Send + 'static>(shards: usize, credits: usize) -> Vec<MeshEnd<Q, R>> {
        let _ = (shards, credits);
        todo!()
    }
}

/// One shard's end of every lane. `Send` until first used on its shard; then clone it freely there.
pub struct MeshEnd<Q, R> {
    _types: std::marker::PhantomData<(Q, R)>,
}

impl<Q: Send + 'static, R: Send + 'static> MeshEnd<Q, R> {
    /// The right to send one request to `to`; waits, in order, while all are in use. `to` must not be the own shard.
    pub async fn credit(&self, to: ShardId) -> Credit<Q, R> {
        let _ = to;
        todo!()
    }
    /// The next request from any other shard, fair between senders. One task per shard calls this in a loop.
    pub async fn next(&self) -> Incoming<Q, R> {
        todo!()
    }
    /// Requests received but not yet taken by `next`, all senders together.
    pub fn depth(&self) -> usize {
        todo!()
    }
}

pub struct Credit<Q, R> {
    _types: std::marker::PhantomData<(Q, R)>,
}

impl<Q: Send + 'static, R: Send + 'static> Credit<Q, R> {
    /// Puts the request into the lane at once; never blocks.
    pub fn send(self, request: Q) -> PendingReply<R> {
        let _ = request;
        todo!()
    }
}

/// Resolves to `None` when the other side dropped its [`ReplyTo`] unanswered or its shard ended. Dropping it discards the reply.
pub struct PendingReply<R> {
    _types: std::marker::PhantomData<R>,
}

impl<R> Future for PendingReply<R> {
    type Output = Option<R>;
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<R>> {
        todo!()
    }
}

pub struct Incoming<Q, R> {
    pub from: ShardId,
    pub request: Q,
    pub reply: ReplyTo<R>,
}

/// Answers one request, now or later, from the shard that received it.
pub struct ReplyTo<R> {
    _types: std::marker::PhantomData<R>,
}

impl<R: Send + 'static> ReplyTo<R> {
    /// Never blocks.
    pub fn send(self, reply: R) {
        let _ = reply;
        todo!()
    }
}
