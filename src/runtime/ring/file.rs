//! file
use crate::{Buffer, Durability, FileMode};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Clone)]
pub(crate) struct File {}
impl File {
    pub(crate) async fn open(path: &Path, mode: FileMode) -> io::Result<File> {
        let _ = (path, mode);
        todo!()
    }
    pub(crate) fn path(&self) -> PathBuf {
        todo!()
    }
    pub(crate) fn is_direct(&self) -> bool {
        todo!()
    }
    pub(crate) async fn read_at(&self, buffer: Buffer, position: u64) -> (io::Result<usize>, Buffer) {
        let _ = (buffer, position);
        todo!()
    }
    pub(crate) async fn write_at(
        &self,
        buffer: Buffer,
        position: u64,
        durability: Durability,
    ) -> (io::Result<()>, Buffer) {
        let _ = (buffer, position, durability);
        todo!()
    }
    pub(crate) async fn sync(&self) -> io::Result<()> {
        todo!()
    }
    pub(crate) async fn allocate(&self, bytes: u64) -> io::Result<()> {
        let _ = bytes;
        todo!()
    }
    pub(crate) async fn set_len(&self, bytes: u64) -> io::Result<()> {
        let _ = bytes;
        todo!()
    }
    pub(crate) async fn len(&self) -> io::Result<u64> {
        todo!()
    }
}
