//! Performs the writes of one log to its segments: one in flight, all that arrives meanwhile is the next one.
//!
//! A task of the home shard, started when enough waits, when somebody wants it flushed, or when the log goes past the journal, and gone
//! when nothing is due. What to write is decided by `state`; the roll to a new segment by `space`. Many logs write at once, up to the
//! shard's limits; beyond them they wait in line, and what waits longer is written in larger pieces.

use crate::log::LogInner;
use crate::mutants::{Mutant, is_on};
use crate::state::{Step, WritePlan};
use crate::{LogFailed, space};
use ringlane_runtime::{Durability, File, now, sleep, spawn};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// A disk without space is asked again so often.
const NO_SPACE_RETRY: Duration = Duration::from_millis(200);

/// Starts the writer unless it runs.
pub(crate) fn kick(log: &Rc<LogInner>) {
    let mut state = log.state.borrow_mut();
    if state.writer_running || !state.is_flush_due() || state.next_step().is_none() {
        return;
    }
    state.writer_running = true;
    drop(state);
    spawn("log-writer", run(log.clone())).detach();
}

async fn run(log: Rc<LogInner>) {
    let _running = Running(log.clone());
    loop {
        let step = {
            let state = log.state.borrow();
            state.next_step().filter(|_| state.is_flush_due())
        };
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
    let direct = log.state.borrow().direct;
    // What an ack waits for does not stand in line behind what does not.
    let slot = if direct { shard.write_slots.acquire(1).await } else { shard.flush_slots.acquire(1).await };
    let plan = log.state.borrow().plan_write();
    let file = log.state.borrow_mut().writing().file.clone();
    let (Some(plan), Some(file)) = (plan, file) else { return Ok(()) };
    let WritePlan { position, block, durability, sync_after, done } = plan;
    let block_bytes = block.len();
    let durability = if is_on(Mutant::WriteNotDurable) { Durability::Written } else { durability };
    if direct && is_on(Mutant::StableBeforeWrite) {
        let mut state = log.state.borrow_mut();
        state.stable_offset = state.end_offset;
        shard.news.stable(log.key, state.stable_offset);
    }

    let started = now();
    let (written, block) = file.write_at(block, position, durability).await;
    drop(slot);
    match written {
        Err(error) if error.kind() == io::ErrorKind::StorageFull && !log.state.borrow().closing => {
            // Nothing is lost: what is acknowledged is in the journal, the rest is not acknowledged yet.
            log.volume.guard.is_out_of_space();
            sleep(NO_SPACE_RETRY).await;
            return Ok(());
        }
        written => written.map_err(|source| log.failure_of("write", position, block_bytes, source))?,
    }
    if sync_after {
        sync(log, &file).await?;
    }

    let stable_before = log.state.borrow().stable_offset;
    log.change(|state| state.written(&done, &block));
    drop(block);
    shard.metrics.log_write_bytes.record(block_bytes as u64);
    shard.metrics.log_write_batches.record(done.batches as u64);
    shard.metrics.log_write_us.record(started.elapsed().as_micros() as u64);
    let stable = log.state.borrow().stable_offset;
    if stable > stable_before {
        shard.news.stable(log.key, stable);
    }
    log.changed.notify_all();
    log.flush_by_and_by();
    shard.trim_cache();
    space::look_ahead(log);
    if direct {
        let volume = &log.volume;
        volume.direct_bytes.set(volume.direct_bytes.get() + block_bytes as u64);
        volume.checkpoint_if_due();
        flush_later(log);
    }
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

/// A direct write in written mode: sees to it that it is durable within `flush.ms`.
fn flush_later(log: &Rc<LogInner>) {
    let mut state = log.state.borrow_mut();
    if state.syncer_running || state.synced_offset >= state.flushed_offset {
        return;
    }
    state.syncer_running = true;
    let flush_ms = state.options.flush_ms;
    drop(state);
    let inner = log.clone();
    log.background("log-flush", async move {
        sleep(Duration::from_millis(flush_ms)).await;
        inner.state.borrow_mut().syncer_running = false;
        if let Err(failed) = flush_now(&inner).await {
            inner.fail(failed);
        }
    });
}

/// Makes durable what is in the segments now. Only the one being written can hold anything else: a roll comes after a sync.
pub(crate) async fn flush_now(log: &Rc<LogInner>) -> Result<(), LogFailed> {
    let (file, offset, cuts) = {
        let mut state = log.state.borrow_mut();
        if state.synced_offset >= state.flushed_offset || state.failed.is_some() {
            return Ok(());
        }
        (state.writing().file.clone(), state.flushed_offset, state.cuts)
    };
    let Some(file) = file else { return Ok(()) };
    sync(log, &file).await?;
    let mut state = log.state.borrow_mut();
    if state.cuts == cuts {
        state.synced_offset = state.synced_offset.max(offset);
    }
    Ok(())
}

/// Waits until everything below `offset` is in segments, or never will be (the log failed, was cut or closed: look).
pub(crate) async fn flush_to(log: &Rc<LogInner>, offset: i64) {
    let cuts = {
        let mut state = log.state.borrow_mut();
        state.flush_wanted = state.flush_wanted.max(offset);
        state.cuts
    };
    kick(log);
    log.until(|state| state.flushed_offset >= offset || state.failed.is_some() || state.cuts != cuts).await;
}
