//! What the journals of a stopped data directory hold, and what the next start would take from them. Changes nothing.

use super::journals::name_of;
use super::report::{Finding, PartitionReport, Severity};
use super::{Directory, OfflineError};
use crate::checkpoint::{self, Checkpoint};
use crate::journal::scan::{self, FoundEntry};
use crate::{LogName, OpenError, journal};
use ringlane_protocol::TopicId;
use ringlane_runtime::fs;
use std::collections::BTreeMap;
use std::path::Path;

const RESTORE: &str = "Batches in it may be nowhere else: restore the directory from a copy, or another replica";

/// One entry of a journal file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalEntry {
    pub epoch: u64,
    pub sequence: u64,
    pub topic_id: TopicId,
    pub partition: i32,
    /// The log ended here before.
    pub previous_end: i64,
    pub base_offset: i64,
    pub next_offset: i64,
    /// Of the batch in the file.
    pub position: u64,
    pub bytes: u32,
    pub is_intact: bool,
}

/// The entries of one journal file in the order in which they lie there. Older ones, which a start takes no notice of, lie behind the last.
pub async fn journal_entries(path: &Path) -> Result<Vec<JournalEntry>, OfflineError> {
    let stored = scan::every_entry(path).await.map_err(|error| refused(path, &error))?;
    let entry = |stored: scan::StoredEntry| JournalEntry {
        epoch: stored.write.epoch,
        sequence: stored.write.sequence,
        topic_id: stored.head.log.topic_id,
        partition: stored.head.log.partition,
        previous_end: stored.head.previous_end,
        base_offset: stored.head.base_offset,
        next_offset: stored.head.next_offset,
        position: stored.position,
        bytes: stored.head.bytes,
        is_intact: stored.is_intact,
    };
    Ok(stored.into_iter().map(entry).collect())
}

/// What stands in the journals of `directory`, compared with the logs in `reports`, which is all of them.
pub async fn journals(directory: &Directory, reports: &[PartitionReport]) -> Vec<Finding> {
    let folder = directory.path().join(journal::FOLDER);
    // Kafka has none.
    let Ok(shards) = fs::read_dir(&folder).await else { return Vec::new() };
    let mut ends = BTreeMap::new();
    for report in reports {
        // What is wrong with a folder's metadata is in its own report.
        if let Ok(Some(name)) = name_of(&report.folder).await {
            ends.insert(name, report);
        }
    }
    let mut findings = Vec::new();
    for shard in shards {
        match live_entries(&shard).await {
            Ok(entries) => findings.extend(summary(&shard, &entries, &ends)),
            Err(error) => findings.push(wrong(&shard, error.to_string(), RESTORE)),
        }
    }
    findings
}

/// What the next start would look at.
async fn live_entries(shard: &Path) -> Result<Vec<FoundEntry>, OpenError> {
    let checkpoint = checkpoint::read(shard).await?;
    let is_missing = checkpoint.is_none();
    let Checkpoint { epoch, first_sequence, .. } = checkpoint.unwrap_or_default();
    let scanned = scan::scan(shard, None, epoch, first_sequence).await?;
    if is_missing && scanned.was_used {
        let found = "the checkpoint that says what its journals still have to give is missing".to_owned();
        return Err(OpenError::Journal { path: checkpoint::path(shard), position: 0, found });
    }
    Ok(scanned.entries)
}

/// Of one log in one journal.
#[derive(Clone, Copy)]
struct OfLog {
    batches: usize,
    from: i64,
    to: i64,
    /// Those that the segments lack, and from which offset on.
    missing: usize,
    missing_from: i64,
}

fn summary(shard: &Path, entries: &[FoundEntry], ends: &BTreeMap<LogName, &PartitionReport>) -> Vec<Finding> {
    let mut logs: BTreeMap<LogName, OfLog> = BTreeMap::new();
    for FoundEntry { head, .. } in entries {
        let fresh = OfLog { batches: 0, from: head.base_offset, to: 0, missing: 0, missing_from: 0 };
        let log = logs.entry(head.log).or_insert(fresh);
        log.batches += 1;
        log.to = head.next_offset;
        if ends.get(&head.log).is_some_and(|report| head.next_offset > report.end_offset) {
            if log.missing == 0 {
                log.missing_from = head.base_offset;
            }
            log.missing += 1;
        }
    }
    let mut findings = Vec::new();
    if !entries.is_empty() {
        let found = format!("{} batches of {} partitions, all intact", entries.len(), logs.len());
        findings.push(note(shard, found, ""));
    }
    for (name, log) in logs {
        let OfLog { batches, from, to, missing, missing_from } = log;
        match ends.get(&name) {
            None => {
                let found = format!("{batches} batches of partition {} of topic id {}", name.partition, name.topic_id);
                findings.push(note(shard, found, "There is no such partition here, so a start passes over them"));
            }
            Some(report) if missing == 0 => {
                let found = format!("{}: {batches} batches, offsets {from} to {to}", folder_name(report));
                findings.push(note(shard, found, "The segments have all of them"));
            }
            Some(report) if missing_from > report.end_offset => {
                let found = format!(
                    "{}: batches from offset {missing_from} on, but the segments end at {}",
                    folder_name(report),
                    report.end_offset
                );
                findings.push(wrong(shard, found, "What lies between is missing, unless the topic is not durable"));
            }
            Some(report) => {
                let found = format!("{}: {batches} batches, offsets {from} to {to}", folder_name(report));
                let cure = format!("The next start adds {missing} of them, from offset {missing_from} on");
                findings.push(note(shard, found, &cure));
            }
        }
    }
    findings
}

fn folder_name(report: &PartitionReport) -> String {
    report.folder.file_name().unwrap_or(report.folder.as_os_str()).to_string_lossy().into_owned()
}

fn note(path: &Path, found: String, cure: &str) -> Finding {
    Finding { severity: Severity::Note, path: path.to_owned(), position: None, found, cure: cure.to_owned() }
}

fn wrong(path: &Path, found: String, cure: &str) -> Finding {
    Finding { severity: Severity::Wrong, ..note(path, found, cure) }
}

fn refused(path: &Path, error: &OpenError) -> OfflineError {
    OfflineError::Refused { path: path.to_owned(), found: error.to_string() }
}
