//! Reads the log and decides what to do. Changes nothing.

use super::{Action, Lost, Remedy, RepairPlan};
use crate::files;
use crate::index::{IndexedBatch, SegmentIndex};
use crate::offline::kind::{FileKind, SAVED_SUFFIX, offset_in_name};
use crate::offline::transactions::Transactions;
use crate::offline::walk::{Damage, Step, StoredBatch, Walk};
use crate::offline::{OfflineError, adjust, failed, journals};
use ringlane_protocol::storage::txn_index;
use ringlane_runtime::fs;
use std::io;
use std::path::{Path, PathBuf};

/// `index.interval.bytes` of indexes that are made anew: Kafka's default.
const INDEX_INTERVAL_BYTES: u32 = 4096;

/// What is in one segment.
struct Surveyed {
    path: PathBuf,
    base_offset: i64,
    file_bytes: u64,
    damages: Vec<Damage>,
    /// Good batches behind the first damage.
    behind: Lost,
    batches: u64,
    records: u64,
    /// Of the good batches only, at the positions that they will have.
    index: SegmentIndex,
    end_offset: i64,
}

/// What `remedy` would do to the partition in `folder`. Nobody may have it open.
pub async fn plan(folder: &Path, remedy: Remedy) -> Result<RepairPlan, OfflineError> {
    let entries = fs::read_dir(folder).await.map_err(failed(folder, "listing the folder"))?;
    let mut segments: Vec<Surveyed> = Vec::new();
    let mut transactions = Transactions::default();
    for path in entries.iter().filter(|path| files::segment_base(path).is_some()) {
        let expected = segments.last().map(|segment| segment.end_offset);
        segments.push(survey(path, expected, remedy == Remedy::DropDamaged, &mut transactions).await?);
    }
    let end = segments.last().map_or(0, |segment| segment.end_offset);
    let mut plan =
        RepairPlan { folder: folder.to_owned(), lost: Lost::default(), end_offset: (end, end), actions: Vec::new() };
    match remedy {
        Remedy::TruncateAtDamage => truncate(&mut plan, &segments, &entries).await?,
        Remedy::DropDamaged => drop_damaged(&mut plan, &segments, &entries).await?,
        Remedy::Indexes => {
            indexes(&mut plan, &segments, &entries).await?;
            transaction_indexes(&mut plan, &segments, &transactions).await?;
        }
    }
    if remedy != Remedy::Indexes && !plan.actions.is_empty() {
        let first = journals::let_go(folder, |path| saved(path, &entries)).await?;
        plan.actions.splice(..0, first);
    }
    Ok(plan)
}

async fn survey(
    path: &Path,
    expected: Option<i64>,
    damage_goes: bool,
    transactions: &mut Transactions,
) -> Result<Surveyed, OfflineError> {
    let mut walk = Walk::open(path, expected).await?;
    let base_offset = walk.base_offset();
    let (mut damages, mut index) = (Vec::new(), SegmentIndex::default());
    let (mut batches, mut records, mut gone, mut behind) = (0, 0, 0, Lost::default());
    while let Some(step) = walk.next().await? {
        match step {
            Step::Batch(batch) => {
                let batch_records = u64::try_from(batch.header.records_count).unwrap_or(0);
                batches += 1;
                records += batch_records;
                if !damages.is_empty() {
                    behind.good_batches += 1;
                    behind.good_records += batch_records;
                    behind.good_bytes += batch.header.size() as u64;
                }
                push(&mut index, &batch, base_offset, gone);
                transactions.batch(&walk, &batch).await?;
            }
            Step::Damage(damage) => {
                if damage_goes {
                    gone += damage.end - damage.position;
                }
                damages.push(damage);
                transactions.skip();
            }
            Step::Unwritten { .. } => {}
        }
    }
    index.seal();
    let (file_bytes, end_offset) = (walk.file_bytes(), walk.end_offset());
    let path = path.to_owned();
    Ok(Surveyed { path, base_offset, file_bytes, damages, behind, batches, records, index, end_offset })
}

fn push(index: &mut SegmentIndex, batch: &StoredBatch, base_offset: i64, gone: u64) {
    let indexed = IndexedBatch {
        last_offset: u32::try_from(batch.header.last_offset() - base_offset).unwrap_or(u32::MAX),
        position: u32::try_from(batch.position - gone).unwrap_or(u32::MAX),
        bytes: u32::try_from(batch.header.size()).unwrap_or(u32::MAX),
        max_timestamp: batch.header.max_timestamp,
    };
    index.push(indexed, INDEX_INTERVAL_BYTES);
}

/// Newest first, so that what is left at any moment is the log's beginning.
async fn truncate(plan: &mut RepairPlan, segments: &[Surveyed], entries: &[PathBuf]) -> Result<(), OfflineError> {
    let Some(at) = segments.iter().position(|segment| !segment.damages.is_empty()) else { return Ok(()) };
    let damaged = &segments[at];
    let first = &damaged.damages[0];
    for path in entries.iter().filter(|path| FileKind::of(path) == FileKind::NextSegment) {
        plan.actions.push(Action::SetAside { from: path.clone(), to: saved(path, entries) });
    }
    for later in segments[at + 1..].iter().rev() {
        plan.actions.push(Action::SetAside { from: later.path.clone(), to: saved(&later.path, entries) });
        plan.actions.extend(indexes_of(entries, later.base_offset, true));
        plan.lost.good_batches += later.batches;
        plan.lost.good_records += later.records;
        let damaged_bytes = damage_bytes(later);
        plan.lost.damaged_bytes += damaged_bytes;
        plan.lost.good_bytes += later.file_bytes - damaged_bytes;
    }
    plan.lost.good_batches += damaged.behind.good_batches;
    plan.lost.good_records += damaged.behind.good_records;
    plan.lost.good_bytes += damaged.behind.good_bytes;
    plan.lost.damaged_bytes += damage_bytes(damaged);

    plan.actions.extend(indexes_of(entries, damaged.base_offset, false));
    plan.end_offset.1 = first.from_offset;
    let kept: Vec<PathBuf> = entries
        .iter()
        .filter(|path| {
            !plan.actions.iter().any(|action| matches!(action, Action::Remove { path: gone } if gone == *path))
        })
        .cloned()
        .collect();
    plan.actions.extend(adjust::to_end(&kept, first.from_offset).await?);
    let range = (first.position, damaged.file_bytes);
    plan.actions.push(Action::Save {
        from: damaged.path.clone(),
        range,
        to: saved_part(&damaged.path, first.position, entries),
    });
    plan.actions.push(Action::Cut { segment: damaged.path.clone(), bytes: first.position });
    Ok(())
}

async fn drop_damaged(plan: &mut RepairPlan, segments: &[Surveyed], entries: &[PathBuf]) -> Result<(), OfflineError> {
    for (at, segment) in segments.iter().enumerate().filter(|(_, segment)| !segment.damages.is_empty()) {
        let is_last = at + 1 == segments.len();
        plan.lost.damaged_bytes += damage_bytes(segment);
        plan.actions.extend(indexes_of(entries, segment.base_offset, false));
        for damage in &segment.damages {
            let range = (damage.position, damage.end);
            let to = saved_part(&segment.path, damage.position, entries);
            plan.actions.push(Action::Save { from: segment.path.clone(), range, to });
        }
        plan.actions.push(Action::Keep { segment: segment.path.clone(), ranges: good_ranges(segment) });
        if !is_last {
            plan.actions.extend(index_files(&plan.folder, segment));
        }
    }
    if !plan.actions.is_empty() {
        // Where the damage reached to the end, the log ends earlier than its small files say.
        plan.actions.extend(adjust::to_end(entries, plan.end_offset.1).await?);
    }
    Ok(())
}

async fn indexes(plan: &mut RepairPlan, segments: &[Surveyed], entries: &[PathBuf]) -> Result<(), OfflineError> {
    for (at, segment) in segments.iter().enumerate() {
        for action in index_files(&plan.folder, segment) {
            let Action::Write { path, content } = &action else { continue };
            // The index of the last segment lies in memory while a broker runs; Kafka has it as a file.
            let wanted = at + 1 < segments.len() || entries.contains(path);
            if wanted && fs::read(path).await.ok().as_ref() != Some(content) {
                plan.actions.push(action);
            }
        }
    }
    Ok(())
}

/// Of a log without damage: where batches are missing, nobody can tell what they would say.
async fn transaction_indexes(
    plan: &mut RepairPlan,
    segments: &[Surveyed],
    transactions: &Transactions,
) -> Result<(), OfflineError> {
    for segment in segments {
        let path = files::transaction_index_path(&plan.folder, segment.base_offset);
        let content = match fs::read(&path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            read => Some(read.map_err(failed(&path, "reading"))?),
        };
        let Some(aborted) = transactions.aborted_in(segment.base_offset) else { continue };
        let is_right = txn_index::decode(content.as_deref().unwrap_or_default())
            .is_ok_and(|index| transactions.mismatch(segment.base_offset, &index).is_none());
        match aborted {
            _ if is_right => {}
            [] => plan.actions.push(Action::Remove { path }),
            aborted => plan.actions.push(Action::Write { path, content: txn_index::encode(aborted) }),
        }
    }
    Ok(())
}

fn index_files(folder: &Path, segment: &Surveyed) -> [Action; 2] {
    [
        Action::Write {
            path: files::time_index_path(folder, segment.base_offset),
            content: segment.index.encode_times(),
        },
        Action::Write { path: files::index_path(folder, segment.base_offset), content: segment.index.encode_offsets() },
    ]
}

/// Index files of a segment that is about to change. A crash must not leave them beside other bytes than they speak of.
fn indexes_of(entries: &[PathBuf], base_offset: i64, with_transactions: bool) -> impl Iterator<Item = Action> {
    let of_segment = entries.iter().filter(move |path| offset_in_name(path) == Some(base_offset));
    let changed = of_segment.filter(move |path| match FileKind::of(path) {
        FileKind::OffsetIndex | FileKind::TimeIndex => true,
        FileKind::TxnIndex => with_transactions,
        _ => false,
    });
    changed.map(|path| Action::Remove { path: path.clone() })
}

fn good_ranges(segment: &Surveyed) -> Vec<(u64, u64)> {
    let (mut ranges, mut from) = (Vec::new(), 0);
    for damage in &segment.damages {
        if damage.position > from {
            ranges.push((from, damage.position));
        }
        from = damage.end;
    }
    if segment.file_bytes > from {
        ranges.push((from, segment.file_bytes));
    }
    ranges
}

fn damage_bytes(segment: &Surveyed) -> u64 {
    segment.damages.iter().map(|damage| damage.end - damage.position).sum()
}

/// A name for what is taken out, and one that no earlier repair has used: what that has kept may be the only copy.
fn saved(path: &Path, entries: &[PathBuf]) -> PathBuf {
    let suffix = &SAVED_SUFFIX[1..];
    let first = path.with_added_extension(suffix);
    let later = (2..).map(|n| path.with_added_extension(format!("again-{n}")).with_added_extension(suffix));
    let mut names = std::iter::once(first).chain(later);
    names.find(|name| !entries.contains(name)).expect("there is always another number")
}

fn saved_part(path: &Path, position: u64, entries: &[PathBuf]) -> PathBuf {
    saved(&path.with_added_extension(position.to_string()), entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Damage at one place, repaired, and again at the same place: the first `.cut` file is the only copy of what was there.
    #[test]
    fn a_second_repair_keeps_what_the_first_one_kept() {
        let segment = Path::new("orders-0/00000000000000000000.log");
        let mut entries = vec![segment.to_owned()];
        for expected in ["log.1000.cut", "log.1000.again-2.cut", "log.1000.again-3.cut"] {
            let name = saved_part(segment, 1_000, &entries);
            assert!(name.to_string_lossy().ends_with(expected), "{}", name.display());
            assert_eq!(FileKind::of(&name), FileKind::Saved);
            entries.push(name);
        }
    }
}
