//! TCP. Accept on one shard, serve on another: a [`Socket`] is an accepted connection on its way to its connection shard.

use crate::context::{Backend, backend_of_shard};
use crate::{Buffer, ring, sim};
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;

pub struct Listener {
    inner: ListenerInner,
}

enum ListenerInner {
    Ring(ring::net::Listener),
    Sim(sim::net::Listener),
}

impl Listener {
    pub async fn bind(address: SocketAddr) -> io::Result<Listener> {
        let inner = match backend_of_shard("Listener::bind") {
            Backend::Sim => ListenerInner::Sim(sim::net::Listener::bind(address).await?),
            _ => ListenerInner::Ring(ring::net::Listener::bind(address)?),
        };
        Ok(Listener { inner })
    }
    pub fn local_address(&self) -> SocketAddr {
        match &self.inner {
            ListenerInner::Ring(listener) => listener.local_address(),
            ListenerInner::Sim(listener) => listener.local_address(),
        }
    }
    pub async fn accept(&self) -> io::Result<Socket> {
        let inner = match &self.inner {
            ListenerInner::Ring(listener) => SocketInner::Ring(listener.accept().await?),
            ListenerInner::Sim(listener) => SocketInner::Sim(listener.accept().await?),
        };
        Ok(Socket { inner })
    }
}

/// An accepted connection that no shard serves yet. `Send`. Dropping it closes it.
pub struct Socket {
    inner: SocketInner,
}

enum SocketInner {
    Ring(ring::net::Socket),
    Sim(sim::net::Socket),
}

impl Socket {
    pub fn peer_address(&self) -> SocketAddr {
        match &self.inner {
            SocketInner::Ring(socket) => socket.peer_address(),
            SocketInner::Sim(socket) => socket.peer_address(),
        }
    }
    pub fn local_address(&self) -> SocketAddr {
        match &self.inner {
            SocketInner::Ring(socket) => socket.local_address(),
            SocketInner::Sim(socket) => socket.local_address(),
        }
    }
    /// Binds the connection to the calling shard.
    pub fn into_stream(self) -> Stream {
        let inner = match self.inner {
            SocketInner::Ring(socket) => StreamInner::Ring(socket.into_stream()),
            SocketInner::Sim(socket) => StreamInner::Sim(socket.into_stream()),
        };
        Stream { inner }
    }
}

/// A connection served by this shard. Cheap to clone: one task may receive while another sends (at most one of each at a time).
#[derive(Clone)]
pub struct Stream {
    inner: StreamInner,
}

#[derive(Clone)]
enum StreamInner {
    Ring(ring::net::Stream),
    Sim(sim::net::Stream),
}

impl Stream {
    pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
        let inner = match backend_of_shard("Stream::connect") {
            Backend::Sim => StreamInner::Sim(sim::net::Stream::connect(address).await?),
            _ => StreamInner::Ring(ring::net::Stream::connect(address).await?),
        };
        Ok(Stream { inner })
    }
    pub fn peer_address(&self) -> SocketAddr {
        match &self.inner {
            StreamInner::Ring(stream) => stream.peer_address(),
            StreamInner::Sim(stream) => stream.peer_address(),
        }
    }
    pub fn local_address(&self) -> SocketAddr {
        match &self.inner {
            StreamInner::Ring(stream) => stream.local_address(),
            StreamInner::Sim(stream) => stream.local_address(),
        }
    }
    /// Receives at least one byte into `buffer[from..]`, as many as are there; 0 = the peer closed. The buffer always comes back.
    /// A receive that is dropped may have taken bytes with it: drop it only with its connection.
    pub async fn recv(&self, buffer: Buffer, from: usize) -> (io::Result<usize>, Buffer) {
        assert!(from < buffer.len(), "recv into no space: 0 would look like the peer's close");
        match &self.inner {
            StreamInner::Ring(stream) => stream.recv(buffer, from, false).await,
            StreamInner::Sim(stream) => stream.recv(buffer, from).await,
        }
    }
    /// Receives until `buffer[from..]` is full; `UnexpectedEof` when the peer closes before.
    pub async fn recv_exact(&self, buffer: Buffer, from: usize) -> (io::Result<()>, Buffer) {
        let mut buffer = buffer;
        let mut filled = from;
        while filled < buffer.len() {
            let received;
            (received, buffer) = match &self.inner {
                StreamInner::Ring(stream) => stream.recv(buffer, filled, true).await,
                StreamInner::Sim(stream) => stream.recv(buffer, filled).await,
            };
            match received {
                Ok(0) => return (Err(io::ErrorKind::UnexpectedEof.into()), buffer),
                Ok(bytes) => filled += bytes,
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(()), buffer)
    }
    /// Sends all bytes.
    pub async fn send(&self, bytes: Bytes) -> io::Result<()> {
        match &self.inner {
            StreamInner::Ring(stream) => stream.send(bytes).await,
            StreamInner::Sim(stream) => stream.send_all(vec![bytes]).await,
        }
    }
    /// Sends all bytes of all parts, in order, in as few system calls as the kernel allows.
    pub async fn send_all(&self, parts: Vec<Bytes>) -> io::Result<()> {
        match &self.inner {
            StreamInner::Ring(stream) => stream.send_all(parts).await,
            StreamInner::Sim(stream) => stream.send_all(parts).await,
        }
    }
    /// Ends both directions now: pending and later calls return. Idempotent.
    pub fn shutdown(&self) {
        match &self.inner {
            StreamInner::Ring(stream) => stream.shutdown(),
            StreamInner::Sim(stream) => stream.shutdown(),
        }
    }
}

/// Addresses of `host` (a name or a literal) with `port`.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match backend_of_shard("resolve") {
        Backend::Sim => sim::net::resolve(host, port).await,
        _ => ring::net::resolve(host, port).await,
    }
}
