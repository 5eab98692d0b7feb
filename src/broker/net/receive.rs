//! Cuts the byte stream of one connection into request frames.
//!
//! Lives on the connection shard, inside a connection's receive task. Memory follows bytes, never a length field: a small frame is copied
//! out of one receive block, a large one is received into an exact pooled buffer that the request budget has admitted, and one beyond
//! [`TRUSTED_BYTES`] grows by what has arrived. Without budget it stops reading, so TCP pushes back.

use super::connection::Deadline;
use super::responses::CloseReason;
use ringlane_runtime::{Budget, Buffer, Permit, Stream};
use std::io;
use std::time::Duration;

/// Receive block of a connection: what 10,000 idle ones cost. Frames that fit are taken from it without a system call each.
const BLOCK_BYTES: usize = 4096;
/// Size prefix of every frame.
const PREFIX_BYTES: usize = 4;
/// A body up to this size gets its buffer at once: a full `max.request.size` of every client's default (1 MiB) and its headers.
const TRUSTED_BYTES: usize = 2 << 20;
/// A larger body's buffer grows to this many times what has arrived.
const GROWTH: usize = 4;
/// What a frame costs beside its bytes (its buffer's header, its slot), so that a flood of tiny frames is bounded too.
const FRAME_OVERHEAD_BYTES: usize = 256;
/// Before a client has sent one request that we understood, it gets no more than this (Kafka: `sasl.server.max.receive.size`).
pub const FIRST_FRAME_BYTES_MAX: usize = 512 << 10;
/// Slowest body that we wait for, after a grace time: a client that dribbles holds admitted memory.
const BODY_GRACE: Duration = Duration::from_secs(30);
const BODY_BYTES_PER_SECOND_MIN: usize = 64 << 10;

const _: () = assert!(FIRST_FRAME_BYTES_MAX <= TRUSTED_BYTES);

/// One request as it came, without its size prefix, and the budget that it holds until its answer is known.
pub struct Frame {
    pub bytes: Buffer,
    pub admitted: Admitted,
}

/// Request budget held. Given back on drop.
pub struct Admitted {
    _first: Permit,
    _more: Vec<Permit>,
}

/// Why there is no next frame.
#[derive(Debug)]
pub enum Ended {
    /// The client closed, or the connection broke.
    Gone(io::Error),
    Refused(CloseReason),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Gone(error)
    }
}

pub struct FrameReceiver {
    stream: Stream,
    budget: Budget,
    frame_bytes_max: usize,
    /// Received and not yet taken: `block[start..end]`. `None` only while a receive is under way.
    block: Option<Buffer>,
    start: usize,
    end: usize,
}

impl FrameReceiver {
    /// `frame_bytes_max`: `socket.request.max.bytes`.
    pub fn new(stream: Stream, budget: Budget, frame_bytes_max: usize) -> FrameReceiver {
        FrameReceiver { stream, budget, frame_bytes_max, block: None, start: 0, end: 0 }
    }

    /// The next frame. `trusted`: this connection has sent a valid request before.
    pub async fn next(&mut self, trusted: bool, deadline: &Deadline) -> Result<Frame, Ended> {
        while self.end - self.start < PREFIX_BYTES {
            self.fill_block().await?;
        }
        let size = self.take_size(trusted).map_err(Ended::Refused)?;
        let admitted = self.admit(size.min(TRUSTED_BYTES) + FRAME_OVERHEAD_BYTES).await;
        if size <= self.end - self.start {
            let block = self.block.as_ref().expect("filled above");
            let bytes = Buffer::copy_from(&block[self.start..self.start + size]);
            self.start += size;
            return Ok(Frame { bytes, admitted: Admitted { _first: admitted, _more: Vec::new() } });
        }
        deadline.set_within(BODY_GRACE + Duration::from_secs((size / BODY_BYTES_PER_SECOND_MIN) as u64));
        self.body(size, admitted).await
    }

    async fn admit(&self, bytes: usize) -> Permit {
        match self.budget.try_acquire(bytes) {
            Some(permit) => permit,
            None => self.budget.acquire(bytes).await,
        }
    }

    async fn fill_block(&mut self) -> Result<(), Ended> {
        let mut block = self.block.take().unwrap_or_else(|| Buffer::take(BLOCK_BYTES));
        block.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let (received, block) = self.stream.recv(block, self.end).await;
        self.block = Some(block);
        match received? {
            0 => Err(Ended::Gone(io::ErrorKind::UnexpectedEof.into())),
            received => {
                self.end += received;
                Ok(())
            }
        }
    }

    fn take_size(&mut self, trusted: bool) -> Result<usize, CloseReason> {
        let block = self.block.as_ref().expect("filled by the caller");
        let prefix = *block[self.start..].first_chunk::<PREFIX_BYTES>().expect("the caller waited for the prefix");
        self.start += PREFIX_BYTES;
        check_size(prefix, if trusted { self.frame_bytes_max } else { self.frame_bytes_max.min(FIRST_FRAME_BYTES_MAX) })
    }

    /// A frame that does not fit the block: what the block has of it is copied, the rest is received in place.
    async fn body(&mut self, size: usize, first: Permit) -> Result<Frame, Ended> {
        let mut more = Vec::new();
        let mut body = Buffer::take(size.min(TRUSTED_BYTES));
        let mut have = {
            let block = self.block.as_ref().expect("filled by the caller");
            let begun = &block[self.start..self.end];
            body[..begun.len()].copy_from_slice(begun);
            begun.len()
        };
        (self.start, self.end) = (0, 0);
        loop {
            let (received, filled) = self.stream.recv_exact(body, have).await;
            received?;
            body = filled;
            have = body.len();
            if have == size {
                return Ok(Frame { bytes: body, admitted: Admitted { _first: first, _more: more } });
            }
            let larger = size.min(have * GROWTH);
            more.push(self.admit(larger - have).await);
            let mut grown = Buffer::take(larger);
            grown[..have].copy_from_slice(&body);
            body = grown;
        }
    }
}

/// The size that a prefix announces, if we serve it.
fn check_size(prefix: [u8; PREFIX_BYTES], bytes_max: usize) -> Result<usize, CloseReason> {
    let size = i32::from_be_bytes(prefix);
    match usize::try_from(size) {
        Ok(bytes) if bytes <= bytes_max => Ok(bytes),
        _ => Err(CloseReason::FrameSize { size, hint: foreign_protocol(prefix) }),
    }
}

/// What speaks like this, if it is not Kafka: the two that end up on a Kafka port by mistake.
fn foreign_protocol(prefix: [u8; PREFIX_BYTES]) -> &'static str {
    match &prefix {
        [0x16, 0x03, ..] => "this is a TLS handshake, and the listener is plaintext",
        b"GET " | b"POST" | b"PUT " | b"HEAD" | b"OPTI" | b"PRI " => "this is HTTP",
        _ => "negative, or larger than socket.request.max.bytes (512 KiB before the first valid request)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 100 << 20;

    /// A size field is the first thing a stranger controls: believed, it would reserve two gigabytes.
    #[test]
    fn sizes_out_of_range_are_refused() {
        assert_eq!(check_size([0, 0, 0, 10], MAX).unwrap(), 10);
        assert_eq!(check_size((MAX as i32).to_be_bytes(), MAX).unwrap(), MAX);
        assert!(check_size((MAX as i32 + 1).to_be_bytes(), MAX).is_err());
        assert!(check_size([0xff, 0xff, 0xff, 0xff], MAX).is_err());
    }

    /// An operator who points a browser or a TLS client at the port must find the reason in the log.
    #[test]
    fn tls_and_http_are_named() {
        let refused = |prefix: [u8; 4]| check_size(prefix, MAX).unwrap_err().to_string();
        assert!(refused([0x16, 0x03, 0x01, 0x02]).contains("TLS"));
        assert!(refused(*b"GET ").contains("HTTP"));
    }
}
