//! The measure: an echo server and its client as one io_uring loop each, with the ring flags of the runtime and nothing else.

use crate::MESSAGE_BYTES;
use io_uring::{IoUring, opcode, squeue, types};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::time::{Duration, Instant};

const ACCEPT: u64 = u64::MAX;
const BUFFER_BYTES: usize = 4096;

struct Connection {
    fd: RawFd,
    buffer: Box<[u8; BUFFER_BYTES]>,
    is_sending: bool,
}

impl Connection {
    fn new(fd: RawFd) -> Connection {
        Connection { fd, buffer: Box::new([0; BUFFER_BYTES]), is_sending: false }
    }

    fn recv(&mut self, key: usize) -> squeue::Entry {
        self.is_sending = false;
        opcode::Recv::new(types::Fd(self.fd), self.buffer.as_mut_ptr(), BUFFER_BYTES as u32)
            .build()
            .user_data(key as u64)
    }

    fn send(&mut self, key: usize, bytes: usize) -> squeue::Entry {
        self.is_sending = true;
        opcode::Send::new(types::Fd(self.fd), self.buffer.as_ptr(), bytes as u32).build().user_data(key as u64)
    }
}

fn ring() -> IoUring {
    IoUring::builder().setup_single_issuer().setup_defer_taskrun().setup_cqsize(8192).build(1024).unwrap()
}

fn push(ring: &mut IoUring, entry: squeue::Entry) {
    // SAFETY: the entries name buffers that live until the process ends or the client has waited for them.
    while unsafe { ring.submission().push(&entry) }.is_err() {
        ring.submit().unwrap();
    }
}

fn pin(core: usize) {
    assert!(core_affinity::set_for_current(core_affinity::CoreId { id: core }));
}

pub fn serve(core: usize) {
    pin(core);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    let accept = || {
        let entry = opcode::Accept::new(types::Fd(listener.as_raw_fd()), std::ptr::null_mut(), std::ptr::null_mut());
        entry.build().user_data(ACCEPT)
    };
    let (mut ring, mut connections) = (ring(), Vec::new());
    push(&mut ring, accept());
    loop {
        ring.submit_and_wait(1).unwrap();
        while let Some(completion) = { ring.completion().next() } {
            let result = completion.result();
            let key = completion.user_data() as usize;
            let next = match completion.user_data() {
                ACCEPT => {
                    push(&mut ring, accept());
                    connections.push(Connection::new(no_delay(result)));
                    let key = connections.len() - 1;
                    connections[key].recv(key)
                }
                _ if result <= 0 => continue,
                _ if connections[key].is_sending => connections[key].recv(key),
                _ => connections[key].send(key, result as usize),
            };
            push(&mut ring, next);
        }
    }
}

fn no_delay(fd: RawFd) -> RawFd {
    use std::os::fd::FromRawFd;
    // SAFETY: a descriptor that an accept just made.
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    stream.set_nodelay(true).unwrap();
    stream.into_raw_fd()
}

/// Keeps one request in flight on each connection.
pub struct Client {
    ring: IoUring,
    connections: Vec<Connection>,
}

impl Client {
    pub fn connect(core: usize, server: SocketAddr, connections: usize) -> Client {
        pin(core);
        let connect = |_| {
            let stream = TcpStream::connect(server).unwrap();
            stream.set_nodelay(true).unwrap();
            Connection::new(stream.into_raw_fd())
        };
        let mut client = Client { ring: ring(), connections: (0..connections).map(connect).collect() };
        for key in 0..connections {
            let request = client.connections[key].send(key, MESSAGE_BYTES);
            push(&mut client.ring, request);
        }
        client
    }

    /// Requests answered meanwhile.
    pub fn run(&mut self, duration: Duration) -> u64 {
        let (began, mut answered) = (Instant::now(), 0);
        while began.elapsed() < duration {
            self.ring.submit_and_wait(1).unwrap();
            while let Some(completion) = { self.ring.completion().next() } {
                assert_eq!(completion.result(), MESSAGE_BYTES as i32, "a whole message each time");
                let key = completion.user_data() as usize;
                let connection = &mut self.connections[key];
                let next = match connection.is_sending {
                    true => connection.recv(key),
                    false => {
                        answered += 1;
                        connection.send(key, MESSAGE_BYTES)
                    }
                };
                push(&mut self.ring, next);
            }
        }
        answered
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The kernel may still write into the buffers: they stay for the rest of this short process.
        std::mem::forget(std::mem::take(&mut self.connections));
    }
}
