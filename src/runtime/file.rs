//! Direct files: aligned reads and writes that bypass the page cache.

use crate::context::{Backend, backend_of_shard};
use crate::{BLOCK_BYTES, Buffer, ring, sim};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileMode {
    /// Read only; must exist.
    Read,
    /// Read and write; must exist.
    ReadWrite,
    /// Read and write; must not exist.
    CreateNew,
    /// Read and write; made when missing.
    OpenOrCreate,
}

/// What a completed write promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// The device has it (survives kill -9).
    Written,
    /// It survives power loss (data, and the file size if the write grew it).
    Durable,
}

/// An open file. Cheap to clone; closed when the last clone is gone. Reads and writes on one shard only.
///
/// On a file system without direct I/O the same calls go through the page cache (`Durable` still means durable); `is_direct` tells.
#[derive(Clone)]
pub struct File {
    inner: Inner,
}

#[derive(Clone)]
enum Inner {
    Ring(ring::file::File),
    Sim(sim::file::File),
}

impl File {
    pub async fn open(path: &Path, mode: FileMode) -> io::Result<File> {
        let inner = match backend_of_shard("File::open") {
            Backend::Sim => Inner::Sim(sim::file::File::open(path, mode).await?),
            _ => Inner::Ring(ring::file::File::open(path, mode).await?),
        };
        Ok(File { inner })
    }
    pub fn path(&self) -> PathBuf {
        match &self.inner {
            Inner::Ring(file) => file.path(),
            Inner::Sim(file) => file.path(),
        }
    }
    pub fn is_direct(&self) -> bool {
        match &self.inner {
            Inner::Ring(file) => file.is_direct(),
            Inner::Sim(file) => file.is_direct(),
        }
    }
    /// Fills as much of `buffer` as the file has from `position` on. Position and length are multiples of `BLOCK_BYTES`; the answer (a
    /// count of bytes, less than the length only at the end of the file) need not be.
    pub async fn read_at(&self, buffer: Buffer, position: u64) -> (io::Result<usize>, Buffer) {
        assert_aligned(&buffer, position);
        match &self.inner {
            Inner::Ring(file) => file.read_at(buffer, position).await,
            Inner::Sim(file) => file.read_at(buffer, position).await,
        }
    }
    /// Writes all of `buffer` at `position`, both multiples of `BLOCK_BYTES`; short writes are continued. The buffer comes back for reuse.
    /// After an error the range holds old, new or mixed sectors.
    pub async fn write_at(&self, buffer: Buffer, position: u64, durability: Durability) -> (io::Result<()>, Buffer) {
        assert_aligned(&buffer, position);
        match &self.inner {
            Inner::Ring(file) => file.write_at(buffer, position, durability).await,
            Inner::Sim(file) => file.write_at(buffer, position, durability).await,
        }
    }
    /// Makes every completed write durable (fdatasync). An error is final for this file: it must not be retried.
    pub async fn sync(&self) -> io::Result<()> {
        match &self.inner {
            Inner::Ring(file) => file.sync().await,
            Inner::Sim(file) => file.sync().await,
        }
    }
    /// Reserves space up to `bytes` without changing the size (best effort where the file system cannot).
    pub async fn allocate(&self, bytes: u64) -> io::Result<()> {
        match &self.inner {
            Inner::Ring(file) => file.allocate(bytes).await,
            Inner::Sim(file) => file.allocate(bytes).await,
        }
    }
    /// Sets the size; a larger one reads as zeros.
    pub async fn set_len(&self, bytes: u64) -> io::Result<()> {
        match &self.inner {
            Inner::Ring(file) => file.set_len(bytes).await,
            Inner::Sim(file) => file.set_len(bytes).await,
        }
    }
    pub async fn len(&self) -> io::Result<u64> {
        match &self.inner {
            Inner::Ring(file) => file.len().await,
            Inner::Sim(file) => file.len().await,
        }
    }
}

/// A caller that breaks this would fail on a direct file only, so it fails everywhere.
fn assert_aligned(buffer: &Buffer, position: u64) {
    assert!(
        buffer.len().is_multiple_of(BLOCK_BYTES)
            && position.is_multiple_of(BLOCK_BYTES as u64)
            && buffer.as_ptr().addr().is_multiple_of(BLOCK_BYTES),
        "direct I/O of {} bytes at {position}, memory at {:p}: all three must be multiples of {BLOCK_BYTES}",
        buffer.len(),
        buffer.as_ptr(),
    );
}
