//! The network between nodes: who listens, who is connected, what is on its way.
//!
//! Connections behave like TCP: bytes arrive in order and exactly once or the connection breaks; each direction holds a bounded number
//! of bytes, then the sender waits. `pipe` moves bytes, `calls` is what the facade calls.

mod calls;
mod pipe;

pub(crate) use calls::{Listener, Socket, Stream, resolve};

use super::NodeId;
use super::world::{Shard, World};
use crate::ShardId;
use pipe::End;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::Waker;

/// Connections that wait for `accept`; more are turned away until the listener has caught up.
const BACKLOG_CONNECTIONS: usize = 128;

#[derive(Default)]
pub(super) struct Network {
    listeners: BTreeMap<(NodeId, u16), Listening>,
    connections: BTreeMap<ConnectionId, Connection>,
    next_connection: u64,
    /// Directions (from, to) in which nothing passes.
    blocked: BTreeSet<(NodeId, NodeId)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct ConnectionId(u64);

/// The side that connected, the side that accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Client = 0,
    Server = 1,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// One end of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct EndId {
    connection: ConnectionId,
    side: Side,
}

impl EndId {
    fn other(self) -> EndId {
        EndId { connection: self.connection, side: self.side.other() }
    }
}

struct Listening {
    address: SocketAddr,
    backlog: VecDeque<EndId>,
    acceptors: Vec<Waker>,
}

struct Connection {
    ends: [End; 2],
    /// Of every segment, before its own jitter.
    delay_nanos: u64,
    /// Bytes on their way or received but not read, for each direction.
    window_bytes: usize,
}

impl World {
    fn end(&mut self, id: EndId) -> Option<&mut End> {
        self.network.connections.get_mut(&id.connection).map(|connection| &mut connection.ends[id.side as usize])
    }

    fn is_blocked(&self, from: NodeId, to: NodeId) -> bool {
        self.network.blocked.contains(&(from, to))
    }

    /// The node that answers at `ip` when `asking` calls it.
    fn node_at(&self, asking: NodeId, ip: IpAddr) -> Option<NodeId> {
        match ip {
            IpAddr::V4(ip) if ip.is_loopback() => Some(asking),
            IpAddr::V4(ip) => self.nodes.iter().map(|node| node.id).find(|node| node.address() == ip),
            IpAddr::V6(_) => None,
        }
    }

    fn listen(&mut self, shard: &Shard, address: SocketAddr) -> io::Result<SocketAddr> {
        let node = shard.node;
        let IpAddr::V4(ip) = address.ip() else { return Err(io::ErrorKind::AddrNotAvailable.into()) };
        if !(ip.is_unspecified() || ip.is_loopback() || ip == node.address()) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let port = if address.port() == 0 { self.free_port(node) } else { address.port() };
        if self.network.listeners.contains_key(&(node, port)) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let address = SocketAddr::new(ip.into(), port);
        let listening = Listening { address, backlog: VecDeque::new(), acceptors: Vec::new() };
        self.network.listeners.insert((node, port), listening);
        shard.record(self, "listen", u64::from(port), 0);
        Ok(address)
    }

    fn close_listener(&mut self, node: NodeId, port: u16) {
        if let Some(listening) = self.network.listeners.remove(&(node, port)) {
            listening.backlog.into_iter().for_each(|end| self.close(end));
        }
    }

    fn free_port(&mut self, node: NodeId) -> u16 {
        loop {
            let state = self.node(node);
            let port = state.next_port;
            state.next_port = port.checked_add(1).unwrap_or(40_000);
            if !self.network.listeners.contains_key(&(node, port)) {
                return port;
            }
        }
    }

    /// One try of `from` to connect to what listens at `address` of `to`: `None` when it has to be tried again (the path is cut or
    /// the backlog full).
    fn open_connection(&mut self, from: &Shard, to: NodeId, address: SocketAddr) -> Option<io::Result<EndId>> {
        if self.is_blocked(from.node, to) || self.is_blocked(to, from.node) {
            return None;
        }
        let Some(listening) = self.network.listeners.get(&(to, address.port())) else {
            return Some(Err(io::ErrorKind::ConnectionRefused.into()));
        };
        let bound = listening.address.ip();
        if !(bound.is_unspecified() || bound == address.ip()) {
            return Some(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        if listening.backlog.len() >= BACKLOG_CONNECTIONS {
            return None;
        }
        let client_port = self.free_port(from.node);
        let client_ip = if address.ip().is_loopback() { Ipv4Addr::LOCALHOST } else { from.node.address() };
        let client_address = SocketAddr::new(client_ip.into(), client_port);
        let id = ConnectionId(self.network.next_connection);
        self.network.next_connection += 1;
        let delay_nanos = if from.node == to { 10_000 } else { self.network_delay_nanos() };
        let window = self.options.network.window_bytes.clone();
        let window_bytes = self.seed.within(window.start as u64..window.end as u64) as usize;
        let ends = [End::new(from.node, client_address, address), End::new(to, address, client_address)];
        self.network.connections.insert(id, Connection { ends, delay_nanos, window_bytes });
        let server = EndId { connection: id, side: Side::Server };
        let listening = self.network.listeners.get_mut(&(to, address.port())).expect("looked up above");
        listening.backlog.push_back(server);
        let acceptors = std::mem::take(&mut listening.acceptors);
        acceptors.into_iter().for_each(|acceptor| self.wake(Some(acceptor)));
        from.record(self, "connect", id.0, u64::from(to.0));
        Some(Ok(server.other()))
    }

    fn network_delay_nanos(&mut self) -> u64 {
        self.seed.nanos_within(&self.options.network.delay)
    }

    /// Stops or lets pass what goes from `from` to `to`. What was on its way waits, as TCP sends it again.
    pub(super) fn set_blocked(&mut self, from: NodeId, to: NodeId, blocked: bool) {
        let changed = match blocked {
            true => self.network.blocked.insert((from, to)),
            false => self.network.blocked.remove(&(from, to)),
        };
        if !changed {
            return;
        }
        self.record(from, ShardId(0), if blocked { "block" } else { "unblock" }, u64::from(to.0), 0);
        for end in self.ends_between(from, to) {
            match blocked {
                true => self.expect_progress(end),
                false => {
                    let delay_nanos = self.network_delay_nanos();
                    self.after(delay_nanos, move |world| world.arrive(end));
                }
            }
        }
    }

    /// Breaks every connection between two nodes: both sides see a reset.
    pub(super) fn reset_between(&mut self, one: NodeId, other: NodeId) {
        let mut ends = self.ends_between(one, other);
        ends.extend(self.ends_between(other, one));
        ends.into_iter().for_each(|end| self.reset_both(end.connection));
    }

    /// The receiving ends of what flows from `from` to `to`.
    fn ends_between(&self, from: NodeId, to: NodeId) -> Vec<EndId> {
        let sides = [Side::Client, Side::Server];
        let both = |(&connection, _): (&ConnectionId, _)| sides.map(|side| EndId { connection, side });
        let all = self.network.connections.iter().flat_map(both);
        let flows = |end: &EndId| {
            let ends = &self.network.connections[&end.connection].ends;
            ends[end.side.other() as usize].node == from && ends[end.side as usize].node == to
        };
        all.filter(flows).collect()
    }

    /// The node's process ended, in order or not. Peers learn of it by a reset, later; bytes on their way may or may not arrive before.
    pub(super) fn end_sockets_of(&mut self, node: NodeId) {
        self.network.listeners.retain(|(listening, _), _| *listening != node);
        let connections: Vec<_> = self.network.connections.keys().copied().collect();
        for connection in connections {
            for side in [Side::Client, Side::Server] {
                let id = EndId { connection, side };
                let Some(end) = self.end(id) else { continue };
                if end.node == node && !end.is_gone() {
                    end.vanish();
                    self.peer_vanished(id.other());
                }
            }
        }
    }

    fn peer_vanished(&mut self, survivor: EndId) {
        let loses_flight = self.seed.chance(0.5);
        if loses_flight && let Some(end) = self.end(survivor) {
            end.lose_flight();
        }
        self.send_reset(survivor);
    }
}
