//! Performs the writes of one journal, one in flight: all that arrives meanwhile, from every partition of the shard, is the next one.
//!
//! One task per journal for as long as the shard. An error is final: nothing is retried, because after a failed write or sync the kernel
//! may report success for bytes that it dropped. All logs of the directory on this shard fail with it; reads go on.

use super::files::{self, NoPlace, Place};
use super::format::{FileHead, WriteHead};
use super::{Journal, Unsynced, WRITE_BYTES_MAX, WritePlan};
use crate::error::LogFailed;
use crate::mutants::{Mutant, is_on};
use crate::shard::Shard;
use crate::volume::Volume;
use ringlane_runtime::{Durability, now, sleep, spawn};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

/// After a growth that a full disk ended, the next try.
const GROW_RETRY: Duration = Duration::from_secs(1);

/// Until [`Journal::close`], or a failure.
pub(crate) async fn run(shard: Rc<Shard>, volume: Rc<Volume>) {
    let running = Running { shard: &shard, volume: &volume };
    if let Err(failed) = write_all(&shard, &volume).await {
        shard.volume_failed(&volume, failed);
    }
    drop(running);
}

/// However the task ends, nobody waits for it for ever; if it was by a panic, the directory is out of service.
struct Running<'a> {
    shard: &'a Rc<Shard>,
    volume: &'a Rc<Volume>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let journal = &self.volume.journal;
        if std::thread::panicking() && self.volume.failure().is_none() {
            let source = std::io::Error::other("its writer ended");
            self.shard.volume_failed(self.volume, files::failure(&journal.folder, "writing the journal", 0, 0, source));
        }
        journal.wake_all();
    }
}

async fn write_all(shard: &Rc<Shard>, volume: &Rc<Volume>) -> Result<(), LogFailed> {
    let journal = &volume.journal;
    let mut covers = Vec::new();
    loop {
        let arrived = journal.arrived.listen();
        if journal.pending.borrow().is_empty() {
            if journal.closing.get() {
                return Ok(());
            }
            arrived.await;
            continue;
        }
        keep_pace(shard, journal).await;
        // What is stable but in no segment yet lives in memory: when there is too much of it, acks wait, and with them the clients.
        shard.tail_has_room(volume).await;
        let head = journal.next_head();
        let bytes_max = WRITE_BYTES_MAX.min(journal.options.file_bytes as usize / 2);
        let Some(plan) = journal.pending.borrow_mut().plan(head, bytes_max, covers) else { return Ok(()) };
        covers = write(shard, volume, plan, head.sequence).await?;
    }
}

/// Lets small writes wait a little for company when the shard makes many.
async fn keep_pace(shard: &Shard, journal: &Journal) {
    let pending_bytes = journal.pending.borrow().payload_bytes();
    let wait = shard.pace.borrow_mut().wait(now(), pending_bytes);
    if let Some(wait) = wait {
        sleep(wait).await;
        shard.pace.borrow_mut().waited(pending_bytes, journal.pending.borrow().payload_bytes());
    }
}

async fn write(
    shard: &Rc<Shard>,
    volume: &Rc<Volume>,
    plan: WritePlan,
    sequence: u64,
) -> Result<Vec<super::Covered>, LogFailed> {
    let journal = &volume.journal;
    let WritePlan { block, mut covers, flush_ms } = plan;
    let block_bytes = block.len();
    let place = place(shard, volume, block_bytes as u64).await?;
    let failure = |doing, source| files::failure(&place.path, doing, place.position, block_bytes, source);
    let durable = flush_ms.is_none() && !is_on(Mutant::WriteNotDurable);
    // A durable write behind plain ones would be found behind a hole after a power cut: then all of them are synced.
    let sync_after = durable && !journal.unsynced.borrow().is_empty();
    let durability = if durable && !sync_after { Durability::Durable } else { Durability::Written };
    if is_on(Mutant::StableBeforeWrite) {
        covers.iter().for_each(|covered| shard.journaled(covered));
    }

    let started = now();
    let (written, block) = place.file.write_at(block, place.position, durability).await;
    drop(block);
    written.map_err(|source| failure("write", source))?;
    journal.files.borrow_mut().wrote(&place, block_bytes as u64, sequence);
    if durability == Durability::Written {
        remember_unsynced(journal, &place, sequence);
    }
    if sync_after {
        sync(shard, journal, sequence).await?;
    } else if durable {
        journal.durable_sequence.set(sequence);
    }
    journal.written_sequence.set(sequence);
    let metrics = &shard.metrics;
    metrics.journal_write_us.record(started.elapsed().as_micros() as u64);
    metrics.journal_write_bytes.record(block_bytes as u64);
    metrics.journal_write_batches.record(covers.len() as u64);
    journal.bytes_since_checkpoint.set(journal.bytes_since_checkpoint.get() + block_bytes as u64);
    shard.pace.borrow_mut().wrote(now(), block_bytes);
    journal.completed.set(journal.completed.get() + covers.len() as u64);
    covers.drain(..).for_each(|covered| shard.journaled(&covered));
    journal.progressed.notify_all();
    volume.checkpoint_if_due();
    if let Some(flush_ms) = flush_ms {
        sync_within(shard, volume, flush_ms);
    }
    Ok(covers)
}

/// Where the write goes; waits for zeros or for files to be released.
async fn place(shard: &Rc<Shard>, volume: &Rc<Volume>, bytes: u64) -> Result<Place, LogFailed> {
    let journal = &volume.journal;
    loop {
        let space = journal.space.listen();
        let found = journal.files.borrow_mut().place(bytes, journal.options.file_bytes);
        grow_ahead(shard, volume);
        match found {
            Ok(place) => return Ok(place),
            Err(NoPlace::NotReady) => {}
            Err(NoPlace::Full) => {
                shard.metrics.journal_full.increment();
                shard.bypass_journal(volume);
                volume.want_checkpoint();
            }
        }
        if let Some(failed) = volume.failure() {
            return Err(LogFailed::again(&failed));
        }
        space.await;
    }
}

/// Sees to it that the next file is there before it is needed.
fn grow_ahead(shard: &Rc<Shard>, volume: &Rc<Volume>) {
    let journal = &volume.journal;
    let files = journal.files.borrow();
    let wanted = files.should_grow(journal.options.file_bytes) && files.count() < journal.files_max();
    if !wanted || journal.is_growing.get() {
        return;
    }
    drop(files);
    journal.is_growing.set(true);
    let (shard, volume) = (shard.clone(), volume.clone());
    spawn("journal-space", async move {
        let journal = &volume.journal;
        let grown = grow(journal).await;
        journal.space.notify_all();
        match grown {
            Ok(()) => {}
            // Less room in the journal: what does not fit goes straight to its segment.
            Err(failed) if failed.source.kind() == ErrorKind::StorageFull => {
                tracing::warn!(%failed, "the journal does not grow");
                volume.guard.is_out_of_space();
                sleep(GROW_RETRY).await;
            }
            Err(failed) => shard.volume_failed(&volume, failed),
        }
        journal.is_growing.set(false);
        journal.space.notify_all();
    })
    .detach();
}

async fn grow(journal: &Journal) -> Result<(), LogFailed> {
    let path = journal.files.borrow().next_path(&journal.folder);
    let failure = |doing, source| files::failure(&path, doing, 0, 0, source);
    let head = FileHead { directory_id: journal.options.directory_id };
    let file = files::create(&path, head).await.map_err(|source| failure("making a journal file", source))?;
    let slot = journal.files.borrow_mut().add(file.clone(), path.clone());
    let mut ready_bytes = 0;
    loop {
        match files::write_zeros(&file, ready_bytes, journal.options.file_bytes).await {
            Ok(Some(bytes)) => {
                ready_bytes = bytes;
                journal.files.borrow_mut().ready(slot, ready_bytes);
                journal.space.notify_all();
            }
            Ok(None) => return Ok(()),
            Err(source) => {
                journal.files.borrow_mut().ends_here(slot);
                return Err(failure("writing zeros into a journal file", source));
            }
        }
    }
}

fn remember_unsynced(journal: &Journal, place: &Place, sequence: u64) {
    let mut unsynced = journal.unsynced.borrow_mut();
    match unsynced.iter_mut().find(|unsynced| unsynced.path == place.path) {
        Some(known) => known.last_sequence = sequence,
        None => unsynced.push(Unsynced { file: place.file.clone(), path: place.path.clone(), last_sequence: sequence }),
    }
}

/// Makes durable everything up to `sequence`, which is written. A file counts as not synced until its sync is done: a durable write
/// that comes meanwhile waits for a sync of its own.
async fn sync(shard: &Shard, journal: &Journal, sequence: u64) -> Result<(), LogFailed> {
    let files: Vec<_> = journal.unsynced.borrow().iter().map(|one| (one.file.clone(), one.path.clone())).collect();
    for (file, path) in files {
        let started = now();
        let synced = file.sync().await;
        shard.metrics.log_sync_us.record(started.elapsed().as_micros() as u64);
        synced.map_err(|source| files::failure(&path, "sync", 0, 0, source))?;
    }
    journal.unsynced.borrow_mut().retain(|file| file.last_sequence > sequence);
    journal.durable_sequence.set(journal.durable_sequence.get().max(sequence));
    Ok(())
}

/// Written mode: sees to it that what was just written is durable within `flush_ms`.
fn sync_within(shard: &Rc<Shard>, volume: &Rc<Volume>, flush_ms: u64) {
    if volume.journal.is_syncing.replace(true) {
        return;
    }
    let (shard, volume) = (shard.clone(), volume.clone());
    spawn("journal-sync", async move {
        sleep(Duration::from_millis(flush_ms)).await;
        volume.journal.is_syncing.set(false);
        let sequence = volume.journal.written_sequence.get();
        if let Err(failed) = sync(&shard, &volume.journal, sequence).await {
            shard.volume_failed(&volume, failed);
        }
        if !volume.journal.unsynced.borrow().is_empty() {
            sync_within(&shard, &volume, flush_ms);
        }
    })
    .detach();
}

impl Journal {
    fn next_head(&self) -> WriteHead {
        WriteHead {
            epoch: self.epoch,
            sequence: self.written_sequence.get() + 1,
            durable_sequence: self.durable_sequence.get(),
            entries: 0,
            payload_bytes: 0,
        }
    }
}
