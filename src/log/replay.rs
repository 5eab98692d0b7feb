//! Adds to a log what the journals have and its segments lack, and keeps it safe where that cannot be done.
//!
//! Runs on the home shard as the last step of an open, before the log is anybody's. Journals of all shards count: a batch that the segment
//! has is skipped, the next expected one is appended, a hole is damage. When it returns, all of it is durable in the segments, so that the
//! journals may be void.

use crate::error::OpenError;
use crate::journal::kept;
use crate::journal::scan::{FoundEntry, read_batch};
use crate::log::LogInner;
use crate::mutants::{Mutant, is_on};
use crate::recovery::io_error;
use crate::visitor::{EndMarker, Visitor};
use crate::{AppendBatch, writer};
use ringlane_protocol::records::{BatchHeader, HEADER_BYTES};
use ringlane_runtime::{File, FileMode};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// So much is appended before it is flushed.
const FLUSH_EVERY_BYTES: usize = 16 << 20;

/// Applies `entries`, the journals' of this log in the order of appending, then makes all that the log has durable.
pub(crate) async fn replay(
    log: &Rc<LogInner>,
    entries: &[FoundEntry],
    visitor: &mut dyn Visitor,
) -> Result<(), OpenError> {
    let mut source = Source::default();
    let (mut appended_bytes, mut appended_count) = (0, 0);
    for entry in entries {
        match place_of(log, entry)? {
            Place::Known => continue,
            Place::Lost => break,
            Place::Next => {}
        }
        let bytes = read_batch(source.open(&entry.path).await?, entry).await?.freeze();
        let header = BatchHeader::parse(&bytes).map_err(|error| damaged(entry, error.to_string()))?;
        let marker = EndMarker::of(&header, &bytes[HEADER_BYTES..]);
        appended_bytes += bytes.len();
        appended_count += 1;
        log.append_replayed(AppendBatch::new(&header, bytes));
        visitor.batch(&header);
        if let Some(aborted) = marker.and_then(|marker| visitor.marker(&header, marker)) {
            log.state.borrow_mut().active().aborted.push(aborted);
        }
        if appended_bytes >= FLUSH_EVERY_BYTES {
            appended_bytes = 0;
            make_durable(log).await?;
        }
    }
    if appended_count > 0 {
        tracing::info!(%log.id, batches = appended_count, "replayed from the journal");
    }
    make_durable(log).await
}

enum Place {
    /// The segments have it.
    Known,
    Next,
    /// A power cut took what was in front of it, and the log's acks do not promise more.
    Lost,
}

fn place_of(log: &LogInner, entry: &FoundEntry) -> Result<Place, OpenError> {
    let end_offset = log.state.borrow().end_offset;
    let head = &entry.head;
    if head.next_offset <= end_offset && !is_on(Mutant::ReplayTwice) {
        return Ok(Place::Known);
    }
    if head.previous_end == end_offset || is_on(Mutant::ReplayTwice) {
        return Ok(Place::Next);
    }
    let record = log.shard.options.recovered.record(&log.volume.path, log.id.name());
    if head.previous_end > end_offset && record.is_some_and(|record| record.written_mode) {
        tracing::warn!(%log.id, end_offset, found = head.base_offset, "what lay between was written, not durable, and is lost");
        return Ok(Place::Lost);
    }
    let found = format!(
        "batch {} of {} follows on offset {}, but the log ends at {end_offset}: what lies between is missing",
        head.base_offset, log.id, head.previous_end
    );
    Err(damaged(entry, found))
}

fn damaged(entry: &FoundEntry, found: String) -> OpenError {
    OpenError::Journal { path: entry.path.to_path_buf(), position: entry.position, found }
}

async fn make_durable(log: &Rc<LogInner>) -> Result<(), OpenError> {
    let end_offset = log.state.borrow().end_offset;
    writer::flush_to(log, end_offset).await;
    if let Err(failed) = writer::flush_now(log).await {
        log.fail(failed);
    }
    match &log.state.borrow().failed {
        Some(failed) => Err(OpenError::Unreadable { path: log.folder.clone(), found: failed.to_string() }),
        None => Ok(()),
    }
}

/// Before the journals become void: what they have of a log that cannot be opened goes into a file in its folder, where the next start
/// finds it.
pub(crate) async fn keep(folder: &Path, directory_id: [u8; 16], entries: &[FoundEntry]) -> Result<(), OpenError> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut source = Source::default();
    let mut batches = Vec::with_capacity(entries.len());
    for entry in entries {
        let bytes = read_batch(source.open(&entry.path).await?, entry).await?.freeze();
        batches.push((entry.head, bytes));
    }
    kept::write(folder, directory_id, batches).await
}

/// The journal file that was read last: entries come in their order.
#[derive(Default)]
struct Source {
    open: Option<(Arc<Path>, File)>,
}

impl Source {
    async fn open(&mut self, path: &Arc<Path>) -> Result<&File, OpenError> {
        if self.open.as_ref().is_none_or(|(open, _)| open != path) {
            let file = File::open(path, FileMode::Read).await.map_err(io_error(path, "opening"))?;
            self.open = Some((path.clone(), file));
        }
        Ok(&self.open.as_ref().expect("opened above").1)
    }
}
