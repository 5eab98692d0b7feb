//! TCP over the shard's ring. Sockets are in blocking mode: on a non-blocking one the ring's operations return EAGAIN instead of waiting.

use super::address::{from_native, to_native};
use super::descriptor::{Closes, Descriptor};
use super::helpers;
use super::uring::{Completed, Message, Op, Ring};
use crate::Buffer;
use bytes::{Buf, Bytes};
use io_uring::cqueue;
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Connections that the kernel completes before we accept them; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

pub(crate) struct Listener {
    descriptor: Rc<Descriptor>,
    address: SocketAddr,
}

impl Listener {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Listener> {
        let listener = TcpListener::bind(address)?;
        // SAFETY: listening again on a listening socket only changes its backlog (std's is 128: too short for a wave of reconnects).
        check(unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) })?;
        let address = listener.local_addr()?;
        Ok(Listener { descriptor: Descriptor::new(listener.into(), Closes::Here), address })
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn accept(&self) -> io::Result<Socket> {
        loop {
            let (accepted, _) = Ring::accept(&self.descriptor).await;
            match result(accepted) {
                // SAFETY: a descriptor that the kernel just made for us.
                Ok(fd) => match Socket::new(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }) {
                    Ok(socket) => return Ok(socket),
                    // Gone before we looked at it.
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => continue,
                    Err(error) => return Err(error),
                },
                Err(error) if is_passing(&error) => continue,
                Err(error) => return Err(error),
            }
        }
    }
}

/// The peer gave up before we came (accept(2): to be retried), or a signal interrupted the call.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted)
}

pub(crate) struct Socket {
    fd: OwnedFd,
    peer: SocketAddr,
    local: SocketAddr,
}

impl Socket {
    fn new(fd: OwnedFd) -> io::Result<Socket> {
        let raw = fd.as_raw_fd();
        // A response must not wait for the acknowledgement of the one before (Nagle); we write whole responses.
        switch_on(raw, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
        // A peer that vanished without a word must not hold its connection for ever.
        switch_on(raw, libc::SOL_SOCKET, libc::SO_KEEPALIVE)?;
        let peer = name_of(|address, length| {
            // SAFETY: `name_of` gives room for any address and its length.
            unsafe { libc::getpeername(raw, address, length) }
        })?;
        let local = name_of(|address, length| {
            // SAFETY: as above.
            unsafe { libc::getsockname(raw, address, length) }
        })?;
        Ok(Socket { fd, peer, local })
    }

    pub(crate) fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn into_stream(self) -> Stream {
        let connection = Connection {
            descriptor: Descriptor::new(self.fd, Closes::Here),
            peer: self.peer,
            local: self.local,
            is_drained: Cell::new(false),
            spare_message: Cell::new(None),
        };
        Stream { connection: Rc::new(connection) }
    }
}

#[derive(Clone)]
pub(crate) struct Stream {
    connection: Rc<Connection>,
}

struct Connection {
    descriptor: Rc<Descriptor>,
    peer: SocketAddr,
    local: SocketAddr,
    /// The last receive took all there was.
    is_drained: Cell<bool>,
    /// Kept between sends, so that a send allocates nothing.
    spare_message: Cell<Option<Box<Message>>>,
}

impl Stream {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Stream> {
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        // SAFETY: a plain system call; the result is checked.
        let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: just made, owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let copy = fd.try_clone()?;
        let descriptor = Descriptor::new(copy, Closes::Here);
        let (native, length) = to_native(address);
        let (connected, _) = Ring::connect(&descriptor, native, length).await;
        result(connected)?;
        Ok(Socket::new(fd)?.into_stream())
    }

    pub(crate) fn peer_address(&self) -> SocketAddr {
        self.connection.peer
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.connection.local
    }

    /// `all`: the kernel waits until the buffer is full where it can; the caller continues short answers.
    pub(crate) fn recv(&self, buffer: Buffer, from: usize, all: bool) -> Recv<'_> {
        let connection = &*self.connection;
        Recv { connection, from, all, op: connection.recv(buffer, from, all) }
    }

    /// One part needs no vector.
    pub(crate) async fn send(&self, mut bytes: Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent;
            (sent, bytes) = Ring::send(&self.connection.descriptor, bytes).await;
            match result(sent) {
                Ok(count) => bytes.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(crate) async fn send_all(&self, mut parts: Vec<Bytes>) -> io::Result<()> {
        if parts.len() <= 1 {
            return self.send(parts.pop().unwrap_or_default()).await;
        }
        let connection = &*self.connection;
        let mut message = connection.spare_message.take().unwrap_or_else(Message::new);
        message.load(parts);
        let mut sent_all = Ok(());
        while !message.is_empty() && sent_all.is_ok() {
            let sent;
            (sent, message) = Ring::send_message(&connection.descriptor, message).await;
            match result(sent) {
                Ok(bytes) => message.sent(bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => sent_all = Err(error),
            }
        }
        message.clear();
        connection.spare_message.set(Some(message));
        sent_all
    }

    pub(crate) fn shutdown(&self) {
        self.connection.shutdown();
    }
}

/// By hand, because every layer of `async` moves the buffer once more, a hundred thousand times a second.
pub(crate) struct Recv<'a> {
    connection: &'a Connection,
    from: usize,
    all: bool,
    op: Op<Buffer>,
}

impl Future for Recv<'_> {
    type Output = (io::Result<usize>, Buffer);
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let (received, buffer) = ready!(Pin::new(&mut this.op).poll(cx));
            this.connection.is_drained.set(!cqueue::sock_nonempty(received.flags));
            match result(received) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    this.op = this.connection.recv(buffer, this.from, this.all);
                }
                result => return Poll::Ready((result, buffer)),
            }
        }
    }
}

impl Connection {
    fn recv(&self, buffer: Buffer, from: usize, all: bool) -> Op<Buffer> {
        Ring::recv(&self.descriptor, buffer, from, all, self.is_drained.get())
    }

    fn shutdown(&self) {
        // SAFETY: the descriptor is open as long as `self`. Fails only when the peer has closed already: nothing left to do.
        unsafe { libc::shutdown(self.descriptor.raw(), libc::SHUT_RDWR) };
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // An operation still in the kernel holds the socket open past its close, and the peer would wait for its end (fault B10).
        self.shutdown();
    }
}

pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(literal) = host.parse() {
        return Ok(vec![SocketAddr::new(literal, port)]);
    }
    let host = host.to_owned();
    helpers::run(helpers::BLOCKING, move || Ok((host.as_str(), port).to_socket_addrs()?.collect())).await
}

/// The kernel's result: a count or descriptor, or a negative errno.
pub(super) fn result(completed: Completed) -> io::Result<usize> {
    match completed.result {
        error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
        count => Ok(count as usize),
    }
}

/// The result of a plain system call.
pub(super) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn switch_on(socket: RawFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let (on, length): (libc::c_int, _) = (1, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the option's value is a local int of the given size.
    check(unsafe { libc::setsockopt(socket, level, option, (&raw const on).cast(), length) }).map(drop)
}

fn name_of(call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int) -> io::Result<SocketAddr> {
    // SAFETY: all zeros is a valid sockaddr_storage of no family.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&address) as libc::socklen_t;
    check(call((&raw mut address).cast(), &mut length))?;
    from_native(&address)
}
