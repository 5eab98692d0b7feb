//! Performs the writes of one log: one in flight, all that arrives meanwhile is the next one.
//!
//! A task of the home shard, started by the first append to an idle log and gone when nothing waits. What to write is decided by
//! `state`; the roll to a new segment by `space`. Many logs write at once, up to the shard's limit; beyond it they wait in line, and what
//! waits longer is written in larger pieces.

use crate::log::LogInner;
use crate::mutants::{Mutant, is_on};
use crate::state::{Step, WritePlan};
use crate::{LogFailed, StableMode, files, space};
use ringlane_runtime::{Durability, File, fs, now, sleep, spawn};
use std::rc::Rc;
use std::time::Duration;

/// In written mode the recovery point is noted on disk whenever this much was synced, or after [`CHECKPOINT_EVERY`].
const CHECKPOINT_BYTES: u64 = 64 << 20;
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// Starts the writer unless it runs.
pub(crate) fn kick(log: &Rc<LogInner>) {
    let mut state = log.state.borrow_mut();
    if state.writer_running || state.next_step().is_none() {
        return;
    }
    state.writer_running = true;
    drop(state);
    spawn("log-writer", run(log.clone())).detach();
}

async fn run(log: Rc<LogInner>) {
    let _running = Running(log.clone());
    loop {
        let step = log.state.borrow().next_step();
        let outcome = match step {
            Some(Step::Write) => write(&log).await,
            Some(Step::Roll) => space::roll(&log).await,
            Some(Step::AwaitSpace) => {
                space::reserved(&log).await;
                Ok(())
            }
            None => break,
        };
        if let Err(failed) = outcome {
            log.fail(failed);
        }
    }
}

/// The writer ends, be it by a panic: whoever waits for that goes on, and the next append starts another.
struct Running(Rc<LogInner>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.state.borrow_mut().writer_running = false;
        self.0.changed.notify_all();
    }
}

async fn write(log: &Rc<LogInner>) -> Result<(), LogFailed> {
    let shard = &log.shard;
    let pending_bytes = log.state.borrow().pending_bytes();
    let wait = shard.pace.borrow_mut().wait(now(), pending_bytes);
    if let Some(wait) = wait {
        sleep(wait).await;
        shard.pace.borrow_mut().waited(pending_bytes, log.state.borrow().pending_bytes());
    }
    let slot = shard.write_slots.acquire(1).await;
    let plan = log.state.borrow().plan_write();
    let file = log.state.borrow_mut().writing().file.clone();
    let (Some(plan), Some(file)) = (plan, file) else { return Ok(()) };
    let WritePlan { position, block, durability, sync_after, done } = plan;
    let block_bytes = block.len();
    let durability = if is_on(Mutant::WriteNotDurable) { Durability::Written } else { durability };
    if is_on(Mutant::StableBeforeWrite) {
        let mut state = log.state.borrow_mut();
        state.stable_offset = state.end_offset;
        shard.news.stable(log.key, state.stable_offset);
    }

    let started = now();
    let (written, block) = file.write_at(block, position, durability).await;
    drop(slot);
    written.map_err(|source| log.failure_of("write", position, block_bytes, source))?;
    if sync_after {
        sync(log, &file).await?;
    }

    log.state.borrow_mut().written(&done, &block);
    drop(block);
    shard.pace.borrow_mut().wrote(now(), block_bytes);
    shard.metrics.log_write_bytes.record(block_bytes as u64);
    shard.metrics.log_write_batches.record(done.batches as u64);
    shard.metrics.log_write_us.record(started.elapsed().as_micros() as u64);
    shard.metrics.log_pending_bytes.add(-(done.new_bytes as i64));
    shard.news.stable(log.key, log.state.borrow().stable_offset);
    shard.trim_cache();
    space::look_ahead(log);
    flush_later(log);
    Ok(())
}

/// Makes everything written to `file` durable. An error is final: the kernel may call a second try a success.
pub(crate) async fn sync(log: &LogInner, file: &File) -> Result<(), LogFailed> {
    let slot = log.shard.sync_slots.acquire(1).await;
    let started = now();
    let synced = file.sync().await;
    drop(slot);
    log.shard.metrics.log_sync_us.record(started.elapsed().as_micros() as u64);
    synced.map_err(|source| log.failure_of("sync", 0, 0, source))
}

/// Written mode: sees to it that what was just written is durable within `flush.ms`.
fn flush_later(log: &Rc<LogInner>) {
    let mut state = log.state.borrow_mut();
    if state.flusher_running || state.durable_offset == state.stable_offset {
        return;
    }
    state.flusher_running = true;
    drop(state);
    log.background("log-flush", flush(log.clone()));
}

async fn flush(log: Rc<LogInner>) {
    loop {
        let flush_ms = log.state.borrow().options.flush_ms;
        sleep(Duration::from_millis(flush_ms)).await;
        if let Err(failed) = flush_now(&log).await {
            log.fail(failed);
        }
        let mut state = log.state.borrow_mut();
        if state.durable_offset >= state.stable_offset || state.failed.is_some() || state.closing {
            state.flusher_running = false;
            return;
        }
    }
}

/// Makes durable what is stable now. Only the segment being written can hold anything else: a roll comes after a sync.
pub(crate) async fn flush_now(log: &Rc<LogInner>) -> Result<(), LogFailed> {
    let (file, offset) = {
        let mut state = log.state.borrow_mut();
        if state.durable_offset >= state.stable_offset || state.failed.is_some() {
            return Ok(());
        }
        (state.writing().file.clone(), state.stable_offset)
    };
    let Some(file) = file else { return Ok(()) };
    let generation = log.state.borrow().generation;
    sync(log, &file).await?;
    {
        let mut state = log.state.borrow_mut();
        if state.generation != generation {
            return Ok(());
        }
        state.durable_offset = state.durable_offset.max(offset);
    }
    checkpoint_when_due(log, offset).await;
    Ok(())
}

/// Notes how far the log is surely durable. Recovery never cuts below it.
async fn checkpoint_when_due(log: &Rc<LogInner>, recovery_point: i64) {
    let size_bytes = log.state.borrow().size_bytes();
    let (at_bytes, at) = log.checkpointed.get();
    if size_bytes < at_bytes + CHECKPOINT_BYTES && at.elapsed() < CHECKPOINT_EVERY {
        return;
    }
    log.checkpointed.set((size_bytes, now()));
    let path = log.folder.join(files::CHECKPOINT);
    if let Err(error) = fs::write_atomic(&path, files::encode_checkpoint(recovery_point).as_bytes()).await {
        tracing::warn!(%error, path = %path.display(), "recovery point not noted: the next start checks more");
    }
}

/// Written mode begins when the recovery point stands on disk: without it recovery could not tell what a power cut may take.
pub(crate) fn allow_written_mode(log: &Rc<LogInner>) {
    let state = log.state.borrow();
    if state.options.stable_mode != StableMode::Written || state.may_ack_written {
        return;
    }
    drop(state);
    let inner = log.clone();
    log.background("log-checkpoint", async move {
        let path = inner.folder.join(files::CHECKPOINT);
        let recovery_point = inner.state.borrow().durable_offset;
        match fs::write_atomic(&path, files::encode_checkpoint(recovery_point).as_bytes()).await {
            Ok(()) => inner.state.borrow_mut().may_ack_written = true,
            Err(error) => tracing::warn!(%error, path = %path.display(), "acks go on waiting for durable bytes"),
        }
    });
}
