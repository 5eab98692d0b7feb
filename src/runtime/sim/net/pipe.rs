//! Moves bytes from one end of a connection to the other: segments of random length and delay, in order, or a reset.

use super::{ConnectionId, EndId, Side};
use crate::ShardId;
use crate::sim::NodeId;
use crate::sim::seed::nanos;
use crate::sim::trace::digest_of;
use crate::sim::world::World;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::Waker;

/// Largest run of bytes that arrives at once.
const SEGMENT_BYTES_MAX: usize = 64 << 10;

/// One end of a connection, with what flows towards it.
pub(super) struct End {
    pub(super) node: NodeId,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    flight: VecDeque<Segment>,
    flight_bytes: usize,
    last_arrival_nanos: u64,
    received: VecDeque<Bytes>,
    received_bytes: usize,
    state: State,
    /// The peer will send no more; after `received`, the end.
    peer_finished: bool,
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

struct Segment {
    arrives_nanos: u64,
    content: Content,
}

enum Content {
    Data(Bytes),
    Finish,
    Reset,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// `shutdown` was called: receives return 0, sends fail.
    Shut,
    /// The connection broke under this end.
    Broken(io::ErrorKind),
    /// No handle to this end is left: what arrives is answered with a reset.
    Gone,
}

impl End {
    pub(super) fn new(node: NodeId, local: SocketAddr, peer: SocketAddr) -> End {
        End {
            node,
            local,
            peer,
            flight: VecDeque::new(),
            flight_bytes: 0,
            last_arrival_nanos: 0,
            received: VecDeque::new(),
            received_bytes: 0,
            state: State::Open,
            peer_finished: false,
            receiver: None,
            sender: None,
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// The process that held this end is no more.
    pub(super) fn vanish(&mut self) {
        self.state = State::Gone;
    }

    pub(super) fn lose_flight(&mut self) {
        self.flight.clear();
        self.flight_bytes = 0;
    }

    pub(super) fn wait_to_receive(&mut self, waker: Waker) {
        self.receiver = Some(waker);
    }

    pub(super) fn wait_to_send(&mut self, waker: Waker) {
        self.sender = Some(waker);
    }

    fn take_received(&mut self, into: &mut [u8]) {
        let mut filled = 0;
        while filled < into.len() {
            let first = self.received.front_mut().expect("received_bytes counts them");
            let taken = first.len().min(into.len() - filled);
            first.copy_to_slice(&mut into[filled..filled + taken]);
            filled += taken;
            if first.is_empty() {
                self.received.pop_front();
            }
        }
        self.received_bytes -= filled;
    }
}

impl World {
    /// Receives into `into` what has arrived, sometimes less; `None` while nothing has.
    pub(super) fn receive(&mut self, id: EndId, into: &mut [u8]) -> Option<io::Result<usize>> {
        let is_short = self.seed.chance(self.options.network.short_receive_probability);
        let Some(end) = self.end(id) else { return Some(Err(io::ErrorKind::ConnectionReset.into())) };
        match end.state {
            State::Broken(kind) => return Some(Err(kind.into())),
            State::Shut | State::Gone => return Some(Ok(0)),
            State::Open => {}
        }
        if into.is_empty() {
            return Some(Ok(0));
        }
        if end.received_bytes == 0 {
            return end.peer_finished.then_some(Ok(0));
        }
        let mut count = end.received_bytes.min(into.len());
        if is_short {
            count = 1 + self.seed.below(count as u64) as usize;
        }
        let end = self.end(id).expect("looked up above");
        end.take_received(&mut into[..count]);
        let node = end.node;
        self.record(node, ShardId(0), "receive", id.connection.0, digest_of(&into[..count]));
        let sender = self.end(id.other()).and_then(|peer| peer.sender.take());
        self.wake(sender);
        Some(Ok(count))
    }

    /// Sends the front of `bytes` if the direction has room for any of it; `None` while it has not.
    pub(super) fn send(&mut self, id: EndId, bytes: &mut Bytes) -> Option<io::Result<()>> {
        let now_nanos = self.now_nanos;
        let jitter_nanos = self.seed.nanos_within(&self.options.network.jitter);
        let is_cut = self.seed.chance(self.options.network.cut_probability);
        let Some(connection) = self.network.connections.get_mut(&id.connection) else {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        };
        match connection.ends[id.side as usize].state {
            State::Broken(kind) => return Some(Err(kind.into())),
            State::Shut | State::Gone => return Some(Err(io::ErrorKind::BrokenPipe.into())),
            State::Open => {}
        }
        let (window_bytes, delay_nanos) = (connection.window_bytes, connection.delay_nanos);
        let from = connection.ends[id.side as usize].node;
        let to = &mut connection.ends[id.side.other() as usize];
        let room = window_bytes.saturating_sub(to.flight_bytes + to.received_bytes);
        if room == 0 {
            return None;
        }
        let longest = bytes.len().min(room).min(SEGMENT_BYTES_MAX);
        let count = if self.seed.chance(0.5) { longest } else { 1 + self.seed.below(longest as u64) as usize };
        let data = bytes.split_to(count);
        let digest = digest_of(&data);
        let arrives_nanos = to.last_arrival_nanos.max(now_nanos + delay_nanos + jitter_nanos);
        to.last_arrival_nanos = arrives_nanos;
        to.flight_bytes += count;
        to.flight.push_back(Segment { arrives_nanos, content: Content::Data(data) });
        self.record(from, ShardId(0), "send", id.connection.0, digest);
        self.after(arrives_nanos - now_nanos, move |world| world.arrive(id.other()));
        self.expect_progress(id.other());
        if is_cut {
            self.reset_both(id.connection);
        }
        Some(Ok(()))
    }

    /// Delivers what is due at this end, in order, unless its direction is blocked.
    pub(super) fn arrive(&mut self, id: EndId) {
        let now_nanos = self.now_nanos;
        let Some(from) = self.end(id.other()).map(|end| end.node) else { return };
        let Some(to) = self.end(id).map(|end| end.node) else { return };
        if self.is_blocked(from, to) {
            return;
        }
        while let Some(end) = self.end(id)
            && let Some(segment) = end.flight.pop_front_if(|segment| segment.arrives_nanos <= now_nanos)
        {
            match segment.content {
                Content::Data(bytes) => {
                    end.flight_bytes -= bytes.len();
                    match end.state {
                        State::Open => {
                            end.received_bytes += bytes.len();
                            end.received.push_back(bytes);
                        }
                        State::Broken(_) => {}
                        // Nobody will read it: the kernel of this end answers with a reset.
                        State::Shut | State::Gone => self.send_reset(id.other()),
                    }
                }
                Content::Finish => end.peer_finished = true,
                Content::Reset => self.break_end(id, io::ErrorKind::ConnectionReset),
            }
        }
        if let Some(end) = self.end(id) {
            let receiver = end.receiver.take();
            self.wake(receiver);
        }
    }

    /// Both directions of this end stop now. What it sent before still arrives, then the peer sees the end.
    pub(super) fn shut(&mut self, id: EndId) {
        let Some(end) = self.end(id) else { return };
        if end.state != State::Open {
            return;
        }
        end.state = State::Shut;
        let (receiver, sender, node) = (end.receiver.take(), end.sender.take(), end.node);
        self.wake(receiver);
        self.wake(sender);
        self.record(node, ShardId(0), "shut", id.connection.0, id.side as u64);
        self.push_segment(id.other(), Content::Finish);
    }

    /// The last handle to this end is gone.
    pub(super) fn close(&mut self, id: EndId) {
        self.shut(id);
        let Some(end) = self.end(id) else { return };
        end.vanish();
        let peer_is_gone = self.end(id.other()).is_none_or(|peer| peer.is_gone());
        if peer_is_gone {
            self.network.connections.remove(&id.connection);
        }
    }

    /// Both ends of the connection break now.
    pub(super) fn reset_both(&mut self, connection: ConnectionId) {
        for side in [Side::Client, Side::Server] {
            self.break_end(EndId { connection, side }, io::ErrorKind::ConnectionReset);
        }
    }

    /// A reset travels to `id`, behind what is already on its way.
    pub(super) fn send_reset(&mut self, id: EndId) {
        self.push_segment(id, Content::Reset);
    }

    fn push_segment(&mut self, to: EndId, content: Content) {
        let now_nanos = self.now_nanos;
        let Some(connection) = self.network.connections.get_mut(&to.connection) else { return };
        let delay_nanos = connection.delay_nanos;
        let end = &mut connection.ends[to.side as usize];
        let arrives_nanos = end.last_arrival_nanos.max(now_nanos + delay_nanos);
        end.last_arrival_nanos = arrives_nanos;
        end.flight.push_back(Segment { arrives_nanos, content });
        self.after(arrives_nanos - now_nanos, move |world| world.arrive(to));
    }

    fn break_end(&mut self, id: EndId, kind: io::ErrorKind) {
        let Some(end) = self.end(id) else { return };
        if end.state != State::Open {
            return;
        }
        end.state = State::Broken(kind);
        end.lose_flight();
        end.received.clear();
        end.received_bytes = 0;
        let (receiver, sender, node) = (end.receiver.take(), end.sender.take(), end.node);
        self.wake(receiver);
        self.wake(sender);
        self.record(node, ShardId(0), "broken", id.connection.0, id.side as u64);
    }

    /// If what flows to `to` is blocked, gives up after the time for which a real TCP sender tries: the sending end breaks. The
    /// receiving end hears nothing of it.
    pub(super) fn expect_progress(&mut self, to: EndId) {
        let Some(sender_node) = self.end(to.other()).map(|end| end.node) else { return };
        let Some(end) = self.end(to) else { return };
        let node = end.node;
        let Some(oldest_nanos) = end.flight.front().map(|segment| segment.arrives_nanos) else { return };
        if !self.is_blocked(sender_node, node) {
            return;
        }
        let timeout_nanos = nanos(self.options.network.retransmit_timeout);
        self.after(timeout_nanos, move |world| {
            let front = world.end(to).and_then(|end| end.flight.front());
            let is_stuck = front.is_some_and(|segment| segment.arrives_nanos <= oldest_nanos);
            if is_stuck && world.is_blocked(sender_node, node) {
                world.break_end(to.other(), io::ErrorKind::TimedOut);
            }
        });
    }
}
