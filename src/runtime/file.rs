//! Direct files: aligned reads and writes that bypass the page cache.

use crate::Buffer;
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
    _inner: (),
}

impl File {
    pub async fn open(path: &Path, mode: FileMode) -> io::Result<File> {
        let _ = (path, mode);
        todo!()
    }
    pub fn path(&self) -> PathBuf {
        todo!()
    }
    pub fn is_direct(&self) -> bool {
        todo!()
    }
    /// Fills as much of `buffer` as the file has from `position` on. Position and length are multiples of `BLOCK_BYTES`; the answer (a
    /// count of bytes, less than the length only at the end of the file) need not be.
    pub async fn read_at(&self, buffer: Buffer, position: u64) -> (io::Result<usize>, Buffer) {
        let _ = (buffer, position);
        todo!()
    }
    /// Writes all of `buffer` at `position`, both multiples of `BLOCK_BYTES`; short writes are continued. The buffer comes back for reuse.
    /// After an error the range holds old, new or mixed sectors.
    pub async fn write_at(&self, buffer: Buffer, position: u64, durability: Durability) -> (io::Result<()>, Buffer) {
        let _ = (buffer, position, durability);
        todo!()
    }
    /// Makes every completed write durable (fdatasync). An error is final for this file: it must not be retried.
    pub async fn sync(&self) -> io::Result<()> {
        todo!()
    }
    /// Reserves space up to `bytes` without changing the size (best effort where the file system cannot).
    pub async fn allocate(&self, bytes: u64) -> io::Result<()> {
        let _ = bytes;
        todo!()
    }
    /// Sets the size; a larger one reads as zeros.
    pub async fn set_len(&self, bytes: u64) -> io::Result<()> {
        let _ = bytes;
        todo!()
    }
    pub async fn len(&self) -> io::Result<u64> {
        todo!()
    }
}
