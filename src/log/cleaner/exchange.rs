//! Puts a cleaned segment in the place of those it was made of, so that a crash at any point leaves one or the other, whole.
//!
//! Runs as a background task of the log, so that truncation, deletion and close wait for it; it is short. Called by `clean`; `settle` is
//! the other half. Kafka's names and order (`LocalLog.replaceSegments`), with a sync of the folder between the steps:
//!
//! ```text
//! BASE.log.cleaned, indexes     whole and durable                           a crash: removed
//! 1. all .cleaned ─▶ .swap      synced: from here on the new one counts     a crash in it: undone, as long as one .cleaned is left
//! 2. old files ─▶ .deleted      synced: no old segment beside a new one     a crash: the old ones go
//! 3. all .swap ─▶ final names   synced                                      a crash: renamed
//! 4. .deleted unlinked, file.delete.delay.ms later                          a crash: unlinked
//! ```
//! Readers: those under way hold the old files open and find out by the generation that they must plan again; those that come between
//! the steps find the old segments' files and indexes in memory.

use super::CleanError;
use crate::aborted;
use crate::index::SegmentIndex;
use crate::log::LogInner;
use crate::mutants::{Mutant, is_on};
use crate::segment::Segment;
use crate::state::LogState;
use crate::{LogFailed, files, handles};
use ringlane_runtime::{File, fs, oneshot, sleep, spawn};
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

pub(super) const CLEANED: &str = "cleaned";
pub(super) const SWAP: &str = "swap";
pub(super) const DELETED: &str = "deleted";

/// The name of a file while it is written.
pub(super) fn cleaned(path: &Path) -> PathBuf {
    path.with_added_extension(CLEANED)
}

/// Files of one segment, the data first: an index without data is worth nothing, data without index can be read.
pub(super) fn segment_files(folder: &Path, base_offset: i64) -> [PathBuf; 4] {
    [
        files::segment_path(folder, base_offset),
        files::index_path(folder, base_offset),
        files::time_index_path(folder, base_offset),
        files::transaction_index_path(folder, base_offset),
    ]
}

/// Removes what an earlier round may have left. A stale one would make `settle` undo an exchange that is done.
pub(super) async fn remove_cleaned(folder: &Path) -> Result<(), CleanError> {
    for path in fs::read_dir(folder).await.map_err(CleanError::io(folder, "listing the folder"))? {
        if is_unfinished(&path) {
            remove_if_there(&path).await.map_err(CleanError::io(&path, "removing"))?;
        }
    }
    Ok(())
}

/// A file that was being written, or the temporary one of its making.
pub(super) fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.ends_with(".cleaned") || name.ends_with(".cleaned.tmp")
}

/// Puts `new`, whose files are `.cleaned`, in the place of the segments `old_bases`, neighbours of which the first has its base.
pub(super) async fn exchange(
    log: &Rc<LogInner>,
    generation: &Cell<u64>,
    old_bases: Vec<i64>,
    new: Segment,
    file_delete_delay_ms: u64,
) -> Result<(), CleanError> {
    let mut held = Vec::with_capacity(old_bases.len());
    for base_offset in &old_bases {
        let aborted = aborted::of_segment(log, *base_offset, generation.get()).await?;
        held.push((handles::handle(log, *base_offset).await?, aborted));
    }
    let (done, outcome) = oneshot();
    {
        // From this look at the state to the background task's being counted nothing else runs.
        let mut state = log.state.borrow_mut();
        if !super::clean::may_clean(&state) || state.generation != generation.get() {
            return Err(CleanError::Moved);
        }
        for (base_offset, (handle, aborted)) in old_bases.iter().zip(held) {
            let Some(segment) = state.segments.iter_mut().find(|segment| segment.base_offset == *base_offset) else {
                return Err(CleanError::Moved);
            };
            hold(segment, handle.file, &handle.index);
            segment.aborted.hold(aborted);
        }
    }
    let folder = log.folder.clone();
    let inner = log.clone();
    log.background("log-exchange", async move {
        let exchanged = rename_all(&inner.folder, &old_bases, new.base_offset).await;
        match &exchanged {
            Ok(()) => {
                let mut state = inner.state.borrow_mut();
                state.snapshots.offsets.retain(|offset| *offset == new.base_offset || !old_bases.contains(offset));
                state.replace_segments(&old_bases, new);
                drop(state);
                inner.shard.handles.borrow_mut().forget(inner.key);
                spawn("log-unlink", unlink_later(inner.folder.clone(), old_bases, file_delete_delay_ms)).detach();
            }
            Err(Stopped::Undone(_)) => release(&mut inner.state.borrow_mut(), &old_bases),
            Err(Stopped::Half(_)) => {}
        }
        // Nobody listens when the round was dropped; the exchange is done all the same.
        let _ = done.send(exchanged);
    });
    match outcome.await.unwrap_or_else(|| Err(Stopped::Half(io::Error::other("the exchange panicked")))) {
        Ok(()) => {}
        Err(Stopped::Undone(source)) => return Err(CleanError::io(&folder, "exchanging segments")(source)),
        Err(Stopped::Half(source)) => {
            let found = source.to_string();
            log.fail(LogFailed { path: folder, doing: "exchange of cleaned segments", position: 0, bytes: 0, source });
            return Err(CleanError::Exchange(found));
        }
    }
    generation.set(log.state.borrow().generation);
    Ok(())
}

/// Where an exchange that failed has left the files.
enum Stopped {
    /// Every old segment has its name, and nothing of the new one counts.
    Undone(io::Error),
    /// The next start finishes it or undoes it.
    Half(io::Error),
}

/// Readers find file and index in memory while their names are on the way.
fn hold(segment: &mut Segment, file: File, index: &SegmentIndex) {
    segment.index = SegmentIndex::decode(&index.encode_offsets(), &index.encode_times());
    segment.file = Some(file);
    // Neither retention nor another round takes it now.
    segment.is_sealed = false;
}

/// The segments are sealed again, as they were before [`hold`].
fn release(state: &mut LogState, old_bases: &[i64]) {
    let held = state.segments.iter_mut().filter(|segment| old_bases.contains(&segment.base_offset));
    for segment in held {
        (segment.file, segment.index, segment.is_sealed) = (None, None, true);
        segment.aborted.seal();
    }
}

async fn rename_all(folder: &Path, old_bases: &[i64], new_base: i64) -> Result<(), Stopped> {
    let names = segment_files(folder, new_base);
    // The data last: while it is `.cleaned`, all of it is undone.
    for name in names.iter().rev() {
        if let Err(source) = rename_if_there(&cleaned(name), &name.with_added_extension(SWAP)).await {
            return Err(match undo(folder, &names).await {
                Ok(()) => Stopped::Undone(source),
                Err(_) => Stopped::Half(source),
            });
        }
    }
    // From here on a failed sync leaves open which names a power loss would bring back, and only a start can tell.
    finish(folder, old_bases, new_base, &names).await.map_err(Stopped::Half)
}

/// While the new data is `.cleaned` still. Durable before that goes, too: an index alone would be taken for that of the old segment.
async fn undo(folder: &Path, names: &[PathBuf]) -> io::Result<()> {
    for name in names {
        remove_if_there(&name.with_added_extension(SWAP)).await?;
    }
    fs::sync_dir(folder).await
}

async fn finish(folder: &Path, old_bases: &[i64], new_base: i64, names: &[PathBuf]) -> io::Result<()> {
    sync_step(folder).await?;

    for base_offset in old_bases {
        for name in old_files(folder, *base_offset, new_base) {
            rename_if_there(&name, &name.with_added_extension(DELETED)).await?;
        }
    }
    sync_step(folder).await?;

    for name in names {
        rename_if_there(&name.with_added_extension(SWAP), name).await?;
    }
    fs::sync_dir(folder).await
}

async fn sync_step(folder: &Path) -> io::Result<()> {
    if is_on(Mutant::ExchangeWithoutSync) {
        return Ok(());
    }
    fs::sync_dir(folder).await
}

/// What goes with an old segment. A producer snapshot speaks of all that lies before its offset: that of the base stays true.
pub(super) fn old_files(folder: &Path, base_offset: i64, new_base: i64) -> Vec<PathBuf> {
    let mut old = segment_files(folder, base_offset).to_vec();
    if base_offset != new_base {
        old.push(files::producer_snapshot_path(folder, base_offset));
    }
    old
}

async fn unlink_later(folder: PathBuf, old_bases: Vec<i64>, delay_ms: u64) {
    sleep(Duration::from_millis(delay_ms)).await;
    for base_offset in old_bases {
        for name in old_files(&folder, base_offset, i64::MIN) {
            let path = name.with_added_extension(DELETED);
            if let Err(error) = remove_if_there(&path).await {
                tracing::warn!(%error, path = %path.display(), "not removed: the next start tries again");
            }
        }
    }
}

pub(super) async fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

pub(super) async fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
