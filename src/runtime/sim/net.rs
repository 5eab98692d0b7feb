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

#[cfg(test)]
mod tests {
    use crate::sim::{LocalMain, NodeId, Sim, SimOptions};
    use crate::{Buffer, Event, Listener, Stream, now, resolve, sleep, spawn, timeout};
    use bytes::Bytes;
    use std::cell::Cell;
    use std::future::Future;
    use std::io;
    use std::net::SocketAddr;
    use std::rc::Rc;
    use std::time::Duration;

    const PORT: u16 = 9092;

    fn one(main: impl Future<Output = ()> + 'static) -> Vec<LocalMain> {
        vec![Box::new(|| Box::pin(main))]
    }

    /// A server node that gives its first connection to `serve`, and a client node.
    fn server_and_client<S, C>(seed: u64, serve: impl FnOnce(Stream) -> S + 'static, client: C) -> (Sim, NodeId, NodeId)
    where
        S: Future<Output = ()> + 'static,
        C: Future<Output = ()> + 'static,
    {
        let mut sim = Sim::new(seed, SimOptions::default());
        let (server, caller) = (sim.add_node(), sim.add_node());
        sim.start_local(
            server,
            one(async move {
                let listener = Listener::bind(SocketAddr::from(([0, 0, 0, 0], PORT))).await.unwrap();
                let socket = listener.accept().await.unwrap();
                serve(socket.into_stream()).await;
            }),
        );
        sim.run_for(Duration::from_millis(1));
        sim.start_local(caller, one(client));
        (sim, server, caller)
    }

    async fn connect() -> io::Result<Stream> {
        let address = resolve("node-1", PORT).await.unwrap()[0];
        Stream::connect(address).await
    }

    fn numbers(count: usize) -> Vec<u8> {
        (0..count).map(|number| number as u8).collect()
    }

    /// Without this frames would be tested as if each arrived whole.
    #[test]
    fn bytes_arrive_in_order_in_pieces_of_any_size() {
        let pieces = Rc::new(Cell::new(0));
        let counted = pieces.clone();
        let serve = |stream: Stream| async move {
            let mut all = Vec::new();
            loop {
                let (received, buffer) = stream.recv(Buffer::take(70_000), 0).await;
                let count = received.unwrap();
                if count == 0 {
                    break;
                }
                counted.set(counted.get() + 1);
                all.extend_from_slice(&buffer[..count]);
            }
            assert_eq!(all, numbers(500_000));
        };
        let (mut sim, server, _) = server_and_client(1, serve, async {
            let stream = connect().await.unwrap();
            let bytes = Bytes::from(numbers(500_000));
            stream.send_all(vec![bytes.slice(..10), bytes.slice(10..400_000), bytes.slice(400_000..)]).await.unwrap();
        });

        assert!(sim.run_until(Duration::from_secs(60), |sim| !sim.is_running(server)));
        assert!(pieces.get() > 500_000 / 70_000 + 1);
    }

    /// Without this a slow reader would cost the sender's peer unbounded memory, in the simulation only: a bug would pass.
    #[test]
    fn a_sender_waits_for_a_slow_receiver() {
        let sent = Rc::new(Cell::new(false));
        let is_sent = sent.clone();
        let start = Event::default();
        let started = start.listen();
        let serve = |stream: Stream| async move {
            started.await;
            let (received, _) = stream.recv_exact(Buffer::take(1 << 20), 0).await;
            received.unwrap();
        };
        let (mut sim, server, _) = server_and_client(2, serve, async move {
            let stream = connect().await.unwrap();
            stream.send_all(vec![Bytes::from(vec![7; 1 << 20])]).await.unwrap();
            is_sent.set(true);
        });
        sim.run_for(Duration::from_secs(60));
        assert!(!sent.get(), "at most 256 KiB are on their way");

        start.notify_all();

        assert!(sim.run_until(Duration::from_secs(60), |sim| !sim.is_running(server)));
        assert!(sent.get());
    }

    /// Without this a receive that loses a race (timeout, shutdown) would take bytes with it, and the next frame would be garbage.
    #[test]
    fn a_cancelled_receive_loses_no_bytes() {
        let serve = |stream: Stream| async move {
            for size in [40_u64, 1, 5] {
                let patience = Duration::from_micros(size);
                assert!(timeout(patience, stream.recv(Buffer::take(10), 0)).await.is_err());
            }
            let (received, buffer) = stream.recv_exact(Buffer::take(10), 0).await;
            received.unwrap();
            assert_eq!(&buffer[..], numbers(10));
        };
        let (mut sim, server, _) = server_and_client(3, serve, async {
            let stream = connect().await.unwrap();
            sleep(Duration::from_millis(10)).await;
            stream.send_all(vec![Bytes::from(numbers(10))]).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        });
        assert!(sim.run_until(Duration::from_secs(60), |sim| !sim.is_running(server)));
    }

    /// Without this no test can show what a client does whose broker is alive but unreachable.
    #[test]
    fn a_partitioned_peer_times_out_and_a_healed_one_gets_what_was_sent() {
        let serve = |stream: Stream| async move {
            let (received, _) = stream.recv_exact(Buffer::take(8), 0).await;
            received.unwrap();
            let error = stream.recv(Buffer::take(8), 0).await.0.expect_err("the sender gave up and hung up");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        };
        let outcome = Rc::new(Cell::new(None));
        let seen = outcome.clone();
        let (mut sim, server, client) = server_and_client(4, serve, async move {
            let stream = connect().await.unwrap();
            sleep(Duration::from_secs(1)).await;
            stream.send_all(vec![Bytes::from(vec![1; 8])]).await.unwrap();
            sleep(Duration::from_secs(29)).await;
            stream.send_all(vec![Bytes::from(vec![2; 8])]).await.unwrap();
            let error = stream.recv(Buffer::take(8), 0).await.0.expect_err("nobody answers");
            seen.set(Some((error.kind(), now().as_nanos() / 1_000_000_000)));
        });
        sim.run_for(Duration::from_millis(500));
        sim.partition(client, server);
        sim.run_for(Duration::from_secs(5));
        sim.heal_partition(client, server);
        sim.run_for(Duration::from_secs(20));
        sim.cut(client, server);
        sim.run_for(Duration::from_secs(30));

        assert_eq!(outcome.get(), Some((io::ErrorKind::TimedOut, 45)));
        sim.heal(client, server);
        sim.reset_connections(client, server);
        assert!(sim.run_until(Duration::from_secs(1), |sim| !sim.is_running(server)));
    }

    /// Without this a client would hang on a port that nobody serves, or succeed through a cut.
    #[test]
    fn a_connection_attempt_is_refused_or_times_out() {
        let mut sim = Sim::new(5, SimOptions::default());
        let (server, caller) = (sim.add_node(), sim.add_node());
        let kinds = Rc::new(Cell::new(None));
        for cut in [false, true] {
            if cut {
                sim.cut(server, caller);
            }
            let seen = kinds.clone();
            sim.start_local(caller, one(async move { seen.set(connect().await.err().map(|error| error.kind())) }));
            assert!(sim.run_until(Duration::from_secs(30), |sim| !sim.is_running(caller)));
            let expected = if cut { io::ErrorKind::TimedOut } else { io::ErrorKind::ConnectionRefused };
            assert_eq!(kinds.get(), Some(expected));
        }
    }

    /// Without this a client of a crashed broker would wait for an answer for ever.
    #[test]
    fn a_crash_resets_the_connections_of_the_node() {
        let kind = Rc::new(Cell::new(None));
        let seen = kind.clone();
        let serve = |stream: Stream| async move {
            std::future::pending::<()>().await;
            drop(stream);
        };
        let (mut sim, server, client) = server_and_client(6, serve, async move {
            let stream = connect().await.unwrap();
            seen.set(stream.recv(Buffer::take(8), 0).await.0.err().map(|error| error.kind()));
        });
        sim.run_for(Duration::from_secs(1));

        sim.crash(server);

        assert!(sim.run_until(Duration::from_secs(1), |sim| !sim.is_running(client)));
        assert_eq!(kind.get(), Some(io::ErrorKind::ConnectionReset));
    }

    /// Without this a task that serves a connection could not be ended from another task of its shard.
    #[test]
    fn shutdown_ends_a_pending_receive_and_the_peer_sees_the_end() {
        let serve = |stream: Stream| async move {
            let (received, _) = stream.recv(Buffer::take(8), 0).await;
            assert_eq!(received.unwrap(), 0);
        };
        let (mut sim, server, client) = server_and_client(7, serve, async {
            let stream = connect().await.unwrap();
            let receiving = stream.clone();
            let receiver = spawn("receiver", async move { receiving.recv(Buffer::take(8), 0).await.0 });
            sleep(Duration::from_secs(1)).await;
            stream.shutdown();
            assert_eq!(receiver.await.unwrap().unwrap(), 0);
            assert_eq!(
                stream.send_all(vec![Bytes::from_static(b"x")]).await.unwrap_err().kind(),
                io::ErrorKind::BrokenPipe
            );
        });
        assert!(sim.run_until(Duration::from_secs(60), |sim| !sim.is_running(server) && !sim.is_running(client)));
    }
}
