//! Names on the simulated disk, as the facade's `fs` calls them.

use super::IoKind;
use super::disk::{Disk, Inode, absolute, perform};
use super::file::File;
use super::seed::Seed;
use super::trace::digest_of;
use super::world::Shard;
use crate::FileMode;
use crate::context::current_sim;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub(crate) async fn create_dir_all(path: &Path) -> io::Result<()> {
    on_disk("create_dir_all", IoKind::Create, path, Disk::create_directories).await
}

pub(crate) async fn read_dir(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = on_disk("read_dir", IoKind::List, path, |disk, path| disk.list(path)).await?;
    Ok(entries.iter().map(|entry| as_asked(path, entry)).collect())
}

pub(crate) async fn list(path: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let entries = on_disk("list", IoKind::List, path, |disk, path| disk.list_with_sizes(path)).await?;
    Ok(entries.iter().map(|(entry, bytes)| (as_asked(path, entry), *bytes)).collect())
}

/// The entry of a directory whose path was given as `path`, absolute or not.
fn as_asked(path: &Path, entry: &Path) -> PathBuf {
    path.join(entry.file_name().expect("an entry has a name"))
}

pub(crate) async fn exists(path: &Path) -> io::Result<bool> {
    on_disk("exists", IoKind::List, path, |disk, path| Ok(disk.exists(path))).await
}

pub(crate) async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (absolute(from), absolute(to));
    let (digest, from_path) = (digest_of(from.as_os_str().as_encoded_bytes()), from.clone());
    let rename = move |disk: &mut Disk, seed: &mut Seed| {
        disk.fault(seed, IoKind::Rename, &[&from, &to])?;
        disk.rename(&from, &to)
    };
    perform(&current_sim(), &from_path, "rename", 0, digest, rename).await
}

pub(crate) async fn remove_file(path: &Path) -> io::Result<()> {
    on_disk("remove_file", IoKind::Remove, path, Disk::remove_file).await
}

pub(crate) async fn remove_dir_all(path: &Path) -> io::Result<()> {
    on_disk("remove_dir_all", IoKind::Remove, path, Disk::remove_tree).await
}

pub(crate) async fn sync_dir(path: &Path) -> io::Result<()> {
    on_disk("sync_dir", IoKind::SyncDir, path, Disk::sync_directory).await
}

pub(crate) async fn truncate(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::open(path, FileMode::ReadWrite).await?;
    file.set_len(bytes).await?;
    file.sync().await
}

pub(crate) async fn read(path: &Path) -> io::Result<Vec<u8>> {
    on_disk("read_whole", IoKind::Read, path, Disk::content).await
}

pub(crate) async fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = absolute(path);
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = path.with_added_extension("tmp");
    // An earlier try may have left one.
    let file = File::open(&temporary, FileMode::OpenOrCreate).await?;
    file.write_whole(content).await?;
    file.sync().await?;
    rename(&temporary, &path).await?;
    sync_dir(directory).await
}

pub(crate) async fn modified_ms(path: &Path) -> io::Result<i64> {
    on_disk("modified_ms", IoKind::List, path, |disk, path| disk.modified_ms(path)).await
}

pub(crate) async fn space(path: &Path) -> io::Result<(u64, u64)> {
    on_disk("space", IoKind::List, path, |disk, path| disk.space(path)).await
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
    let lock_path = path.clone();
    let create = move |disk: &mut Disk, seed: &mut Seed| disk.fault(seed, IoKind::Create, &[&lock_path]);
    perform(&shard, &path, "lock_dir", 0, 0, create).await?;
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

/// Does `effect` unless a fault of `kind` strikes.
async fn on_disk<R: 'static>(
    name: &'static str,
    kind: IoKind,
    path: &Path,
    effect: impl FnOnce(&mut Disk, &Path) -> io::Result<R> + 'static,
) -> io::Result<R> {
    let path = absolute(path);
    let digest = digest_of(path.as_os_str().as_encoded_bytes());
    let concerned = path.clone();
    let effect = move |disk: &mut Disk, seed: &mut Seed| {
        disk.fault(seed, kind, &[&concerned])?;
        effect(disk, &concerned)
    };
    perform(&current_sim(), &path, name, 0, digest, effect).await
}
