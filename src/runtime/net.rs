//! TCP. Accept on one shard, serve on another: a [`Socket`] is an accepted connection on its way to its connection shard.

use crate::Buffer;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;

pub struct Listener {
    _inner: (),
}

impl Listener {
    pub async fn bind(address: SocketAddr) -> io::Result<Listener> {
        let _ = address;
        todo!()
    }
    pub fn local_address(&self) -> SocketAddr {
        todo!()
    }
    pub async fn accept(&self) -> io::Result<Socket> {
        todo!()
    }
}

/// An accepted connection that no shard serves yet. `Send`. Dropping it closes it.
pub struct Socket {
    _inner: (),
}

impl Socket {
    pub fn peer_address(&self) -> SocketAddr {
        todo!()
    }
    pub fn local_address(&self) -> SocketAddr {
        todo!()
    }
    /// Binds the connection to the calling shard.
    pub fn into_stream(self) -> Stream {
        todo!()
    }
}

/// A connection served by this shard. Cheap to clone: one task may receive while another sends (at most one of each at a time).
#[derive(Clone)]
pub struct Stream {
    _inner: (),
}

impl Stream {
    pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
        let _ = address;
        todo!()
    }
    pub fn peer_address(&self) -> SocketAddr {
        todo!()
    }
    pub fn local_address(&self) -> SocketAddr {
        todo!()
    }
    /// Receives at least one byte into `buffer[from..]`, as many as are there; 0 = the peer closed. The buffer always comes back.
    pub async fn recv(&self, buffer: Buffer, from: usize) -> (io::Result<usize>, Buffer) {
        let _ = (buffer, from);
        todo!()
    }
    /// Receives until `buffer[from..]` is full; `UnexpectedEof` when the peer closes before.
    pub async fn recv_exact(&self, buffer: Buffer, from: usize) -> (io::Result<()>, Buffer) {
        let _ = (buffer, from);
        todo!()
    }
    /// Sends all bytes of all parts, in order, in as few system calls as the kernel allows.
    pub async fn send_all(&self, parts: Vec<Bytes>) -> io::Result<()> {
        let _ = parts;
        todo!()
    }
    /// Ends both directions now: pending and later calls return. Idempotent.
    pub fn shutdown(&self) {
        todo!()
    }
}

/// Addresses of `host` (a name or a literal) with `port`.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let _ = (host, port);
    todo!()
}
