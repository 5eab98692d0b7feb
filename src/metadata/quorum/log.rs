//! What crate `raft` reads back: the log's entries in memory, and the state that the applied ones add up to. Written by
//! [`super::core`] alone; the journal holds the same on disk.

use crate::Image;
use crate::controller::features;
use crate::image::LogPosition;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use std::collections::VecDeque;

/// The state at one position: all that a snapshot holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Its position is `image.applied()`.
    pub image: Image,
    pub conf_state: ConfState,
}

impl Checkpoint {
    /// The state in which the first voter of a new cluster starts: no topics, and the metadata version that says how to read the rest.
    pub fn bootstrap(raft_id: u64) -> Checkpoint {
        let image = Image::bootstrap(LogPosition { term: 1, index: 1 }, features::newest());
        Checkpoint { image, conf_state: ConfState { voters: vec![raft_id], ..Default::default() } }
    }

    pub fn position(&self) -> LogPosition {
        self.image.applied()
    }
}

/// Entries that do not follow what is there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("entry {index} of the metadata log does not follow what is there ({base} to {last}): entries are missing")]
pub struct OutOfPlace {
    index: u64,
    base: u64,
    last: u64,
}

pub(super) struct RaftLog {
    pub hard_state: HardState,
    /// The state after the last applied entry.
    pub state: Checkpoint,
    /// What precedes the first entry.
    base: LogPosition,
    entries: VecDeque<Entry>,
}

impl RaftLog {
    /// An empty log that starts after `base`.
    pub fn new(base: LogPosition, state: Checkpoint) -> RaftLog {
        RaftLog { hard_state: HardState::default(), base, state, entries: VecDeque::new() }
    }

    pub fn applied(&self) -> LogPosition {
        self.state.position()
    }

    pub fn last_index(&self) -> u64 {
        self.base.index + self.entries.len() as u64
    }

    pub fn term_at(&self, index: u64) -> Option<u64> {
        match index.checked_sub(self.base.index)? {
            0 => Some(self.base.term),
            after => self.entries.get(after as usize - 1).map(|entry| entry.term),
        }
    }

    /// Puts entries behind what precedes the first of them; what stood there goes.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), OutOfPlace> {
        let Some(first) = entries.first() else { return Ok(()) };
        let (base, last) = (self.base.index, self.last_index());
        if first.index <= base || first.index > last + 1 {
            return Err(OutOfPlace { index: first.index, base, last });
        }
        self.entries.truncate((first.index - base - 1) as usize);
        self.entries.extend(entries.iter().cloned());
        Ok(())
    }

    /// Lets the log start after a snapshot. Entries behind it stay when they belong to it.
    pub fn rebase(&mut self, position: LogPosition) {
        if self.term_at(position.index) == Some(position.term) {
            self.compact(position.index);
        } else {
            self.entries.clear();
            self.base = position;
        }
    }

    /// Forgets the entries up to `index`.
    pub fn compact(&mut self, index: u64) {
        let Some(term) = self.term_at(index) else { return };
        self.entries.drain(..(index - self.base.index) as usize);
        self.base = LogPosition { term, index };
    }

    pub fn entries_after(&self, index: u64) -> impl Iterator<Item = &Entry> {
        let skipped = index.saturating_sub(self.base.index) as usize;
        self.entries.iter().skip(skipped)
    }
}

impl Storage for RaftLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.state.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_bytes: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let range = (low - self.base.index - 1) as usize..(high - self.base.index - 1) as usize;
        let mut entries: Vec<Entry> = self.entries.range(range).cloned().collect();
        raft::util::limit_size(&mut entries, max_bytes.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let missing = if index < self.base.index { StorageError::Compacted } else { StorageError::Unavailable };
        self.term_at(index).ok_or(raft::Error::Store(missing))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(RaftLog::last_index(self))
    }

    /// Contract point 5: always of the live state. One kept from before could predate the change that added its receiver, who would
    /// drop it without a word.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let position = self.applied();
        if position.index < request_index {
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot { data: self.state.image.to_snapshot().into(), ..Default::default() };
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (position.index, position.term);
        metadata.set_conf_state(self.state.conf_state.clone());
        Ok(snapshot)
    }
}
