//! One client connection: a task that receives and dispatches requests, and a task that sends the answers in order.
//!
//! Lives on the connection shard from hand-off to close; `api` handles its requests. The two tasks share only the response queue. Either one's
//! end closes the socket and thereby ends the other; handlers still at work are cancelled. Requests are dispatched in the order in which they
//! arrived, and dispatch of a produce request returns only when all its batches are in their lanes: that is what keeps a
//! producer's order at any pipelining depth.

use super::listener::Accepted;
use super::receive::{Ended, FrameReceiver};
use super::responses::{CloseReason, Responses};
use crate::api;
use crate::shard::Shard;
use ringlane_runtime::{Instant, Stream, give_way, now, spawn};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The instant at which the connection has taken too long. Set by its tasks, looked at by the shard's sweep: no timer per request.
pub struct Deadline(Cell<Instant>);

impl Deadline {
    pub fn within(time: Duration) -> Deadline {
        Deadline(Cell::new(now() + time))
    }
    pub fn set_within(&self, time: Duration) {
        self.set(now() + time);
    }
    pub fn set(&self, at: Instant) {
        self.0.set(at);
    }
    pub fn has_passed(&self, now: Instant) -> bool {
        self.0.get() < now
    }
}

/// What the handlers of a connection's requests may know and keep about it.
pub struct Connection {
    pub shard: Rc<Shard>,
    /// Name of the listener that accepted it: metadata answers name the endpoints of that listener.
    pub listener: Arc<str>,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub responses: Rc<Responses>,
    stream: Stream,
    deadline: Deadline,
    idle_max: Duration,
    /// Share sessions that end with it: groups and members.
    pub share_sessions: RefCell<BTreeSet<(Arc<str>, Arc<str>)>>,
    /// No other connection of the shard has it.
    pub number: u64,
    /// Since when fetched bytes have been waiting for the client to read them.
    sending_since: Cell<Option<Instant>>,
}

impl Connection {
    /// Serves `socket` until either side ends it.
    pub async fn serve(shard: Rc<Shard>, accepted: Accepted) {
        let Accepted { socket, listener, from } = accepted;
        let idle_max = shard.settings.connection_idle_max;
        let connection = Rc::new(Connection {
            listener,
            peer: socket.peer_address(),
            local: socket.local_address(),
            responses: Rc::new(Responses::default()),
            stream: socket.into_stream(),
            deadline: Deadline::within(idle_max),
            idle_max,
            sending_since: Cell::new(None),
            share_sessions: RefCell::default(),
            number: shard.next_ticket().number,
            shard: shard.clone(),
        });
        let place = shard.connections.enter(connection.clone());
        let sending = spawn("connection send", send(connection.clone()));
        match receive(&connection).await {
            Ended::Gone(error) => tracing::debug!(peer = %connection.peer, %error, "connection ended"),
            Ended::Refused(reason) => {
                connection.shard.metrics.requests_refused.increment();
                connection.responses.close_after_answers(reason).await
            }
        }
        connection.close();
        shard.end_share_sessions(connection.number, connection.share_sessions.take());
        // The send task ends by itself: the queue is closed and the socket shut down. Its failure was logged where it happened.
        let _ = sending.await;
        drop((place, from));
    }

    /// Ends both tasks. Idempotent.
    pub fn close(&self) {
        self.responses.close();
        self.stream.shutdown();
    }

    /// True when it has been silent, or has not read its answers, for too long.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.deadline.has_passed(now) && !self.responses.waits_for_handler()
    }

    /// Since when it has held memory for fetched bytes that its client does not read.
    pub fn sending_since(&self) -> Option<Instant> {
        self.sending_since.get()
    }

    /// Idle ones are closed every day and are no news; the count is.
    pub fn report_overdue(&self) {
        self.shard.metrics.connections_closed_by_us.increment();
        tracing::debug!(peer = %self.peer, "connection closed: {}", CloseReason::TooSlow);
    }
}

async fn receive(connection: &Rc<Connection>) -> Ended {
    let shard = &connection.shard;
    let mut receiver =
        FrameReceiver::new(connection.stream.clone(), shard.request_budget.clone(), shard.settings.request_bytes_max);
    let mut trusted = false;
    loop {
        let frame = match receiver.next(trusted, &connection.deadline).await {
            Ok(frame) => frame,
            Err(ended) => return ended,
        };
        if shard.connections.is_stopping() {
            return Ended::Refused(CloseReason::Stopping);
        }
        let arrival = now();
        connection.deadline.set(arrival + connection.idle_max);
        connection.responses.set_arrival(arrival);
        shard.metrics.socket_bytes_in.add(frame.bytes.len() as u64);
        if let Err(reason) = api::dispatch(connection, frame).await {
            return Ended::Refused(reason);
        }
        trusted = true;
        give_way().await;
    }
}

async fn send(connection: Rc<Connection>) {
    let metrics = &connection.shard.metrics;
    let leaves = |arrival: Instant| metrics.request_us.record(arrival.elapsed().as_micros() as u64);
    while let Some(outgoing) = connection.responses.next(leaves).await {
        if outgoing.bytes > 0 {
            connection.sending_since.set((!outgoing.held.is_empty()).then(now));
            if let Err(error) = connection.stream.send_all(outgoing.parts).await {
                tracing::debug!(peer = %connection.peer, %error, "send failed");
                break;
            }
            drop(outgoing.held);
            connection.deadline.set_within(connection.idle_max);
            connection.sending_since.set(None);
            connection.responses.sent(outgoing.bytes);
            metrics.socket_bytes_out.add(outgoing.bytes as u64);
            metrics.socket_sends.increment();
        }
        if let Some(reason) = outgoing.close {
            metrics.connections_closed_by_us.increment();
            connection.shard.refusals.report(connection.peer, &reason);
            break;
        }
    }
    connection.close();
}
