//! Listeners, sockets and streams, as the facade's `net` calls them.

use super::EndId;
use crate::context::{Backend, backend, current_sim};
use crate::sim::NodeId;
use crate::sim::world::{Shard, World};
use crate::{Buffer, now, sleep};
use bytes::Bytes;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Tries of one connection attempt while the path is cut or the listener's backlog full.
const CONNECT_TRIES: u32 = 8;

pub(crate) struct Listener {
    shard: Rc<Shard>,
    address: SocketAddr,
}

impl Listener {
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Listener> {
        let shard = current_sim();
        let address = shard.with(|world| world.listen(&shard, address))?;
        Ok(Listener { shard, address })
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn accept(&self) -> io::Result<Socket> {
        let key = (self.shard.node, self.address.port());
        poll_fn(|cx| {
            self.shard.with(|world| {
                let listening = world.network.listeners.get_mut(&key).expect("listens until it is dropped");
                let Some(end) = listening.backlog.pop_front() else {
                    listening.acceptors.push(cx.waker().clone());
                    return Poll::Pending;
                };
                self.shard.record(world, "accept", end.connection.0, 0);
                Poll::Ready(Ok(Socket::new(world, self.shard.node, end)))
            })
        })
        .await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.shard.is_alive() {
            self.shard.with(|world| world.close_listener(self.shard.node, self.address.port()));
        }
    }
}

/// `Send`: holds names only.
pub(crate) struct Socket {
    end: Option<EndId>,
    node: NodeId,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Socket {
    fn new(world: &mut World, node: NodeId, end: EndId) -> Socket {
        let state = world.end(end).expect("not yet closed by this side");
        Socket { end: Some(end), node, local: state.local, peer: state.peer }
    }

    pub(crate) fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn into_stream(mut self) -> Stream {
        let shard = current_sim();
        assert_eq!(shard.node, self.node, "a socket cannot leave its node");
        let end = self.end.take().expect("taken once");
        Stream { handle: Rc::new(Handle { shard, end, local: self.local, peer: self.peer }) }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(end) = self.end.take() else { return };
        if backend() == Backend::Sim {
            let shard = current_sim();
            if shard.is_alive() && shard.node == self.node {
                shard.with(|world| world.close(end));
            }
        }
    }
}

#[derive(Clone)]
pub(crate) struct Stream {
    handle: Rc<Handle>,
}

struct Handle {
    shard: Rc<Shard>,
    end: EndId,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.shard.is_alive() {
            self.shard.with(|world| world.close(self.end));
        }
    }
}

impl Stream {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Stream> {
        let shard = current_sim();
        let (trip, timeout) = shard
            .with(|world| (Duration::from_nanos(world.network_delay_nanos()), world.options.network.connect_timeout));
        let deadline = now() + timeout;
        sleep(trip).await;
        let end = loop {
            let attempt = shard.with(|world| {
                let to = world.node_at(shard.node, address.ip())?;
                world.open_connection(&shard, to, address)
            });
            match attempt {
                Some(result) => break result?,
                None if now() >= deadline => return Err(io::ErrorKind::TimedOut.into()),
                None => sleep(timeout / CONNECT_TRIES).await,
            }
        };
        let local = shard.with(|world| world.end(end).map_or(address, |end| end.local));
        let stream = Stream { handle: Rc::new(Handle { shard, end, local, peer: address }) };
        sleep(trip).await;
        Ok(stream)
    }

    pub(crate) fn peer_address(&self) -> SocketAddr {
        self.handle.peer
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.handle.local
    }

    pub(crate) async fn recv(&self, mut buffer: Buffer, from: usize) -> (io::Result<usize>, Buffer) {
        let Handle { shard, end, .. } = &*self.handle;
        let result = poll_fn(|cx| {
            shard.with(|world| match world.receive(*end, &mut buffer[from..]) {
                Some(result) => Poll::Ready(result),
                None => {
                    let waker = cx.waker().clone();
                    world.end(*end).expect("nothing was received yet").wait_to_receive(waker);
                    Poll::Pending
                }
            })
        })
        .await;
        (result, buffer)
    }

    pub(crate) async fn send_all(&self, parts: Vec<Bytes>) -> io::Result<()> {
        let Handle { shard, end, .. } = &*self.handle;
        for mut part in parts {
            while !part.is_empty() {
                poll_fn(|cx| {
                    shard.with(|world| match world.send(*end, &mut part) {
                        Some(result) => Poll::Ready(result),
                        None => {
                            let waker = cx.waker().clone();
                            world.end(*end).expect("its direction is full").wait_to_send(waker);
                            Poll::Pending
                        }
                    })
                })
                .await?;
            }
        }
        Ok(())
    }

    pub(crate) fn shutdown(&self) {
        let Handle { shard, end, .. } = &*self.handle;
        if shard.is_alive() {
            shard.with(|world| world.shut(*end));
        }
    }
}

/// Knows `node-N` and `localhost`.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let shard = current_sim();
    let node = shard.with(|world| world.nodes.iter().map(|node| node.id).find(|id| id.host_name() == host));
    let ip = match node {
        Some(node) => node.address().into(),
        None if host == "localhost" => Ipv4Addr::LOCALHOST.into(),
        None => host.parse().map_err(|_| {
            let message =
                format!("host {host} is not known: the simulated network has node-1, node-2, ... and localhost");
            io::Error::new(io::ErrorKind::NotFound, message)
        })?,
    };
    Ok(vec![SocketAddr::new(ip, port)])
}
