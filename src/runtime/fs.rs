//! Names: directories, renames, small whole files, locks. Runs off the shard's thread (in the simulator: on its faulty disk).

use std::io;
use std::path::{Path, PathBuf};

pub async fn create_dir_all(path: &Path) -> io::Result<()> {
    let _ = path;
    todo!()
}
/// Full paths of the entries, sorted; not recursive.
pub async fn read_dir(path: &Path) -> io::Result<Vec<PathBuf>> {
    let _ = path;
    todo!()
}
pub async fn exists(path: &Path) -> io::Result<bool> {
    let _ = path;
    todo!()
}
pub async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let _ = (from, to);
    todo!()
}
pub async fn remove_file(path: &Path) -> io::Result<()> {
    let _ = path;
    todo!()
}
pub async fn remove_dir_all(path: &Path) -> io::Result<()> {
    let _ = path;
    todo!()
}
/// Makes creations, renames and removals inside `path` durable.
pub async fn sync_dir(path: &Path) -> io::Result<()> {
    let _ = path;
    todo!()
}
/// A small file, whole. Refuses more than 64 MiB.
pub async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let _ = path;
    todo!()
}
/// Replaces a small file so that after a crash either the old or the new content is there: temporary name, sync, rename, sync of the
/// directory.
pub async fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    let _ = (path, content);
    todo!()
}
/// Free and total bytes of the file system that holds `path`.
pub async fn space(path: &Path) -> io::Result<(u64, u64)> {
    let _ = path;
    todo!()
}

/// Exclusive use of a directory, until drop or the process's end.
pub struct DirLock {
    _inner: (),
}

/// `WouldBlock` with the holder's pid in the message when another process holds it.
pub async fn lock_dir(path: &Path) -> io::Result<DirLock> {
    let _ = path;
    todo!()
}
