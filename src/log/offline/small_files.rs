//! Checks the small files of a partition's folder: do they read, and do they fit the log that lies beside them?

use super::kind::{FileKind, offset_in_name};
use super::report::PartitionReport;
use super::verify;
use crate::files;
use ringlane_protocol::storage::{checkpoint, producer_snapshot, txn_index};
use ringlane_runtime::fs;
use std::path::Path;

const NEEDLESS: &str = "Remove it: a start needs it only in a log that comes from Kafka, and then takes an earlier one";
const REBUILT: &str = "Remove it: the next start makes it anew from the log";

/// `log_is_whole`: the broker stopped in order, so nothing of the log is still only in its journal.
pub(super) async fn check(report: &mut PartitionReport, path: &Path, kind: FileKind, log_is_whole: bool) {
    match kind {
        FileKind::ProducerSnapshot | FileKind::TxnIndex | FileKind::LeaderEpochs | FileKind::PartitionMetadata => {
            match fs::read(path).await {
                Ok(content) => check_content(report, path, kind, &content, log_is_whole),
                Err(error) => report.wrong(path, None, format!("reading failed: {error}"), "Is the disk in order?"),
            }
        }
        FileKind::NextSegment if !log_is_whole => {}
        FileKind::NextSegment | FileKind::Leftover => {
            report.note(
                path,
                None,
                "left by a process that was ended at work",
                "The next start removes or finishes it",
            );
        }
        FileKind::KeptJournal => report.note(
            path,
            None,
            "batches of the journal that a start could not add to the log",
            "The start that opens the log adds them",
        ),
        FileKind::Saved => report.note(path, None, "kept by a repair", "Remove it when it is not wanted any more"),
        FileKind::Journal => {
            report.note(path, None, "belongs into the folder of a shard's journal", "Nothing reads it here")
        }
        FileKind::Unknown => {
            report.note(path, None, "unknown file", "Nothing reads it; move it away if it is not yours")
        }
        FileKind::OffsetCheckpoint | FileKind::MetaProperties => {
            report.note(path, None, "belongs at the top of a data directory", "Nothing reads it here");
        }
        FileKind::Segment | FileKind::OffsetIndex | FileKind::TimeIndex | FileKind::Offset | FileKind::KafkaOther => {}
    }
}

fn check_content(report: &mut PartitionReport, path: &Path, kind: FileKind, content: &[u8], log_is_whole: bool) {
    let outcome = match kind {
        FileKind::ProducerSnapshot => producers(path, content, log_is_whole.then_some(report.end_offset)),
        FileKind::TxnIndex => transactions(path, content),
        FileKind::LeaderEpochs => leader_epochs(content, log_is_whole.then_some(report.end_offset)),
        _ => match files::decode_partition_metadata(content) {
            Ok(_) => Ok(()),
            Err(found) => {
                Err((found, "Restore it from a copy: without it the folder cannot be told from another topic's"))
            }
        },
    };
    if let Err((found, cure)) = outcome {
        report.wrong(path, None, found, cure);
    }
}

type Outcome = Result<(), (String, &'static str)>;

fn producers(path: &Path, content: &[u8], end_offset: Option<i64>) -> Outcome {
    let producers = producer_snapshot::decode(content).map_err(|error| (error.to_string(), NEEDLESS))?;
    let Some(taken_at) = offset_in_name(path) else { return Ok(()) };
    if let Some(end) = end_offset.filter(|end| *end < taken_at) {
        return Err((format!("it is as of offset {taken_at}, but the log ends at {end}"), NEEDLESS));
    }
    let later = producers.iter().find(|entry| entry.last_batch.is_some_and(|last| last.last_offset >= taken_at));
    match later {
        Some(entry) => Err((format!("producer {} has a batch behind offset {taken_at}", entry.producer_id), NEEDLESS)),
        None => Ok(()),
    }
}

fn transactions(path: &Path, content: &[u8]) -> Outcome {
    let transactions = txn_index::decode(content).map_err(|error| (error.to_string(), verify::REBUILD))?;
    let base = offset_in_name(path).unwrap_or(0);
    match transactions.first() {
        Some(first) if first.last_offset < base => Err((
            format!("it has a transaction that ended at {}, before the segment", first.last_offset),
            verify::REBUILD,
        )),
        _ => Ok(()),
    }
}

fn leader_epochs(content: &[u8], end_offset: Option<i64>) -> Outcome {
    let epochs = checkpoint::decode_leader_epochs(content).map_err(|error| (error.to_string(), REBUILT))?;
    match (epochs.last(), end_offset) {
        (Some(last), Some(end)) if last.start_offset > end => {
            Err((format!("epoch {} begins at {}, but the log ends at {end}", last.epoch, last.start_offset), REBUILT))
        }
        _ => Ok(()),
    }
}
