//! Keeps file space and the next segment ready, so that neither a write nor a roll waits for the file system.
//!
//! Background tasks of the home shard, started by `writer` after a write. Measured (`bench/README.md`, "log writes"): a write into space
//! that was set aside *and* counted into the file's size costs a third of the CPU of one that extends the file; space set aside beyond
//! the size gains nothing. Zeros written ahead would save another third of the latency of small durable writes, and write all data twice.

use crate::log::LogInner;
use crate::mutants::{Mutant, is_on};
use crate::state::{LogState, NextSegment, WRITE_BYTES_MAX};
use crate::{LogFailed, aborted, files, snapshots, writer};
use ringlane_runtime::{File, FileMode, fs};
use std::io;
use std::rc::Rc;

/// A smaller segment takes space as it grows: a thousand idle partitions should not cost gigabytes.
const RESERVE_FROM_BYTES: u64 = 256 << 10;
const RESERVE_STEP_MIN: u64 = 1 << 20;
const RESERVE_STEP_MAX: u64 = 64 << 20;
/// A write always fits into a step, so the writer seldom meets the end of the space.
const _: () = assert!(RESERVE_STEP_MIN >= WRITE_BYTES_MAX as u64);

/// Up to where space should be set aside next, when `written` of `segment_bytes` are used and `reserved` are there.
fn reserve_to(written: u64, reserved: u64, segment_bytes: u64) -> Option<u64> {
    let step = written.next_power_of_two().clamp(RESERVE_STEP_MIN, RESERVE_STEP_MAX);
    let enough = reserved >= segment_bytes || reserved >= written + step / 2;
    if written < RESERVE_FROM_BYTES || enough {
        return None;
    }
    // At least two writes away, so that the writer need not stop for it.
    Some((written + step + 2 * WRITE_BYTES_MAX as u64).next_multiple_of(RESERVE_STEP_MIN))
}

/// After a write: starts what should be under way by now.
pub(crate) fn look_ahead(log: &Rc<LogInner>) {
    reserve(log);
    let mut state = log.state.borrow_mut();
    let half_full = state.active().bytes >= u64::from(state.options.segment_bytes) / 2;
    if half_full && matches!(state.next_segment, NextSegment::Missing) && !state.closing && !state.on_hold {
        make_next(log, &mut state);
    }
}

fn reserve(log: &Rc<LogInner>) {
    let mut state = log.state.borrow_mut();
    if state.reserving_bytes.is_some() || state.reserve_gave_up || state.closing || state.on_hold {
        return;
    }
    let segment_bytes = u64::from(state.options.segment_bytes);
    let writing = state.writing();
    let Some(bytes) = reserve_to(writing.written_bytes, writing.reserved_bytes, segment_bytes) else { return };
    let Some(file) = writing.file.clone() else { return };
    let base_offset = writing.base_offset;
    state.reserving_bytes = Some(bytes);
    drop(state);
    let inner = log.clone();
    log.background("log-space", async move {
        let reserved = set_aside(&file, bytes).await;
        let mut state = inner.state.borrow_mut();
        state.reserving_bytes = None;
        match reserved {
            Ok(()) => {
                debug_assert_eq!(state.writing().base_offset, base_offset);
                state.writing().reserved_bytes = bytes;
            }
            Err(error) => {
                state.reserve_gave_up = true;
                tracing::warn!(%error, %inner.id, bytes, "no space set aside: writes extend the file from now on");
            }
        }
    });
}

async fn set_aside(file: &File, bytes: u64) -> io::Result<()> {
    file.allocate(bytes).await?;
    file.set_len(bytes).await
}

/// Waits until no space is being set aside.
pub(crate) async fn reserved(log: &LogInner) {
    log.until(|state| state.reserving_bytes.is_none()).await;
}

fn make_next(log: &Rc<LogInner>, state: &mut LogState) {
    state.next_segment = NextSegment::Making;
    let reserve_bytes =
        if state.reserve_gave_up { 0 } else { RESERVE_STEP_MAX.min(state.options.segment_bytes.into()) };
    let inner = log.clone();
    log.background("log-next-segment", async move {
        let made = create_next(&inner, reserve_bytes).await;
        let mut state = inner.state.borrow_mut();
        state.next_segment = match made {
            Ok(file) => NextSegment::Ready { file, reserved_bytes: reserve_bytes },
            Err(error) => NextSegment::Failed(error),
        };
    });
}

/// The file is durable under its provisional name before any data goes into it.
async fn create_next(log: &LogInner, reserve_bytes: u64) -> io::Result<File> {
    let file = File::open(&log.folder.join(files::NEXT_SEGMENT), FileMode::CreateNew).await?;
    if reserve_bytes > 0
        && let Err(error) = set_aside(&file, reserve_bytes).await
    {
        tracing::warn!(%error, %log.id, "no space set aside for the next segment");
    }
    file.sync().await?;
    fs::sync_dir(&log.folder).await?;
    Ok(file)
}

/// Moves the writer on to the next segment. Everything before it is durable by then, so that after a crash a bad batch in a segment that
/// has a successor is damage, never a lost write.
pub(crate) async fn roll(log: &Rc<LogInner>) -> Result<(), LogFailed> {
    if !is_on(Mutant::RollWithoutSync) {
        writer::flush_now(log).await?;
    }
    let (file, reserved_bytes) = next_segment(log).await?;
    let sealed_base = log.state.borrow_mut().roll_to(file, reserved_bytes);
    log.shard.metrics.log_segments_rolled.increment();
    let inner = log.clone();
    log.background("log-seal", async move {
        if let Err(failed) = rename_and_seal(&inner, sealed_base).await {
            inner.fail(failed);
        }
    });
    Ok(())
}

/// Takes the prepared file; has it made if that was not done in time.
async fn next_segment(log: &Rc<LogInner>) -> Result<(File, u64), LogFailed> {
    loop {
        log.until(|state| !matches!(state.next_segment, NextSegment::Making | NextSegment::Renaming)).await;
        let mut state = log.state.borrow_mut();
        match std::mem::replace(&mut state.next_segment, NextSegment::Renaming) {
            NextSegment::Ready { file, reserved_bytes } => return Ok((file, reserved_bytes)),
            NextSegment::Failed(error) => {
                drop(state);
                return Err(log.failure_of("preparing the next segment", 0, 0, error));
            }
            _ => make_next(log, &mut state),
        }
    }
}

/// The new segment gets its name, the one before it its true size and its indexes.
async fn rename_and_seal(log: &Rc<LogInner>, sealed_base: i64) -> Result<(), LogFailed> {
    let new_base = log.state.borrow_mut().writing().base_offset;
    let from = log.folder.join(files::NEXT_SEGMENT);
    let renamed = match fs::rename(&from, &files::segment_path(&log.folder, new_base)).await {
        Ok(()) => fs::sync_dir(&log.folder).await,
        Err(error) => Err(error),
    };
    renamed.map_err(|source| log.failure_of("naming the new segment", 0, 0, source))?;
    log.state.borrow_mut().next_segment = NextSegment::Missing;
    log.changed.notify_all();
    seal(log, sealed_base).await?;
    let producers = {
        let mut state = log.state.borrow_mut();
        let new = state.segments.iter_mut().find(|segment| segment.base_offset == new_base);
        new.and_then(|segment| segment.producers.take())
    };
    if let Some(producers) = producers {
        snapshots::write(log, new_base, &producers).await;
    }
    Ok(())
}

async fn seal(log: &Rc<LogInner>, base_offset: i64) -> Result<(), LogFailed> {
    let sealing = {
        let mut state = log.state.borrow_mut();
        let segment = state.segments.iter_mut().find(|segment| segment.base_offset == base_offset);
        segment.and_then(|segment| {
            let index = segment.index.as_mut()?;
            index.seal();
            Some((segment.file.clone()?, segment.bytes, index.encode_offsets(), index.encode_times()))
        })
    };
    let Some((file, bytes, offsets, times)) = sealing else { return Ok(()) };
    let failure = |doing, source| log.failure_of(doing, bytes, 0, source);
    file.set_len(bytes).await.map_err(|source| failure("cutting the full segment to size", source))?;
    writer::sync(log, &file).await?;
    let turn = log.index_files.acquire(1).await;
    let have_files = write_indexes(log, base_offset, &offsets, &times).await;
    drop(turn);
    if let Err(error) = aborted::persist_segment(log, base_offset).await {
        tracing::warn!(%error, %log.id, "the next checkpoint tries again");
    }
    let mut state = log.state.borrow_mut();
    if let Some(segment) = state.segments.iter_mut().find(|segment| segment.base_offset == base_offset) {
        segment.is_sealed = true;
        segment.aborted.seal();
        if have_files {
            (segment.index, segment.file) = (None, None);
        }
    }
    Ok(())
}

/// Answers whether the files are there; without them the indexes stay in memory, and the next start writes them.
async fn write_indexes(log: &LogInner, base_offset: i64, offsets: &[u8], times: &[u8]) -> bool {
    let written = match fs::write_atomic(&files::time_index_path(&log.folder, base_offset), times).await {
        Ok(()) => fs::write_atomic(&files::index_path(&log.folder, base_offset), offsets).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &written {
        tracing::warn!(%error, %log.id, base_offset, "index files of a full segment not written");
    }
    written.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Space that ends between the writer and the next step would make it wait; space without bound would fill the disk.
    #[test]
    fn space_is_set_aside_in_steps_that_grow_with_the_segment() {
        let (segment, mib) = (1 << 30, 1 << 20);
        assert_eq!(reserve_to(100 << 10, 0, segment), None, "a small log takes what it needs");
        assert_eq!(reserve_to(256 << 10, 0, segment), Some(4 * mib));
        assert_eq!(reserve_to(mib, 4 * mib, segment), None);
        let mut reserved = 0;
        for written in (0..segment).step_by(1 << 20) {
            if let Some(bytes) = reserve_to(written, reserved, segment) {
                assert!(bytes >= written + 2 * WRITE_BYTES_MAX as u64 && bytes - written <= RESERVE_STEP_MAX + 4 * mib);
                reserved = bytes;
            }
            assert!(written < RESERVE_FROM_BYTES || reserved > written);
        }
    }
}
