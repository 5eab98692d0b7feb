//! Looking at logs that nobody has open: what their files say, whether it holds together, and the ways out when it does not.
//!
//! On a shard of a command (`ringlane log ...`), never in a broker. Works on the folders of a stopped data directory, or on single folders
//! and files, ours or Kafka's. [`verify`] and [`Walk`] change nothing; [`repair`] decides first and acts only when told to.
//!
//! * [`kind`]: what a file's name says it is. One more kind of file is one more row there, and one more reader.
//! * [`Directory`]: a data directory, locked against a broker's start.
//! * [`Walk`]: the batches of a segment, and what lies between them where it is damaged.
//! * [`verify`]: everything that is wrong in a partition's folder, as [`Finding`]s.
//! * [`journals`]: what the journals hold and the next start would take from them; [`journal_entries`]: one file of them.
//! * [`repair`]: a plan of steps that can be shown, and then performed; a crash between two of them leaves a log that can be repaired again.

mod adjust;
mod copy;
mod directory;
mod index_check;
mod journal_look;
mod journals;
pub mod kind;
pub mod repair;
mod report;
mod small_files;
mod transactions;
pub mod verify;
mod walk;

pub use directory::{Directory, Owner, partition_of_folder};
pub use journal_look::{JournalEntry, journal_entries, journals};
pub use report::{Finding, PartitionReport, Severity};
pub use walk::{Damage, Step, StoredBatch, Walk};

use ringlane_protocol::storage::FileError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a command cannot even look. What it finds when it looks is a [`Finding`].
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    #[error("{path}: {doing} failed: {source}", path = path.display())]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    #[error(
        "{source}. A log can only be checked or repaired while nobody writes it; `ringlane log dump` reads single files at any time"
    )]
    InUse { source: io::Error },
    #[error("{path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: FileError },
    #[error("{path}: {found}", path = path.display())]
    Refused { path: PathBuf, found: String },
}

fn failed(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> OfflineError {
    let path = path.to_owned();
    move |source| OfflineError::Io { path, doing, source }
}

/// Entries of an index file as they stand there, for people. Zeros at the end are space that Kafka set aside.
pub mod index_files {
    use crate::index::{OFFSET_ENTRY_BYTES, TIME_ENTRY_BYTES};

    /// One entry of a `.index` file.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct OffsetIndexEntry {
        pub offset: i64,
        pub position: u32,
    }

    /// One entry of a `.timeindex` file.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct TimeIndexEntry {
        pub timestamp: i64,
        pub offset: i64,
    }

    /// Whole entries only; offsets are absolute.
    pub fn offset_entries(content: &[u8], base_offset: i64) -> Vec<OffsetIndexEntry> {
        let (entries, _) = content.as_chunks::<OFFSET_ENTRY_BYTES>();
        let read = |[a, b, c, d, e, f, g, h]: [u8; OFFSET_ENTRY_BYTES]| OffsetIndexEntry {
            offset: base_offset.saturating_add(u32::from_be_bytes([a, b, c, d]).into()),
            position: u32::from_be_bytes([e, f, g, h]),
        };
        entries[..used(entries)].iter().map(|entry| read(*entry)).collect()
    }

    /// Whole entries only; offsets are absolute.
    pub fn time_entries(content: &[u8], base_offset: i64) -> Vec<TimeIndexEntry> {
        let (entries, _) = content.as_chunks::<TIME_ENTRY_BYTES>();
        let read = |[a, b, c, d, e, f, g, h, i, j, k, l]: [u8; TIME_ENTRY_BYTES]| TimeIndexEntry {
            timestamp: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            offset: base_offset.saturating_add(u32::from_be_bytes([i, j, k, l]).into()),
        };
        entries[..used(entries)].iter().map(|entry| read(*entry)).collect()
    }

    /// Without the zeros at the end.
    fn used<const N: usize>(entries: &[[u8; N]]) -> usize {
        entries.iter().rposition(|entry| entry.iter().any(|byte| *byte != 0)).map_or(0, |last| last + 1)
    }
}
