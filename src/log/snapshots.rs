//! Kafka's producer snapshots of a log: `OFFSET.snapshot`, the producers as they were before OFFSET.
//!
//! One for each segment, as of its base, written in the background when the segment before it is sealed; one as of the log's end, written
//! by an orderly stop. Ringlane does not need them, its checkpoints say more (five batches of a producer instead of one); they are for
//! Kafka's tools, for a directory that moves to Kafka, and for one that comes from there. So a failed write is a warning, and a snapshot that
//! a crash cost is not made up for: Kafka begins with the last one that is there. A log that never had a producer has none.

use crate::listing::Listing;
use crate::log::LogInner;
use crate::recovery::io_error;
use crate::state::LogState;
use crate::{OpenError, files};
use ringlane_protocol::storage::producer_snapshot::{self, ProducerEntry};
use ringlane_runtime::fs;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// The snapshots of a log that are on disk, and whether another one is due.
#[derive(Default)]
pub(crate) struct Snapshots {
    pub offsets: BTreeSet<i64>,
    /// The last append began a segment, and its partition has not told of its producers yet.
    pub is_due: bool,
}

/// Writes the producers as of `offset`, below which everything is durable.
pub(crate) async fn write(log: &LogInner, offset: i64, producers: &[ProducerEntry]) {
    {
        let state = log.state.borrow();
        // As of the same offset it says the same.
        let needless = producers.is_empty() && state.snapshots.offsets.is_empty();
        if needless || state.snapshots.offsets.contains(&offset) {
            return;
        }
    }
    let _slot = log.shard.sync_slots.acquire(1).await;
    let path = files::producer_snapshot_path(&log.folder, offset);
    let written = fs::write_atomic(&path, &producer_snapshot::encode(producers)).await;
    if let Err(error) = written {
        tracing::warn!(%error, %log.id, path = %path.display(), "producer snapshot not written: Kafka would begin with an earlier one");
        return;
    }
    let strays = {
        let mut state = log.state.borrow_mut();
        state.snapshots.offsets.insert(offset);
        state.take_stray_snapshots()
    };
    remove(&log.folder, strays).await;
}

/// An orderly stop: the producers as of the log's end.
pub(crate) async fn at_close(log: &LogInner) {
    let Some(producers) = log.shard.producers_of(log.key) else { return };
    let end_offset = log.state.borrow().end_offset;
    write(log, end_offset, &producers).await;
}

/// Removes files; what cannot be removed is found by the next start.
pub(crate) async fn remove(folder: &Path, offsets: impl IntoIterator<Item = i64>) {
    for offset in offsets {
        let path = files::producer_snapshot_path(folder, offset);
        match fs::remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %path.display(), "old producer snapshot not removed: the next start tries again");
            }
            _ => {}
        }
    }
}

impl LogState {
    /// Snapshots that speak of no segment's base and are not the latest: those of earlier stops. Kafka has the same rule
    /// (`ProducerStateManager.removeStraySnapshots`).
    fn take_stray_snapshots(&mut self) -> Vec<i64> {
        let bases: BTreeSet<i64> = self.segments.iter().map(|segment| segment.base_offset).collect();
        let latest = self.snapshots.offsets.last().copied();
        let is_stray = |offset: &i64| !bases.contains(offset) && Some(*offset) != latest;
        let strays: Vec<i64> = self.snapshots.offsets.iter().filter(|offset| is_stray(offset)).copied().collect();
        strays.iter().for_each(|offset| _ = self.snapshots.offsets.remove(offset));
        strays
    }

    /// Snapshots as of offsets before the log's first segment; those of segments go with them.
    pub fn take_snapshots_before_first(&mut self) -> Vec<i64> {
        let first = self.segments.front().map_or(0, |segment| segment.base_offset);
        let kept = self.snapshots.offsets.split_off(&first);
        std::mem::replace(&mut self.snapshots.offsets, kept).into_iter().collect()
    }

    /// Snapshots as of offsets behind the log's end.
    pub fn take_snapshots_behind_end(&mut self) -> Vec<i64> {
        self.snapshots.offsets.split_off(&(self.end_offset + 1)).into_iter().collect()
    }
}

/// The last step of an open: what `listing` had of snapshots is the log's from here on, without what does not fit it, and so are the
/// indexes of aborted transactions.
pub(crate) async fn settle(log: &LogInner, listing: &Listing) -> Result<(), OpenError> {
    let (behind, strays, lost_indexes) = {
        let mut state = log.state.borrow_mut();
        let offsets = listing.offsets_of(files::PRODUCER_SNAPSHOT).map(|(offset, _)| offset);
        state.snapshots.offsets.extend(offsets);
        let bases: BTreeSet<i64> = state.segments.iter().map(|segment| segment.base_offset).collect();
        let indexes = listing.offsets_of(files::TRANSACTION_INDEX);
        let lost: Vec<i64> =
            indexes.filter(|(base, bytes)| *bytes == 0 || !bases.contains(base)).map(|(base, _)| base).collect();
        (state.take_snapshots_behind_end(), state.take_stray_snapshots(), lost)
    };
    let folder = &log.folder;
    for base_offset in lost_indexes {
        let path = files::transaction_index_path(folder, base_offset);
        crate::aborted::write(&path, &[]).await.map_err(io_error(&path, "removing an index without its segment"))?;
    }
    let comes_back = !behind.is_empty();
    remove(folder, behind.into_iter().chain(strays)).await;
    if comes_back {
        // The log will grow past the offset, and then the file would be believed.
        fs::sync_dir(folder).await.map_err(io_error(folder, "syncing the folder"))?;
    }
    Ok(())
}

/// Snapshots to rebuild a log's producers from where no checkpoint tells: the last one that can be read as of the base of the newest segment
/// or before, and those behind it, of which one may be that of the log's end: where that is nobody knows yet.
pub(crate) async fn last_valid(folder: &Path, listing: &Listing, newest_base: i64) -> Vec<(i64, Vec<ProducerEntry>)> {
    let offsets: Vec<i64> = listing.offsets_of(files::PRODUCER_SNAPSHOT).map(|(offset, _)| offset).collect();
    let mut found: Vec<(i64, Vec<ProducerEntry>)> = Vec::new();
    for offset in offsets.into_iter().rev() {
        let path = files::producer_snapshot_path(folder, offset);
        match read(&path, offset).await {
            Ok(producers) => found.push((offset, producers)),
            Err(error) => {
                tracing::warn!(path = %path.display(), found = error, "producer snapshot not used");
                continue;
            }
        }
        if offset <= newest_base {
            break;
        }
    }
    found.reverse();
    found
}

async fn read(path: &Path, offset: i64) -> Result<Vec<ProducerEntry>, String> {
    let content = fs::read(path).await.map_err(|error| error.to_string())?;
    let producers = producer_snapshot::decode(&content).map_err(|error| error.to_string())?;
    let later = producers.iter().find(|entry| entry.last_batch.is_some_and(|last| last.last_offset >= offset));
    match later {
        Some(entry) => Err(format!("producer {} has a batch behind offset {offset}", entry.producer_id)),
        None => Ok(producers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogOptions;
    use crate::segment::Segment;

    fn state(bases: &[i64], end_offset: i64, snapshots: &[i64]) -> LogState {
        let segments = bases.iter().map(|base| Segment::new(*base)).collect();
        let mut state = LogState::new(LogOptions::default(), segments, end_offset, Vec::new());
        state.snapshots.offsets = snapshots.iter().copied().collect();
        state
    }

    /// Without this each stop leaves a file for ever; one too many gone, and Kafka reads a segment again for nothing.
    #[test]
    fn snapshots_of_segments_and_the_latest_stay() {
        let mut log = state(&[100, 200, 300], 350, &[40, 100, 150, 200, 320, 350, 400]);
        assert_eq!(log.take_snapshots_before_first(), [40]);
        assert_eq!(log.take_snapshots_behind_end(), [400]);
        assert_eq!(log.take_stray_snapshots(), [150, 320]);
        assert!(log.snapshots.offsets.iter().eq(&[100, 200, 350]));
    }
}
