//! Direct files on the simulated disk, as the facade's `file` calls them.

use super::IoKind;
use super::disk::{Disk, FileImages, Inode, Write, absolute, perform};
use super::seed::Seed;
use super::trace::digest_of;
use super::world::Shard;
use crate::context::current_sim;
use crate::{BLOCK_BYTES, Buffer, Durability, FileMode};
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

#[derive(Clone)]
pub(crate) struct File {
    handle: Rc<Handle>,
}

struct Handle {
    shard: Rc<Shard>,
    name: Name,
    is_writable: bool,
}

#[derive(Clone)]
struct Name {
    inode: Inode,
    path: PathBuf,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.shard.is_alive() {
            self.shard.with(|world| world.node(self.shard.node).disk.close_file(self.name.inode));
        }
    }
}

impl File {
    pub(crate) async fn open(path: &Path, mode: FileMode) -> io::Result<File> {
        let shard = current_sim();
        let path = absolute(path);
        let digest = digest_of(path.as_os_str().as_encoded_bytes());
        // Opened and given its handle at once, so that a dropped future leaves no open file behind.
        perform(&shard, "open", 0, digest, |_, _| ()).await;
        let inode = shard.with(|world| {
            let disk = &mut world.node(shard.node).disk;
            let inode = match (mode, disk.find_file(&path)) {
                (FileMode::CreateNew, Ok(_)) => Err(io::ErrorKind::AlreadyExists.into()),
                (_, Ok(inode)) => Ok(inode),
                (FileMode::CreateNew | FileMode::OpenOrCreate, Err(error))
                    if error.kind() == io::ErrorKind::NotFound =>
                {
                    disk.create_file(&path)
                }
                (_, Err(error)) => Err(error),
            }?;
            disk.file(inode).opens += 1;
            io::Result::Ok(inode)
        })?;
        Ok(File { handle: Rc::new(Handle { shard, name: Name { inode, path }, is_writable: mode != FileMode::Read }) })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.handle.name.path.clone()
    }

    pub(crate) fn is_direct(&self) -> bool {
        true
    }

    pub(crate) async fn read_at(&self, mut buffer: Buffer, position: u64) -> (io::Result<usize>, Buffer) {
        assert_aligned("read", &buffer, position);
        let fault = self
            .handle
            .perform("read", buffer.len(), position, |disk, seed, name| disk.fault(seed, IoKind::Read, &name.path));
        let result = fault.await.map(|()| self.handle.images(|file| file.read(position, &mut buffer)));
        (result, buffer)
    }

    pub(crate) async fn write_at(
        &self,
        buffer: Buffer,
        position: u64,
        durability: Durability,
    ) -> (io::Result<()>, Buffer) {
        assert_aligned("write", &buffer, position);
        let result = self.handle.write(Bytes::copy_from_slice(&buffer), position, durability).await;
        (result, buffer)
    }

    pub(crate) async fn sync(&self) -> io::Result<()> {
        let up_to = self.handle.images(|file| file.sync_mark());
        let finish =
            move |disk: &mut Disk, seed: &mut Seed, name: &Name| disk.finish_sync(seed, &name.path, name.inode, up_to);
        self.handle.perform("sync", 0, up_to, finish).await
    }

    pub(crate) async fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.handle.may_write()?;
        let allocate = move |disk: &mut Disk, _: &mut Seed, name: &Name| {
            let more_bytes = disk.file(name.inode).allocation_bytes(bytes);
            disk.need_space(more_bytes)?;
            disk.file(name.inode).allocate(bytes);
            Ok(())
        };
        self.handle.perform("allocate", 0, bytes, allocate).await
    }

    pub(crate) async fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.handle.may_write()?;
        let set_len = move |disk: &mut Disk, _: &mut Seed, name: &Name| disk.set_len(name.inode, bytes);
        self.handle.perform("set_len", 0, bytes, set_len).await;
        Ok(())
    }

    pub(crate) async fn len(&self) -> io::Result<u64> {
        Ok(self.handle.images(|file| file.len()))
    }

    /// A small file's whole content, of any length.
    pub(super) async fn write_whole(&self, content: &[u8]) -> io::Result<()> {
        self.handle.write(Bytes::copy_from_slice(content), 0, Durability::Written).await?;
        self.set_len(content.len() as u64).await
    }
}

impl Handle {
    fn may_write(&self) -> io::Result<()> {
        let message = || format!("{}: opened for reading only", self.name.path.display());
        if self.is_writable { Ok(()) } else { Err(io::Error::new(io::ErrorKind::PermissionDenied, message())) }
    }

    fn images<R>(&self, look: impl FnOnce(&mut FileImages) -> R) -> R {
        self.shard.with(|world| look(world.node(self.shard.node).disk.file(self.name.inode)))
    }

    async fn write(&self, data: Bytes, position: u64, durability: Durability) -> io::Result<()> {
        self.may_write()?;
        let (bytes, digest) = (data.len(), digest_of(&data) ^ position);
        let write = Write { inode: self.name.inode, position, data };
        let id = self.shard.with(|world| world.node(self.shard.node).disk.begin_write(write));
        let finish =
            move |disk: &mut Disk, seed: &mut Seed, name: &Name| disk.finish_write(seed, &name.path, id, durability);
        self.perform("write", bytes, digest, finish).await
    }

    /// Performs an operation that keeps the file open until it is done, even if its future is dropped before.
    async fn perform<R: 'static>(
        &self,
        kind: &'static str,
        bytes: usize,
        digest: u64,
        effect: impl FnOnce(&mut Disk, &mut Seed, &Name) -> R + 'static,
    ) -> R {
        self.images(|file| file.opens += 1);
        let name = self.name.clone();
        let effect = move |disk: &mut Disk, seed: &mut Seed| {
            let result = effect(disk, seed, &name);
            disk.close_file(name.inode);
            result
        };
        perform(&self.shard, kind, bytes, digest, effect).await
    }
}

/// What the kernel refuses with EINVAL on a direct file is a bug of the caller here.
fn assert_aligned(what: &str, buffer: &Buffer, position: u64) {
    let (len, address) = (buffer.len(), buffer.as_ptr().addr());
    let is_aligned = position.is_multiple_of(BLOCK_BYTES as u64)
        && len.is_multiple_of(BLOCK_BYTES)
        && address.is_multiple_of(BLOCK_BYTES);
    assert!(
        is_aligned,
        "direct {what} of {len} bytes at {position}: all, and the address, must be multiples of {BLOCK_BYTES}"
    );
}
