//! Cuts a log back to an offset, as a follower must when its leader's history differs.
//!
//! On the home shard, called by `partition`, seldom. Everything from the cut on leaves the files before anything new is appended: what
//! stayed would look like good batches behind the new end.

use crate::aborted::{self, Aborted};
use crate::log::LogInner;
use crate::mutants::{Mutant, is_on};
use crate::scan::{self, Scanner};
use crate::segment::Segment;
use crate::{LogFailed, checkpoint, cleaner, files, snapshots, writer};
use ringlane_runtime::{File, FileMode, fs};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// Removes every batch that ends at `offset` or later.
pub(crate) async fn truncate_to(log: &Rc<LogInner>, offset: i64) -> Result<(), Arc<LogFailed>> {
    let end_offset = log.state.borrow().end_offset;
    if offset >= end_offset {
        return Ok(());
    }
    // All of it in segments and nothing under way, then nothing new begins: so nothing of what is cut comes back from the journal.
    writer::flush_to(log, end_offset).await;
    if let Err(failed) = writer::flush_now(log).await {
        log.fail(failed);
    }
    {
        let mut state = log.state.borrow_mut();
        state.on_hold = true;
        let before = state.segment_of(offset).saturating_sub(1);
        state.cutting_from = Some(state.segments[before].base_offset);
    }
    log.until_quiet().await;
    // Also what a direct write was quicker with: written later, it would be found behind the checkpoint.
    let volume = &log.volume;
    volume.journal.until_written(|| !volume.is_at_work()).await;
    // From here on recovery believes the files, whatever it finds there, and no journal.
    checkpoint::and_wait(volume).await;
    let outcome = cut(log, offset).await;
    {
        let mut state = log.state.borrow_mut();
        (state.on_hold, state.cutting_from) = (false, None);
    }
    if let Err(source) = outcome {
        log.fail(LogFailed { path: log.folder.clone(), doing: "truncation", position: 0, bytes: 0, source });
    }
    writer::kick(log);
    match &log.state.borrow().failed {
        Some(failed) => Err(failed.clone()),
        None => Ok(()),
    }
}

async fn cut(log: &Rc<LogInner>, offset: i64) -> io::Result<()> {
    let (mut bases, interval_bytes) = {
        let state = log.state.borrow();
        if state.failed.is_some() {
            return Ok(());
        }
        let bases: Vec<i64> = state.segments.iter().map(|segment| segment.base_offset).collect();
        (bases, state.options.index_interval_bytes)
    };
    let _turn = log.index_files.acquire(1).await;
    // Newest first: whatever a crash leaves is a log without holes. A segment that would be empty goes too, unless it is the only one.
    let (file, segment, end_offset) = loop {
        let segment_base = *bases.last().expect("a log has a segment");
        if segment_base < offset || bases.len() == 1 {
            let file = File::open(&files::segment_path(&log.folder, segment_base), FileMode::ReadWrite).await?;
            let (segment, end_offset) = keep_below(&file, segment_base, offset, interval_bytes).await?;
            if segment.bytes > 0 || bases.len() == 1 {
                break (file, segment, end_offset);
            }
        }
        remove_segment(log, segment_base).await?;
        bases.pop();
    };
    let segment_base = segment.base_offset;
    let generation = log.state.borrow().generation;
    let aborted = match aborted::of_segment(log, segment_base, generation).await {
        Ok(aborted) => Aborted::cut(aborted, end_offset),
        Err(error) => return Err(io::Error::other(error.to_string())),
    };
    // A snapshot that stayed would be believed once the log has grown past its offset.
    let behind = {
        let mut state = log.state.borrow_mut();
        let kept = state.snapshots.offsets.range(..=end_offset).copied().collect();
        std::mem::replace(&mut state.snapshots.offsets, kept).into_iter().filter(|offset| *offset > end_offset)
    };
    snapshots::remove(&log.folder, behind).await;
    for stale in [files::index_path(&log.folder, segment_base), files::time_index_path(&log.folder, segment_base)] {
        remove_if_there(&stale).await?;
    }
    if !is_on(Mutant::KeepTruncatedBytes) {
        file.set_len(segment.bytes).await?;
    }
    let partial_block = scan::partial_block(&file, segment.bytes).await?;
    let durable = match file.sync().await {
        Ok(()) => cleaner::lower_checkpoint(&log.folder, end_offset).await,
        Err(error) => Err(error),
    };
    // Also when that failed: the file is shorter already, and who reads on must not look for what it had.
    let segment = Segment { file: Some(file), aborted, ..segment };
    let freed = log.change(|state| state.truncate(end_offset, segment, partial_block));
    log.shard.tail_freed(freed);
    log.shard.news.lower(log.key, end_offset);
    log.shard.handles.borrow_mut().forget(log.key);
    if !is_on(Mutant::KeepReadAhead) {
        log.shard.read_ahead.forget(log.key);
    }
    durable
}

/// The segment as it is without the batches that end at `offset` or later, and where the log then ends.
async fn keep_below(file: &File, base: i64, offset: i64, interval_bytes: u32) -> io::Result<(Segment, i64)> {
    let mut segment = Segment::new(base);
    let mut end_offset = base;
    let file_bytes = file.len().await?;
    scan::scan(file, Scanner::new(0, base, base, file_bytes), &mut |header| {
        if header.last_offset() < offset {
            segment.push_found(header, interval_bytes);
            end_offset = header.next_offset();
        }
    })
    .await?;
    Ok((segment, end_offset))
}

async fn remove_segment(log: &LogInner, base: i64) -> io::Result<()> {
    remove_if_there(&files::index_path(&log.folder, base)).await?;
    remove_if_there(&files::time_index_path(&log.folder, base)).await?;
    remove_if_there(&files::transaction_index_path(&log.folder, base)).await?;
    remove_if_there(&files::segment_path(&log.folder, base)).await?;
    fs::sync_dir(&log.folder).await
}

async fn remove_if_there(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
