//! Files of segments that have left their log: out of sight at once, off the disk later and in steps.
//!
//! Background tasks of the home shard, one removal at a time per shard. A file is first renamed to `NAME.deleted`, so that readers which
//! have it open can finish and an operator can still save it, and removed `file.delete.delay.ms` later. Freeing a gigabyte at once holds the
//! file system's own journal, and every durable write behind it, for as long as that takes; so a large file is cut down in steps of
//! [`STEP_BYTES`] first (`bench/README.md`, "removing segments").
//!
//! Nothing here is needed for correctness: what a crash leaves is found at the next start by [`settle`].

use crate::files;
use crate::listing::Listing;
use crate::shard::Shard;
use ringlane_runtime::{File, FileMode, fs, sleep, spawn};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

const STEP_BYTES: u64 = 64 << 20;
/// Between two steps: others have the disk then. 3 GB/s are freed at most, more than anybody writes.
const STEP_PAUSE: Duration = Duration::from_millis(20);
/// What a segment's files end with. The log itself is last: as long as it is there, its name says what else may be.
const SUFFIXES: [&str; 5] = [".index", ".timeindex", ".txnindex", ".snapshot", ".log"];

/// Renames the segment's files, and removes them after the delay.
pub(crate) async fn rename_and_remove_later(shard: &Rc<Shard>, folder: &Path, base_offset: i64, delay_ms: u64) {
    let mut renamed = Vec::new();
    for suffix in SUFFIXES {
        renamed.extend(out_of_sight(&folder.join(format!("{base_offset:020}{suffix}"))).await);
    }
    remove_later(shard, renamed, Duration::from_millis(delay_ms));
}

/// Renames one file; answers its new name. A file that is missing was never made. The new name need not be durable: see `log_start`.
async fn out_of_sight(path: &Path) -> Option<PathBuf> {
    let deleted = path.with_added_extension(&files::DELETED_SUFFIX[1..]);
    match fs::rename(path, &deleted).await {
        Ok(()) => Some(deleted),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "deleted segment not renamed: the next start removes it");
            None
        }
    }
}

fn remove_later(shard: &Rc<Shard>, paths: Vec<PathBuf>, delay: Duration) {
    if paths.is_empty() {
        return;
    }
    let shard = shard.clone();
    spawn("log-unlink", async move {
        sleep(delay).await;
        for path in paths {
            remove(&shard, &path).await;
        }
    })
    .detach();
}

/// Removes one file when no other is being removed.
async fn remove(shard: &Shard, path: &Path) {
    let _turn = shard.unlink_slot.acquire(1).await;
    match remove_in_steps(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "deleted file not removed: the next start tries again");
        }
        _ => {}
    }
}

async fn remove_in_steps(path: &Path) -> io::Result<()> {
    let file = File::open(path, FileMode::ReadWrite).await?;
    let mut bytes = file.len().await?;
    while bytes > STEP_BYTES {
        bytes -= STEP_BYTES;
        file.set_len(bytes).await?;
        sleep(STEP_PAUSE).await;
    }
    drop(file);
    fs::remove_file(path).await
}

/// Removes the folder of a deleted log in the background.
pub(crate) fn remove_folder_later(shard: &Rc<Shard>, folder: PathBuf) {
    let shard = shard.clone();
    spawn("log-unlink", async move {
        for path in fs::read_dir(&folder).await.unwrap_or_default() {
            remove(&shard, &path).await;
        }
        if let Err(error) = fs::remove_dir_all(&folder).await {
            tracing::warn!(%error, path = %folder.display(), "deleted log not removed: the next start tries again");
        }
    })
    .detach();
}

/// Before a log is opened: what the last process had deleted goes, and what is wholly below the log start but was not yet renamed.
/// Answers whether anything has another name now.
pub(crate) async fn settle(shard: &Rc<Shard>, listing: &Listing, log_start: i64) -> bool {
    let mut leftovers = Vec::new();
    let bases = listing.segment_bases().into_iter();
    let first_kept = bases.filter(|base| *base <= log_start).max().unwrap_or(0);
    for path in listing.paths() {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(files::DELETED_SUFFIX) {
            leftovers.push(path.clone());
        } else if base_of(name).is_some_and(|base| base < first_kept) {
            leftovers.extend(out_of_sight(path).await);
        }
    }
    let has_changed = !leftovers.is_empty();
    remove_later(shard, leftovers, Duration::ZERO);
    has_changed
}

/// The base offset in the name of a segment's file, whichever of its files it is.
fn base_of(name: &str) -> Option<i64> {
    let (digits, suffix) = name.split_at_checked(20)?;
    let is_ours = SUFFIXES.contains(&suffix) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_ours.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint taken for an old segment's file would be removed with it.
    #[test]
    fn only_files_of_segments_have_a_base() {
        for suffix in SUFFIXES {
            assert_eq!(base_of(&format!("{:020}{suffix}", 42)), Some(42));
        }
        for other in
            ["leader-epoch-checkpoint", "partition.metadata", "next.prepared", "00000000000000000042.log.deleted"]
        {
            assert_eq!(base_of(other), None, "{other}");
        }
    }
}
