//! Owns the open files and loaded indexes of sealed segments, at most so many per shard: a hundred thousand segments must not need a
//! hundred thousand open files.
//!
//! Called by `read` and `timestamps` when they need a segment whose file and index are not in memory.

use crate::index::SegmentIndex;
use crate::log::LogInner;
use crate::scan::{self, Scanner};
use crate::segment::Segment;
use crate::{LogKey, ReadError, files};
use ringlane_runtime::{File, FileMode, fs};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

const HANDLES_MAX: usize = 256;

/// What reading a sealed segment takes.
#[derive(Clone)]
pub(crate) struct Handle {
    pub file: File,
    pub index: Rc<SegmentIndex>,
}

#[derive(Default)]
pub(crate) struct Handles {
    open: BTreeMap<(LogKey, i64), (u64, Handle)>,
    /// Counts uses, so that the one longest unused is known.
    clock: u64,
}

impl Handles {
    fn get(&mut self, key: (LogKey, i64)) -> Option<Handle> {
        self.clock += 1;
        let (used, handle) = self.open.get_mut(&key)?;
        *used = self.clock;
        Some(handle.clone())
    }

    fn insert(&mut self, key: (LogKey, i64), handle: Handle) {
        if self.open.len() >= HANDLES_MAX {
            let oldest = self.open.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key);
            oldest.and_then(|key| self.open.remove(&key));
        }
        self.open.insert(key, (self.clock, handle));
    }

    /// The log's segments up to this one are gone.
    pub fn forget_up_to(&mut self, log: LogKey, base_offset: i64) {
        self.open.retain(|(owner, base), _| *owner != log || *base > base_offset);
    }

    /// The log's segments are gone or changed.
    pub fn forget(&mut self, log: LogKey) {
        self.open.retain(|(owner, _), _| *owner != log);
    }
}

/// File and index of the sealed segment `base_offset`.
pub(crate) async fn handle(log: &LogInner, base_offset: i64) -> Result<Handle, ReadError> {
    let key = (log.key, base_offset);
    if let Some(handle) = log.shard.handles.borrow_mut().get(key) {
        return Ok(handle);
    }
    let generation = log.state.borrow().generation;
    let opened = open(log, base_offset).await;
    // First of all: a file that is not there is no error when its segment was deleted meanwhile.
    if log.state.borrow().generation != generation || is_being_exchanged(log, base_offset) {
        return Err(ReadError::Moved);
    }
    let handle = opened?;
    log.shard.handles.borrow_mut().insert(key, handle.clone());
    Ok(handle)
}

async fn open(log: &LogInner, base_offset: i64) -> Result<Handle, ReadError> {
    let path = files::segment_path(&log.folder, base_offset);
    let file = File::open(&path, FileMode::Read).await.map_err(read_error(path))?;
    let in_memory = index_in_memory(log, base_offset);
    let index = match in_memory {
        Some(index) => index,
        None => load_index(log, &file, base_offset).await?,
    };
    Ok(Handle { file, index: Rc::new(index) })
}

/// The cleaner holds the segment's file in memory while its name may lead to another one: whatever was opened by name does not count.
fn is_being_exchanged(log: &LogInner, base_offset: i64) -> bool {
    let state = log.state.borrow();
    state.segments.iter().any(|segment| segment.base_offset == base_offset && segment.file.is_some())
}

/// A copy, when the index files could not be written.
fn index_in_memory(log: &LogInner, base_offset: i64) -> Option<SegmentIndex> {
    let state = log.state.borrow();
    let segment = state.segments.iter().find(|segment| segment.base_offset == base_offset)?;
    let index = segment.index.as_ref()?;
    SegmentIndex::decode(&index.encode_offsets(), &index.encode_times())
}

/// The index from its files or, where those are missing or wrong, from the segment itself: then they are written anew.
async fn load_index(log: &LogInner, file: &File, base_offset: i64) -> Result<SegmentIndex, ReadError> {
    let offsets_path = files::index_path(&log.folder, base_offset);
    let times_path = files::time_index_path(&log.folder, base_offset);
    let file_bytes = file.len().await.map_err(read_error(files::segment_path(&log.folder, base_offset)))?;
    if let (Ok(offsets), Ok(times)) = (fs::read(&offsets_path).await, fs::read(&times_path).await)
        && let Some(index) = SegmentIndex::decode(&offsets, &times)
        && (file_bytes == 0 || index.fits(file_bytes))
    {
        return Ok(index);
    }
    tracing::warn!(%log.id, base_offset, "index files are missing or wrong: made anew from the segment");
    let mut segment = Segment::new(base_offset);
    let interval_bytes = log.state.borrow().options.index_interval_bytes;
    let scanner = Scanner::new(0, base_offset, base_offset, file_bytes);
    let scanned = scan::scan(file, scanner, &mut |header| segment.push_found(header, interval_bytes)).await;
    scanned.map_err(read_error(files::segment_path(&log.folder, base_offset)))?;
    let mut index = segment.index.unwrap_or_default();
    index.seal();
    let _turn = log.index_files.acquire(1).await;
    for (path, content) in [(times_path, index.encode_times()), (offsets_path, index.encode_offsets())] {
        if let Err(error) = fs::write_atomic(&path, &content).await {
            tracing::warn!(%error, path = %path.display(), "index not written: the next reader makes it again");
        }
    }
    Ok(index)
}

fn read_error(path: PathBuf) -> impl FnOnce(std::io::Error) -> ReadError {
    move |source| ReadError::Io { path, position: 0, bytes: 0, source }
}
