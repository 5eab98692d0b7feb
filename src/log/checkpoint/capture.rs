//! What a checkpoint says of one log: taken in one step, made true by flushing, then written down.

use super::{Record, may_ack_written};
use crate::StableMode;
use crate::files;
use crate::log::LogInner;
use crate::mutants::{Mutant, is_on};
use crate::shard::Shard;
use crate::state::LogState;
use ringlane_runtime::fs;
use std::rc::Rc;

/// An open segment's index is written when it has so many new entries, which stand for 16 MiB or more: what a reader has to pass over after
/// a crash.
const NEW_ENTRIES: usize = 512;

/// A log at the moment of capture.
pub(super) struct Captured {
    pub log: Rc<LogInner>,
    pub record: Record,
    cuts: u64,
    /// Content of the index files, when it is time to write them.
    index: Option<(Vec<u8>, Vec<u8>)>,
}

/// `None`: the log is not of the partition yet, or no longer.
pub(super) fn capture(shard: &Shard, log: &Rc<LogInner>) -> Option<Captured> {
    let written_mode = log.state.borrow().options.stable_mode == StableMode::Written;
    if let Some(record) = unchanged(log, written_mode) {
        return Some(Captured { log: log.clone(), record, cuts: log.state.borrow().cuts, index: None });
    }
    if let Some(base) = log.state.borrow().cutting_from {
        let record = Record::of_cut_log(log.id.name(), base, written_mode);
        return Some(Captured { log: log.clone(), record, cuts: log.state.borrow().cuts, index: None });
    }
    let state_of_partition = shard.state_of(log.key)?;
    let mut state = log.state.borrow_mut();
    let before = log.last_record.borrow();
    let (end_offset, cuts) = (state.end_offset, state.cuts);
    let active = state.active();
    let same_segment = before.as_ref().filter(|before| before.segment_base == active.base_offset);
    let (mut index_entries, mut time_entries) =
        same_segment.map_or((0, 0), |before| (before.index_entries, before.time_entries));
    let mut index = None;
    if let Some(entries) = active.index.as_ref().filter(|index| index.len() >= index_entries as usize + NEW_ENTRIES) {
        (index_entries, time_entries) = (entries.len() as u32, entries.times_len() as u32);
        index = Some((entries.encode_offsets(), entries.encode_times()));
    }
    let record = Record {
        log: log.id.name(),
        end_offset,
        segment_base: active.base_offset,
        position: active.bytes,
        first_timestamp: active.first_timestamp,
        max_timestamp: active.max_timestamp,
        index_entries,
        time_entries,
        written_mode,
        state: state_of_partition,
    };
    drop(before);
    drop(state);
    Some(Captured { log: log.clone(), record, cuts, index })
}

/// The last record, if it still says everything.
fn unchanged(log: &LogInner, written_mode: bool) -> Option<Record> {
    let state = log.state.borrow();
    let record = log.last_record.borrow();
    let same = record.as_ref().filter(|record| {
        state.cutting_from.is_none() && record.end_offset == state.end_offset && record.written_mode == written_mode
    });
    same.cloned()
}

impl Captured {
    /// Every segment in front of the record's has its true size, durably. A start takes their sizes from the files: with a record that came
    /// before the cut to that size, it would read zeros as batches.
    pub fn older_are_sealed(&self, state: &LogState) -> bool {
        let mut older = state.segments.iter().take_while(|segment| segment.base_offset < self.record.segment_base);
        older.all(|segment| segment.is_sealed)
    }

    /// Whether the record is ahead of what is durable.
    pub fn is_behind(&self) -> bool {
        let state = self.log.state.borrow();
        let before = self.log.last_record.borrow();
        let from = before.as_ref().map_or(0, |before| state.segment_of(before.segment_base));
        let index_is_behind = state.segments.range(from..).any(|segment| segment.aborted.is_dirty());
        state.synced_offset < self.record.end_offset
            || !self.older_are_sealed(&state)
            || self.index.is_some()
            || index_is_behind
    }

    pub fn still_holds(&self) -> bool {
        let state = self.log.state.borrow();
        let is_durable = state.synced_offset >= self.record.end_offset || is_on(Mutant::ReleaseBeforeSync);
        state.failed.is_none() && state.cuts == self.cuts && is_durable
    }

    /// Writes the index files when it is time. They only save reading: without them the record says less.
    pub async fn persist_index(mut self) -> Option<Captured> {
        let Some((offsets, times)) = self.index.take() else { return Some(self) };
        let base_offset = self.record.segment_base;
        let folder = &self.log.folder;
        let _turn = self.log.index_files.acquire(1).await;
        if self.log.state.borrow_mut().active().base_offset != base_offset {
            // Sealed meanwhile: its files are complete, or will be.
            return Some(self);
        }
        let written = match fs::write_atomic(&files::time_index_path(folder, base_offset), &times).await {
            Ok(()) => fs::write_atomic(&files::index_path(folder, base_offset), &offsets).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(%error, %self.log.id, base_offset, "index of the open segment not written");
            (self.record.index_entries, self.record.time_entries) = (0, 0);
        }
        Some(self)
    }

    /// The checkpoint is on disk.
    pub fn took_effect(self) {
        if self.log.state.borrow().cuts == self.cuts {
            if self.record.written_mode {
                may_ack_written(&self.log);
            }
            self.log.last_record.replace(Some(self.record));
        }
    }
}
