//! One connection to the broker: frames out, frames in, in order. As thin as can be, so that what is tested is the broker.

use bytes::Bytes;
use ringlane_protocol::{ApiKey, Reader, Request, Writer, decode_response_header, encode_request_frame};
use ringlane_runtime::{Buffer, Stream, resolve, timeout};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// Longer than any answer takes that will come: then the connection is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Far more than any answer of the workload has.
const ANSWER_BYTES_MAX: usize = 64 << 20;

pub struct Connection {
    stream: Stream,
    next_correlation_id: i32,
    expected: VecDeque<(ApiKey, i16, i32)>,
}

/// Why a connection is of no use any more.
#[derive(Debug)]
pub enum WireError {
    /// The network's or a crash's doing: connect again.
    Lost,
    /// The broker's fault.
    Wrong(String),
}

impl From<io::Error> for WireError {
    fn from(_: io::Error) -> WireError {
        WireError::Lost
    }
}

impl Connection {
    pub async fn open(host: &str, port: u16) -> Result<Connection, WireError> {
        let address = resolve(host, port).await?[0];
        let stream = Stream::connect(address).await?;
        Ok(Connection { stream, next_correlation_id: 1, expected: VecDeque::new() })
    }

    /// Sends a request and reads its answer's body: decode it with the same version.
    pub async fn call<'a, Q: Request<'a>>(&mut self, version: i16, request: &Q) -> Result<Vec<u8>, WireError> {
        self.send(version, request).await?;
        self.receive().await
    }

    pub async fn send<'a, Q: Request<'a>>(&mut self, version: i16, request: &Q) -> Result<(), WireError> {
        self.expected.push_back((Q::KEY, version, self.next_correlation_id));
        self.send_unanswered(version, request).await
    }

    /// For acks = 0.
    pub async fn send_unanswered<'a, Q: Request<'a>>(&mut self, version: i16, request: &Q) -> Result<(), WireError> {
        let mut frame = Writer::new();
        encode_request_frame(&mut frame, version, self.next_correlation_id, "simulation", request);
        self.next_correlation_id += 1;
        let sent = timeout(ANSWER_TIMEOUT, self.stream.send_all(vec![Bytes::from(frame.into_bytes())])).await;
        Ok(sent.map_err(|_| WireError::Lost)??)
    }

    /// The body of the oldest answer that is outstanding.
    pub async fn receive(&mut self) -> Result<Vec<u8>, WireError> {
        let frame = timeout(ANSWER_TIMEOUT, self.frame()).await;
        let frame = frame.map_err(|_| WireError::Lost)??;
        let (key, version, expected_id) = self.expected.pop_front().expect("something was asked");
        let mut reader = Reader::new(&frame);
        let id = decode_response_header(&mut reader, key, version)
            .map_err(|error| WireError::Wrong(format!("answer to {key:?} v{version}: {error}")))?;
        if id != expected_id {
            return Err(WireError::Wrong(format!("{key:?}: answer {id} came where {expected_id} was due")));
        }
        Ok(frame[reader.position()..].to_vec())
    }

    async fn frame(&mut self) -> Result<Vec<u8>, WireError> {
        let (received, size) = self.stream.recv_exact(Buffer::take(4), 0).await;
        received?;
        let size = i32::from_be_bytes(size[..].try_into().expect("four bytes"));
        match usize::try_from(size) {
            Ok(size @ 4..ANSWER_BYTES_MAX) => {
                let (received, frame) = self.stream.recv_exact(Buffer::take(size), 0).await;
                received?;
                Ok(frame.to_vec())
            }
            _ => Err(WireError::Wrong(format!("an answer of {size} bytes"))),
        }
    }
}
