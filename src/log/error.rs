//! Why a log cannot be opened, written or read. Each message says where, what was asked, what was found and what to do.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path}: {doing} failed: {source}", path = path.display())]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    #[error(
        "{path}: bad batch at byte {position}: {found}. {}, so this is damage and not a write cut short: nothing was removed. Restore the \
         file from a copy, or move the folder away to start the partition empty",
        describe_next(*next_good), path = path.display()
    )]
    Corrupt { path: PathBuf, position: u64, found: String, next_good: Option<u64> },
    #[error(
        "{path} belongs to topic id {found}, but this topic has id {expected}: move the folder away if its data is not wanted",
        path = path.display()
    )]
    OtherTopic { path: PathBuf, found: String, expected: String },
    #[error("{path}: {found}", path = path.display())]
    Unreadable { path: PathBuf, found: String },
    #[error(
        "journal {path} at byte {position}: {found}. Nothing was changed. Restore the file from a copy, or give up what was acknowledged \
         since the last checkpoint by moving the journal's folder away",
        path = path.display()
    )]
    Journal { path: PathBuf, position: u64, found: String },
    #[error("{path} is out of service ({reason}), and the partition has no folder in the others: it may have one there", path = path.display())]
    OtherDirectoryMissing { path: PathBuf, reason: String },
    #[error("no data directory is in service: {reason}")]
    NoDirectory { reason: String },
}

/// Why a log does not take an append.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Final.
    #[error("{0}")]
    Failed(Arc<LogFailed>),
    /// Until there is space again.
    #[error("{0}")]
    Full(DirFull),
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{path} has {free_bytes} bytes free, and {reserve_bytes} are kept in reserve: appends are refused until there is more space. Delete \
     topics or records, lower retention, or add a disk",
    path = path.display()
)]
pub struct DirFull {
    pub path: PathBuf,
    pub free_bytes: u64,
    pub reserve_bytes: u64,
}

fn describe_next(next_good: Option<u64>) -> String {
    match next_good {
        Some(position) => format!("The next good batch is at byte {position}"),
        None => "It had been durable".to_owned(),
    }
}

/// Why a log takes no more appends. Final until the process restarts: after a failed sync the kernel may report success for pages that
/// it dropped, so nothing is retried. Reads below the stable offset go on.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path}: {doing} of {bytes} bytes at byte {position} failed: {source}. The partition is read-only until the disk is in order and the \
     broker restarts",
    path = path.display()
)]
pub struct LogFailed {
    pub path: PathBuf,
    pub doing: &'static str,
    pub position: u64,
    pub bytes: usize,
    pub source: io::Error,
}

impl LogFailed {
    /// The same for somebody else.
    pub(crate) fn again(other: &LogFailed) -> LogFailed {
        let LogFailed { path, doing, position, bytes, source } = other;
        let source = io::Error::new(source.kind(), source.to_string());
        LogFailed { path: path.clone(), doing, position: *position, bytes: *bytes, source }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{path}: reading {bytes} bytes at byte {position} failed: {source}", path = path.display())]
    Io { path: PathBuf, position: u64, bytes: usize, source: io::Error },
    #[error("{path}: bad batch at byte {position}: {found}", path = path.display())]
    Corrupt { path: PathBuf, position: u64, found: String },
    /// The log was truncated or deleted while the read was under way: plan again.
    #[error("the log changed below the read")]
    Moved,
}
