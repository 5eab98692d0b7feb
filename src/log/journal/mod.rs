//! A shard's write-ahead file in one data directory: the only thing whose write an ack waits for.
//!
//! One per shard and data directory, for as long as the shard. `log` pushes batches as they are appended, `writer` writes all that waits as
//! one, `checkpoint` releases what has become durable in segments, `scan` reads what a crash left behind. Small, written in turn, never
//! extended by a write: so a durable ack costs one device write however many partitions it touches.
//!
//! ```text
//! push ─▶ pending ─▶ plan (≤ 1 MiB) ─▶ place in a file ─▶ one write in flight ─▶ stable ─▶ next_stable()
//!                                         ▲ zeros ahead, in the background          checkpoint ─▶ release
//! ```

mod files;
pub(crate) mod format;
pub(crate) mod kept;
mod pending;
pub(crate) mod scan;
pub(crate) mod writer;

use crate::error::LogFailed;
use files::Files;
use format::FileHead;
pub(crate) use pending::{Covered, Entry};
use pending::{Pending, WritePlan};
use ringlane_runtime::{Event, File, FileMode, fs};
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

/// Largest write. 1 MiB costs 0.034 CPU-s a GiB, 64 KiB ten times that (`bench/README.md`, "log writes").
pub(crate) const WRITE_BYTES_MAX: usize = 1 << 20;
/// A larger batch goes straight to its segment, so an entry always fits a write and a write always fits a file.
pub(crate) const ENTRY_BYTES_MAX: usize = 256 << 10;
const _: () = assert!(format::HEAD_BYTES + format::ENTRY_HEAD_BYTES + ENTRY_BYTES_MAX + 4096 <= WRITE_BYTES_MAX);

/// Name of the folder with the journals of all shards, in the data directory.
pub(crate) const FOLDER: &str = "journal";
/// Of a folder that is being removed.
const REMOVED_EXTENSION: &str = "removed";

#[derive(Clone, Copy, Debug)]
pub(crate) struct JournalOptions {
    pub directory_id: [u8; 16],
    pub file_bytes: u64,
    pub files_max: usize,
}

pub(crate) struct Journal {
    pub folder: PathBuf,
    pub options: JournalOptions,
    /// Of this process, see [`format::WriteHead`].
    pub epoch: u64,
    pending: RefCell<Pending>,
    files: RefCell<Files>,
    /// Of the last write that the device has. Single writer: the writer task.
    written_sequence: Cell<u64>,
    durable_sequence: Cell<u64>,
    /// Files with writes that are not durable yet.
    unsynced: RefCell<Vec<Unsynced>>,
    /// Bytes written since the last checkpoint began.
    bytes_since_checkpoint: Cell<u64>,
    is_growing: Cell<bool>,
    is_syncing: Cell<bool>,
    may_exceed: Cell<bool>,
    /// Entries, since the start.
    pushed: Cell<u64>,
    completed: Cell<u64>,
    closing: Cell<bool>,
    /// Something was pushed, or the journal closes.
    arrived: Event,
    /// Files were released, grew, or may: whoever waits for space looks again.
    space: Event,
    /// A write is done.
    progressed: Event,
}

/// A file with writes that may not be durable yet.
struct Unsynced {
    file: File,
    path: PathBuf,
    last_sequence: u64,
}

impl Journal {
    /// Takes pushes from now on; writes when its files are there, see [`Journal::prepare`].
    pub fn new(folder: PathBuf, options: JournalOptions, epoch: u64) -> Journal {
        Journal {
            folder,
            options,
            epoch,
            pending: RefCell::default(),
            files: RefCell::default(),
            written_sequence: Cell::new(0),
            durable_sequence: Cell::new(0),
            unsynced: RefCell::default(),
            bytes_since_checkpoint: Cell::new(0),
            is_growing: Cell::new(false),
            is_syncing: Cell::new(false),
            may_exceed: Cell::new(false),
            pushed: Cell::new(0),
            completed: Cell::new(0),
            closing: Cell::new(false),
            arrived: Event::default(),
            space: Event::default(),
            progressed: Event::default(),
        }
    }

    /// Takes over the files of an earlier process. Their content is void from here on: everything in it has been recovered, and a
    /// checkpoint with this journal's epoch says so. What is not whole is made anew. Without a whole
    /// one there must be room for one.
    pub async fn prepare(&self, free_bytes: u64) -> Result<(), LogFailed> {
        let folder = &self.folder;
        let failure = |doing, source| files::failure(folder, doing, 0, 0, source);
        let found = fs::read_dir(folder).await.map_err(|source| failure("listing the journal's folder", source))?;
        let mut ready = Vec::new();
        for path in found.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "journal")) {
            let opened = reuse(&path, self.options).await;
            ready.extend(opened.map_err(|source| files::failure(&path, "preparing the journal", 0, 0, source))?);
        }
        if ready.is_empty() && free_bytes < self.options.file_bytes {
            let message = format!("it needs {} bytes, and {free_bytes} are free", self.options.file_bytes);
            let source = std::io::Error::new(std::io::ErrorKind::StorageFull, message);
            return Err(failure("making room for the journal", source));
        }
        self.files.replace(Files::new(ready));
        Ok(())
    }

    /// Largest batch that it takes.
    pub fn entry_bytes_max(&self) -> usize {
        ENTRY_BYTES_MAX.min(self.options.file_bytes as usize / 4)
    }

    pub fn push(&self, entry: Entry) {
        self.pushed.set(self.pushed.get() + 1);
        let mut pending = self.pending.borrow_mut();
        let was_empty = pending.is_empty();
        pending.push(entry);
        drop(pending);
        if was_empty {
            self.arrived.notify_all();
        }
    }

    /// How much there is for a checkpoint to release, and how much there may be.
    pub fn used_bytes(&self) -> (u64, u64) {
        (self.files.borrow().used_bytes(), self.options.file_bytes * self.options.files_max as u64)
    }

    pub fn bytes_since_checkpoint(&self) -> u64 {
        self.bytes_since_checkpoint.get()
    }

    /// A checkpoint begins: what is written from now on waits for the next one. Returns what it may release when it is done.
    pub fn begin_checkpoint(&self) -> u64 {
        self.bytes_since_checkpoint.set(0);
        self.written_sequence.get()
    }

    /// Every entry up to `sequence` is durable in its segment.
    pub fn release(&self, sequence: u64) {
        self.files.borrow_mut().release(sequence);
        self.space.notify_all();
    }

    /// Waits until everything pushed before is written; `is_over` says whether there is nobody left who writes.
    pub async fn until_written(&self, is_over: impl Fn() -> bool) {
        let pushed = self.pushed.get();
        loop {
            let progressed = self.progressed.listen();
            if self.completed.get() >= pushed || is_over() {
                return;
            }
            progressed.await;
        }
    }

    /// Lets the writer go beyond its number of files, or not: for what a checkpoint has to write before it can release any.
    pub fn let_exceed(&self, may_exceed: bool) {
        self.may_exceed.set(may_exceed);
        self.space.notify_all();
    }

    fn files_max(&self) -> usize {
        self.options.files_max + usize::from(self.may_exceed.get())
    }

    /// The writer ends when nothing is pending.
    pub fn close(&self) {
        self.closing.set(true);
        self.arrived.notify_all();
        self.space.notify_all();
    }

    /// Wakes whoever waits for the writer: it ended.
    pub fn wake_all(&self) {
        self.space.notify_all();
        self.progressed.notify_all();
    }
}

/// An earlier process's file. `None`: it was not whole, and is gone.
async fn reuse(path: &Path, options: JournalOptions) -> std::io::Result<Option<(File, PathBuf, u64)>> {
    let file = File::open(path, FileMode::ReadWrite).await?;
    let bytes = file.len().await?;
    if bytes != options.file_bytes {
        // Cut short by a crash while its zeros were written, or of another `journal.file.bytes`.
        drop(file);
        fs::remove_file(path).await?;
        return Ok(None);
    }
    files::write_head(&file, FileHead { directory_id: options.directory_id }).await?;
    Ok(Some((file, path.to_owned(), bytes)))
}

/// Removes a journal that nobody needs. First of all its name goes: with half of its files left it would look like one that lost its
/// checkpoint.
pub(crate) async fn remove_folder(folder: &Path) -> std::io::Result<()> {
    let nameless = folder.with_added_extension(REMOVED_EXTENSION);
    // What a crash left of an earlier one.
    match fs::remove_dir_all(&nameless).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(folder, &nameless).await?;
    if let Some(all) = folder.parent() {
        fs::sync_dir(all).await?;
    }
    fs::remove_dir_all(&nameless).await
}
