//! One share partition with what it needs of the world: the share coordinator, a clock, those who wait for its answers.
//!
//! Lives on the partition's home shard, from the first fetch of its group until the group has no more consumers here, the partition another
//! leader, or the share coordinator another state. Each input is one synchronous step; what it changes is written by one task, one write
//! at a time, and who said it hears when it is written.

use super::config::{ShareSettings, group_settings};
use crate::shard::Shard;
use crate::task::start;
use ringlane_coordinator::share_partition::{
    AcknowledgeError, AcknowledgementBatch, AcquireRequest, AcquiredRecords, Fetched, SharePartition, StateWrite,
    WriteNumber,
};
use ringlane_coordinator::share_state::{ShareKey, ShareStateReply, ShareStateRequest};
use ringlane_partition::{OffsetSpec, OffsetsEntry, OffsetsRequest, TopicPartition};
use ringlane_protocol::ErrorCode;
use ringlane_runtime::{Event, OneshotReceiver, OneshotSender, now, oneshot, sleep, spawn};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// A start offset that the share coordinator does not know.
const NOT_KNOWN: i64 = -1;

pub struct ShareHost {
    pub key: ShareKey,
    pub at: TopicPartition,
    pub leader_epoch: i32,
    state: RefCell<State>,
    /// There may be more to get, or the partition is gone.
    pub changed: Event,
    /// Somebody reads from where the next one would.
    is_reading: Cell<bool>,
    has_timer: Cell<bool>,
}

struct State {
    phase: Phase,
    state_epoch: i32,
    waiting: Vec<(WriteNumber, OneshotSender<ErrorCode>)>,
}

enum Phase {
    Loading,
    Active(SharePartition),
    /// Not ours any more: the answer to everything.
    Fenced(ErrorCode),
}

/// Where to read; the right to do so ends with it.
pub struct Turn {
    host: Rc<ShareHost>,
    pub fetch_offset: i64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.host.is_reading.set(false);
        self.host.changed.notify_all();
    }
}

impl ShareHost {
    /// Begins to load at once, in the background.
    pub fn start(shard: &Rc<Shard>, key: ShareKey, leader_epoch: i32) -> Rc<ShareHost> {
        let at = TopicPartition { topic_id: key.topic_id, partition: key.partition };
        let state = State { phase: Phase::Loading, state_epoch: -1, waiting: Vec::new() };
        let host = Rc::new(ShareHost {
            key,
            at,
            leader_epoch,
            state: RefCell::new(state),
            changed: Event::default(),
            is_reading: Cell::new(false),
            has_timer: Cell::new(false),
        });
        let (shard, loading) = (shard.clone(), host.clone());
        start("share partition load", async move {
            if let Err(error) = loading.load(&shard).await {
                tracing::debug!(
                    group = &*loading.key.group,
                    partition = loading.at.partition,
                    "a share partition cannot load: {error}"
                );
                shard.shares.forget(&loading, error);
            }
        });
        host
    }

    async fn load(&self, shard: &Rc<Shard>) -> Result<(), ErrorCode> {
        let (key, leader_epoch) = (self.key.clone(), self.leader_epoch);
        let stored = match shard.ask_share_state(ShareStateRequest::Read { key, leader_epoch }).await {
            Ok(ShareStateReply::Read(Ok(stored))) => stored,
            Ok(ShareStateReply::Read(Err(error))) => return Err(code_for_consumers(error.code())),
            Ok(_) => return Err(ErrorCode::UnknownServerError),
            Err(error) => return Err(code_for_consumers(error)),
        };
        let start = match stored.start_offset {
            NOT_KNOWN => self.reset_offset(shard).await?,
            start => start,
        };
        let partition = SharePartition::load(start, &stored.batches).map_err(|error| {
            tracing::error!(
                group = &*self.key.group,
                partition = self.at.partition,
                "the state of a share partition is damaged: {error}"
            );
            ErrorCode::UnknownServerError
        })?;
        let mut state = self.state.borrow_mut();
        if let Phase::Loading = state.phase {
            (state.phase, state.state_epoch) = (Phase::Active(partition), stored.state_epoch);
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Where a group begins that nobody has told where.
    async fn reset_offset(&self, shard: &Shard) -> Result<i64, ErrorCode> {
        let reset = group_settings(shard, &self.key.group).reset;
        for wanted in [reset, OffsetSpec::Latest] {
            let entry = OffsetsEntry { at: self.at, current_leader_epoch: self.leader_epoch, wanted };
            let request = OffsetsRequest { isolation: Default::default(), entries: vec![entry] };
            match shard.home.offsets(request).await.results.pop() {
                Some(found) if found.error != ErrorCode::None => return Err(found.error),
                Some(found) if found.offset >= 0 => return Ok(found.offset),
                // No record is as young as that: those to come will be.
                _ => {}
            }
        }
        Err(ErrorCode::OffsetNotAvailable)
    }

    /// It is as the share coordinator has it, or it is gone.
    pub async fn loaded(&self) {
        loop {
            let changed = self.changed.listen();
            if !matches!(self.state.borrow().phase, Phase::Loading) {
                return;
            }
            changed.await;
        }
    }

    /// What everybody hears instead of records.
    pub fn failure(&self) -> Option<ErrorCode> {
        match self.state.borrow().phase {
            Phase::Fenced(error) => Some(error),
            Phase::Loading | Phase::Active(_) => None,
        }
    }

    /// The right to read for one consumer. `None`: there is nothing to get now, or somebody else is about to.
    pub fn turn(self: &Rc<Self>, settings: &ShareSettings) -> Option<Turn> {
        let fetch_offset = self.fetch_offset(settings)?;
        self.is_reading.set(true);
        Some(Turn { host: self.clone(), fetch_offset })
    }

    /// Where whoever comes next would read.
    pub fn fetch_offset(&self, settings: &ShareSettings) -> Option<i64> {
        if self.is_reading.get() {
            return None;
        }
        match &mut self.state.borrow_mut().phase {
            Phase::Active(partition) => partition.can_acquire(&settings.partition).then(|| partition.fetch_offset()),
            Phase::Loading | Phase::Fenced(_) => None,
        }
    }

    pub fn acquire(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        request: &AcquireRequest,
        fetched: Fetched<'_>,
        settings: &ShareSettings,
    ) -> Vec<AcquiredRecords> {
        let acquired = match &mut self.state.borrow_mut().phase {
            Phase::Active(partition) => partition.acquire(request, fetched, &settings.partition, now_ms()),
            Phase::Loading | Phase::Fenced(_) => Vec::new(),
        };
        self.keep_time(shard);
        acquired
    }

    /// The log begins later now.
    pub fn log_start_moved(&self, log_start: i64) {
        if let Phase::Active(partition) = &mut self.state.borrow_mut().phase {
            partition.log_start_moved(log_start);
        }
    }

    /// `Ok(None)`: done already.
    pub fn acknowledge(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        member: &str,
        batches: &[AcknowledgementBatch],
    ) -> Result<Option<OneshotReceiver<ErrorCode>>, Refused> {
        let settings = group_settings(shard, &self.key.group);
        let mut state = self.state.borrow_mut();
        let write = match &mut state.phase {
            Phase::Active(partition) => partition.acknowledge(member, batches, &settings.partition, now_ms())?,
            Phase::Loading => return Err(Refused::Host(ErrorCode::LeaderNotAvailable)),
            Phase::Fenced(error) => return Err(Refused::Host(*error)),
        };
        let Some(write) = write else { return Ok(None) };
        let (sender, receiver) = oneshot();
        state.waiting.push((write, sender));
        drop(state);
        self.write(shard);
        Ok(Some(receiver))
    }

    pub fn release(self: &Rc<Self>, shard: &Rc<Shard>, member: &str) {
        let settings = group_settings(shard, &self.key.group);
        if let Phase::Active(partition) = &mut self.state.borrow_mut().phase {
            partition.release(member, &settings.partition);
        }
        self.write(shard);
    }

    /// Everybody who waits hears `error`, and so does who comes later.
    pub fn fence(&self, error: ErrorCode) {
        let mut state = self.state.borrow_mut();
        state.phase = Phase::Fenced(error);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        // Whose connection is gone does not listen any more.
        for (_, waiting) in waiting {
            let _ = waiting.send(error);
        }
        self.changed.notify_all();
    }

    /// Writes what there is to write, unless that is being done.
    fn write(self: &Rc<Self>, shard: &Rc<Shard>) {
        let Some(write) = self.next_write() else { return };
        let (host, shard) = (self.clone(), shard.clone());
        start("share state write", async move {
            let mut next = Some(write);
            while let Some(write) = next {
                host.write_once(&shard, write).await;
                next = host.next_write();
            }
        });
    }

    fn next_write(&self) -> Option<StateWrite> {
        let mut state = self.state.borrow_mut();
        match &mut state.phase {
            Phase::Active(partition) => partition.take_write(),
            Phase::Loading | Phase::Fenced(_) => None,
        }
    }

    async fn write_once(self: &Rc<Self>, shard: &Rc<Shard>, write: StateWrite) {
        let StateWrite { number, start_offset, delivery_complete_count, batches } = write;
        let request = ShareStateRequest::Write {
            key: self.key.clone(),
            state_epoch: self.state.borrow().state_epoch,
            leader_epoch: self.leader_epoch,
            start_offset,
            delivery_complete_count,
            batches,
        };
        let error = match shard.ask_share_state(request).await {
            Ok(ShareStateReply::Done(Ok(()))) => ErrorCode::None,
            Ok(ShareStateReply::Done(Err(error))) => code_for_consumers(error.code()),
            Ok(_) => ErrorCode::UnknownServerError,
            Err(error) => code_for_consumers(error),
        };
        let settings = group_settings(shard, &self.key.group);
        let mut state = self.state.borrow_mut();
        let is_news = match &mut state.phase {
            Phase::Active(partition) => partition.written(error == ErrorCode::None, &settings.partition, now_ms()),
            Phase::Loading | Phase::Fenced(_) => false,
        };
        let answered: Vec<_> = state.waiting.extract_if(.., |(waits_for, _)| *waits_for <= number).collect();
        drop(state);
        for (_, waiting) in answered {
            let _ = waiting.send(error);
        }
        if is_news {
            self.changed.notify_all();
        }
        self.keep_time(shard);
        if is_fencing(error) {
            shard.shares.forget(self, error);
        }
    }

    /// Gives records back when their locks expire. One task while there are locks.
    fn keep_time(self: &Rc<Self>, shard: &Rc<Shard>) {
        if self.next_deadline_ms().is_none() || self.has_timer.replace(true) {
            return;
        }
        let (host, shard) = (Rc::downgrade(self), Rc::downgrade(shard));
        let run = async move {
            while let Some(deadline_ms) = host.upgrade().and_then(|host| host.next_deadline_ms()) {
                sleep(Duration::from_millis((deadline_ms - now_ms()).max(1) as u64)).await;
                let (Some(host), Some(shard)) = (host.upgrade(), shard.upgrade()) else { return };
                host.on_time(&shard);
            }
            host.upgrade().into_iter().for_each(|host| host.has_timer.set(false));
        };
        spawn("share locks", run).detach();
    }

    fn next_deadline_ms(&self) -> Option<i64> {
        match &self.state.borrow().phase {
            Phase::Active(partition) => partition.next_deadline_ms(),
            Phase::Loading | Phase::Fenced(_) => None,
        }
    }

    fn on_time(self: &Rc<Self>, shard: &Rc<Shard>) {
        let settings = group_settings(shard, &self.key.group);
        let expired = match &mut self.state.borrow_mut().phase {
            Phase::Active(partition) => partition.on_time(&settings.partition, now_ms()),
            Phase::Loading | Phase::Fenced(_) => false,
        };
        if expired {
            self.changed.notify_all();
            self.write(shard);
        }
    }
}

/// Why an acknowledgement has no effect.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Said(#[from] AcknowledgeError),
    #[error("the share partition is not available")]
    Host(ErrorCode),
}

impl Refused {
    pub fn code(&self) -> ErrorCode {
        match self {
            Refused::Said(error) => error.code(),
            Refused::Host(error) => *error,
        }
    }
}

/// At the pace of the monotonic clock: one that is set must not end every lock.
fn now_ms() -> i64 {
    (now().as_nanos() / 1_000_000) as i64
}

/// What consumers understand of an answer of the share coordinator.
fn code_for_consumers(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable | ErrorCode::CoordinatorLoadInProgress => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::GroupIdNotFound | ErrorCode::UnknownTopicOrPartition => error,
        ErrorCode::FencedLeaderEpoch | ErrorCode::FencedStateEpoch => ErrorCode::NotLeaderOrFollower,
        _ => ErrorCode::UnknownServerError,
    }
}

/// The partition must be loaded anew before anything else.
fn is_fencing(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::UnknownTopicOrPartition | ErrorCode::GroupIdNotFound)
}
