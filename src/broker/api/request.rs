//! One request on its way through its handler.

use super::table;
use crate::net::{Admitted, Answer, CloseReason, Connection, Frame, Response};
use crate::shard::Shard;
use ringlane_protocol::{ApiKey, DecodeError, Message, Reader, RequestHeader, Writer, encode_response_header};
use ringlane_runtime::Buffer;
use std::borrow::Cow;
use std::rc::Rc;

/// A request whose header was understood. Holds its frame, and the budget that admitted it, until dropped.
pub struct Request {
    pub connection: Rc<Connection>,
    pub key: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
    pub frame: Buffer,
    pub admitted: Admitted,
    client_id: std::ops::Range<usize>,
    body_at: usize,
}

impl Request {
    /// Reads the header. The flag says whether we serve the version; of one that does not exist only the header's common part is read.
    pub fn parse(connection: Rc<Connection>, frame: Frame) -> Result<(Request, bool), CloseReason> {
        let Frame { bytes, admitted } = frame;
        let mut reader = Reader::new(&bytes);
        let header = RequestHeader::decode(&mut reader).map_err(malformed)?;
        let (number, version, correlation_id) = (header.key, header.version, header.correlation_id);
        let key = ApiKey::from_i16(number).ok_or(CloseReason::Unsupported { key: number, version })?;
        let body_at = bytes.len() - reader.remaining();
        // Key, version, correlation id and a length stand before the client id.
        let client_id = 10..10 + header.client_id.len();
        let served = table::served(key).is_some_and(|versions| versions.contains(version));
        let request = Request { connection, key, version, correlation_id, frame: bytes, admitted, client_id, body_at };
        Ok((request, served))
    }

    pub fn shard(&self) -> &Rc<Shard> {
        &self.connection.shard
    }

    pub fn client_id(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.frame.get(self.client_id.clone()).unwrap_or_default())
    }

    /// The body. Bytes behind it are ignored, as Kafka does.
    pub fn body<'a, M: Message<'a>>(&'a self) -> Result<M, CloseReason> {
        M::decode(&mut Reader::new(self.body_bytes()), self.version).map_err(malformed)
    }

    pub fn body_bytes(&self) -> &[u8] {
        &self.frame[self.body_at..]
    }

    pub fn body_at(&self) -> usize {
        self.body_at
    }

    pub fn reply<'a, M: Message<'a>>(&self, body: &M) -> Answer {
        self.reply_head().reply(self.shard(), body)
    }

    /// What an answer to this request begins with, for handlers that write their bodies by hand.
    pub fn reply_head(&self) -> ReplyHead {
        ReplyHead { key: self.key, version: self.version, correlation_id: self.correlation_id }
    }
}

/// Enough of a request to answer it when its frame is gone.
#[derive(Clone, Copy)]
pub struct ReplyHead {
    pub key: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
}

impl ReplyHead {
    pub fn reply<'a, M: Message<'a>>(&self, shard: &Shard, body: &M) -> Answer {
        self.reply_by_hand(shard, |writer| body.encode(writer, self.version))
    }

    /// A reply whose body `write` writes.
    pub fn reply_by_hand(&self, shard: &Shard, write: impl FnOnce(&mut Writer)) -> Answer {
        let bytes = shard.encode(|writer| {
            let mark = writer.begin_frame();
            encode_response_header(writer, self.key, self.version, self.correlation_id);
            write(writer);
            writer.end_frame(mark);
        });
        Answer::Send(Response::from(bytes))
    }
}

pub fn malformed(error: DecodeError) -> CloseReason {
    CloseReason::Malformed(error.to_string())
}
