//! Names on the simulated disk, as the facade's `fs` calls them.

use super::disk::{Disk, Inode, absolute, perform};
use super::file::File;
use super::trace::digest_of;
use super::world::Shard;
use crate::FileMode;
use crate::context::current_sim;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub(crate) async fn create_dir_all(path: &Path) -> io::Result<()> {
    on_disk("create_dir_all", path, Disk::create_directories).await
}

pub(crate) async fn read_dir(path: &Path) -> io::Result<Vec<PathBuf>> {
    let names = on_disk("read_dir", path, |disk, path| disk.list(path)).await?;
    Ok(names.iter().filter_map(|name| name.file_name()).map(|name| path.join(name)).collect())
}

pub(crate) async fn exists(path: &Path) -> io::Result<bool> {
    on_disk("exists", path, |disk, path| Ok(disk.exists(path))).await
}

pub(crate) async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let to = absolute(to);
    on_disk("rename", from, move |disk, from| disk.rename(from, &to)).await
}

pub(crate) async fn remove_file(path: &Path) -> io::Result<()> {
    on_disk("remove_file", path, Disk::remove_file).await
}

pub(crate) async fn remove_dir_all(path: &Path) -> io::Result<()> {
    on_disk("remove_dir_all", path, Disk::remove_tree).await
}

pub(crate) async fn sync_dir(path: &Path) -> io::Result<()> {
    on_disk("sync_dir", path, Disk::sync_directory).await
}

pub(crate) async fn read(path: &Path) -> io::Result<Vec<u8>> {
    on_disk("read_whole", path, Disk::content).await
}

pub(crate) async fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = absolute(path);
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = path.with_added_extension("tmp");
    if exists(&temporary).await? {
        remove_file(&temporary).await?;
    }
    let file = File::open(&temporary, FileMode::CreateNew).await?;
    file.write_whole(content).await?;
    file.sync().await?;
    rename(&temporary, &path).await?;
    sync_dir(directory).await
}

pub(crate) async fn modified_ms(path: &Path) -> io::Result<i64> {
    on_disk("modified_ms", path, |disk, path| disk.modified_ms(path)).await
}

pub(crate) async fn space(path: &Path) -> io::Result<(u64, u64)> {
    on_disk("space", path, |disk, _| Ok(disk.space())).await
}

pub(crate) struct DirLock {
    shard: Rc<Shard>,
    directory: Inode,
}

impl Drop for DirLock {
    fn drop(&mut self) {
        if self.shard.is_alive() {
            self.shard.with(|world| world.node(self.shard.node).disk.unlock(self.directory));
        }
    }
}

pub(crate) async fn lock_dir(path: &Path) -> io::Result<DirLock> {
    let shard = current_sim();
    let path = absolute(path);
    perform(&shard, "lock_dir", 0, 0, |_, _| ()).await;
    let directory = shard.with(|world| {
        let disk = &mut world.node(shard.node).disk;
        let directory = disk.find_directory(&path)?;
        if disk.lock(directory) {
            return Ok(directory);
        }
        let message = format!("{} is locked by process {}", path.display(), shard.life);
        Err(io::Error::new(io::ErrorKind::WouldBlock, message))
    })?;
    Ok(DirLock { shard, directory })
}

async fn on_disk<R: 'static>(
    kind: &'static str,
    path: &Path,
    effect: impl FnOnce(&mut Disk, &Path) -> io::Result<R> + 'static,
) -> io::Result<R> {
    let path = absolute(path);
    let digest = digest_of(path.as_os_str().as_encoded_bytes());
    perform(&current_sim(), kind, 0, digest, move |disk, _| effect(disk, &path)).await
}
