//! Names: directories, renames, small whole files, locks. Runs off the shard's thread (in the simulator: on its faulty disk).

use crate::context::{Backend, backend_of_shard};
use crate::{ring, sim};
use std::io;
use std::path::{Path, PathBuf};

pub async fn create_dir_all(path: &Path) -> io::Result<()> {
    match backend_of_shard("fs::create_dir_all") {
        Backend::Sim => sim::fs::create_dir_all(path).await,
        _ => ring::fs::create_dir_all(path).await,
    }
}
/// Full paths of the entries, sorted; not recursive.
pub async fn read_dir(path: &Path) -> io::Result<Vec<PathBuf>> {
    match backend_of_shard("fs::read_dir") {
        Backend::Sim => sim::fs::read_dir(path).await,
        _ => ring::fs::read_dir(path).await,
    }
}
/// Full paths of the entries, sorted, with the size of each file and 0 for a directory; not recursive. One call off the shard, however many
/// entries there are. What is removed meanwhile may be missing.
pub async fn list(path: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    match backend_of_shard("fs::list") {
        Backend::Sim => sim::fs::list(path).await,
        _ => ring::fs::list(path).await,
    }
}
pub async fn exists(path: &Path) -> io::Result<bool> {
    match backend_of_shard("fs::exists") {
        Backend::Sim => sim::fs::exists(path).await,
        _ => ring::fs::exists(path).await,
    }
}
pub async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match backend_of_shard("fs::rename") {
        Backend::Sim => sim::fs::rename(from, to).await,
        _ => ring::fs::rename(from, to).await,
    }
}
pub async fn remove_file(path: &Path) -> io::Result<()> {
    match backend_of_shard("fs::remove_file") {
        Backend::Sim => sim::fs::remove_file(path).await,
        _ => ring::fs::remove_file(path).await,
    }
}
pub async fn remove_dir_all(path: &Path) -> io::Result<()> {
    match backend_of_shard("fs::remove_dir_all") {
        Backend::Sim => sim::fs::remove_dir_all(path).await,
        _ => ring::fs::remove_dir_all(path).await,
    }
}
/// Makes creations, renames and removals inside `path` durable.
pub async fn sync_dir(path: &Path) -> io::Result<()> {
    match backend_of_shard("fs::sync_dir") {
        Backend::Sim => sim::fs::sync_dir(path).await,
        _ => ring::fs::sync_dir(path).await,
    }
}
/// Sets the size of a file that must exist; a larger one reads as zeros. Durable when it returns. For repair while nobody has the file
/// open: who has, uses [`File::set_len`](crate::File::set_len).
pub async fn truncate(path: &Path, bytes: u64) -> io::Result<()> {
    match backend_of_shard("fs::truncate") {
        Backend::Sim => sim::fs::truncate(path, bytes).await,
        _ => ring::fs::truncate(path, bytes).await,
    }
}
/// A small file, whole. Refuses more than 64 MiB.
pub async fn read(path: &Path) -> io::Result<Vec<u8>> {
    match backend_of_shard("fs::read") {
        Backend::Sim => sim::fs::read(path).await,
        _ => ring::fs::read(path).await,
    }
}
/// Replaces a small file so that after a crash either the old or the new content is there: temporary name, sync, rename, sync of the
/// directory.
pub async fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    match backend_of_shard("fs::write_atomic") {
        Backend::Sim => sim::fs::write_atomic(path, content).await,
        _ => ring::fs::write_atomic(path, content).await,
    }
}
/// When the file's content last changed, by the wall clock: milliseconds since 1970.
pub async fn modified_ms(path: &Path) -> io::Result<i64> {
    match backend_of_shard("fs::modified_ms") {
        Backend::Sim => sim::fs::modified_ms(path).await,
        _ => ring::fs::modified_ms(path).await,
    }
}
/// Free and total bytes of the file system that holds `path`.
pub async fn space(path: &Path) -> io::Result<(u64, u64)> {
    match backend_of_shard("fs::space") {
        Backend::Sim => sim::fs::space(path).await,
        _ => ring::fs::space(path).await,
    }
}

/// Exclusive use of a directory, until drop or the process's end.
pub struct DirLock {
    _inner: LockInner,
}

enum LockInner {
    Ring { _lock: ring::fs::DirLock },
    Sim { _lock: sim::fs::DirLock },
}

/// `WouldBlock` with the holder's pid in the message when another process holds it.
pub async fn lock_dir(path: &Path) -> io::Result<DirLock> {
    let inner = match backend_of_shard("fs::lock_dir") {
        Backend::Sim => LockInner::Sim { _lock: sim::fs::lock_dir(path).await? },
        _ => LockInner::Ring { _lock: ring::fs::lock_dir(path).await? },
    };
    Ok(DirLock { _inner: inner })
}

/// A lock of the kind that Java takes (`FileChannel.tryLock`), until drop or the process's end.
pub struct PosixLock {
    _inner: ring::posix_lock::PosixLock,
}

/// Locks a file of Kafka's; `WouldBlock` with the holder's pid when another process holds it. `None` when there is no such file, or it can
/// only be read and nobody holds it. In the simulator nobody else does.
pub async fn posix_lock(path: &Path) -> io::Result<Option<PosixLock>> {
    match backend_of_shard("fs::posix_lock") {
        Backend::Sim => Ok(None),
        _ => Ok(ring::posix_lock::posix_lock(path).await?.map(|inner| PosixLock { _inner: inner })),
    }
}
