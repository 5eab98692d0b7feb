//! One connection to one broker: requests go out in the order of the calls, answers come back in the same order.
//!
//! Two tasks serve it: one sends whatever is queued in as few system calls as it can, one receives and hands each answer to its
//! waiter. Both end when the last handle is dropped or the connection fails; then every waiter is told.

mod receive;
mod versions;

use crate::ClientError;
use bytes::Bytes;
use receive::Frames;
use ringlane_protocol::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use ringlane_protocol::{ApiKey, ErrorCode, Message, Reader, Request, Writer};
use ringlane_protocol::{decode_response_header, encode_request_frame};
use ringlane_runtime::{Event, OneshotReceiver, OneshotSender, Stream, oneshot, resolve, spawn, timeout};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;
use versions::BrokerVersions;

/// Requests without an answer; `call` waits for a free place. Kafka's clients have 5, ours pipelines admin requests as well.
const IN_FLIGHT_MAX: usize = 64;

/// What KIP-511 lets a broker show in its metrics.
const SOFTWARE_NAME: &str = "ringlane";
const SOFTWARE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A handle; clones share the connection.
#[derive(Clone)]
pub struct Connection {
    inner: Rc<Inner>,
}

struct Inner {
    stream: Stream,
    peer: String,
    client_id: String,
    request_timeout: Duration,
    state: RefCell<State>,
    /// Something was queued, a place became free, or the connection ended.
    changed: Event,
}

#[derive(Default)]
struct State {
    versions: BrokerVersions,
    next_correlation_id: i32,
    /// Oldest first: answers come in this order.
    waiting: VecDeque<Waiting>,
    outgoing: Vec<Bytes>,
    ended: Option<ClientError>,
}

struct Waiting {
    correlation_id: i32,
    key: ApiKey,
    version: i16,
    reply: OneshotSender<Result<Reply, ClientError>>,
}

/// An answer as it was received; decoded on demand, borrowing from it.
#[derive(Debug)]
pub struct Reply {
    frame: Bytes,
    body_at: usize,
    peer: String,
    pub version: i16,
}

impl Reply {
    pub fn body<'a, M: Message<'a>>(&'a self) -> Result<M, ClientError> {
        self.body_in(self.version)
    }

    fn body_in<'a, M: Message<'a>>(&'a self, version: i16) -> Result<M, ClientError> {
        M::decode(&mut Reader::starting_at(&self.frame, self.body_at), version)
            .map_err(|source| ClientError::Malformed { peer: self.peer.clone(), api: M::KEY, version, source })
    }

    /// The part of the frame that `within`, which was decoded from it, points to, without a copy.
    pub fn slice(&self, within: &[u8]) -> Bytes {
        self.frame.slice_ref(within)
    }
}

/// An answer on its way.
#[must_use = "the answer is lost if nobody waits for it"]
pub struct PendingReply {
    connection: Connection,
    key: ApiKey,
    receiver: OneshotReceiver<Result<Reply, ClientError>>,
}

impl PendingReply {
    /// Closes the connection when the answer does not come in time: whatever it still brings would be out of step.
    pub async fn wait(self) -> Result<Reply, ClientError> {
        let after = self.connection.inner.request_timeout;
        self.wait_up_to(after).await
    }

    /// The same for a request that its broker may hold for long, such as a join of a group.
    pub async fn wait_up_to(self, after: Duration) -> Result<Reply, ClientError> {
        let inner = &self.connection.inner;
        match timeout(after, self.receiver).await {
            Ok(Some(result)) => result,
            Ok(None) => Err(inner.ended_error()),
            Err(_) => {
                let error = ClientError::NoAnswer { peer: inner.peer.clone(), api: self.key, after };
                inner.end(error.clone());
                Err(error)
            }
        }
    }
}

impl Connection {
    /// Connects to `host`, a name or a literal, and asks for the broker's versions.
    pub async fn open(
        host: &str,
        port: u16,
        client_id: &str,
        connect_timeout: Duration,
        request_timeout: Duration,
    ) -> Result<Connection, ClientError> {
        let peer = format!("{host}:{port}");
        let failed = |reason: String| ClientError::Connection { peer: peer.clone(), reason };
        let connecting = async {
            let mut last = "the name has no address".to_string();
            for address in resolve(host, port).await.map_err(|error| error.to_string())? {
                match Stream::connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error.to_string(),
                }
            }
            Err(last)
        };
        let stream = match timeout(connect_timeout, connecting).await {
            Ok(result) => result.map_err(failed)?,
            Err(_) => return Err(failed(format!("not connected within {connect_timeout:?}"))),
        };
        let connection = Connection::over(stream, peer, client_id, request_timeout);
        connection.negotiate().await?;
        Ok(connection)
    }

    fn over(stream: Stream, peer: String, client_id: &str, request_timeout: Duration) -> Connection {
        let inner = Rc::new(Inner {
            stream,
            peer,
            client_id: client_id.to_string(),
            request_timeout,
            state: RefCell::default(),
            changed: Event::default(),
        });
        spawn("client send", send(Rc::downgrade(&inner))).detach();
        spawn("client receive", receive(Rc::downgrade(&inner), inner.stream.clone())).detach();
        Connection { inner }
    }

    pub fn peer(&self) -> &str {
        &self.inner.peer
    }
    pub fn is_open(&self) -> bool {
        self.inner.state.borrow().ended.is_none()
    }
    /// Ends the connection now; whoever waits for an answer is told.
    pub fn close(&self) {
        self.inner.end(ClientError::Closed { what: "connection" });
    }
    pub fn in_flight(&self) -> usize {
        self.inner.state.borrow().waiting.len()
    }

    /// The highest version of `key` that both sides know, at most `at_most`.
    pub fn version_up_to(&self, key: ApiKey, at_most: i16) -> Result<i16, ClientError> {
        self.inner.state.borrow().versions.common(key, at_most).map_err(|theirs| {
            let ours = format!("{} to {}", key.versions().min, key.versions().max.min(at_most));
            ClientError::Unsupported { peer: self.inner.peer.clone(), api: key, ours, theirs }
        })
    }
    /// The level of a feature that the cluster has finalized (KIP-584), such as `transaction.version`; 0 when it has not.
    pub fn feature(&self, name: &str) -> i16 {
        self.inner.state.borrow().versions.feature(name)
    }
    pub fn version_of(&self, key: ApiKey) -> Result<i16, ClientError> {
        self.version_up_to(key, i16::MAX)
    }

    /// Asks in the highest common version and waits for the answer.
    pub async fn call<'r, R: Request<'r>>(&self, request: &R) -> Result<Reply, ClientError> {
        self.call_at(self.version_of(R::KEY)?, request).await
    }

    pub async fn call_at<'r, R: Request<'r>>(&self, version: i16, request: &R) -> Result<Reply, ClientError> {
        loop {
            let changed = self.inner.changed.listen();
            if self.in_flight() < IN_FLIGHT_MAX {
                break;
            }
            changed.await;
        }
        self.start(version, request)?.wait().await
    }

    /// Queues the request now, so that requests go out in the order of these calls. The caller bounds how many it starts.
    pub fn start<'r, R: Request<'r>>(&self, version: i16, request: &R) -> Result<PendingReply, ClientError> {
        let (reply, receiver) = oneshot();
        self.queue(version, request, Some(reply))?;
        Ok(PendingReply { connection: self.clone(), key: R::KEY, receiver })
    }

    /// Queues a request that has no answer (produce with acks=0).
    pub fn tell<'r, R: Request<'r>>(&self, version: i16, request: &R) -> Result<(), ClientError> {
        self.queue(version, request, None)
    }

    /// Waits until everything queued has been handed to the kernel, or the connection ended.
    pub async fn sent(&self) {
        loop {
            let changed = self.inner.changed.listen();
            {
                let state = self.inner.state.borrow();
                if state.outgoing.is_empty() || state.ended.is_some() {
                    return;
                }
            }
            changed.await;
        }
    }

    fn queue<'r, R: Request<'r>>(
        &self,
        version: i16,
        request: &R,
        reply: Option<OneshotSender<Result<Reply, ClientError>>>,
    ) -> Result<(), ClientError> {
        let mut state = self.inner.state.borrow_mut();
        if let Some(ended) = &state.ended {
            return Err(ended.clone());
        }
        let correlation_id = state.next_correlation_id;
        state.next_correlation_id = correlation_id.wrapping_add(1);
        let mut writer = Writer::new();
        encode_request_frame(&mut writer, version, correlation_id, &self.inner.client_id, request);
        state.outgoing.push(Bytes::from(writer.into_bytes()));
        if let Some(reply) = reply {
            state.waiting.push_back(Waiting { correlation_id, key: R::KEY, version, reply });
        }
        drop(state);
        self.inner.changed.notify_all();
        Ok(())
    }

    /// KIP-511: asks in our newest version; a broker that does not know it answers in version 0 and says which it has.
    async fn negotiate(&self) -> Result<(), ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: SOFTWARE_NAME,
            client_software_version: SOFTWARE_VERSION,
            ..Default::default()
        };
        let newest = ApiKey::ApiVersions.versions().max;
        let reply = self.call_at(newest, &request).await?;
        let first: ApiVersionsResponse = reply.body().or_else(|_| reply.body_in(0))?;
        if first.error_code != ErrorCode::UnsupportedVersion {
            return self.keep_versions(&first);
        }
        let known = first.api_keys.iter().find(|api| api.api_key == ApiKey::ApiVersions.code());
        let version = known.map_or(0, |api| api.max_version.clamp(0, newest));
        let reply = self.call_at(version, &request).await?;
        self.keep_versions(&reply.body()?)
    }

    fn keep_versions(&self, response: &ApiVersionsResponse<'_>) -> Result<(), ClientError> {
        let what = || format!("versions of {}", self.inner.peer);
        response.error_code.ok().map_err(|code| ClientError::refused(what(), code, None))?;
        self.inner.state.borrow_mut().versions = BrokerVersions::from(response);
        Ok(())
    }
}

impl Inner {
    /// Idempotent: the first reason stays.
    fn end(&self, reason: ClientError) {
        let waiting = {
            let mut state = self.state.borrow_mut();
            state.ended.get_or_insert_with(|| reason.clone());
            state.outgoing.clear();
            std::mem::take(&mut state.waiting)
        };
        for waiting in waiting {
            // A waiter that gave up is nobody to tell.
            let _ = waiting.reply.send(Err(reason.clone()));
        }
        self.stream.shutdown();
        self.changed.notify_all();
    }

    fn ended_error(&self) -> ClientError {
        let ended = self.state.borrow().ended.clone();
        ended.unwrap_or(ClientError::Closed { what: "connection" })
    }

    fn failed(&self, reason: impl ToString) -> ClientError {
        ClientError::Connection { peer: self.peer.clone(), reason: reason.to_string() }
    }

    /// Hands a received frame to the oldest waiter.
    fn answered(&self, frame: Bytes) -> Result<(), ClientError> {
        let waiting = self.state.borrow_mut().waiting.pop_front();
        let Some(Waiting { correlation_id, key, version, reply }) = waiting else {
            return Err(self.failed("an answer came that nobody asked for"));
        };
        let mut reader = Reader::new(&frame);
        let found = decode_response_header(&mut reader, key, version).map_err(|source| ClientError::Malformed {
            peer: self.peer.clone(),
            api: key,
            version,
            source,
        })?;
        if found != correlation_id {
            let error = ClientError::OutOfOrder { peer: self.peer.clone(), expected: correlation_id, found };
            let _ = reply.send(Err(error.clone()));
            return Err(error);
        }
        let body_at = reader.position();
        // A waiter that gave up has no use for the answer.
        let _ = reply.send(Ok(Reply { frame, body_at, peer: self.peer.clone(), version }));
        self.changed.notify_all();
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stream.shutdown();
        // The sending task finds nothing to upgrade to and ends.
        self.changed.notify_all();
    }
}

async fn send(inner: Weak<Inner>) {
    loop {
        let Some(connection) = inner.upgrade() else { return };
        let changed = connection.changed.listen();
        let (parts, ended) = {
            let mut state = connection.state.borrow_mut();
            (std::mem::take(&mut state.outgoing), state.ended.is_some())
        };
        if ended {
            return;
        }
        if parts.is_empty() {
            drop(connection);
            changed.await;
            continue;
        }
        let stream = connection.stream.clone();
        drop(connection);
        let sent = stream.send_all(parts).await;
        let Some(connection) = inner.upgrade() else { return };
        match sent {
            Ok(()) => connection.changed.notify_all(),
            Err(error) => connection.end(connection.failed(error)),
        }
    }
}

async fn receive(inner: Weak<Inner>, stream: Stream) {
    let mut frames = Frames::new(stream);
    loop {
        let received = frames.next().await;
        let Some(connection) = inner.upgrade() else { return };
        let outcome = match received {
            Ok(frame) => connection.answered(frame),
            Err(broken) => Err(broken.into_error(&connection.peer)),
        };
        if let Err(error) = outcome {
            return connection.end(error);
        }
    }
}
