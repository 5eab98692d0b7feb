//! One machine with what it needs of the world: its partition's log, a clock, those who wait for its answers.
//!
//! Lives on the partition's home shard, from the moment this broker leads the partition until it does not. A request is one synchronous step:
//! the machine decides, its records are appended at once as one batch, so that the log has the order of the decisions; answers wait until that
//! batch, and all before it, are below the high watermark. A failed append means that the machine knows what the log does not: it is thrown
//! away and replayed, and everybody who waits is told to come again. Never waits itself, never asks another shard.

use super::load;
use super::machine::Machine;
use ringlane_coordinator::{Effects, NewRecord, Reply, ReplyTo};
use ringlane_partition::{Acks, AppendEntry, AppendRequest, HomeShard, PreparedBatch, TopicPartition};
use ringlane_protocol::records::{BatchBuilder, BatchHeader, Compression, ProducerStamp};
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::{Buffer, Event, Instant, give_way, now, spawn, timeout, wall_clock_ms};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Called once with the answer to a request, or with why there is none.
pub type ReplyFn<R> = Box<dyn FnOnce(Result<R, ErrorCode>)>;
/// Makes an empty machine.
pub type Make<M> = Rc<dyn Fn() -> M>;

/// Appends wait for as long as it takes: clients have their own timeouts, and the log decides what has happened.
const APPEND_TIMEOUT_MS: i32 = i32::MAX;
/// Between a failure and the next replay: a log that takes nothing is not read over and over.
const RELOAD_AFTER: Duration = Duration::from_secs(1);

pub struct Host<M: Machine> {
    pub at: TopicPartition,
    pub home: HomeShard,
    make: Make<M>,
    clock: Clock,
    state: RefCell<State<M>>,
    /// The timer task sleeps until then.
    armed_ms: Cell<i64>,
    /// The next deadline has become an earlier one.
    sooner: Event,
}

struct State<M: Machine> {
    phase: Phase<M>,
    waiting: BTreeMap<ReplyTo, ReplyFn<M::Reply>>,
    /// Answers that wait for an append, oldest first.
    held: VecDeque<(u64, Vec<Reply<M::Reply>>)>,
    next_reply: u64,
    /// Numbers of the last append and of the last one that is stable.
    appended: u64,
    stable: u64,
    /// Which machine this is: appends of an earlier one mean nothing to it.
    life: u64,
    /// While there is no machine that could be told.
    deleted_topics: Vec<(TopicId, String)>,
}

enum Phase<M> {
    Loading,
    Active(M),
    /// Not ours, or not readable: the answer to everything.
    Out(ErrorCode),
}

/// Wall-clock time as of the start, then at the pace of the monotonic clock: a clock that is set must not end every session.
struct Clock {
    wall_ms: i64,
    at: Instant,
}

impl Clock {
    fn now_ms(&self) -> i64 {
        self.wall_ms + self.at.elapsed().as_millis() as i64
    }
}

impl<M: Machine> Host<M> {
    /// Begins to load at once, in the background.
    pub fn start(at: TopicPartition, home: HomeShard, make: Make<M>) -> Rc<Host<M>> {
        let state = State {
            phase: Phase::Loading,
            waiting: BTreeMap::new(),
            held: VecDeque::new(),
            next_reply: 0,
            appended: 0,
            stable: 0,
            life: 0,
            deleted_topics: Vec::new(),
        };
        let host = Rc::new(Host {
            at,
            home,
            make,
            clock: Clock { wall_ms: wall_clock_ms(), at: now() },
            state: RefCell::new(state),
            armed_ms: Cell::new(i64::MAX),
            sooner: Event::default(),
        });
        host.load(Duration::ZERO);
        host
    }

    pub fn empty_machine(&self) -> M {
        (self.make)()
    }

    /// One step of the machine. `reply` is called when its answer may be known, which may be inside this call.
    pub fn request(self: &Rc<Self>, request: M::Request, reply: ReplyFn<M::Reply>) {
        let mut state = self.state.borrow_mut();
        let to = ReplyTo(state.next_reply);
        let refused = match &mut state.phase {
            Phase::Active(machine) => {
                let producer = M::producer_of(&request);
                let effects = machine.request(self.clock.now_ms(), to, request);
                state.next_reply += 1;
                state.waiting.insert(to, reply);
                drop(state);
                return self.perform(effects, producer);
            }
            Phase::Loading => ErrorCode::CoordinatorLoadInProgress,
            Phase::Out(error) => *error,
        };
        drop(state);
        reply(Err(refused));
    }

    pub fn topics_deleted(self: &Rc<Self>, topics: &[(TopicId, String)]) {
        let mut state = self.state.borrow_mut();
        match &mut state.phase {
            Phase::Active(machine) => machine.topics_deleted(topics.to_vec()),
            Phase::Loading => state.deleted_topics.extend_from_slice(topics),
            Phase::Out(_) => {}
        }
        drop(state);
        self.sooner.notify_all();
    }

    /// Everybody who waits hears `error`, and so does who comes later.
    pub fn close(&self, error: ErrorCode) {
        self.end_life(Phase::Out(error), error);
    }

    /// The log cannot be read now. Whoever asks need not wait for it.
    pub fn cannot_load(&self, life: u64, error: ErrorCode) {
        let mut state = self.state.borrow_mut();
        if state.life == life {
            state.phase = Phase::Out(code_for_waiting(error));
        }
    }

    /// A machine has been replayed to the end of the log.
    pub fn activate(self: &Rc<Self>, mut machine: M, life: u64) {
        let mut state = self.state.borrow_mut();
        if state.life != life {
            return;
        }
        let effects = machine.loaded(self.clock.now_ms());
        machine.topics_deleted(std::mem::take(&mut state.deleted_topics));
        state.phase = Phase::Active(machine);
        drop(state);
        self.perform(effects, None);
    }

    /// Appends what the machine asks for and lets go the answers that need not wait.
    fn perform(self: &Rc<Self>, effects: Effects<M::Reply>, producer: Option<ProducerStamp>) {
        let Effects { records, replies } = effects;
        let (ready, append) = self.state.borrow_mut().take_in(records.is_empty(), replies);
        if let Some((life, number)) = append {
            self.append(&records, producer, life, number);
        }
        answer(ready);
        self.wake_timer();
    }

    fn append(self: &Rc<Self>, records: &[NewRecord], producer: Option<ProducerStamp>, life: u64, number: u64) {
        let batch = match batch(records, producer, wall_clock_ms()) {
            Ok(batch) => batch,
            Err(error) => return self.appended(life, number, error),
        };
        let entries = vec![AppendEntry { at: self.at, batch: Ok(batch) }];
        let request = AppendRequest { acks: Acks::All, timeout_ms: APPEND_TIMEOUT_MS, entries };
        let host = Rc::downgrade(self);
        self.home.append(request, move |reply| {
            let Some(host) = host.upgrade() else { return };
            let result = reply.results.first();
            if let Some(failure) = result.and_then(|result| result.failure.as_ref()) {
                let message = failure.message.as_deref().unwrap_or_default();
                tracing::error!(
                    partition = host.at.partition,
                    "a coordinator cannot append: {} {message}",
                    failure.error
                );
            }
            host.appended(life, number, result.map_or(ErrorCode::UnknownServerError, |result| result.error()));
        });
    }

    fn appended(self: &Rc<Self>, life: u64, number: u64, error: ErrorCode) {
        let mut state = self.state.borrow_mut();
        if state.life != life {
            return;
        }
        if error == ErrorCode::None {
            let ready = state.became_stable(number);
            drop(state);
            return answer(ready);
        }
        drop(state);
        self.end_life(Phase::Loading, code_for_waiting(error));
        self.load(RELOAD_AFTER);
    }

    fn end_life(&self, phase: Phase<M>, error: ErrorCode) {
        let waiting = {
            let mut state = self.state.borrow_mut();
            state.phase = phase;
            state.life += 1;
            state.stable = state.appended;
            state.held.clear();
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().for_each(|reply| reply(Err(error)));
        // So that the tasks of this life see that it is over.
        self.sooner.notify_all();
    }

    /// Loads, then keeps the time, as a task that ends with this life.
    fn load(self: &Rc<Self>, after: Duration) {
        let (host, life) = (Rc::downgrade(self), self.state.borrow().life);
        let run = async move {
            match load::load(&host, life, after).await {
                Ok(()) => keep_time(host, life).await,
                Err(error) => {
                    if let Some(host) = host.upgrade().filter(|host| host.is_living(life)) {
                        host.end_life(Phase::Out(error), error);
                    }
                }
            }
        };
        spawn("coordinator", run).detach();
    }

    fn is_living(&self, life: u64) -> bool {
        self.state.borrow().life == life
    }

    fn next_deadline(&self) -> Option<i64> {
        match &self.state.borrow().phase {
            Phase::Active(machine) => machine.next_deadline(),
            Phase::Loading | Phase::Out(_) => None,
        }
    }

    fn wake_timer(&self) {
        if self.next_deadline().is_some_and(|deadline| deadline < self.armed_ms.get()) {
            self.sooner.notify_all();
        }
    }

    fn on_time(self: &Rc<Self>) {
        let effects = match &mut self.state.borrow_mut().phase {
            Phase::Active(machine) => machine.on_time(self.clock.now_ms()),
            Phase::Loading | Phase::Out(_) => return,
        };
        self.perform(effects, None);
    }
}

impl<M: Machine> State<M> {
    /// The answers that may go now; and, if there is something to append, its life and number.
    fn take_in(
        &mut self,
        is_empty: bool,
        replies: Vec<Reply<M::Reply>>,
    ) -> (Vec<(ReplyFn<M::Reply>, M::Reply)>, Option<(u64, u64)>) {
        if !is_empty {
            self.appended += 1;
            self.held.push_back((self.appended, replies));
            return (Vec::new(), Some((self.life, self.appended)));
        }
        if self.stable == self.appended {
            return (self.resolve(replies), None);
        }
        if !replies.is_empty() {
            self.held.push_back((self.appended, replies));
        }
        (Vec::new(), None)
    }

    fn became_stable(&mut self, number: u64) -> Vec<(ReplyFn<M::Reply>, M::Reply)> {
        self.stable = self.stable.max(number);
        let mut ready = Vec::new();
        while let Some((_, replies)) = self.held.pop_front_if(|(number, _)| *number <= self.stable) {
            ready.extend(self.resolve(replies));
        }
        ready
    }

    fn resolve(&mut self, replies: Vec<Reply<M::Reply>>) -> Vec<(ReplyFn<M::Reply>, M::Reply)> {
        replies.into_iter().filter_map(|Reply { to, reply }| Some((self.waiting.remove(&to)?, reply))).collect()
    }
}

fn answer<R>(ready: Vec<(ReplyFn<R>, R)>) {
    for (reply, answer) in ready {
        reply(Ok(answer));
    }
}

/// Calls the machine when it wants to be called. Ends with its life.
async fn keep_time<M: Machine>(host: Weak<Host<M>>, life: u64) {
    loop {
        let (wait, sooner) = {
            let Some(host) = host.upgrade().filter(|host| host.is_living(life)) else { return };
            let sooner = host.sooner.listen();
            let deadline = host.next_deadline();
            host.armed_ms.set(deadline.unwrap_or(i64::MAX));
            let wait = deadline.map(|deadline| deadline.saturating_sub(host.clock.now_ms()));
            if wait.is_some_and(|ms| ms <= 0) {
                host.on_time();
            }
            (wait, sooner)
        };
        match wait {
            None => sooner.await,
            Some(ms) if ms <= 0 => give_way().await,
            Some(ms) => drop(timeout(Duration::from_millis(ms as u64), sooner).await),
        }
    }
}

fn batch(records: &[NewRecord], producer: Option<ProducerStamp>, now_ms: i64) -> Result<PreparedBatch, ErrorCode> {
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some(producer) = producer {
        builder.set_producer(producer, true);
    }
    for record in records {
        builder.push(now_ms, Some(&record.key), record.value.as_deref(), &[]);
    }
    let bytes = builder.finish().map_err(|_| ErrorCode::UnknownServerError)?;
    let header = BatchHeader::parse(&bytes).map_err(|_| ErrorCode::UnknownServerError)?;
    Ok(PreparedBatch { bytes: Buffer::copy_from(&bytes), header })
}

/// What clients of a coordinator understand of a failed append.
fn code_for_waiting(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
            ErrorCode::UnknownServerError
        }
        other => other,
    }
}
