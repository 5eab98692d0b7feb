//! The quorum's files: `metadata/N.journal` (one segment in use) and `metadata/meta-INDEX-TERM.snap` (the newest two).
//!
//! Lives on shard 0; owned by the writer task, one call at a time. Formats: `ringlane_metadata::quorum::journal`. Every failure is final:
//! what a failed write left on the disk is unknown, and a second sync would lie about it.

use ringlane_metadata::image::LogPosition;
use ringlane_metadata::quorum::journal::{self, Item, JournalError, SnapshotFile};
use ringlane_metadata::quorum::{Checkpoint, MetaCore};
use ringlane_runtime::{BLOCK_BYTES, Buffer, Durability, File, FileMode, fs, give_way};
use std::io;
use std::path::{Path, PathBuf};

/// The newest snapshot, and the one before in case an operator needs it.
const SNAPSHOTS_KEPT: usize = 2;
const JOURNAL_SUFFIX: &str = ".journal";
const SNAPSHOT_SUFFIX: &str = ".snap";
/// A file that is not complete yet; removed at start.
const UNFINISHED_SUFFIX: &str = ".new";
/// A write that goes past the file's end takes the file this far in zeros: later writes then overwrite, and need no change of the file's
/// size to be made durable with them (three times as fast).
const EXTEND_BYTES: u64 = 256 << 10;
const READ_BYTES: usize = 1 << 20;
const SNAPSHOT_PIECE_BYTES: usize = 64 << 10;
const BLOCK: u64 = BLOCK_BYTES as u64;

/// Why the quorum's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalError {
    #[error("{}: {doing} failed: {source}", path.display())]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    #[error("{}: {source}", path.display())]
    Journal { path: PathBuf, source: JournalError },
    #[error("{} has no journal, though the node has been started before. Restore the folder from a copy", dir.display())]
    Missing { dir: PathBuf },
    #[error("{}: this snapshot is of {found:?}, its name says {expected:?}", path.display())]
    Misnamed { path: PathBuf, found: LogPosition, expected: LogPosition },
}

/// What the files say.
pub(super) struct Recovered {
    pub state: Checkpoint,
    pub items: Vec<Item>,
    /// Nothing but the first entry of a new cluster.
    pub is_pristine: bool,
}

/// The segment in use.
pub(super) struct Wal {
    dir: PathBuf,
    number: u64,
    file: File,
    /// Bytes of whole writes.
    end: u64,
    /// Bytes of the file; zeros behind `end`.
    file_bytes: u64,
    /// What the last, partly filled block holds: written again, with more behind, by the next write.
    last_block: Vec<u8>,
}

impl Wal {
    /// The files of a new cluster.
    pub async fn create(dir: &Path, state: Checkpoint) -> Result<(Wal, Recovered), WalError> {
        write_snapshot(dir, &state).await?;
        let first = MetaCore::bootstrap_items(&state);
        let wal = Wal::new_segment(dir, 1, &first).await?;
        let items = journal::items(&first).map_err(|source| WalError::Journal { path: wal.file.path(), source })?;
        Ok((wal, Recovered { state, items, is_pristine: true }))
    }

    pub async fn exists(dir: &Path) -> Result<bool, WalError> {
        if !fs::exists(dir).await.map_err(|source| io_error(dir, "looking for it", source))? {
            return Ok(false);
        }
        Ok(!segments(&entries(dir).await?).is_empty())
    }

    pub async fn open(dir: &Path) -> Result<(Wal, Recovered), WalError> {
        let found = entries(dir).await?;
        let segments = segments(&found);
        let Some((number, path)) = segments.last().cloned() else {
            return Err(WalError::Missing { dir: dir.to_path_buf() });
        };
        let opened = File::open(&path, FileMode::ReadWrite).await;
        let file = opened.map_err(|source| io_error(&path, "opening", source))?;
        // What the last process saw written may not be durable yet, and must not be built upon before it is.
        file.sync().await.map_err(|source| io_error(&path, "syncing", source))?;
        let bytes = read_all(&file, &path).await?;
        let damaged = |source| WalError::Journal { path: path.clone(), source };
        let scanned = journal::scan(&bytes).map_err(damaged)?;
        let state = read_snapshot(dir, scanned.last_mark().map_err(damaged)?).await?;
        let mut file_bytes = bytes.len() as u64;
        if scanned.torn {
            tracing::info!(path = %path.display(), position = scanned.valid_bytes, "metadata journal: cut a torn write, never acknowledged");
            file_bytes = (scanned.valid_bytes as u64).next_multiple_of(BLOCK);
            file.set_len(file_bytes).await.map_err(|source| io_error(&path, "cutting", source))?;
        }
        // Left behind by a crash between the making of a segment or snapshot and the removal of what it replaced.
        let older = segments[..segments.len() - 1].iter().map(|(_, path)| path.clone());
        let unfinished = found.into_iter().filter(|path| name(path).ends_with(UNFINISHED_SUFFIX));
        remove_all(dir, older.chain(unfinished)).await?;
        let end = scanned.valid_bytes;
        let last_block = bytes[end - end % BLOCK_BYTES..end].to_vec();
        let is_pristine =
            state.position().index == 1 && !scanned.items.iter().any(|item| matches!(item, Item::Entries(_)));
        let wal = Wal { dir: dir.to_path_buf(), number, file, end: end as u64, file_bytes, last_block };
        Ok((wal, Recovered { state, items: scanned.items, is_pristine }))
    }

    /// Makes `items` durable behind what is there.
    pub async fn append(&mut self, items: &[u8]) -> Result<(), WalError> {
        let mut bytes = std::mem::take(&mut self.last_block);
        let at = self.end - bytes.len() as u64;
        journal::put_write(&mut bytes, items);
        self.end = at + bytes.len() as u64;
        self.last_block = bytes[bytes.len() - (self.end % BLOCK) as usize..].to_vec();
        let to = match self.end > self.file_bytes {
            true => self.end.next_multiple_of(EXTEND_BYTES),
            false => self.end.next_multiple_of(BLOCK),
        };
        self.file_bytes = self.file_bytes.max(to);
        let mut buffer = Buffer::take((to - at) as usize);
        buffer[..bytes.len()].copy_from_slice(&bytes);
        buffer[bytes.len()..].fill(0);
        let (written, _) = self.file.write_at(buffer, at, Durability::Durable).await;
        written.map_err(|source| {
            let doing = "writing to the metadata journal";
            WalError::Io { path: self.file.path(), doing, source }
        })
    }

    /// Goes on in a new segment that begins with `items` (a snapshot mark, whose file is durable, and all that follows it).
    pub async fn rotate(&mut self, items: &[u8]) -> Result<(), WalError> {
        let next = Wal::new_segment(&self.dir, self.number + 1, items).await?;
        let replaced = std::mem::replace(self, next);
        let found = entries(&self.dir).await?;
        let snapshots = found.iter().filter(|path| name(path).ends_with(SNAPSHOT_SUFFIX)).rev();
        let surplus = snapshots.skip(SNAPSHOTS_KEPT).cloned();
        let old = segment_path(&self.dir, replaced.number);
        drop(replaced);
        remove_all(&self.dir, surplus.chain([old])).await
    }

    /// Bytes of the segment in use.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    async fn new_segment(dir: &Path, number: u64, items: &[u8]) -> Result<Wal, WalError> {
        let path = segment_path(dir, number);
        let unfinished = PathBuf::from(format!("{}{UNFINISHED_SUFFIX}", path.display()));
        let failed = |source| io_error(&path, "making the journal segment", source);
        if fs::exists(&unfinished).await.map_err(failed)? {
            fs::remove_file(&unfinished).await.map_err(failed)?;
        }
        let file = File::open(&unfinished, FileMode::CreateNew).await.map_err(failed)?;
        let mut wal = Wal { dir: dir.to_path_buf(), number, file, end: 0, file_bytes: 0, last_block: Vec::new() };
        wal.append(items).await?;
        fs::rename(&unfinished, &path).await.map_err(failed)?;
        fs::sync_dir(dir).await.map_err(failed)?;
        Ok(wal)
    }
}

/// Makes a snapshot's file. Gives way between pieces: a large image takes longer than the shard may be kept busy.
pub(super) async fn write_snapshot(dir: &Path, state: &Checkpoint) -> Result<(), WalError> {
    let mut file = SnapshotFile::begin(state);
    for piece in state.image.snapshot_pieces(SNAPSHOT_PIECE_BYTES) {
        file.push(&piece);
        give_way().await;
    }
    let path = snapshot_path(dir, state.position());
    let written = fs::write_atomic(&path, &file.finish()).await;
    written.map_err(|source| io_error(&path, "writing the metadata snapshot", source))
}

async fn read_snapshot(dir: &Path, expected: LogPosition) -> Result<Checkpoint, WalError> {
    let path = snapshot_path(dir, expected);
    let bytes = fs::read(&path).await.map_err(|source| io_error(&path, "reading the metadata snapshot", source))?;
    let state = SnapshotFile::read(&bytes).map_err(|source| WalError::Journal { path: path.clone(), source })?;
    match state.position() {
        found if found == expected => Ok(state),
        found => Err(WalError::Misnamed { path, found, expected }),
    }
}

async fn read_all(file: &File, path: &Path) -> Result<Vec<u8>, WalError> {
    let mut bytes = Vec::new();
    let mut buffer = Buffer::take(READ_BYTES);
    loop {
        let (read, returned) = file.read_at(buffer, bytes.len() as u64).await;
        buffer = returned;
        let count = read.map_err(|source| io_error(path, "reading", source))?;
        bytes.extend_from_slice(&buffer[..count]);
        if count < READ_BYTES {
            return Ok(bytes);
        }
        give_way().await;
    }
}

async fn entries(dir: &Path) -> Result<Vec<PathBuf>, WalError> {
    fs::read_dir(dir).await.map_err(|source| io_error(dir, "listing", source))
}

async fn remove_all(dir: &Path, paths: impl Iterator<Item = PathBuf>) -> Result<(), WalError> {
    let mut removed = false;
    for path in paths {
        fs::remove_file(&path).await.map_err(|source| io_error(&path, "removing", source))?;
        removed = true;
    }
    if removed {
        fs::sync_dir(dir).await.map_err(|source| io_error(dir, "syncing", source))?;
    }
    Ok(())
}

/// Complete segments, by number.
fn segments(entries: &[PathBuf]) -> Vec<(u64, PathBuf)> {
    let number = |path: &PathBuf| name(path).strip_suffix(JOURNAL_SUFFIX)?.parse().ok();
    let mut segments: Vec<_> = entries.iter().filter_map(|path| Some((number(path)?, path.clone()))).collect();
    segments.sort();
    segments
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}{JOURNAL_SUFFIX}"))
}

fn snapshot_path(dir: &Path, LogPosition { term, index }: LogPosition) -> PathBuf {
    dir.join(format!("meta-{index:020}-{term:010}{SNAPSHOT_SUFFIX}"))
}

fn io_error(path: &Path, doing: &'static str, source: io::Error) -> WalError {
    WalError::Io { path: path.to_path_buf(), doing, source }
}
