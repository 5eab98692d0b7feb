//! The log start offset: below it nothing can be read, and segments wholly below it leave the log.
//!
//! On the home shard. Raised by DeleteRecords and by `retention_task`, which never removes a segment in any other way: first the start
//! offset is durable, then the segments below it go. So a crash in between, and any order in which their names vanish, leaves no hole and
//! never an end before the start: the next start drops what lies below (`deleted::settle`), whatever of it is still there.
//!
//! Where the offset is kept (`persist_log_start`, `read_log_start`) is nobody else's business: today a small file in the partition's folder.

use crate::log::LogInner;
use crate::mutants::{Mutant, is_on};
use crate::recovery::{self, io_error};
use crate::retention::{Plan, Reason};
use crate::state::LogState;
use crate::{LogFailed, OpenError, deleted, snapshots};
use ringlane_runtime::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

pub(crate) const FILE: &str = "log-start-offset";
const CONTENT_HEAD: &str = "version: 0\nlog_start_offset: ";

/// Why a log's start was not raised. It stays where it was.
#[derive(Debug, thiserror::Error)]
pub enum LogStartError {
    #[error("{path}: noting log start offset {offset} failed: {source}. Nothing was deleted", path = path.display())]
    Io { path: PathBuf, offset: i64, source: io::Error },
    #[error("log start offset {offset} is past {stable_offset}, the end of what is stable")]
    PastStable { offset: i64, stable_offset: i64 },
    #[error(transparent)]
    Unavailable(Arc<LogFailed>),
}

/// Makes `offset` the start of the log, durable when this returns. No change if the log begins there or later already.
pub(crate) async fn raise(log: &Rc<LogInner>, offset: i64) -> Result<(), LogStartError> {
    let Some(_raising) = begin(log, offset).await? else { return Ok(()) };
    persist_log_start(log, offset).await.map_err(|source| LogStartError::Io {
        path: log.folder.join(FILE),
        offset,
        source,
    })?;
    log.state.borrow_mut().log_start = offset;
    Ok(())
}

/// Waits for its turn: one raise at a time. `None` when there is nothing to do.
async fn begin(log: &Rc<LogInner>, offset: i64) -> Result<Option<Raising>, LogStartError> {
    loop {
        log.until(|state| !state.raising_log_start).await;
        let mut state = log.state.borrow_mut();
        if state.raising_log_start {
            continue;
        }
        if let Some(failed) = &state.failed {
            return Err(LogStartError::Unavailable(failed.clone()));
        }
        if state.closing {
            return Err(LogStartError::Unavailable(Arc::new(log.closing())));
        }
        if offset <= state.start_offset() {
            return Ok(None);
        }
        if offset > state.stable_offset {
            return Err(LogStartError::PastStable { offset, stable_offset: state.stable_offset });
        }
        state.raising_log_start = true;
        return Ok(Some(Raising(log.clone())));
    }
}

/// The turn of one raise; the next one has it when this is dropped.
struct Raising(Rc<LogInner>);

impl Drop for Raising {
    fn drop(&mut self) {
        self.0.state.borrow_mut().raising_log_start = false;
        self.0.changed.notify_all();
    }
}

/// Takes the sealed segments wholly below the log start out of the log and out of sight; their space is freed later. `plan` says for the
/// oldest ones why they go; what it does not name goes because it is below the start.
pub(crate) async fn drop_below(log: &Rc<LogInner>, plan: &Plan) {
    let _busy = log.busy();
    let dropped = {
        let mut state = log.state.borrow_mut();
        // A truncation is under way and counts on the segments that it found.
        let count = if state.on_hold { 0 } else { state.sealed_below_start() };
        state.drop_oldest(count)
    };
    let Some(last) = dropped.last() else { return };
    log.shard.handles.borrow_mut().forget_up_to(log.key, last.base_offset);
    let delay_ms = log.state.borrow().options.retention.file_delete_delay_ms;
    for (at, segment) in dropped.iter().enumerate() {
        let reason = plan.reason(at).unwrap_or(Reason::BelowStart);
        log.shard.segment_dropped(segment.bytes, reason);
        tracing::info!(%log.id, segment = segment.base_offset, bytes = segment.bytes, %reason, "segment deleted");
        deleted::rename_and_remove_later(&log.shard, &log.folder, segment.base_offset, delay_ms).await;
    }
    let older = log.state.borrow_mut().take_snapshots_before_first();
    let of_segments = |offset: &i64| dropped.iter().any(|segment| segment.base_offset == *offset);
    snapshots::remove(&log.folder, older.into_iter().filter(|offset| !of_segments(offset))).await;
}

/// The last step of an open. What a power cut took may have reached below the log start, in written mode; what it left was deleted then,
/// and the log goes on from its start.
pub(crate) async fn settle(log: &Rc<LogInner>) -> Result<(), OpenError> {
    let (end_offset, log_start, options) = {
        let state = log.state.borrow();
        (state.end_offset, state.log_start, state.options)
    };
    if end_offset >= log_start {
        return Ok(());
    }
    let folder = &log.folder;
    let deleted: Vec<i64> = log.state.borrow().segments.iter().map(|segment| segment.base_offset).collect();
    tracing::warn!(path = %folder.display(), end_offset, log_start, "the log ended before its start: it is empty now");
    let mut empty = recovery::create(folder, options, log_start).await?;
    fs::sync_dir(folder).await.map_err(io_error(folder, "syncing the folder"))?;
    let freed = log.change(|state| {
        (empty.log_start, empty.generation, empty.cuts) = (log_start, state.generation + 1, state.cuts + 1);
        let freed = state.tail.truncate(i64::MIN);
        *state = empty;
        freed
    });
    log.shard.tail_freed(freed);
    log.shard.handles.borrow_mut().forget(log.key);
    for base_offset in deleted {
        deleted::rename_and_remove_later(&log.shard, folder, base_offset, 0).await;
    }
    Ok(())
}

impl LogState {
    pub fn start_offset(&self) -> i64 {
        self.log_start.max(self.segments.front().map_or(0, |segment| segment.base_offset))
    }

    /// Oldest segments that are done with and wholly below the log start. Never the last one.
    fn sealed_below_start(&self) -> usize {
        let pairs = self.segments.iter().zip(self.segments.iter().skip(1));
        pairs.take_while(|(segment, next)| segment.is_sealed && next.base_offset <= self.log_start).count()
    }
}

/// Notes the log start offset, durable when this returns.
async fn persist_log_start(log: &LogInner, offset: i64) -> io::Result<()> {
    if is_on(Mutant::LogStartNotDurable) {
        return Ok(());
    }
    fs::write_atomic(&log.folder.join(FILE), format!("{CONTENT_HEAD}{offset}\n").as_bytes()).await
}

/// What [`persist_log_start`] noted last; 0 when it never did.
pub(crate) async fn read_log_start(folder: &Path) -> Result<i64, OpenError> {
    let path = folder.join(FILE);
    match fs::read(&path).await {
        Ok(content) => decode(&content).ok_or_else(|| OpenError::Unreadable {
            path,
            found:
                "is not a log start offset: remove the file, and deleted records whose files are still there come back"
                    .to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(io_error(&path, "reading")(error)),
    }
}

fn decode(content: &[u8]) -> Option<i64> {
    let text = str::from_utf8(content).ok()?.strip_prefix(CONTENT_HEAD)?;
    text.strip_suffix('\n')?.parse().ok().filter(|offset| *offset >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half a number read as a number would bring deleted records back, or hide good ones.
    #[test]
    fn only_a_whole_file_is_believed() {
        let whole = format!("{CONTENT_HEAD}1234\n");
        assert_eq!(decode(whole.as_bytes()), Some(1234));
        for cut in 0..whole.len() {
            assert_eq!(decode(&whole.as_bytes()[..cut]), None, "{cut} bytes");
        }
        assert_eq!(decode(format!("{CONTENT_HEAD}-5\n").as_bytes()), None);
    }
}
