//! Notes how far every log of a volume is durable in its segments, and lets the journal go up to there.
//!
//! One task per volume; it works when the journal has grown, when the mode of a log changes, after a truncation, and at close. One file for
//! all logs of the shard, because ten thousand logs must not cost ten thousand small files at every turn. It bounds what a start has to
//! read: segments are verified from here on only, and what the partition keeps beside its log (producers, epochs) is in the record.
//!
//! ```text
//! capture each log: where it ends, its state ─▶ flush up to there ─▶ sync ─▶ replace the file ─▶ release the journal
//! ```

mod capture;
mod codec;

pub(crate) use codec::{Checkpoint, Record};

use crate::aborted;
use crate::error::LogFailed;
use crate::log::LogInner;
use crate::mutants::{Mutant, is_on};
use crate::shard::Shard;
use crate::volume::Volume;
use crate::{LogName, StableMode, writer};
use capture::{Captured, capture};
use ringlane_runtime::{Event, fs, give_way, spawn};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

const FILE: &str = "checkpoint";
/// Logs that are flushed and synced at the same time: the kernel does each sync on a helper thread.
const LOGS_IN_FLIGHT: usize = 32;

/// Who wants checkpoints, and how far they are. Part of a volume.
#[derive(Default)]
pub(crate) struct Progress {
    wanted: Cell<bool>,
    closing: Cell<bool>,
    /// There is, or will be, a task that makes them.
    will_run: Cell<bool>,
    /// Checkpoints that began, and that ended.
    begun: Cell<u64>,
    done: Cell<u64>,
    released_sequence: Cell<u64>,
    /// Records of logs whose home is another shard now, until that one has checkpointed them too.
    carried: RefCell<Vec<Record>>,
    kept: RefCell<BTreeSet<LogName>>,
    arrived: Event,
    finished: Event,
}

impl Progress {
    pub fn want(&self) {
        if !self.wanted.replace(true) {
            self.arrived.notify_all();
        }
    }

    /// The task is about to be started.
    pub fn begin(&self) {
        self.will_run.set(true);
    }

    pub fn has_begun(&self) -> bool {
        self.will_run.get()
    }

    pub fn released_sequence(&self) -> u64 {
        self.released_sequence.get()
    }

    pub fn carry(&self, records: Vec<Record>) {
        self.carried.replace(records);
    }

    /// Every shard has records of its own now.
    pub fn forget_carried(&self) {
        self.carried.borrow_mut().retain(|record| self.kept.borrow().contains(&record.log));
    }

    /// A log that could not be opened: what is known of it stays known.
    pub fn keep(&self, log: LogName) {
        self.kept.borrow_mut().insert(log);
    }

    pub fn close(&self) {
        self.closing.set(true);
        self.arrived.notify_all();
    }

    pub fn wake_all(&self) {
        self.arrived.notify_all();
        self.finished.notify_all();
    }
}

pub(crate) fn path(journal_folder: &Path) -> PathBuf {
    journal_folder.join(FILE)
}

/// The checkpoint in a journal's folder; `None` when there is none.
pub(crate) async fn read(journal_folder: &Path) -> Result<Option<Checkpoint>, crate::OpenError> {
    let path = path(journal_folder);
    match fs::read(&path).await {
        Ok(content) => {
            let damaged = |found| crate::OpenError::Journal { path: path.clone(), position: 0, found };
            Checkpoint::decode(content).map(Some).map_err(damaged)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(crate::recovery::io_error(&path, "reading")(error)),
    }
}

/// Makes checkpoints whenever somebody wants one, until close.
pub(crate) async fn run(shard: Rc<Shard>, volume: Rc<Volume>) {
    let progress = &volume.checkpoints;
    loop {
        let arrived = progress.arrived.listen();
        if volume.failure().is_some() || (progress.closing.get() && !progress.wanted.get()) {
            progress.finished.notify_all();
            return;
        }
        if !progress.wanted.replace(false) {
            arrived.await;
            continue;
        }
        if let Err(failed) = checkpoint(&shard, &volume).await {
            shard.volume_failed(&volume, failed);
        }
    }
}

/// Has a checkpoint made that begins after this call; returns when it is done, or never will be.
pub(crate) async fn and_wait(volume: &Rc<Volume>) {
    let progress = &volume.checkpoints;
    let target = progress.begun.get() + 1;
    loop {
        let finished = progress.finished.listen();
        if progress.done.get() >= target || !volume.is_at_work() {
            return;
        }
        progress.want();
        finished.await;
    }
}

/// One checkpoint of all logs that the shard has in the volume.
pub(crate) async fn checkpoint(shard: &Rc<Shard>, volume: &Rc<Volume>) -> Result<(), LogFailed> {
    let (progress, journal) = (&volume.checkpoints, &volume.journal);
    progress.begun.set(progress.begun.get() + 1);
    let sequence = journal.begin_checkpoint();
    volume.direct_bytes.set(0);
    let mut records = progress.carried.borrow().clone();
    let mut release_sequence = sequence;
    let mut flushing = Vec::new();
    let mut captured = Vec::new();
    for log in shard.logs_in(volume) {
        if log.state.borrow().failed.is_some() {
            records.extend(log.last_record.borrow().clone());
            release_sequence = release_sequence.min(rescue(&log, sequence).await);
            continue;
        }
        let Some(log) = capture(shard, &log) else { continue };
        if log.is_behind() {
            flushing.push(spawn("log-checkpoint", make_durable(log)));
        } else {
            captured.push(log);
        }
        if flushing.len() >= LOGS_IN_FLIGHT {
            captured.extend(flushing.remove(0).await.ok().flatten());
        }
        give_way().await;
    }
    for task in flushing {
        captured.extend(task.await.ok().flatten());
    }
    records.extend(captured.iter().map(|captured| captured.record.clone()));
    // A log that failed or was cut meanwhile keeps what its last record says, and the journal what it may need for that.
    let recorded: BTreeSet<LogName> = records.iter().map(|record| record.log).collect();
    for log in shard.logs_in(volume).into_iter().filter(|log| !recorded.contains(&log.id.name())) {
        release_sequence = release_sequence.min(progress.released_sequence());
        records.extend(log.last_record.borrow().clone());
    }
    let content = Checkpoint { epoch: journal.epoch, first_sequence: release_sequence + 1, records }.encode();
    let path = path(&journal.folder);
    let written = fs::write_atomic(&path, &content).await;
    written.map_err(|source| LogFailed { path, doing: "checkpoint", position: 0, bytes: content.len(), source })?;
    captured.into_iter().for_each(Captured::took_effect);
    progress.released_sequence.set(release_sequence);
    journal.release(release_sequence);
    progress.done.set(progress.begun.get());
    progress.finished.notify_all();
    shard.metrics.checkpoints.increment();
    shard.trim_cache();
    Ok(())
}

/// Flushes and syncs a log up to where it was captured. `None`: it failed, was cut or goes away.
async fn make_durable(captured: Captured) -> Option<Captured> {
    let log = captured.log.clone();
    let end_offset = captured.record.end_offset;
    writer::flush_to(&log, end_offset).await;
    if !is_on(Mutant::ReleaseBeforeSync)
        && let Err(failed) = writer::flush_now(&log).await
    {
        log.fail(failed);
    }
    log.until(|state| captured.older_are_sealed(state) || state.failed.is_some()).await;
    // The record says that nothing before it need be looked at again: the transactions that ended there must be in their files.
    if let Err(failed) = aborted::persist(&log).await {
        tracing::error!(%log.id, error = %failed, "the log's checkpoint stays where it is, and holds the journal");
        return None;
    }
    captured.persist_index().await.filter(Captured::still_holds)
}

/// A failed log's stable batches may be in the journal only. Answers up to where the journal may be released; when it gets short of space,
/// writes them into it once more.
async fn rescue(log: &Rc<LogInner>, sequence: u64) -> u64 {
    let journal = &log.volume.journal;
    let (used_bytes, capacity) = journal.used_bytes();
    let pinned_after = log.state.borrow().pinned_after;
    if used_bytes < capacity / 2 {
        return pinned_after;
    }
    journal.let_exceed(true);
    log.push_unflushed_again();
    journal.until_written(|| log.volume.failure().is_some()).await;
    journal.let_exceed(false);
    log.state.borrow_mut().pinned_after = sequence;
    sequence
}

/// What a checkpoint says of a log whose acks may wait for written bytes only.
fn may_ack_written(log: &LogInner) {
    let mut state = log.state.borrow_mut();
    state.may_ack_written = state.options.stable_mode == StableMode::Written;
}
