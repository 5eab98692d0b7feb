//! The operations: each builds one entry and keeps what it names.

use super::super::descriptor::Descriptor;
use super::slot::Keep;
use super::{Op, Ring};
use crate::{Buffer, Durability};
use bytes::{Buf, Bytes};
use io_uring::{opcode, types};
use std::collections::VecDeque;
use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;

/// Wait for the socket first instead of trying to receive what is not there.
const IORING_RECVSEND_POLL_FIRST: u16 = 1;
/// The kernel's bound on the parts of one message (UIO_MAXIOV).
const MESSAGE_PARTS_MAX: usize = 1024;
/// `io_uring` carries lengths in 32 bits; larger transfers are continued.
const TRANSFER_BYTES_MAX: usize = 1 << 30;

impl Keep for () {}
impl Keep for Buffer {}
impl Keep for Bytes {
    const SENDS: bool = true;
}
impl Keep for Box<Message> {
    const SENDS: bool = true;
}
impl Keep for Box<libc::sockaddr_storage> {}

/// Nothing to keep, but the result is a descriptor.
pub(in crate::ring) struct Accepted;

impl Keep for Accepted {
    fn unclaimed(&mut self, result: i32) {
        if result >= 0 {
            // SAFETY: the kernel made this descriptor for an accept whose result nobody else has seen.
            drop(unsafe { OwnedFd::from_raw_fd(result) });
        }
    }
}

/// What is left to send of one or more parts, and the kernel's view of it.
pub(in crate::ring) struct Message {
    parts: VecDeque<Bytes>,
    vectors: Vec<libc::iovec>,
    header: libc::msghdr,
}

impl Message {
    pub(in crate::ring) fn new() -> Box<Message> {
        // SAFETY: all zeros is a valid msghdr: no name, no parts, no control data.
        let header = unsafe { std::mem::zeroed() };
        Box::new(Message { parts: VecDeque::new(), vectors: Vec::new(), header })
    }

    pub(in crate::ring) fn load(&mut self, parts: Vec<Bytes>) {
        self.parts.extend(parts.into_iter().filter(|part| !part.is_empty()));
    }

    pub(in crate::ring) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Forgets what is left.
    pub(in crate::ring) fn clear(&mut self) {
        self.parts.clear();
    }

    /// Takes `bytes` off the front.
    pub(in crate::ring) fn sent(&mut self, mut bytes: usize) {
        while let Some(first) = self.parts.front_mut() {
            if bytes < first.len() {
                first.advance(bytes);
                return;
            }
            bytes -= first.len();
            self.parts.pop_front();
        }
        assert_eq!(bytes, 0, "the kernel sent more than it was given");
    }

    fn prepare(&mut self) {
        let vector = |part: &Bytes| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
        self.vectors.clear();
        self.vectors.extend(self.parts.iter().take(MESSAGE_PARTS_MAX).map(vector));
        self.header.msg_iov = self.vectors.as_mut_ptr();
        self.header.msg_iovlen = self.vectors.len();
    }
}

/// The stream is over before the bytes are: an error, not a signal. And the kernel goes on after a short send by itself.
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

impl Ring {
    pub(in crate::ring) fn accept(listener: &Rc<Descriptor>) -> Op<Accepted> {
        let (none, no_length) = (std::ptr::null_mut(), std::ptr::null_mut());
        let entry =
            opcode::Accept::new(types::Fd(listener.number()), none, no_length).flags(libc::SOCK_CLOEXEC).build();
        // SAFETY: names no memory.
        unsafe { Ring::submit(entry, listener, Accepted) }
    }

    pub(in crate::ring) fn connect(
        socket: &Rc<Descriptor>,
        address: Box<libc::sockaddr_storage>,
        length: libc::socklen_t,
    ) -> Op<Box<libc::sockaddr_storage>> {
        let entry = opcode::Connect::new(types::Fd(socket.number()), (&raw const *address).cast(), length).build();
        // SAFETY: the address is in the box.
        unsafe { Ring::submit(entry, socket, address) }
    }

    /// Into `buffer[from..]`; `all`: wait until it is full; `is_drained`: nothing is there yet, as far as we know.
    pub(in crate::ring) fn recv(
        socket: &Rc<Descriptor>,
        mut buffer: Buffer,
        from: usize,
        all: bool,
        is_drained: bool,
    ) -> Op<Buffer> {
        let space = &mut buffer[from..];
        let length = space.len().min(TRANSFER_BYTES_MAX) as u32;
        let flags = if all { libc::MSG_WAITALL } else { 0 };
        let priority = if is_drained { IORING_RECVSEND_POLL_FIRST } else { 0 };
        let entry = opcode::Recv::new(types::Fd(socket.number()), space.as_mut_ptr(), length)
            .flags(flags)
            .ioprio(priority)
            .build();
        // SAFETY: the space lies in the buffer's block, which does not move.
        unsafe { Ring::submit(entry, socket, buffer) }
    }

    pub(in crate::ring) fn send(socket: &Rc<Descriptor>, bytes: Bytes) -> Op<Bytes> {
        let length = bytes.len().min(TRANSFER_BYTES_MAX) as u32;
        let entry = opcode::Send::new(types::Fd(socket.number()), bytes.as_ptr(), length).flags(SEND_FLAGS).build();
        // SAFETY: `Bytes` points to memory that does not move with it.
        unsafe { Ring::submit(entry, socket, bytes) }
    }

    pub(in crate::ring) fn send_message(socket: &Rc<Descriptor>, mut message: Box<Message>) -> Op<Box<Message>> {
        message.prepare();
        let header = &raw const message.header;
        let entry = opcode::SendMsg::new(types::Fd(socket.number()), header).flags(SEND_FLAGS as u32).build();
        // SAFETY: header, vectors and parts are in the box or on the heap behind it, and are not changed before it comes back.
        unsafe { Ring::submit(entry, socket, message) }
    }

    /// Into `buffer[from..]` from the file's `position`; position `u64::MAX` reads a pipe.
    pub(in crate::ring) fn read(file: &Rc<Descriptor>, mut buffer: Buffer, from: usize, position: u64) -> Op<Buffer> {
        let space = &mut buffer[from..];
        let length = space.len().min(TRANSFER_BYTES_MAX) as u32;
        let entry = opcode::Read::new(types::Fd(file.number()), space.as_mut_ptr(), length).offset(position).build();
        // SAFETY: as in `recv`.
        unsafe { Ring::submit(entry, file, buffer) }
    }

    /// `buffer[from..]` to the file's `position`.
    pub(in crate::ring) fn write(
        file: &Rc<Descriptor>,
        buffer: Buffer,
        from: usize,
        position: u64,
        durability: Durability,
    ) -> Op<Buffer> {
        let bytes = &buffer[from..];
        let length = bytes.len().min(TRANSFER_BYTES_MAX) as u32;
        let flags = match durability {
            Durability::Written => 0,
            Durability::Durable => libc::RWF_DSYNC,
        };
        let entry = opcode::Write::new(types::Fd(file.number()), bytes.as_ptr(), length)
            .offset(position)
            .rw_flags(flags)
            .build();
        // SAFETY: the bytes lie in the buffer's block, which does not move; nobody changes them before it comes back.
        unsafe { Ring::submit(entry, file, buffer) }
    }

    pub(in crate::ring) fn sync_data(file: &Rc<Descriptor>) -> Op<()> {
        let entry = opcode::Fsync::new(types::Fd(file.number())).flags(types::FsyncFlags::DATASYNC).build();
        // SAFETY: names no memory.
        unsafe { Ring::submit(entry, file, ()) }
    }

    /// Space for `0..bytes` without changing the size.
    pub(in crate::ring) fn allocate(file: &Rc<Descriptor>, bytes: u64) -> Op<()> {
        let entry = opcode::Fallocate::new(types::Fd(file.number()), bytes).mode(libc::FALLOC_FL_KEEP_SIZE).build();
        // SAFETY: names no memory.
        unsafe { Ring::submit(entry, file, ()) }
    }
}

/// The operations above, by number, for the preflight's probe.
pub(in crate::ring) const OPCODES: [(&str, u8); 10] = [
    ("accept", opcode::Accept::CODE),
    ("connect", opcode::Connect::CODE),
    ("recv", opcode::Recv::CODE),
    ("send", opcode::Send::CODE),
    ("sendmsg", opcode::SendMsg::CODE),
    ("read", opcode::Read::CODE),
    ("write", opcode::Write::CODE),
    ("fsync", opcode::Fsync::CODE),
    ("fallocate", opcode::Fallocate::CODE),
    ("cancel", opcode::AsyncCancel::CODE),
];
