//! Compaction: keeps the newest record of each key, in the background, with bounded memory and at a bounded pace.
//!
//! One task per shard, [`run`], for as long as the shard; started by `broker` beside the shard's logs. It only ever touches sealed segments
//! below the last stable offset, and never waits for the append side nor makes it wait. At any moment one read or one write is in
//! flight, of 1 MiB: that is the cleaner's whole I/O budget, and `log.cleaner.io.max.bytes.per.second` bounds it further.
//!
//! ```text
//! scheduler ─▶ plan: which log, which range ─▶ clean: map the newest offset of each key in the dirty part   (source, sift, filter, key_map)
//!                                                 │
//!                                                 └─▶ for each group of neighbours: write what stays into BASE.log.cleaned (sink)
//!                                                        └─▶ exchange: .cleaned ─▶ .swap ─▶ the log, old files ─▶ .deleted ─▶ gone
//! ```
//! The records of aborted transactions go; which these are the segments' own indexes say (`aborted`).
//! What a crash leaves of an exchange, `settle` finishes or undoes at the next start, before recovery looks at the folder.

mod checkpoint;
mod clean;
mod exchange;
mod filter;
mod key_map;
mod options;
mod pauses;
mod plan;
mod scheduler;
mod settle;
mod sift;
mod sink;
mod source;
#[cfg(test)]
mod test_kit;
mod throttle;
mod transactions;
mod transactions_walk;

pub(crate) use checkpoint::FILE_NAME as CHECKPOINT_FILE;
pub(crate) use checkpoint::lower as lower_checkpoint;
pub use filter::LastOfProducer;
pub use options::{CleanerOptions, CompactionOptions};
pub use scheduler::{Compaction, CompactionSource, ProducerFacts, run};
pub(crate) use settle::settle;

use crate::ReadError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a round ended early. The log is as it was, or as far as whole groups of segments were exchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CleanError {
    #[error("{path}: {doing} failed: {source}", path = path.display())]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    #[error("{path}: bad batch at byte {position}: {found}. Restore the file from a copy or another replica", path = path.display())]
    Corrupt { path: PathBuf, position: u64, found: String },
    /// Nothing can be cleaned before the transaction that begins here has ended.
    #[error("the transaction that begins at offset {0} has not ended")]
    Undecided(i64),
    /// The log was truncated, closed or deleted meanwhile: plan again.
    #[error("the log changed below the cleaner")]
    Moved,
    /// Files are half exchanged and the log was taken out of service; the next start finishes it.
    #[error("exchanging segments failed: {0}")]
    Exchange(String),
}

impl CleanError {
    fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> CleanError {
        let path = path.to_owned();
        move |source| CleanError::Io { path, doing, source }
    }
}

impl From<ReadError> for CleanError {
    fn from(error: ReadError) -> CleanError {
        match error {
            ReadError::Io { path, source, .. } => CleanError::Io { path, doing: "reading", source },
            ReadError::Corrupt { path, position, found } => CleanError::Corrupt { path, position, found },
            ReadError::Moved => CleanError::Moved,
        }
    }
}
