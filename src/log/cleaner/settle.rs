//! Finishes or undoes what a crash left of an exchange of segments, ours or Kafka's, before recovery looks at the folder.
//!
//! Runs on the home shard, called by `recovery` when it opens a log; running it again after a crash in the middle of it comes to the same
//! end. The rules are Kafka's (`LogLoader.removeTempFilesAndCollectSwapFiles`):
//! * `.deleted` goes: its content lies in another segment, or was let go;
//! * `.cleaned` goes, it never counted, and with it any `.swap` at or behind it: that exchange had not begun to count;
//! * any other `.swap` counts: the segments whose offsets it covers go, then it gets its name.

use super::exchange::{CLEANED, DELETED, SWAP, is_unfinished, old_files, remove_if_there, segment_files};
use crate::listing::Listing;
use crate::recovery::io_error;
use crate::scan::{self, Scanner};
use crate::{OpenError, files};
use ringlane_runtime::{File, FileMode, fs};
use std::path::{Path, PathBuf};

/// Leaves the folder with nothing but whole segments. Answers whether anything was changed. No I/O when there is nothing to do.
pub(crate) async fn settle(folder: &Path, listing: &Listing) -> Result<bool, OpenError> {
    let entries: Vec<PathBuf> = listing.paths().cloned().collect();
    let plan = Plan::of(&entries);
    if plan.is_empty() {
        return Ok(false);
    }
    tracing::info!(
        path = %folder.display(), swaps = plan.swaps.len(), removed = plan.remove.len(), "finishing an exchange of segments"
    );
    // The names that were seen must be durable before anything is removed because of them.
    sync(folder).await?;
    for path in &plan.remove {
        remove_if_there(path).await.map_err(io_error(path, "removing a leftover"))?;
    }
    for base_offset in &plan.swaps {
        remove_covered(folder, *base_offset, &entries).await?;
    }
    sync(folder).await?;
    for path in &plan.rename {
        let named = path.with_extension("");
        fs::rename(path, &named).await.map_err(io_error(path, "giving the segment its name"))?;
    }
    sync(folder).await?;
    Ok(true)
}

/// What to do, by the names alone.
#[derive(Default, PartialEq, Eq, Debug)]
struct Plan {
    remove: Vec<PathBuf>,
    /// Base offsets of new segments that count and have no name yet.
    swaps: Vec<i64>,
    /// Files that lose `.swap`; a segment's data before its indexes.
    rename: Vec<PathBuf>,
}

impl Plan {
    fn of(entries: &[PathBuf]) -> Plan {
        let with = |suffix: &'static str| {
            entries.iter().filter(move |path| path.extension().is_some_and(|extension| extension == suffix))
        };
        let first_cleaned = with(CLEANED).filter_map(|path| base_of(path)).min().unwrap_or(i64::MAX);
        let mut plan = Plan::default();
        plan.remove.extend(with(DELETED).filter(|path| base_of(path).is_some()).cloned());
        plan.remove.extend(entries.iter().filter(|path| is_unfinished(path)).cloned());
        for path in with(SWAP) {
            match base_of(path) {
                Some(base_offset) if base_offset >= first_cleaned => plan.remove.push(path.clone()),
                Some(_) => plan.rename.push(path.clone()),
                None => {}
            }
        }
        plan.rename.sort_by_key(|path| (base_of(path), files::segment_base(&path.with_extension("")).is_none()));
        plan.swaps.extend(plan.rename.iter().filter_map(|path| files::segment_base(&path.with_extension(""))));
        plan
    }

    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.rename.is_empty()
    }
}

/// The offset that any file of a segment has in front: `BASE.index.swap`.
fn base_of(path: &Path) -> Option<i64> {
    let (digits, _) = path.file_name()?.to_str()?.split_once('.')?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Removes the old segments that the new one was made of. One that begins behind its last batch may stay: its records are older than
/// others of their keys, or tombstones.
async fn remove_covered(folder: &Path, base_offset: i64, entries: &[PathBuf]) -> Result<(), OpenError> {
    let [data, ..] = segment_files(folder, base_offset);
    let path = data.with_added_extension(SWAP);
    let end_offset = end_of(&path, base_offset).await?;
    let bases = entries.iter().filter_map(|path| files::segment_base(path));
    for old_base in bases.filter(|base| *base == base_offset || (base_offset..end_offset).contains(base)) {
        // Its data last: what is left after a crash is still recognized.
        for old in old_files(folder, old_base, base_offset).iter().rev() {
            remove_if_there(old).await.map_err(io_error(old, "removing a segment that was cleaned"))?;
        }
    }
    Ok(())
}

/// Where the new segment ends. Its old ones go only if all of it is good.
async fn end_of(path: &Path, base_offset: i64) -> Result<i64, OpenError> {
    let file = File::open(path, FileMode::ReadWrite).await.map_err(io_error(path, "opening"))?;
    file.sync().await.map_err(io_error(path, "syncing before the first read"))?;
    let file_bytes = file.len().await.map_err(io_error(path, "asking for the size"))?;
    let scanner = Scanner::new(0, base_offset, base_offset, file_bytes);
    let scanned = scan::scan(&file, scanner, &mut |_| {}).await.map_err(io_error(path, "reading"))?;
    match scanned.bad {
        None => Ok(scanned.end_offset),
        Some(bad) => Err(OpenError::Corrupt {
            path: path.to_owned(),
            position: bad.position,
            found: format!("{} (in a segment that was to replace others)", bad.found),
            next_good: None,
        }),
    }
}

async fn sync(folder: &Path) -> Result<(), OpenError> {
    fs::sync_dir(folder).await.map_err(io_error(folder, "syncing the folder"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(names: &str) -> (Vec<String>, Vec<i64>, Vec<String>) {
        let entries: Vec<PathBuf> = names
            .split_whitespace()
            .map(|name| match name.split_once('.') {
                Some((digits, rest)) if digits.parse::<i64>().is_ok() => format!("p-0/{digits:0>20}.{rest}").into(),
                _ => PathBuf::from(format!("p-0/{name}")),
            })
            .collect();
        let plan = Plan::of(&entries);
        let short = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            format!("{}{}", base_of(path).unwrap(), &name[20..])
        };
        (plan.remove.iter().map(short).collect(), plan.swaps, plan.rename.iter().map(short).collect())
    }

    /// Each state that a crash can leave, and what Kafka makes of it.
    #[test]
    fn what_counts_follows_from_the_names() {
        let nothing = (Vec::new(), Vec::new(), Vec::new());
        assert_eq!(plan("0.log 0.index 0.timeindex 5.log partition.metadata next.prepared 5.snapshot"), nothing);
        let names = |names: &str| names.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (remove, swaps, rename) = plan("0.log 5.log 0.log.cleaned 0.index.swap 0.timeindex.cleaned.tmp");
        assert_eq!(remove, names("0.log.cleaned 0.timeindex.cleaned.tmp 0.index.swap"));
        assert!(swaps.is_empty() && rename.is_empty(), "it had not begun to count");

        let (remove, swaps, rename) = plan("0.index.swap 0.log.swap 0.timeindex.swap 0.log 5.log.deleted 9.log");
        assert_eq!((remove, swaps), (names("5.log.deleted"), vec![0]));
        assert_eq!(rename, names("0.log.swap 0.index.swap 0.timeindex.swap"), "data before indexes");

        let (_, swaps, rename) = plan("0.log 0.index.swap 0.timeindex.swap 9.log");
        assert_eq!((swaps, rename), (vec![], names("0.index.swap 0.timeindex.swap")), "its data has its name already");

        let (remove, swaps, rename) = plan("0.log 50.log.swap 50.index.swap 0.log.cleaned 100.log");
        assert_eq!(remove, names("0.log.cleaned 50.log.swap 50.index.swap"), "Kafka's split, half done");
        assert!(swaps.is_empty() && rename.is_empty());
    }
}
