//! Runs the raft core: takes requests to it, time to it, its journal items to the disk, its images to the shards.
//!
//! Lives on shard 0 as two tasks. The driver's, here, decides and proposes what was asked, ticks, takes the core's turns. The other
//! ([`writer`]) alone touches the files. Neither may fail silently: an error or a panic in either ends the node ([`Driver::failed`]).

mod snapshots;
mod writer;

use crate::quorum::QuorumStatus;
use crate::quorum::publications::{Board, Publications};
use crate::quorum::wal::{Wal, WalError};
use futures::future::{Either, select};
use ringlane_metadata::controller::{self, Refused, TopicRules};
use ringlane_metadata::image::LogPosition;
use ringlane_metadata::quorum::{CoreError, MetaCore, Persist, ProposeError, Turn};
use ringlane_metadata::{ControllerReply, ControllerRequest, Delta, Image, Record};
use ringlane_protocol::ErrorCode;
use ringlane_runtime::{Event, Instant, OneshotSender, Task, TaskFailed, give_way, now, oneshot, spawn, timeout};
use snapshots::Snapshots;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Raft's unit of time when there are other voters: an election takes 10 to 20 of them.
const TICK: Duration = Duration::from_millis(20);
/// A lone voter has nobody to time out.
const TICK_ALONE: Duration = Duration::from_millis(500);
/// Requests not answered yet: not decided, not applied, or not taken to every shard. Beyond it the asker is told to come again.
const REQUESTS_MAX: usize = 1000;
/// Requests decided before other tasks of the shard get their turn.
const DECISIONS_PER_STEP: usize = 16;
/// A journal write that takes longer is worth a line in the log (contract point 13 of quorum.md: with other voters, leadership moves).
const SLOW_WRITE: Duration = Duration::from_secs(1);

/// A request not decided yet.
struct Asked {
    request: ControllerRequest,
    reply: OneshotSender<ControllerReply>,
}

/// A request decided and proposed: answered when its entry is applied.
struct Waiter {
    term: u64,
    answer: ControllerReply,
    reply: OneshotSender<ControllerReply>,
    reaches_shards: bool,
}

/// The committed image plus what is proposed on top of it, as this term's controller sees it.
struct Spec {
    term: u64,
    image: Image,
}

pub(super) struct Driver {
    core: RefCell<MetaCore>,
    rules: TopicRules,
    image: RefCell<Arc<Image>>,
    spec: RefCell<Option<Spec>>,
    asked: RefCell<VecDeque<Asked>>,
    waiters: RefCell<BTreeMap<u64, Waiter>>,
    board: Rc<Board>,
    /// Persists that no write has taken yet.
    due: RefCell<Vec<Persist>>,
    /// The newest persist that is durable, for the driver to report.
    durable: Cell<Option<u64>>,
    /// A snapshot whose file is durable: the journal may start anew behind it.
    rotate_to: Cell<Option<LogPosition>>,
    write_began: Cell<Option<Instant>>,
    warned_of_write: Cell<bool>,
    /// Size of the segment in use, for the driver to decide on snapshots.
    journal_bytes: Cell<u64>,
    snapshot_done: Cell<bool>,
    writer_may_end: Cell<bool>,
    /// For the driver: something of the above changed.
    work: Event,
    /// For the writer.
    writes: Event,
    /// For whoever waits for the node as a whole.
    changed: Event,
    is_closing: Cell<bool>,
    is_closed: Cell<bool>,
    failure: RefCell<Option<String>>,
}

impl Driver {
    pub fn start(core: MetaCore, wal: Wal, dir: PathBuf, rules: TopicRules, snapshot_after_bytes: u64) -> Rc<Driver> {
        let snapshots = Snapshots::new(dir.clone(), snapshot_after_bytes, &core);
        let driver = Rc::new(Driver {
            image: RefCell::new(Arc::new(core.image().clone())),
            core: RefCell::new(core),
            rules,
            spec: RefCell::default(),
            asked: RefCell::default(),
            waiters: RefCell::default(),
            board: Rc::default(),
            due: RefCell::default(),
            durable: Cell::default(),
            rotate_to: Cell::default(),
            write_began: Cell::default(),
            warned_of_write: Cell::default(),
            journal_bytes: Cell::new(wal.bytes()),
            snapshot_done: Cell::default(),
            writer_may_end: Cell::default(),
            work: Event::default(),
            writes: Event::default(),
            changed: Event::default(),
            is_closing: Cell::default(),
            is_closed: Cell::default(),
            failure: RefCell::default(),
        });
        let drive = spawn("metadata", drive(driver.clone(), snapshots));
        let write = spawn("metadata-journal", writer::write(driver.clone(), wal, dir));
        spawn("metadata-watch", watch(driver.clone(), drive, write)).detach();
        driver
    }

    pub fn image(&self) -> Arc<Image> {
        self.image.borrow().clone()
    }

    pub fn status(&self) -> QuorumStatus {
        let core = self.core.borrow();
        let (leader, term, committed) = (core.leader(), core.term(), core.committed());
        QuorumStatus { leader, term, committed, applied: core.image().applied() }
    }

    pub fn publications(&self) -> Publications {
        self.board.reader(self.image())
    }

    pub async fn request(&self, request: ControllerRequest) -> ControllerReply {
        if self.is_closing.get() || self.failure.borrow().is_some() {
            return refused(ErrorCode::NotController, "this broker is stopping");
        }
        let waiting = self.asked.borrow().len() + self.waiters.borrow().len() + self.board.answers_waiting();
        if waiting >= REQUESTS_MAX {
            return refused(ErrorCode::RequestTimedOut, "the controller has too many requests waiting; try again");
        }
        let (reply, answer) = oneshot();
        self.asked.borrow_mut().push_back(Asked { request, reply });
        self.work.notify_all();
        answer.await.unwrap_or_else(|| refused(ErrorCode::NotController, "this broker is stopping"))
    }

    /// Until this node leads, with everything committed before in its image.
    pub async fn until_active(&self) -> Result<(), String> {
        loop {
            let changed = self.changed.listen();
            if let Some(failure) = &*self.failure.borrow() {
                return Err(failure.clone());
            }
            if self.spec.borrow().is_some() {
                return Ok(());
            }
            changed.await;
        }
    }

    pub async fn failed(&self) -> String {
        loop {
            let changed = self.changed.listen();
            if let Some(failure) = &*self.failure.borrow() {
                return failure.clone();
            }
            changed.await;
        }
    }

    pub async fn close(&self) {
        self.is_closing.set(true);
        self.work.notify_all();
        loop {
            let changed = self.changed.listen();
            if self.is_closed.get() {
                return;
            }
            changed.await;
        }
    }

    // ── the driver's step ──

    /// Everything that can be done now, synchronously.
    fn step(&self) -> Result<(), CoreError> {
        self.decide_what_was_asked();
        if let Some(number) = self.durable.take() {
            self.core.borrow_mut().persisted(number);
        }
        let turn = self.core.borrow_mut().take_turn()?;
        self.perform(turn);
        self.lead_or_follow();
        Ok(())
    }

    fn perform(&self, turn: Turn) {
        // A lone voter has nobody to talk to; the wire to others comes with them.
        debug_assert!(turn.messages.is_empty(), "a quorum of one has no peers");
        if let Some(delta) = turn.delta {
            let image = Arc::new(self.core.borrow().image().clone());
            *self.image.borrow_mut() = image.clone();
            self.board.post(image, delta);
            self.changed.notify_all();
        }
        for applied in turn.applied {
            self.answer(applied.position);
        }
        if !turn.persists.is_empty() {
            self.due.borrow_mut().extend(turn.persists);
            self.writes.notify_all();
        }
    }

    /// The entry at this position is applied, and with it the batch that a request was waiting for, or another in its place.
    fn answer(&self, position: LogPosition) {
        let Some(waiter) = self.waiters.borrow_mut().remove(&position.index) else { return };
        let lost = waiter.term != position.term;
        let answer = if lost { ControllerReply::Refused(not_controller()) } else { waiter.answer };
        // The asker may have gone away.
        let send = move || drop(waiter.reply.send(answer));
        match waiter.reaches_shards && !lost {
            true => self.board.answer_when_taken(Box::new(send)),
            false => send(),
        }
    }

    /// Takes up the controller's office, or lays it down.
    fn lead_or_follow(&self) {
        let (is_active, term) = {
            let core = self.core.borrow();
            (core.is_active(), core.term())
        };
        let spec_term = self.spec.borrow().as_ref().map(|spec| spec.term);
        match (is_active, spec_term) {
            (true, Some(spec_term)) if spec_term == term => {}
            (true, _) => self.take_office(term),
            (false, Some(spec_term)) if spec_term != term || !self.core.borrow().is_leader() => self.leave_office(),
            (false, _) => {}
        }
    }

    fn take_office(&self, term: u64) {
        let image = self.core.borrow().image().clone();
        *self.spec.borrow_mut() = Some(Spec { term, image });
        tracing::info!(term, "this node is the controller");
        self.work.notify_all();
        self.changed.notify_all();
    }

    fn leave_office(&self) {
        *self.spec.borrow_mut() = None;
        for (_, waiter) in self.waiters.take() {
            // The asker may have gone away.
            let _ = waiter.reply.send(ControllerReply::Refused(not_controller()));
        }
    }

    // ── requests ──

    fn decide_what_was_asked(&self) {
        for _ in 0..DECISIONS_PER_STEP {
            let Some(Asked { request, reply }) = self.asked.borrow_mut().pop_front() else { return };
            match self.decide(&request) {
                Ok((Some(LogPosition { term, index }), answer)) => {
                    let reaches_shards = !matches!(request, ControllerRequest::AllocateProducerIds { .. });
                    self.waiters.borrow_mut().insert(index, Waiter { term, answer, reply, reaches_shards });
                }
                // The asker may have gone away.
                Ok((None, answer)) => drop(reply.send(answer)),
                Err(refused) => drop(reply.send(ControllerReply::Refused(refused))),
            }
        }
    }

    /// The answer, and the entry that must be applied before it is true.
    fn decide(&self, request: &ControllerRequest) -> Result<(Option<LogPosition>, ControllerReply), Refused> {
        let decision = {
            let spec = self.spec.borrow();
            let spec = spec.as_ref().ok_or_else(not_controller)?;
            controller::decide(&spec.image, &self.rules, self.core.borrow().next_index(), request)
        };
        let position = match decision.records.as_slice() {
            [] => None,
            records => Some(self.propose(records)?),
        };
        Ok((position, decision.answer))
    }

    fn propose(&self, records: &[Record]) -> Result<LogPosition, Refused> {
        let mut spec = self.spec.borrow_mut();
        let spec = spec.as_mut().ok_or_else(not_controller)?;
        let mut core = self.core.borrow_mut();
        // Tried first: what does not fit would end every node that applies it.
        let mut image = spec.image.clone();
        let next = LogPosition { term: core.term(), index: core.next_index() };
        image.apply(next, records, &mut Delta::default()).map_err(|error| {
            tracing::error!(%error, "the controller decided on records that do not fit the image");
            Refused::new(ErrorCode::UnknownServerError, "the controller failed on this request; its log has the reason")
        })?;
        let position = core.propose(records).map_err(|error| match error {
            ProposeError::NotLeader => not_controller(),
            ProposeError::Busy => Refused::new(ErrorCode::RequestTimedOut, error.to_string()),
            ProposeError::Batch(_) => Refused::new(ErrorCode::PolicyViolation, error.to_string()),
        })?;
        assert_eq!(position, next, "a proposal takes the place that it was decided for");
        spec.image = image;
        Ok(position)
    }

    // ── the end ──

    /// Asked to stop, and nothing is left that somebody waits for.
    fn is_drained(&self) -> bool {
        let idle = self.asked.borrow().is_empty() && self.waiters.borrow().is_empty() && self.due.borrow().is_empty();
        self.is_closing.get() && idle && self.write_began.get().is_none()
    }

    fn fail(&self, message: String) {
        tracing::error!("the metadata node cannot go on: {message}");
        self.failure.borrow_mut().get_or_insert(message);
        self.leave_office();
        self.asked.take();
        self.board.release_answers();
    }

    // ── for the writer ──

    /// What the next write holds.
    fn take_due(&self) -> Vec<Persist> {
        self.due.take()
    }

    fn written(&self, batch: &[Persist]) {
        debug_assert!(batch.iter().all(|persist| persist.messages.is_empty()), "a quorum of one has no peers");
        self.write_began.set(None);
        if let Some(last) = batch.last() {
            self.durable.set(Some(last.number));
        }
        self.work.notify_all();
    }
}

/// The driver's task: ends after [`Driver::close`], or with why the node cannot go on.
async fn drive(driver: Rc<Driver>, mut snapshots: Snapshots) -> Result<(), String> {
    let mut next_tick = now();
    loop {
        let work = driver.work.listen();
        driver.step().map_err(|error| error.to_string())?;
        if driver.is_drained() {
            return Ok(());
        }
        snapshots.make_if_due(&driver);
        if now() >= next_tick {
            next_tick = now() + driver.tick();
            driver.warn_of_slow_write();
        } else if driver.asked.borrow().is_empty() {
            // Elapsed: the tick is due.
            let _ = timeout(next_tick.since(now()), work).await;
        } else {
            give_way().await;
        }
    }
}

impl Driver {
    /// Lets raft's time pass; says how long until the next tick.
    fn tick(&self) -> Duration {
        let mut core = self.core.borrow_mut();
        core.tick();
        if core.is_only_voter() { TICK_ALONE } else { TICK }
    }

    fn warn_of_slow_write(&self) {
        if let Some(began) = self.write_began.get()
            && began.elapsed() > SLOW_WRITE
            && !self.warned_of_write.replace(true)
        {
            tracing::warn!(
                elapsed_ms = began.elapsed().as_millis() as u64,
                "a metadata journal write takes long; the disk does not answer"
            );
        }
    }
}

/// Ends the node when one of its tasks does: in order, or with the reason.
async fn watch(driver: Rc<Driver>, drive: Task<Result<(), String>>, write: Task<Result<(), WalError>>) {
    let outcome = match select(drive, write).await {
        Either::Left((Ok(Ok(())), write)) => {
            driver.writer_may_end.set(true);
            driver.writes.notify_all();
            flatten(write.await.map(|result| result.map_err(|error| error.to_string())))
        }
        Either::Left((ended, _)) => flatten(ended),
        Either::Right((ended, _)) => flatten(ended.map(|result| result.map_err(|error| error.to_string()))),
    };
    if let Err(message) = outcome {
        driver.fail(message);
    }
    driver.is_closed.set(true);
    driver.changed.notify_all();
}

fn flatten(ended: Result<Result<(), String>, TaskFailed>) -> Result<(), String> {
    ended.unwrap_or_else(|panicked| Err(panicked.to_string()))
}

fn not_controller() -> Refused {
    Refused::new(ErrorCode::NotController, "this broker is not the controller (any more); ask again")
}

fn refused(code: ErrorCode, message: &str) -> ControllerReply {
    ControllerReply::Refused(Refused::new(code, message))
}
