//! Direct files over the shard's ring.

use super::descriptor::{Closes, Descriptor};
use super::helpers;
use super::net::{check, result};
use super::uring::Ring;
use crate::{BLOCK_BYTES, Buffer, Durability, FileMode};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone)]
pub(crate) struct File {
    inner: Rc<Inner>,
}

struct Inner {
    descriptor: Rc<Descriptor>,
    path: PathBuf,
    is_direct: bool,
}

impl File {
    pub(crate) async fn open(path: &Path, mode: FileMode) -> io::Result<File> {
        let owned = path.to_owned();
        let (fd, is_direct) = helpers::run(helpers::FILES, move || open_blocking(&owned, mode)).await?;
        if !is_direct {
            warn_once(path);
        }
        let descriptor = Descriptor::new(fd, Closes::OnHelper);
        let inner = Inner { descriptor, path: path.to_owned(), is_direct };
        Ok(File { inner: Rc::new(inner) })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.inner.path.clone()
    }

    pub(crate) fn is_direct(&self) -> bool {
        self.inner.is_direct
    }

    pub(crate) async fn read_at(&self, mut buffer: Buffer, position: u64) -> (io::Result<usize>, Buffer) {
        let file = &*self.inner;
        let mut filled = 0;
        while filled < buffer.len() {
            let read;
            (read, buffer) = Ring::read(&file.descriptor, buffer, filled, position + filled as u64).await;
            match result(read) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), buffer),
            }
            // A direct read ends between blocks only at the end of the file, and could not go on from there.
            if self.inner.is_direct && !filled.is_multiple_of(BLOCK_BYTES) {
                break;
            }
        }
        (Ok(filled), buffer)
    }

    pub(crate) async fn write_at(
        &self,
        mut buffer: Buffer,
        position: u64,
        durability: Durability,
    ) -> (io::Result<()>, Buffer) {
        let file = &*self.inner;
        let mut done = 0;
        while done < buffer.len() {
            let written;
            let at = position + done as u64;
            (written, buffer) = Ring::write(&file.descriptor, buffer, done, at, durability).await;
            match result(written).and_then(|bytes| progress(bytes, file.is_direct)) {
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(()), buffer)
    }

    pub(crate) async fn sync(&self) -> io::Result<()> {
        // Never retried, not even when interrupted: a second fsync may say ok for pages that the first one lost.
        result(Ring::sync_data(&self.inner.descriptor).await.0).map(drop)
    }

    pub(crate) async fn allocate(&self, bytes: u64) -> io::Result<()> {
        match result(Ring::allocate(&self.inner.descriptor, bytes).await.0) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            result => result.map(drop),
        }
    }

    pub(crate) async fn set_len(&self, bytes: u64) -> io::Result<()> {
        // The descriptor stays open until the helper is done, whoever stops waiting: it holds a copy.
        // SAFETY: the descriptor is open; the copy is a new one.
        let copy = unsafe { std::os::fd::BorrowedFd::borrow_raw(self.inner.descriptor.raw()) }.try_clone_to_owned()?;
        helpers::run(helpers::FILES, move || std::fs::File::from(copy).set_len(bytes)).await
    }

    pub(crate) async fn len(&self) -> io::Result<u64> {
        // By descriptor: by path it could be another file's (fault B7). The inode is in memory, so this does not block.
        // SAFETY: all zeros is a valid stat.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open and `stat` is writable.
        check(unsafe { libc::fstat(self.inner.descriptor.raw(), &mut stat) })?;
        Ok(stat.st_size as u64)
    }
}

/// By how much a write that wrote `bytes` has come nearer its end. A direct write that stops inside a block (device full) goes on from that
/// block's beginning, where the device says why; one that came no further at all is an error, or it would be tried for ever.
fn progress(bytes: usize, is_direct: bool) -> io::Result<usize> {
    let whole = if is_direct { bytes / BLOCK_BYTES * BLOCK_BYTES } else { bytes };
    if whole > 0 { Ok(whole) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Opens for direct I/O, or through the page cache where the file system refuses it; says which.
fn open_blocking(path: &Path, mode: FileMode) -> io::Result<(OwnedFd, bool)> {
    let mut options = OpenOptions::new();
    options.read(true);
    match mode {
        FileMode::Read => {}
        FileMode::ReadWrite => _ = options.write(true),
        FileMode::CreateNew => _ = options.write(true).create_new(true),
        FileMode::OpenOrCreate => _ = options.write(true).create(true).truncate(false),
    }
    match options.custom_flags(libc::O_DIRECT).open(path) {
        Ok(file) => {
            let is_direct = direct_alignment(&file)?.is_none_or(|bytes| bytes > 0 && BLOCK_BYTES.is_multiple_of(bytes));
            if !is_direct {
                // SAFETY: the descriptor is open; the file status flags without O_DIRECT are valid flags.
                check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, 0) })?;
            }
            Ok((file.into(), is_direct))
        }
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            // The refused attempt may have created the file already.
            if mode == FileMode::CreateNew {
                options.create_new(false);
            }
            Ok((options.custom_flags(0).open(path)?.into(), false))
        }
        Err(error) => Err(error),
    }
}

/// What direct I/O on `file` must be aligned to (fault B9: glommio asks the wrong device); zero where there is none, `None` where the
/// file system does not say.
pub(super) fn direct_alignment(file: &impl AsRawFd) -> io::Result<Option<usize>> {
    // SAFETY: all zeros is a valid statx.
    let mut answer: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: an empty path with AT_EMPTY_PATH asks for the open descriptor; `answer` is writable.
    check(unsafe {
        libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN, &mut answer)
    })?;
    let is_known = answer.stx_mask & libc::STATX_DIOALIGN != 0;
    Ok(is_known.then(|| answer.stx_dio_mem_align.max(answer.stx_dio_offset_align) as usize))
}

fn warn_once(path: &Path) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            path = %path.display(),
            "this file system has no direct I/O: files go through the page cache, reads and writes cost more CPU and memory. \
             Put the data directory on ext4 or xfs"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short write taken for a whole one is a hole in the log; one that is tried again from the middle of a block is refused (EINVAL).
    #[test]
    fn a_short_write_goes_on_at_a_block_or_fails() {
        let kind = |bytes, is_direct| progress(bytes, is_direct).map_err(|error| error.kind());
        assert_eq!(kind(3 * BLOCK_BYTES, true), Ok(3 * BLOCK_BYTES));
        assert_eq!(kind(3 * BLOCK_BYTES - 1, true), Ok(2 * BLOCK_BYTES));
        assert_eq!(kind(BLOCK_BYTES - 1, true), Err(io::ErrorKind::WriteZero));
        assert_eq!(kind(BLOCK_BYTES - 1, false), Ok(BLOCK_BYTES - 1));
        assert_eq!(kind(0, false), Err(io::ErrorKind::WriteZero));
    }
}
