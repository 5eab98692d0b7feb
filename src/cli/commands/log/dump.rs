//! `ringlane log dump`: what one file holds, as it stands there.

use std::path::{Path, PathBuf};

use ringlane_log::offline::kind::{FileKind, offset_in_name};
use ringlane_log::offline::{JournalEntry, OfflineError, Step, StoredBatch, Walk, index_files, journal_entries};
use ringlane_protocol::records::{Batch, Records};
use ringlane_protocol::storage::{FileError, checkpoint, producer_snapshot, txn_index};
use ringlane_runtime::fs;
use serde::Serialize;

use super::args::DumpArgs;
use super::rows::{BATCH_HEADER, BatchRow, DamageRow, RecordRow};
use crate::args::Format;
use crate::exit::Failed;
use crate::table::{Printed, Table, json, print};

/// A batch that unpacks to more is not shown.
const UNPACKED_BYTES_MAX: usize = 1 << 30;

pub async fn run(args: &DumpArgs) -> Result<(), Failed> {
    if let Ok(entries) = fs::read_dir(&args.path).await {
        return segments_of(args, entries).await;
    }
    match FileKind::of(&args.path) {
        FileKind::Segment | FileKind::NextSegment => segments(args, std::slice::from_ref(&args.path)).await,
        // What was a segment before it was deleted, cleaned or cut.
        FileKind::Leftover | FileKind::Saved if args.path.to_string_lossy().contains(".log") => {
            segments(args, std::slice::from_ref(&args.path)).await
        }
        FileKind::Journal | FileKind::KeptJournal => journal(args).await,
        kind => small_file(args, kind).await,
    }
}

async fn journal(args: &DumpArgs) -> Result<(), Failed> {
    let mut rows = Rows::default();
    for entry in journal_entries(&args.path).await? {
        let JournalEntry { base_offset, next_offset, previous_end, .. } = entry;
        rows.push([
            ("epoch", serde_json::Value::from(entry.epoch)),
            ("sequence", entry.sequence.into()),
            ("topic_id", entry.topic_id.to_string().into()),
            ("partition", entry.partition.into()),
            ("previous_end", previous_end.into()),
            ("base_offset", base_offset.into()),
            ("next_offset", next_offset.into()),
            ("position", entry.position.into()),
            ("bytes", entry.bytes.into()),
            ("intact", entry.is_intact.into()),
        ]);
    }
    rows.show(args)
}

async fn segments_of(args: &DumpArgs, entries: Vec<PathBuf>) -> Result<(), Failed> {
    let is_segment = |path: &PathBuf| FileKind::of(path) == FileKind::Segment && offset_in_name(path).is_some();
    let mut files: Vec<PathBuf> = entries.into_iter().filter(is_segment).collect();
    if files.is_empty() {
        return Err(Failed::new(format!("{} has no segment (OFFSET.log) in it", args.path.display())));
    }
    // The last segment that begins at or before the offset is the first one to show.
    let from = args.from.unwrap_or(0);
    let before = files.iter().filter(|path| offset_in_name(path).is_some_and(|base| base <= from)).count();
    files.drain(..before.saturating_sub(1));
    segments(args, &files).await
}

/// What is still to be shown.
struct Shown {
    left: u64,
    damages: usize,
}

async fn segments(args: &DumpArgs, files: &[PathBuf]) -> Result<(), Failed> {
    let mut shown = Shown { left: args.count.unwrap_or(u64::MAX), damages: 0 };
    for path in files {
        if args.format == Format::Text {
            let header = format!("{}\n{BATCH_HEADER}", path.display());
            if print(&header)? == Printed::NobodyReads {
                return Ok(());
            }
        }
        if segment(args, path, &mut shown).await? == Printed::NobodyReads || shown.left == 0 {
            break;
        }
    }
    match shown.damages {
        0 => Ok(()),
        damages => {
            Err(Failed::new(format!("{damages} damaged places; `ringlane log repair --help` shows the ways out")))
        }
    }
}

async fn segment(args: &DumpArgs, path: &Path, shown: &mut Shown) -> Result<Printed, Failed> {
    let mut walk = Walk::open(path, None).await?;
    while shown.left > 0 {
        let Some(step) = walk.next().await? else { break };
        let text = match step {
            Step::Batch(batch) if batch.header.last_offset() < args.from.unwrap_or(0) => continue,
            Step::Batch(batch) => {
                if !args.records {
                    shown.left -= 1;
                }
                let mut text = either(args, &BatchRow::from(&batch), BatchRow::text)?;
                if args.records {
                    records(args, &walk, &batch, shown, &mut text).await?;
                }
                text
            }
            Step::Damage(damage) => {
                shown.damages += 1;
                either(args, &DamageRow::from(&damage), DamageRow::text)?
            }
            Step::Unwritten { position } if args.format == Format::Text => {
                format!("from byte {position} on: zeros, {} bytes\n", walk.file_bytes() - position)
            }
            Step::Unwritten { .. } => continue,
        };
        if print(&text)? == Printed::NobodyReads {
            return Ok(Printed::NobodyReads);
        }
    }
    Ok(Printed::Yes)
}

async fn records(
    args: &DumpArgs,
    walk: &Walk,
    stored: &StoredBatch,
    shown: &mut Shown,
    text: &mut String,
) -> Result<(), Failed> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Failed::new(format!("the batch at offset {}: {error}", stored.header.base_offset))
    };
    let bytes = walk.bytes_of(stored).await?;
    let batch = Batch::parse(&bytes).map_err(|error| unreadable(&error))?;
    let body = batch.uncompressed_body(UNPACKED_BYTES_MAX).map_err(|error| unreadable(&error))?;
    for record in Records::new(&batch.header, &body) {
        let record = record.map_err(|error| unreadable(&error))?;
        if record.offset(&batch.header) < args.from.unwrap_or(0) {
            continue;
        }
        if shown.left == 0 {
            break;
        }
        shown.left -= 1;
        text.push_str(&either(args, &RecordRow::new(&batch.header, &record), RecordRow::text)?);
    }
    Ok(())
}

fn either<R: Serialize>(args: &DumpArgs, row: &R, text: impl FnOnce(&R) -> String) -> Result<String, Failed> {
    match args.format {
        Format::Json => json(row),
        Format::Text => Ok(text(row)),
    }
}

async fn small_file(args: &DumpArgs, kind: FileKind) -> Result<(), Failed> {
    let path = &args.path;
    let content =
        fs::read(path).await.map_err(|error| Failed::new(format!("cannot read {}: {error}", path.display())))?;
    let base = offset_in_name(path).unwrap_or(0);
    let unreadable = |source: FileError| Failed::from(OfflineError::Unreadable { path: path.clone(), source });
    let mut rows = Rows::default();
    match kind {
        FileKind::OffsetIndex => {
            for entry in index_files::offset_entries(&content, base) {
                rows.push([("offset", entry.offset), ("position", entry.position.into())]);
            }
        }
        FileKind::TimeIndex => {
            for entry in index_files::time_entries(&content, base) {
                rows.push([("timestamp", entry.timestamp), ("offset", entry.offset)]);
            }
        }
        FileKind::TxnIndex => {
            for entry in txn_index::decode(&content).map_err(unreadable)? {
                rows.push([
                    ("producer_id", entry.producer_id),
                    ("first_offset", entry.first_offset),
                    ("last_offset", entry.last_offset),
                    ("last_stable_offset", entry.last_stable_offset),
                ]);
            }
        }
        FileKind::ProducerSnapshot => {
            for entry in producer_snapshot::decode(&content).map_err(unreadable)? {
                rows.push(producer_row(&entry));
            }
        }
        FileKind::LeaderEpochs => {
            for entry in checkpoint::decode_leader_epochs(&content).map_err(unreadable)? {
                rows.push([("epoch", entry.epoch.into()), ("start_offset", entry.start_offset)]);
            }
        }
        FileKind::OffsetCheckpoint => {
            for entry in checkpoint::decode_offsets(&content).map_err(unreadable)? {
                let topic = ("topic", serde_json::Value::from(entry.topic));
                rows.push([topic, ("partition", entry.partition.into()), ("offset", entry.offset.into())]);
            }
        }
        FileKind::PartitionMetadata | FileKind::Offset | FileKind::MetaProperties => {
            print(&String::from_utf8_lossy(&content))?;
            return Ok(());
        }
        _ => {
            return Err(Failed::new(format!(
                "{}: by its name this is none of the files that can be shown (.log, .index, .timeindex, .txnindex, .snapshot, .journal, checkpoints)",
                path.display()
            )));
        }
    }
    rows.show(args)
}

fn producer_row(entry: &producer_snapshot::ProducerEntry) -> [(&'static str, serde_json::Value); 8] {
    let last = entry.last_batch;
    [
        ("producer_id", entry.producer_id.into()),
        ("epoch", entry.epoch.into()),
        ("first_sequence", last.map(|last| last.first_sequence()).into()),
        ("last_sequence", last.map(|last| last.last_sequence).into()),
        ("last_offset", last.map(|last| last.last_offset).into()),
        ("timestamp", entry.timestamp.into()),
        ("coordinator_epoch", entry.coordinator_epoch.into()),
        ("open_transaction_from", entry.open_transaction_from.into()),
    ]
}

/// Entries of a small file: all of one shape.
#[derive(Default)]
struct Rows {
    rows: Vec<Vec<(&'static str, serde_json::Value)>>,
}

impl Rows {
    fn push<V: Into<serde_json::Value>>(&mut self, row: impl IntoIterator<Item = (&'static str, V)>) {
        self.rows.push(row.into_iter().map(|(name, value)| (name, value.into())).collect());
    }

    fn show(mut self, args: &DumpArgs) -> Result<(), Failed> {
        self.keep(args.count);
        match args.format {
            Format::Json => print(&self.json()?)?,
            Format::Text => print(&self.text())?,
        };
        Ok(())
    }

    fn keep(&mut self, count: Option<u64>) {
        self.rows.truncate(count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX));
    }

    fn json(self) -> Result<String, Failed> {
        let documents = self.rows.into_iter().map(|row| {
            json(&row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Map<_, _>>())
        });
        documents.collect()
    }

    fn text(&self) -> String {
        let Some(first) = self.rows.first() else { return "no entries\n".to_owned() };
        let names: Vec<String> = first.iter().map(|(name, _)| name.to_uppercase().replace('_', "-")).collect();
        let mut table = Table::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for row in &self.rows {
            table.row(row.iter().map(|(_, value)| match value {
                serde_json::Value::Null => "-".to_owned(),
                serde_json::Value::String(text) => text.clone(),
                value => value.to_string(),
            }));
        }
        table.to_string()
    }
}
