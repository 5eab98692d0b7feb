//! Owns the answers of one connection that have not left yet, in request order.
//!
//! Lives on the connection shard. The receive task opens one slot per request, handlers fill slots in any order, the send task takes the
//! ready prefix. Bounded in requests and in bytes: the receive task waits in `room_for`, so a client that pipelines without reading
//! stops itself. Never reorders: Kafka clients match answers by position first and by correlation id second.

use super::bell::Bell;
use bytes::Bytes;
use ringlane_runtime::{Instant, Permit, Task};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// Requests of one connection between their arrival and the departure of their answers. Java pipelines 5, librdkafka's default is a
/// million (it is bound by its own queue); 128 keeps a produce pipeline full and 10,000 hostile connections small.
pub const IN_FLIGHT_MAX: usize = 128;

/// Response bytes that one connection may have queued, promised answers of fetches included. One answer is always let through, so that the
/// largest fetch (`fetch.max.bytes`, 55 MiB) needs no room of its own.
pub const QUEUED_BYTES_MAX: usize = 16 << 20;

/// A send is cut here, so that the memory behind answers that have left is released before the whole queue has.
const SEND_BYTES: usize = 4 << 20;

/// One answer, complete with its size prefix, in as many parts as it has slices of logs.
#[derive(Default)]
pub struct Response {
    pub parts: Vec<Bytes>,
    /// Memory budget that the parts hold until they have left.
    pub held: Option<Permit>,
}

impl Response {
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }
}

impl From<Bytes> for Response {
    fn from(bytes: Bytes) -> Response {
        Response { parts: vec![bytes], held: None }
    }
}

/// What a handler made of a request.
pub enum Answer {
    Send(Response),
    /// Produce with acks=0: the client expects nothing.
    Nothing,
    /// The connection ends here, after the answers before this one.
    Close(CloseReason),
}

/// Why we end a connection. Goes to the log, never to the client: Kafka's protocol has no answer for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CloseReason {
    #[error("request of {size} bytes: {hint}")]
    FrameSize { size: i32, hint: &'static str },
    #[error("{0}")]
    Malformed(String),
    #[error("unsupported request: api key {key} version {version}")]
    Unsupported { key: i16, version: i16 },
    #[error("a produce request with acks=0 failed: {0}; closing is the only way to tell the producer")]
    UnacknowledgedFailure(ringlane_protocol::ErrorCode),
    #[error("a request was dropped unanswered: its handler failed")]
    Unanswered,
    #[error("idle, or too slow, for longer than allowed")]
    TooSlow,
    #[error("the broker is stopping")]
    Stopping,
}

/// The queue. Shared by the connection's two tasks and its open slots.
#[derive(Default)]
pub struct Responses {
    state: RefCell<State>,
    /// When the request that is being dispatched had arrived.
    arrival: Cell<Instant>,
    /// The send task waits here for the front slot.
    front_ready: Bell,
    /// The receive task waits here for fewer requests or bytes.
    room: Bell,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Number of the front entry; slots count from zero for the life of the connection.
    front: u64,
    /// Promised bytes of waiting entries, bytes of ready ones, bytes being sent.
    queued_bytes: usize,
    /// A prefix is with the send task.
    sending: bool,
    closed: bool,
}

enum Entry {
    Waiting { arrival: Instant, promised_bytes: usize, task: Option<Task<()>> },
    Ready { arrival: Instant, answer: Answer, bytes: usize },
}

/// What the send task sends next.
pub struct Outgoing {
    pub parts: Vec<Bytes>,
    pub bytes: usize,
    /// Dropped when everything has left.
    pub held: Vec<Permit>,
    /// End the connection after sending.
    pub close: Option<CloseReason>,
}

impl Responses {
    /// Waits until one more request may be taken that promises `bytes` of answer. `false`: the connection is closed.
    pub async fn room_for(&self, bytes: usize) -> bool {
        loop {
            {
                let state = self.state.borrow();
                if state.closed {
                    return false;
                }
                let fits = state.queued_bytes == 0 || state.queued_bytes + bytes <= QUEUED_BYTES_MAX;
                if fits && state.entries.len() < IN_FLIGHT_MAX {
                    return true;
                }
            }
            self.room.wait().await;
        }
    }

    /// The next slots belong to a request that arrived at this time.
    pub fn set_arrival(&self, arrival: Instant) {
        self.arrival.set(arrival);
    }

    /// The place of the next answer. `promised_bytes` counts against the queue until the answer is known.
    pub fn open(self: &Rc<Self>, promised_bytes: usize) -> Slot {
        let mut state = self.state.borrow_mut();
        let number = state.front + state.entries.len() as u64;
        state.queued_bytes += promised_bytes;
        state.entries.push_back(Entry::Waiting { arrival: self.arrival.get(), promised_bytes, task: None });
        Slot { responses: self.clone(), number, answered: false }
    }

    /// The next ready prefix of answers, in order; `None` when the connection is closed. `leaves` is told when the request of each one
    /// had arrived.
    pub async fn next(&self, mut leaves: impl FnMut(Instant)) -> Option<Outgoing> {
        loop {
            {
                let mut state = self.state.borrow_mut();
                if state.closed {
                    return None;
                }
                if let Some(outgoing) = state.take_prefix(&mut leaves) {
                    state.sending = outgoing.bytes > 0;
                    return Some(outgoing);
                }
            }
            self.front_ready.wait().await;
        }
    }

    /// What [`Responses::next`] gave last has left.
    pub fn sent(&self, bytes: usize) {
        let mut state = self.state.borrow_mut();
        state.queued_bytes -= bytes;
        state.sending = false;
        drop(state);
        self.room.ring();
    }

    /// Answers `reason` last: the connection ends when all earlier answers have left. Returns when it has.
    pub async fn close_after_answers(self: &Rc<Self>, reason: CloseReason) {
        self.open(0).answer(Answer::Close(reason));
        while !self.state.borrow().closed {
            self.room.wait().await;
        }
    }

    /// True when the next move is ours: the client has read everything, and a handler is at work.
    pub fn waits_for_handler(&self) -> bool {
        let state = self.state.borrow();
        !state.sending && matches!(state.entries.front(), Some(Entry::Waiting { .. }))
    }

    /// True when nothing is owed to the client: no request in work, no byte on its way.
    pub fn is_idle(&self) -> bool {
        let state = self.state.borrow();
        state.entries.is_empty() && state.queued_bytes == 0
    }

    /// Ends the queue: both tasks return, handlers still at work are cancelled, later answers are dropped.
    pub fn close(&self) {
        let entries = {
            let mut state = self.state.borrow_mut();
            state.closed = true;
            std::mem::take(&mut state.entries)
        };
        drop(entries);
        self.front_ready.ring();
        self.room.ring();
    }

    fn fill(&self, number: u64, answer: Answer) {
        let bytes = match &answer {
            Answer::Send(response) => response.bytes(),
            Answer::Nothing | Answer::Close(_) => 0,
        };
        let mut state = self.state.borrow_mut();
        if state.closed {
            return;
        }
        let index = (number - state.front) as usize;
        let entry = &mut state.entries[index];
        let Entry::Waiting { arrival, promised_bytes, task } = entry else {
            unreachable!("a slot is answered once: it is consumed by answering");
        };
        let (arrival, promised_bytes, task) = (*arrival, *promised_bytes, task.take());
        *entry = Entry::Ready { arrival, answer, bytes };
        state.queued_bytes = state.queued_bytes + bytes - promised_bytes;
        drop(state);
        // The task that answers is usually the one kept here; it ends by itself.
        if let Some(task) = task {
            task.detach();
        }
        if bytes < promised_bytes {
            self.room.ring();
        }
        if index == 0 {
            self.front_ready.ring();
        }
    }
}

impl State {
    fn take_prefix(&mut self, leaves: &mut impl FnMut(Instant)) -> Option<Outgoing> {
        let mut outgoing = Outgoing { parts: Vec::new(), bytes: 0, held: Vec::new(), close: None };
        let mut taken = 0;
        while outgoing.bytes < SEND_BYTES && matches!(self.entries.front(), Some(Entry::Ready { .. })) {
            let Some(Entry::Ready { arrival, answer, bytes }) = self.entries.pop_front() else { break };
            leaves(arrival);
            taken += 1;
            outgoing.bytes += bytes;
            match answer {
                Answer::Send(response) => {
                    outgoing.held.extend(response.held);
                    if outgoing.parts.is_empty() {
                        outgoing.parts = response.parts;
                    } else {
                        outgoing.parts.extend(response.parts);
                    }
                }
                Answer::Nothing => {}
                Answer::Close(reason) => {
                    outgoing.close = Some(reason);
                    break;
                }
            }
        }
        self.front += taken;
        (taken > 0).then_some(outgoing)
    }
}

/// The right, and the duty, to answer one request. Dropped unanswered it closes the connection: an answer that never comes would hold
/// all later ones for ever.
pub struct Slot {
    responses: Rc<Responses>,
    number: u64,
    answered: bool,
}

impl Slot {
    pub fn answer(mut self, answer: Answer) {
        self.answered = true;
        self.responses.fill(self.number, answer);
    }

    /// Where the task that will answer is kept, so that it ends with the connection.
    pub fn place(&self) -> Place {
        Place { responses: self.responses.clone(), number: self.number }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.answered {
            self.responses.fill(self.number, Answer::Close(CloseReason::Unanswered));
        }
    }
}

/// See [`Slot::place`].
pub struct Place {
    responses: Rc<Responses>,
    number: u64,
}

impl Place {
    pub fn keep(self, task: Task<()>) {
        let mut state = self.responses.state.borrow_mut();
        if state.closed || self.number < state.front {
            return;
        }
        let index = (self.number - state.front) as usize;
        if let Some(Entry::Waiting { task: place, .. }) = state.entries.get_mut(index) {
            *place = Some(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn answer(byte: u8, count: usize) -> Answer {
        Answer::Send(Response::from(Bytes::from(vec![byte; count])))
    }

    fn sent(responses: &Responses) -> Option<Vec<u8>> {
        let outgoing = responses.next(|_| ()).now_or_never()??;
        responses.sent(outgoing.bytes);
        Some(outgoing.parts.concat())
    }

    /// Clients match answers by position: a fast answer that overtakes a slow one ends the connection at the client.
    #[test]
    fn answers_leave_in_request_order() {
        let responses = Rc::new(Responses::default());
        let [first, second, third] = std::array::from_fn(|_| responses.open(0));
        second.answer(answer(2, 1));
        assert_eq!(sent(&responses), None);
        first.answer(answer(1, 1));
        assert_eq!(sent(&responses), Some(vec![1, 2]), "the ready prefix leaves at once");
        third.answer(Answer::Nothing);
        assert_eq!(sent(&responses), Some(vec![]), "acks=0: no answer, and no gap that holds later ones");
    }

    /// A client that asks and never reads must stop itself, not fill our memory.
    #[test]
    fn a_client_that_does_not_read_is_not_read_from() {
        let responses = Rc::new(Responses::default());
        let has_room = |bytes| responses.room_for(bytes).now_or_never();
        let slots: Vec<_> = (0..IN_FLIGHT_MAX).map(|_| responses.open(0)).collect();
        assert_eq!(has_room(0), None, "requests are bounded");
        slots.into_iter().for_each(|slot| slot.answer(answer(0, 1)));
        sent(&responses).unwrap();

        let large = responses.open(QUEUED_BYTES_MAX);
        assert_eq!(has_room(1), None, "promised bytes are bounded");
        large.answer(answer(0, 10));
        assert_eq!(has_room(1), Some(true), "a promise that was not needed is given back");
        responses.open(0).answer(answer(0, QUEUED_BYTES_MAX));
        assert_eq!(has_room(1), None, "bytes that wait to be sent count");
        sent(&responses).unwrap();
        assert_eq!(has_room(2 * QUEUED_BYTES_MAX), Some(true), "the largest answer is let through alone");
    }

    /// The reason to close comes after the answers that are owed: the client must learn what became of earlier requests.
    #[test]
    fn a_close_waits_for_earlier_answers() {
        let responses = Rc::new(Responses::default());
        let first = responses.open(0);
        responses.open(0).answer(Answer::Close(CloseReason::TooSlow));
        responses.open(0).answer(answer(3, 1));
        assert!(responses.next(|_| ()).now_or_never().is_none());
        first.answer(answer(1, 1));
        let outgoing = responses.next(|_| ()).now_or_never().flatten().unwrap();
        assert_eq!(outgoing.parts.concat(), [1]);
        assert!(matches!(outgoing.close, Some(CloseReason::TooSlow)));
    }

    /// A handler that panicked would otherwise hold the connection's later answers for ever.
    #[test]
    fn a_request_dropped_unanswered_closes_the_connection() {
        let responses = Rc::new(Responses::default());
        drop(responses.open(0));
        let outgoing = responses.next(|_| ()).now_or_never().flatten().unwrap();
        assert!(matches!(outgoing.close, Some(CloseReason::Unanswered)));
    }

    /// Both tasks must end with the connection, and answers that come too late must find nothing to break.
    #[test]
    fn a_closed_queue_lets_everybody_go() {
        let responses = Rc::new(Responses::default());
        let slot = responses.open(5);
        responses.close();
        slot.answer(answer(1, 1));
        assert!(matches!(responses.next(|_| ()).now_or_never(), Some(None)));
        assert_eq!(responses.room_for(0).now_or_never(), Some(false));
    }
}
