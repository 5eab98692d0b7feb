//! One node's disk: what it holds now, what of that a power loss leaves, and its faults.
//!
//! ```text
//!   write ──▶ live image ────────────▶ reads                       directory entries likewise: made live at once,
//!     │                                                            durable by `sync_dir` of the directory
//!     └─▶ unsynced changes ─ sync ─▶ durable image ─ power loss ─▶ durable image + some of the unsynced changes, some of them torn
//! ```
//! Strict POSIX, stricter than ext4: a synced file whose directory entry was never synced may be gone. `image` is one file's images,
//! `directory` the tree of names, `volume` what lies on which file system, `fault` the errors that are due, `device` the way to all of
//! them. `sim::file` and `sim::fs` are what the facade calls.

mod device;
mod directory;
mod fault;
mod image;
#[cfg(test)]
mod tests;
mod volume;

pub(super) use device::perform;
pub(super) use image::FileImages;

use super::seed::Seed;
use super::{DiskOptions, IoFault, IoKind};
use crate::{BLOCK_BYTES, Durability};
use bytes::Bytes;
use directory::{Directory, Tree};
use fault::Faults;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use volume::{VolumeId, Volumes};

/// Unit of atomicity of the medium: a torn write is torn between these.
const SECTOR_BYTES: usize = 512;
const _: () = assert!(BLOCK_BYTES.is_multiple_of(SECTOR_BYTES));

pub(super) struct Disk {
    volumes: Volumes,
    faults: Faults,
    files: BTreeMap<Inode, Stored>,
    tree: Tree,
    /// Writes that the device works on.
    in_flight: BTreeMap<u64, Write>,
    next_write: u64,
    locked: BTreeSet<Inode>,
    next_inode: u64,
    /// The node's wall clock when the operation under way takes effect.
    now_ms: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Inode(u64);

struct Stored {
    images: FileImages,
    volume: VolumeId,
}

pub(super) struct Write {
    pub(super) inode: Inode,
    pub(super) position: u64,
    pub(super) data: Bytes,
}

impl Disk {
    /// An empty file system with one directory, `/data`, that was always there.
    pub(super) fn new(options: DiskOptions) -> Disk {
        let root = Inode(0);
        let mut disk = Disk {
            volumes: Volumes::new(options),
            faults: Faults::default(),
            files: BTreeMap::new(),
            tree: Tree::new(root),
            in_flight: BTreeMap::new(),
            next_write: 0,
            locked: BTreeSet::new(),
            next_inode: 1,
            now_ms: 0,
        };
        disk.create_directory(Path::new("/data")).expect("the root is empty");
        disk.tree.directory_mut(root).expect("it is the root").sync_all();
        disk
    }

    pub(super) fn set_options(&mut self, options: DiskOptions) {
        self.volumes.set_root(options);
    }

    /// Changes the volume that is mounted at `path`, or mounts an empty one there.
    pub(super) fn set_volume(&mut self, path: &Path, options: DiskOptions) {
        if let Some(volume) = self.volumes.mounted_at(path) {
            volume.options = options;
            return;
        }
        self.make_directories(path).unwrap_or_else(|error| panic!("mounting a volume at {}: {error}", path.display()));
        for ancestor in path.ancestors() {
            let inode = self.find_directory(ancestor).expect("made above");
            self.tree.directory_mut(inode).expect("found").sync_all();
        }
        assert!(
            self.list(path).is_ok_and(|entries| entries.is_empty()),
            "{} has entries: mount a volume there before anything is written",
            path.display()
        );
        self.volumes.mount(path, options);
    }

    /// What the file system that has `path` is like.
    pub(super) fn options_at(&self, path: &Path) -> &DiskOptions {
        self.volumes.options(self.volumes.of(path))
    }

    pub(super) fn add_fault(&mut self, fault: IoFault) {
        self.faults.add(fault);
    }

    pub(super) fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// The error that the medium answers with, if one of the faults is due.
    pub(super) fn fault(&self, seed: &mut Seed, kind: IoKind, paths: &[&Path]) -> io::Result<()> {
        self.faults.strike(seed, kind, paths)
    }

    // ── files ──

    pub(super) fn file(&mut self, inode: Inode) -> &mut FileImages {
        &mut self.files.get_mut(&inode).expect("an open file keeps its inode").images
    }

    fn new_inode(&mut self) -> Inode {
        self.next_inode += 1;
        Inode(self.next_inode - 1)
    }

    /// Makes an empty file and its name.
    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<Inode> {
        let volume = self.volumes.of(path);
        self.need_block(volume)?;
        let inode = self.new_inode();
        self.tree.link(path, inode)?;
        let mut images = FileImages::default();
        images.modified_ms = self.now_ms;
        self.files.insert(inode, Stored { images, volume });
        Ok(inode)
    }

    pub(super) fn modified_ms(&mut self, path: &Path) -> io::Result<i64> {
        let inode = self.find_file(path)?;
        Ok(self.file(inode).modified_ms)
    }

    fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.new_inode();
        self.tree.link(path, inode)?;
        self.tree.add_directory(inode, Directory::default());
        Ok(())
    }

    pub(super) fn create_directories(&mut self, path: &Path) -> io::Result<()> {
        if self.find_directory(path).is_err() {
            self.need_block(self.volumes.of(path))?;
        }
        self.make_directories(path)
    }

    fn make_directories(&mut self, path: &Path) -> io::Result<()> {
        let missing: Vec<PathBuf> = path.ancestors().map(Path::to_owned).collect();
        for ancestor in missing.iter().rev() {
            match self.tree.find(ancestor) {
                Some(inode) if self.tree.directory(inode).is_some() => {}
                Some(_) => return Err(io::ErrorKind::NotADirectory.into()),
                None => self.create_directory(ancestor)?,
            }
        }
        Ok(())
    }

    pub(super) fn find_file(&self, path: &Path) -> io::Result<Inode> {
        let inode = self.tree.find(path).ok_or(io::ErrorKind::NotFound)?;
        match self.files.contains_key(&inode) {
            true => Ok(inode),
            false => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn find_directory(&self, path: &Path) -> io::Result<Inode> {
        let inode = self.tree.find(path).ok_or(io::ErrorKind::NotFound)?;
        match self.tree.directory(inode) {
            Some(_) => Ok(inode),
            None => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.volumes.of(from) != self.volumes.of(to) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        self.tree.rename(from, to)
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.find_file(path)?;
        self.tree.unlink(path)
    }

    pub(super) fn remove_tree(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.find_directory(path)?;
        for name in self.tree.directory(inode).expect("found above").names() {
            let child = path.join(name);
            match self.find_file(&child) {
                Ok(_) => self.remove_file(&child)?,
                Err(_) => self.remove_tree(&child)?,
            }
        }
        self.tree.unlink(path)
    }

    /// A file that nobody has open and to which no name leads, live or durable, is no more.
    fn forget_unused(&mut self) {
        let mentioned = self.tree.all_mentioned();
        self.files.retain(|inode, file| file.images.opens > 0 || mentioned.contains(inode));
    }

    pub(super) fn close_file(&mut self, inode: Inode) {
        self.file(inode).opens -= 1;
        if self.file(inode).opens == 0 && !self.tree.mentions(inode) {
            self.files.remove(&inode);
        }
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        self.tree.find(path).is_some()
    }

    // ── space ──

    /// Free and total bytes of the file system that has `path`.
    pub(super) fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        match self.exists(path) {
            true => Ok(self.space_of(self.volumes.of(path))),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Files take what they hold or have reserved, whichever is more.
    fn space_of(&self, volume: VolumeId) -> (u64, u64) {
        let total_bytes = self.volumes.options(volume).capacity_bytes;
        let files = self.files.values().filter(|file| file.volume == volume);
        let used_bytes = files.map(|file| file.images.used_bytes()).sum();
        (total_bytes.saturating_sub(used_bytes), total_bytes)
    }

    fn need_space(&self, volume: VolumeId, more_bytes: u64) -> io::Result<()> {
        let (free_bytes, _) = self.space_of(volume);
        if more_bytes <= free_bytes { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    /// For a name, or for what describes a larger file: a full volume has no room for that either.
    fn need_block(&self, volume: VolumeId) -> io::Result<()> {
        self.need_space(volume, BLOCK_BYTES as u64)
    }

    fn volume_of(&self, inode: Inode) -> VolumeId {
        self.files[&inode].volume
    }

    pub(super) fn allocate(&mut self, inode: Inode, bytes: u64) -> io::Result<()> {
        let more_bytes = self.file(inode).allocation_bytes(bytes);
        self.need_space(self.volume_of(inode), more_bytes)?;
        self.file(inode).allocate(bytes);
        Ok(())
    }

    pub(super) fn set_len(&mut self, inode: Inode, bytes: u64) -> io::Result<()> {
        if bytes > self.file(inode).len() {
            self.need_block(self.volume_of(inode))?;
        }
        let now_ms = self.now_ms;
        let file = self.file(inode);
        file.set_len(bytes);
        file.modified_ms = now_ms;
        Ok(())
    }

    // ── writes ──

    /// The device has the write in its hands: from now on a crash leaves all, some or none of it.
    pub(super) fn begin_write(&mut self, write: Write) -> u64 {
        let id = self.next_write;
        self.next_write += 1;
        self.in_flight.insert(id, write);
        id
    }

    pub(super) fn finish_write(
        &mut self,
        seed: &mut Seed,
        path: &Path,
        id: u64,
        durability: Durability,
    ) -> io::Result<()> {
        let write = self.in_flight.remove(&id).expect("finished once, forgotten by a crash only");
        let growth_bytes = self.file(write.inode).growth_bytes(write.position, write.data.len());
        let volume = self.volume_of(write.inode);
        self.need_space(volume, growth_bytes)?;
        if let Err(error) = self.fault(seed, IoKind::Write, &[path]) {
            self.file(write.inode).tear(seed, write.position, &write.data);
            return Err(error);
        }
        let is_durable = durability == Durability::Durable && !self.volumes.options(volume).lies_about_durability;
        let now_ms = self.now_ms;
        let file = self.file(write.inode);
        file.write(write.position, &write.data, is_durable);
        file.modified_ms = now_ms;
        Ok(())
    }

    pub(super) fn finish_sync(&mut self, seed: &mut Seed, path: &Path, inode: Inode, up_to: u64) -> io::Result<()> {
        if let Err(error) = self.fault(seed, IoKind::Sync, &[path]) {
            // As Linux does: the changes are marked clean, the next sync says ok, and they are not on the disk.
            self.file(inode).forget_unsynced(up_to);
            return Err(error);
        }
        if !self.volumes.options(self.volume_of(inode)).lies_about_durability {
            self.file(inode).sync(up_to);
        }
        Ok(())
    }

    pub(super) fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.find_directory(path)?;
        if !self.options_at(path).lies_about_durability {
            self.tree.directory_mut(inode).expect("found above").sync_all();
            self.forget_unused();
        }
        Ok(())
    }

    /// Whether the lock was free.
    pub(super) fn lock(&mut self, directory: Inode) -> bool {
        self.locked.insert(directory)
    }

    pub(super) fn unlock(&mut self, directory: Inode) {
        self.locked.remove(&directory);
    }

    // ── the end of a process, the end of power ──

    /// The process is gone, the machine runs on: what was written stays, what was on its way may be there in part.
    pub(super) fn process_ended(&mut self, seed: &mut Seed) {
        for write in std::mem::take(&mut self.in_flight).into_values() {
            self.file(write.inode).tear(seed, write.position, &write.data);
        }
        self.locked.clear();
        self.files.values_mut().for_each(|file| file.images.opens = 0);
        self.forget_unused();
    }

    /// Of each unsynced change the seed decides whether it is kept, lost or, for a write, torn; then live is what is durable.
    pub(super) fn power_lost(&mut self, seed: &mut Seed) {
        self.process_ended(seed);
        self.tree.lose_power(seed);
        self.files.values_mut().for_each(|file| file.images.lose_power(seed));
        self.forget_unused();
    }

    // ── looking ──

    /// What a file holds, directories 0 bytes; full paths, sorted.
    pub(super) fn list_with_sizes(&self, path: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let size_of = |path: &Path| self.find_file(path).map_or(0, |inode| self.files[&inode].images.len());
        Ok(self.list(path)?.into_iter().map(|path| (path.clone(), size_of(&path))).collect())
    }

    /// Bit rot.
    pub(super) fn flip_bit(&mut self, path: &Path, bit: u64) -> io::Result<()> {
        let inode = self.find_file(path)?;
        self.file(inode).flip_bit(bit);
        Ok(())
    }

    pub(super) fn content(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let inode = self.find_file(path)?;
        let file = self.file(inode);
        let mut content = vec![0; file.len() as usize];
        file.read(0, &mut content);
        Ok(content)
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let inode = self.find_directory(path)?;
        Ok(self.tree.directory(inode).expect("found above").names().into_iter().map(|name| path.join(name)).collect())
    }
}

/// Absolute, without `.` and `..`: a node's working directory is `/`.
pub(super) fn absolute(path: &Path) -> PathBuf {
    let mut absolute = PathBuf::from("/");
    for component in path.components() {
        match component {
            std::path::Component::Normal(name) => absolute.push(name),
            std::path::Component::ParentDir => drop(absolute.pop()),
            _ => {}
        }
    }
    absolute
}
