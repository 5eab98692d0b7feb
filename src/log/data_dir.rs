//! Owns the data directory as a whole: the lock that keeps a second process out, and the marker of an orderly stop.
//!
//! Lives on shard 0, from before the first log opens until after the last one closed. Called by `broker` assembly. Never looks into
//! a partition's folder.

use crate::recovery::io_error;
use crate::{OpenError, files};
use ringlane_runtime::fs;
use std::path::{Path, PathBuf};

const CLEAN_SHUTDOWN: &str = "clean-shutdown";

/// The data directory, locked by this process.
pub struct DataDir {
    path: PathBuf,
    stopped_clean: bool,
    _lock: fs::DirLock,
}

/// One data directory, as operators ask for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataDirState {
    pub path: PathBuf,
    /// Why it cannot be used, if so.
    pub failure: Option<String>,
}

impl DataDir {
    /// Creates the directory when missing, locks it, takes the marker of the last orderly stop away, and sweeps what deleted logs
    /// left behind.
    pub async fn open(path: &Path) -> Result<DataDir, OpenError> {
        make_durable(path).await.map_err(io_error(path, "creating the data directory"))?;
        let lock = fs::lock_dir(path).await.map_err(io_error(path, "locking the data directory"))?;
        let marker = path.join(CLEAN_SHUTDOWN);
        let stopped_clean = fs::exists(&marker).await.map_err(io_error(&marker, "looking for it"))?;
        if stopped_clean {
            fs::remove_file(&marker).await.map_err(io_error(&marker, "removing it"))?;
        }
        // Also for a folder that the last process made and was killed before it could sync.
        fs::sync_dir(path).await.map_err(io_error(path, "syncing the data directory"))?;
        for entry in fs::read_dir(path).await.map_err(io_error(path, "listing the data directory"))? {
            if entry.to_str().is_some_and(|name| name.ends_with(files::DELETED_SUFFIX)) {
                fs::remove_dir_all(&entry).await.map_err(io_error(&entry, "removing a deleted log"))?;
            }
        }
        Ok(DataDir { path: path.to_owned(), stopped_clean, _lock: lock })
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
        let marker = self.path.join(CLEAN_SHUTDOWN);
        fs::write_atomic(&marker, b"").await.map_err(io_error(&marker, "writing the marker of an orderly stop"))
    }
}

/// Creates the directory and those above it, and makes their names durable: what is acknowledged in it must not vanish with it. The
/// directory above is synced even if nothing was missing, because a process may have been killed right after it made this one.
async fn make_durable(path: &Path) -> std::io::Result<()> {
    let mut made_in = vec![parent_of(path)];
    while !fs::exists(made_in[made_in.len() - 1]).await? {
        made_in.push(parent_of(made_in[made_in.len() - 1]));
    }
    fs::create_dir_all(path).await?;
    for directory in made_in {
        fs::sync_dir(directory).await?;
    }
    Ok(())
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}
