//! Reads a partition's folder to its last byte and says what is wrong with it. Changes nothing.

use super::index_check::{Mismatch, OffsetIndexCheck, TimeIndexCheck};
use super::kind::{FileKind, offset_in_name};
use super::report::{Finding, PartitionReport, Severity};
use super::transactions::Transactions;
use super::walk::{Step, StoredBatch, Walk};
use super::{Directory, small_files};
use crate::files;
use ringlane_protocol::records::{Batch, Records};
use ringlane_protocol::storage::{checkpoint, txn_index};
use ringlane_runtime::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A batch that unpacks to more was not made by a client that anybody runs.
const UNPACKED_BYTES_MAX: usize = 1 << 30;
pub(super) const REBUILD: &str = "`ringlane log repair PARTITION --indexes` writes it anew";
const CHOOSE: &str = "Restore the file from a copy, or see `ringlane log repair --help` for the ways out";

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VerifyOptions {
    /// Also unpack every batch and read its records.
    pub deep: bool,
    /// The broker stopped in order: no write can have been cut short, nothing is only in a journal.
    pub stopped_clean: bool,
}

/// The folder of one partition. `progress` is told how many more bytes were read.
pub async fn partition(folder: &Path, options: VerifyOptions, progress: &mut dyn FnMut(u64)) -> PartitionReport {
    let mut report = PartitionReport::new(folder);
    let entries = match fs::read_dir(folder).await {
        Ok(entries) => entries,
        Err(error) => {
            report.wrong(folder, None, format!("listing the folder failed: {error}"), "Is the disk in order?");
            return report;
        }
    };
    let bases: Vec<i64> = entries.iter().filter_map(|path| files::segment_base(path)).collect();
    if bases.is_empty() {
        report.note(folder, None, "there is no segment", "An empty log, if nothing was ever written to it");
    }
    report.start_offset = bases.first().copied().unwrap_or(0);
    report.end_offset = report.start_offset;
    let mut transactions = Transactions::default();
    for (at, base) in bases.iter().enumerate() {
        let is_last = at + 1 == bases.len();
        segment(&mut report, &mut transactions, *base, is_last, options, progress).await;
        // Before an orderly stop the index of what was written last is in memory.
        if options.stopped_clean {
            transaction_index(&mut report, &transactions, *base).await;
        }
    }
    for path in &entries {
        let kind = FileKind::of(path);
        let has_offset = offset_in_name(path);
        match kind {
            FileKind::OffsetIndex | FileKind::TimeIndex | FileKind::TxnIndex
                if has_offset.is_none_or(|base| !bases.contains(&base)) =>
            {
                report.note(path, None, "an index without its segment", "Nothing reads it; remove it");
            }
            FileKind::Segment if has_offset.is_none() => {
                report.note(path, None, "its name has no offset of 20 digits", "Nothing reads it; is it a copy?");
            }
            kind => small_files::check(&mut report, path, kind, options.stopped_clean).await,
        }
    }
    report
}

/// What lies at the top of a data directory.
pub async fn top(directory: &Directory) -> Vec<Finding> {
    let mut report = PartitionReport::new(directory.path());
    for name in checkpoint::OFFSET_CHECKPOINTS {
        let path = directory.path().join(name);
        match fs::read(&path).await {
            Ok(content) => {
                if let Err(error) = checkpoint::decode_offsets(&content) {
                    report.wrong(&path, None, error.to_string(), "Remove it: the logs are then read from their start");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => report.wrong(&path, None, format!("reading failed: {error}"), "Is the disk in order?"),
        }
    }
    match directory.entries().await {
        Ok((_, strangers)) => {
            for path in strangers {
                report.note(&path, None, "unknown entry", "Nothing reads it; move it away if it is not yours");
            }
        }
        Err(error) => report.wrong(directory.path(), None, error.to_string(), ""),
    }
    if !directory.stopped_clean() {
        let cure = format!(
            "The last write of a log may be cut short; the next start settles that (no {})",
            directory.marker()
        );
        report.note(directory.path(), None, "the broker was not stopped in order", cure);
    }
    report.findings
}

/// Compares the index of a segment's aborted transactions with its markers. Whether the file reads `small_files` tells.
async fn transaction_index(report: &mut PartitionReport, transactions: &Transactions, base: i64) {
    let path = files::transaction_index_path(&report.folder, base);
    let content = fs::read(&path).await.unwrap_or_default();
    let Ok(index) = txn_index::decode(&content) else { return };
    if let Some(found) = transactions.mismatch(base, &index) {
        report.wrong(&path, None, found, REBUILD);
    }
}

async fn segment(
    report: &mut PartitionReport,
    transactions: &mut Transactions,
    base: i64,
    is_last: bool,
    options: VerifyOptions,
    progress: &mut dyn FnMut(u64),
) {
    let path = files::segment_path(&report.folder, base);
    if base > report.end_offset {
        let found = format!("offsets {} to {} are missing before it", report.end_offset, base - 1);
        report.note(&path, None, found, "In order after compaction; otherwise a segment is gone");
    } else if base < report.end_offset {
        let found = format!("it begins at offset {base}, but the segment before it goes on to {}", report.end_offset);
        report.wrong(&path, None, found, "One of the two was copied here, or renamed: restore the right one");
    }
    let mut walk = match Walk::open(&path, None).await {
        Ok(walk) => walk,
        Err(error) => {
            return report.wrong(&path, None, error.to_string(), CHOOSE);
        }
    };
    let mut indexes = Indexes::open(report, base, is_last).await;
    report.segments += 1;
    report.bytes += walk.file_bytes();
    let mut told = 0;
    loop {
        match walk.next().await {
            Ok(Some(Step::Batch(batch))) => {
                report.batches += 1;
                report.records += u64::try_from(batch.header.records_count).unwrap_or(0);
                indexes.batch(report, &batch);
                if let Err(error) = transactions.batch(&walk, &batch).await {
                    report.wrong(&path, Some(batch.position), error.to_string(), "Is the disk in order?");
                    transactions.skip();
                }
                if options.deep {
                    deep(report, &path, &walk, &batch).await;
                }
                if batch.position - told > 64 << 20 {
                    progress(batch.position - told);
                    told = batch.position;
                }
            }
            Ok(Some(Step::Damage(damage))) => {
                indexes.skip();
                transactions.skip();
                let to = damage
                    .next_offset
                    .map_or_else(|| "the end of the file".to_owned(), |next| format!("offset {next}"));
                let found = format!(
                    "bad batch: {}; {} bytes, from offset {} to {to}",
                    damage.found,
                    damage.end - damage.position,
                    damage.from_offset
                );
                let may_be_torn = is_last && !options.stopped_clean && damage.next_offset.is_none();
                match may_be_torn {
                    true => report.note(
                        &path,
                        Some(damage.position),
                        found,
                        "A write cut short: the next start cuts it off",
                    ),
                    false => report.wrong(&path, Some(damage.position), found, CHOOSE),
                }
            }
            Ok(Some(Step::Unwritten { position })) => {
                if options.stopped_clean {
                    report.note(&path, Some(position), "zeros follow the last batch", "The next start cuts them off");
                }
            }
            Ok(None) => break,
            Err(error) => {
                report.wrong(&path, None, error.to_string(), "Is the disk in order?");
                indexes.skip();
                break;
            }
        }
    }
    progress(walk.file_bytes() - told);
    indexes.finish(report, !is_last);
    report.end_offset = report.end_offset.max(walk.end_offset());
}

/// Unpacks a batch whose CRC is right: what was damaged before it was sent is seen by consumers only.
async fn deep(report: &mut PartitionReport, path: &Path, walk: &Walk, stored: &StoredBatch) {
    let checked = match walk.bytes_of(stored).await {
        Ok(bytes) => check_records(&bytes),
        Err(error) => Err(error.to_string()),
    };
    if let Err(found) = checked {
        let found = format!("the batch at offset {}: {found}", stored.header.base_offset);
        let cure =
            "Its CRC is right: it was stored as its producer sent it. No repair mends it; consumers skip it by seeking";
        report.wrong(path, Some(stored.position), found, cure);
    }
}

fn check_records(bytes: &[u8]) -> Result<(), String> {
    let batch = Batch::parse(bytes).map_err(|error| error.to_string())?;
    let body = batch.uncompressed_body(UNPACKED_BYTES_MAX).map_err(|error| error.to_string())?;
    let mut before = -1;
    for record in Records::new(&batch.header, &body) {
        let record = record.map_err(|error| error.to_string())?;
        if record.offset_delta <= before || record.offset_delta > batch.header.last_offset_delta {
            return Err(format!("the record behind offset delta {before} has offset delta {}", record.offset_delta));
        }
        before = record.offset_delta;
    }
    Ok(())
}

/// Both indexes of one segment; after the first mismatch one of them is not looked at any more.
struct Indexes {
    offsets: Option<(PathBuf, OffsetIndexCheck)>,
    times: Option<(PathBuf, TimeIndexCheck)>,
}

impl Indexes {
    async fn open(report: &mut PartitionReport, base: i64, is_last: bool) -> Indexes {
        let offsets = files::index_path(&report.folder, base);
        let times = files::time_index_path(&report.folder, base);
        Indexes {
            offsets: load(report, offsets, is_last, |content| OffsetIndexCheck::new(content, base, is_last)).await,
            times: load(report, times, is_last, |content| TimeIndexCheck::new(content, base, is_last)).await,
        }
    }

    fn batch(&mut self, report: &mut PartitionReport, batch: &StoredBatch) {
        tell(report, &mut self.offsets, |check| check.batch(batch));
        tell(report, &mut self.times, |check| check.batch(batch));
    }

    fn finish(&mut self, report: &mut PartitionReport, sealed: bool) {
        tell(report, &mut self.offsets, |check| check.finish());
        tell(report, &mut self.times, |check| check.finish(sealed));
    }

    /// Batches are missing: what the indexes say of them cannot be told from a mistake.
    fn skip(&mut self) {
        self.offsets = None;
        self.times = None;
    }
}

async fn load<C>(
    report: &mut PartitionReport,
    path: PathBuf,
    is_last: bool,
    check: impl FnOnce(&[u8]) -> Result<C, Mismatch>,
) -> Option<(PathBuf, C)> {
    let checked = match fs::read(&path).await {
        Ok(content) => check(&content),
        // The index of the segment that takes appends lies in memory.
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_last => return None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err((0, "it is missing".to_owned())),
        Err(error) => Err((0, format!("reading failed: {error}"))),
    };
    match checked {
        Ok(check) => Some((path, check)),
        Err((position, found)) => {
            report.wrong(&path, Some(position), found, REBUILD);
            None
        }
    }
}

fn tell<C>(
    report: &mut PartitionReport,
    slot: &mut Option<(PathBuf, C)>,
    step: impl FnOnce(&mut C) -> Result<(), Mismatch>,
) {
    let Some((path, check)) = slot else { return };
    if let Err((position, found)) = step(check) {
        report.add(Finding {
            severity: Severity::Wrong,
            path: std::mem::take(path),
            position: Some(position),
            found,
            cure: REBUILD.to_owned(),
        });
        *slot = None;
    }
}
