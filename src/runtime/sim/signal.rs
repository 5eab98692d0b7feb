//! Signals to a node, as the facade's `signal` calls them.

use crate::Signal;
use crate::context::current_sim;
use std::task::Poll;

pub(crate) async fn next_signal() -> Signal {
    let shard = current_sim();
    std::future::poll_fn(|cx| {
        shard.with(|world| {
            let node = world.node(shard.node);
            if let Some(signal) = node.signals.pop_front() {
                return Poll::Ready(signal);
            }
            node.signal_waiter = Some(cx.waker().clone());
            Poll::Pending
        })
    })
    .await
}
