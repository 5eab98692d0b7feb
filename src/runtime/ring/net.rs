//! net
use crate::Buffer;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;

pub(crate) struct Listener {}
impl Listener {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Listener> {
        let _ = address;
        todo!()
    }
    pub(crate) fn local_address(&self) -> SocketAddr {
        todo!()
    }
    pub(crate) async fn accept(&self) -> io::Result<Socket> {
        todo!()
    }
}

/// `Send`.
pub(crate) struct Socket {}
impl Socket {
    pub(crate) fn peer_address(&self) -> SocketAddr {
        todo!()
    }
    pub(crate) fn local_address(&self) -> SocketAddr {
        todo!()
    }
    pub(crate) fn into_stream(self) -> Stream {
        todo!()
    }
}

#[derive(Clone)]
pub(crate) struct Stream {}
impl Stream {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Stream> {
        let _ = address;
        todo!()
    }
    pub(crate) fn peer_address(&self) -> SocketAddr {
        todo!()
    }
    pub(crate) fn local_address(&self) -> SocketAddr {
        todo!()
    }
    pub(crate) async fn recv(&self, buffer: Buffer, from: usize) -> (io::Result<usize>, Buffer) {
        let _ = (buffer, from);
        todo!()
    }
    pub(crate) async fn recv_all(&self, buffer: Buffer, from: usize) -> (io::Result<usize>, Buffer) {
        let _ = (buffer, from);
        todo!()
    }
    pub(crate) async fn send_all(&self, parts: Vec<Bytes>) -> io::Result<()> {
        let _ = parts;
        todo!()
    }
    pub(crate) fn shutdown(&self) {
        todo!()
    }
}

pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let _ = (host, port);
    todo!()
}
