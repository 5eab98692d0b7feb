//! fs
use std::io;
use std::path::{Path, PathBuf};

pub(crate) async fn create_dir_all(path: &Path) -> io::Result<()> {
    let _ = path;
    todo!()
}
pub(crate) async fn read_dir(path: &Path) -> io::Result<Vec<PathBuf>> {
    let _ = path;
    todo!()
}
pub(crate) async fn exists(path: &Path) -> io::Result<bool> {
    let _ = path;
    todo!()
}
pub(crate) async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let _ = (from, to);
    todo!()
}
pub(crate) async fn remove_file(path: &Path) -> io::Result<()> {
    let _ = path;
    todo!()
}
pub(crate) async fn remove_dir_all(path: &Path) -> io::Result<()> {
    let _ = path;
    todo!()
}
pub(crate) async fn sync_dir(path: &Path) -> io::Result<()> {
    let _ = path;
    todo!()
}
pub(crate) async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let _ = path;
    todo!()
}
pub(crate) async fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    let _ = (path, content);
    todo!()
}
pub(crate) async fn space(path: &Path) -> io::Result<(u64, u64)> {
    let _ = path;
    todo!()
}
pub(crate) struct DirLock {}
pub(crate) async fn lock_dir(path: &Path) -> io::Result<DirLock> {
    let _ = path;
    todo!()
}
