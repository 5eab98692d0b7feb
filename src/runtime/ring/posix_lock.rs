//! The kind of lock that Java takes on a file: fcntl's, which `flock` neither sees nor is seen by.

use super::helpers::{self, FILES};
use super::net::check;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// The kernel gives the lock up when the process closes any descriptor of the file: nobody else here opens it.
pub(crate) struct PosixLock {
    _file: fs::File,
}

/// `None`: there is no such file, or it cannot be written here, and nobody holds it.
pub(crate) async fn posix_lock(path: &Path) -> io::Result<Option<PosixLock>> {
    let path = path.to_owned();
    helpers::run(FILES, move || lock(&path)).await
}

fn lock(path: &Path) -> io::Result<Option<PosixLock>> {
    let writable = fs::OpenOptions::new().read(true).write(true).open(path);
    let (file, is_writable) = match writable {
        Ok(file) => (file, true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) => (fs::File::open(path)?, false),
    };
    let mut wanted = whole_file();
    // SAFETY: the descriptor is open, and `wanted` is a writable flock.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut wanted) })?;
    if i32::from(wanted.l_type) != libc::F_UNLCK {
        return Err(held(path, wanted.l_pid));
    }
    if !is_writable {
        return Ok(None);
    }
    let wanted = whole_file();
    // SAFETY: the descriptor is open, and `wanted` is a flock.
    match check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const wanted) }) {
        Ok(_) => Ok(Some(PosixLock { _file: file })),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EAGAIN)) => Err(held(path, 0)),
        Err(error) => Err(error),
    }
}

fn whole_file() -> libc::flock {
    // SAFETY: all zeros is a valid flock.
    let mut wanted: libc::flock = unsafe { std::mem::zeroed() };
    wanted.l_type = libc::F_WRLCK as libc::c_short;
    wanted.l_whence = libc::SEEK_SET as libc::c_short;
    wanted
}

fn held(path: &Path, pid: libc::pid_t) -> io::Error {
    // Of a process in another namespace, or of a lock that belongs to no process, the kernel gives no pid.
    let holder = if pid > 0 { format!("process {pid}") } else { "another process".to_owned() };
    io::Error::new(io::ErrorKind::WouldBlock, format!("{} is locked by {holder}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lock of an open file description stands for another process here: a process never sees its own.
    #[test]
    fn a_lock_that_somebody_holds_is_seen() {
        let path = std::env::temp_dir().join(format!("ringlane-posix-lock-{}", std::process::id()));
        assert!(lock(&path).unwrap().is_none(), "no file, no lock");
        let other = fs::File::create(&path).unwrap();
        let wanted = whole_file();
        // SAFETY: the descriptor is open, and `wanted` is a flock with a pid of zero.
        check(unsafe { libc::fcntl(other.as_raw_fd(), libc::F_OFD_SETLK, &raw const wanted) }).unwrap();
        let refused = lock(&path).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert!(refused.to_string().contains("is locked by another process"), "{refused}");
        drop(other);
        assert!(lock(&path).unwrap().is_some());
        fs::remove_file(&path).unwrap();
    }
}
