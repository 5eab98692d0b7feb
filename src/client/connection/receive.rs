//! Cuts the received bytes into frames. Small answers share a receive and its buffer; a large one gets a buffer of its own size.

use crate::ClientError;
use bytes::Bytes;
use ringlane_runtime::{Buffer, Stream};

/// What one receive can bring at most, unless a frame is larger.
const RECEIVE_BYTES: usize = 64 << 10;
/// Largest answer: Kafka's `fetch.max.bytes` (55 MiB on brokers) and one batch above it, with room.
const FRAME_BYTES_MAX: usize = 128 << 20;
/// A smaller rest of a buffer is given up.
const ROOM_BYTES_MIN: usize = 4 << 10;
/// What a length is believed before its bytes come: beyond it memory doubles with what was received.
const BELIEVED_BYTES: usize = 4 << 20;
const LENGTH_BYTES: usize = 4;

pub(super) struct Frames {
    stream: Stream,
    /// Received and not yet handed out: `buffer[..filled]`.
    buffer: Buffer,
    filled: usize,
}

pub(super) enum Broken {
    Io(std::io::Error),
    Closed,
    Size(i64),
}

impl Broken {
    pub(super) fn into_error(self, peer: &str) -> ClientError {
        let peer = peer.to_string();
        match self {
            Broken::Io(error) => ClientError::Connection { peer, reason: error.to_string() },
            Broken::Closed => ClientError::Connection { peer, reason: "the broker closed it".to_string() },
            Broken::Size(bytes) => ClientError::AnswerSize { peer, bytes, max: FRAME_BYTES_MAX },
        }
    }
}

impl Frames {
    pub(super) fn new(stream: Stream) -> Frames {
        Frames { stream, buffer: Buffer::take(RECEIVE_BYTES), filled: 0 }
    }

    /// The next frame, without its length.
    pub(super) async fn next(&mut self) -> Result<Bytes, Broken> {
        self.fill_to(LENGTH_BYTES).await?;
        let announced = self.buffer.first_chunk().map_or(-1, |bytes| i32::from_be_bytes(*bytes));
        let length = usize::try_from(announced).ok().filter(|&length| length <= FRAME_BYTES_MAX);
        let length = length.ok_or(Broken::Size(announced.into()))?;
        let end = LENGTH_BYTES + length;
        self.fill_to(end).await?;
        let frame = self.buffer.split_to(end).freeze().slice(LENGTH_BYTES..);
        self.filled -= end;
        Ok(frame)
    }

    /// Receives until the first `wanted` bytes are there.
    async fn fill_to(&mut self, wanted: usize) -> Result<(), Broken> {
        while self.filled < wanted {
            let is_short = self.buffer.len() == self.filled || self.buffer.len() < wanted.min(BELIEVED_BYTES);
            // What many small answers have left of a buffer is not worth a receive.
            let is_rest = self.buffer.len() < ROOM_BYTES_MIN;
            if is_short || is_rest {
                self.grow(wanted);
            }
            let buffer = std::mem::replace(&mut self.buffer, Buffer::take(0));
            let (received, buffer) = self.stream.recv(buffer, self.filled).await;
            self.buffer = buffer;
            match received.map_err(Broken::Io)? {
                0 => return Err(Broken::Closed),
                bytes => self.filled += bytes,
            }
        }
        Ok(())
    }

    fn grow(&mut self, wanted: usize) {
        let believed = BELIEVED_BYTES.max(2 * self.filled);
        let mut larger = Buffer::take(wanted.min(believed).max(RECEIVE_BYTES));
        larger[..self.filled].copy_from_slice(&self.buffer[..self.filled]);
        self.buffer = larger;
    }
}
