//! Names, on helper threads: each call is one job.

use super::helpers::{self, FILES};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const WHOLE_FILE_BYTES_MAX: u64 = 64 << 20;
const LOCK_NAME: &str = ".lock";

async fn at<T: Send + 'static>(
    path: &Path,
    job: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let path = path.to_owned();
    helpers::run(FILES, move || job(&path)).await
}

pub(crate) async fn create_dir_all(path: &Path) -> io::Result<()> {
    at(path, |path| fs::create_dir_all(path)).await
}

pub(crate) async fn read_dir(path: &Path) -> io::Result<Vec<PathBuf>> {
    at(path, |path| {
        let mut paths = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    })
    .await
}

pub(crate) async fn list(path: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    at(path, |path| {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let path = entry?.path();
            match fs::metadata(&path) {
                Ok(found) if found.is_dir() => entries.push((path, 0)),
                Ok(found) => entries.push((path, found.len())),
                // Removed since its name was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        entries.sort();
        Ok(entries)
    })
    .await
}

pub(crate) async fn exists(path: &Path) -> io::Result<bool> {
    at(path, |path| fs::exists(path)).await
}

pub(crate) async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let to = to.to_owned();
    at(from, move |from| fs::rename(from, to)).await
}

pub(crate) async fn remove_file(path: &Path) -> io::Result<()> {
    at(path, |path| fs::remove_file(path)).await
}

pub(crate) async fn remove_dir_all(path: &Path) -> io::Result<()> {
    at(path, |path| fs::remove_dir_all(path)).await
}

pub(crate) async fn sync_dir(path: &Path) -> io::Result<()> {
    at(path, sync_dir_blocking).await
}

pub(crate) async fn truncate(path: &Path, bytes: u64) -> io::Result<()> {
    at(path, move |path| {
        let file = fs::OpenOptions::new().write(true).open(path)?;
        file.set_len(bytes)?;
        file.sync_all()
    })
    .await
}

fn sync_dir_blocking(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

pub(crate) async fn read(path: &Path) -> io::Result<Vec<u8>> {
    at(path, |path| {
        let mut content = Vec::new();
        fs::File::open(path)?.take(WHOLE_FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
        if content.len() as u64 > WHOLE_FILE_BYTES_MAX {
            let text =
                format!("{} has more than {WHOLE_FILE_BYTES_MAX} bytes, the most that is read whole", path.display());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(content)
    })
    .await
}

pub(crate) async fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    let content = content.to_owned();
    at(path, move |path| {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(".tmp");
        let temporary = directory.join(name);
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_dir_blocking(directory)
    })
    .await
}

pub(crate) async fn modified_ms(path: &Path) -> io::Result<i64> {
    at(path, |path| {
        let modified = fs::metadata(path)?.modified()?;
        Ok(match modified.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        })
    })
    .await
}

pub(crate) async fn space(path: &Path) -> io::Result<(u64, u64)> {
    at(path, |path| {
        let file = fs::File::open(path)?;
        // SAFETY: all zeros is a valid statvfs.
        let mut answer: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open and `answer` is writable.
        super::net::check(unsafe { libc::fstatvfs(file.as_raw_fd(), &mut answer) })?;
        // What an ordinary user may still take: the reserve of root is not ours.
        Ok((answer.f_bavail * answer.f_frsize, answer.f_blocks * answer.f_frsize))
    })
    .await
}

/// The kernel gives the lock up when the file is closed, also by kill -9. The file stays: removing it would let a third process lock a
/// file that a second one is waiting for under the same name.
pub(crate) struct DirLock {
    _file: fs::File,
}

pub(crate) async fn lock_dir(path: &Path) -> io::Result<DirLock> {
    at(path, |path| {
        let lock_path = path.join(LOCK_NAME);
        let mut file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock_path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.take(32).read_to_string(&mut holder)?;
                let text = format!(
                    "{} is in use by process {}: stop it, or use another directory",
                    path.display(),
                    if holder.trim().is_empty() { "(unknown)" } else { holder.trim() }
                );
                return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(DirLock { _file: file })
    })
    .await
}
