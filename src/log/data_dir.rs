//! Owns the data directory as a whole: the lock that keeps a second process out, and the marker of an orderly stop.
//!
//! Lives on shard 0, from before the first log opens until after the last one closed. Called by `broker` assembly. Never looks into
//! a partition's folder.

use crate::OpenError;
use std::path::{Path, PathBuf};

/// The data directory, locked by this process.
pub struct DataDir {
    path: PathBuf,
    stopped_clean: bool,
}

impl DataDir {
    /// Creates the directory when missing, locks it, takes the marker of the last orderly stop away, and sweeps what deleted logs
    /// left behind.
    pub async fn open(path: &Path) -> Result<DataDir, OpenError> {
        let _ = path;
        todo!()
    }
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The last process closed every log in order. Goes into [`crate::ShardLogsOptions`] of every shard.
    pub fn stopped_clean(&self) -> bool {
        self.stopped_clean
    }
    /// Leaves the marker of an orderly stop. Only after [`crate::ShardLogs::close`] succeeded on every shard.
    pub async fn close(self) -> Result<(), OpenError> {
        todo!()
    }
}
