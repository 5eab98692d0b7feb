//! Copies ranges of a file into a new one, durable before it has its name.

use super::{OfflineError, failed};
use ringlane_runtime::{BLOCK_BYTES, Buffer, Durability, File, FileMode, fs, give_way};
use std::io;
use std::path::Path;

const COPY_BYTES: usize = 1 << 20;

/// Writes `ranges` of `from`, one behind the other, to `to`, which is replaced when it is there. Durable when it returns.
pub(super) async fn copy_ranges(from: &Path, ranges: &[(u64, u64)], to: &Path) -> Result<(), OfflineError> {
    let source = File::open(from, FileMode::Read).await.map_err(failed(from, "opening"))?;
    let temporary = to.with_added_extension("tmp");
    remove_if_there(&temporary).await?;
    let target = File::open(&temporary, FileMode::CreateNew).await.map_err(failed(&temporary, "creating"))?;
    let mut out = Output { file: target, staged: Vec::with_capacity(2 * COPY_BYTES), at: 0 };
    for (start, end) in ranges {
        copy_range(&source, *start, *end, &mut out).await.map_err(failed(from, "copying"))?;
    }
    out.finish().await.map_err(failed(&temporary, "writing"))?;
    fs::rename(&temporary, to).await.map_err(failed(to, "giving the copy its name"))?;
    sync_parent(to).await
}

pub(super) async fn remove_if_there(path: &Path) -> Result<(), OfflineError> {
    match fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, "removing")(error)),
        _ => Ok(()),
    }
}

pub(super) async fn sync_parent(path: &Path) -> Result<(), OfflineError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::sync_dir(parent).await.map_err(failed(parent, "syncing the folder"))
}

async fn copy_range(source: &File, start: u64, end: u64, out: &mut Output) -> io::Result<()> {
    let mut at = start;
    let mut buffer = Buffer::take(COPY_BYTES);
    while at < end {
        let aligned = at - at % BLOCK_BYTES as u64;
        let (read, returned) = source.read_at(buffer, aligned).await;
        buffer = returned;
        let have = (read? as u64).min(end - aligned) as usize;
        let skip = (at - aligned) as usize;
        if have <= skip {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
        }
        out.push(&buffer[skip..have]).await?;
        at = aligned + have as u64;
        give_way().await;
    }
    Ok(())
}

/// A file written in whole blocks from bytes that come in any size.
struct Output {
    file: File,
    staged: Vec<u8>,
    at: u64,
}

impl Output {
    async fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.staged.extend_from_slice(bytes);
        while self.staged.len() >= COPY_BYTES {
            let rest = self.staged.split_off(COPY_BYTES);
            let full = std::mem::replace(&mut self.staged, rest);
            self.write(&full).await?;
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut block = Buffer::take(bytes.len().next_multiple_of(BLOCK_BYTES));
        block[..bytes.len()].copy_from_slice(bytes);
        block[bytes.len()..].fill(0);
        let (written, _) = self.file.write_at(block, self.at, Durability::Written).await;
        written?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    async fn finish(mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.staged);
        if !rest.is_empty() {
            self.write(&rest).await?;
        }
        self.file.set_len(self.at).await?;
        self.file.sync().await
    }
}
