//! Asking a shard, be it another or the own one.

use super::message::{ShardReply, ShardRequest};
use super::serve::{Reply, handle};
use crate::shard::Shard;
use ringlane_runtime::{OneshotReceiver, PendingReply, ShardId, oneshot};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// A reply under way. `None` when the other side ended or dropped the request.
pub enum Called {
    Lane(PendingReply<ShardReply>),
    Own(OneshotReceiver<ShardReply>),
}

impl Future for Called {
    type Output = Option<ShardReply>;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ShardReply>> {
        Poll::Ready(match self.get_mut() {
            Called::Lane(pending) => ready!(Pin::new(pending).poll(context)),
            Called::Own(receiver) => ready!(Pin::new(receiver).poll(context)),
        })
    }
}

impl Shard {
    /// Sends `request` to `to`, in order with all earlier ones; waits for a credit, not for the reply.
    pub async fn call(self: &Rc<Self>, to: ShardId, request: ShardRequest) -> Called {
        if to == self.id {
            let (sender, receiver) = oneshot();
            handle(self, request, Reply::Own(sender));
            return Called::Own(receiver);
        }
        self.metrics.lane_requests.increment();
        Called::Lane(self.mesh.credit(to).await.send(request))
    }

    /// [`Shard::call`] and its reply.
    pub async fn ask(self: &Rc<Self>, to: ShardId, request: ShardRequest) -> Option<ShardReply> {
        self.call(to, request).await.await
    }
}
