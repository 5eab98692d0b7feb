//! Reads what a journal holds, at a start or for a tool: every write in sequence up to the end, which it tells from damage.
//!
//! Runs before anything else uses the folder, on any shard. Changes nothing. The end is where the next write in sequence is not whole. With
//! one write in flight, that is the one that a crash cut short, unless a later write says that it had been durable before: then it is damage.

use super::WRITE_BYTES_MAX;
use super::files::FIRST_WRITE_AT;
use super::format::{self, ENTRY_HEAD_BYTES, EntryHead, FileHead, HEAD_BYTES, WriteHead, batch_is_whole};
use crate::error::OpenError;
use crate::mutants::{Mutant, is_on};
use crate::recovery::io_error;
use ringlane_runtime::{BLOCK_BYTES, Buffer, File, FileMode, fs, give_way};
use std::path::Path;
use std::sync::Arc;

/// One read: any write fits.
const WINDOW_BYTES: usize = WRITE_BYTES_MAX + BLOCK_BYTES;

/// An entry, and where its batch lies.
#[derive(Clone, Debug)]
pub(crate) struct FoundEntry {
    pub head: EntryHead,
    pub path: Arc<Path>,
    pub position: u64,
}

/// What a journal holds from `first_sequence` on.
#[derive(Default)]
pub(crate) struct Scanned {
    pub entries: Vec<FoundEntry>,
    pub bytes: u64,
    /// Whether any file has a write of any epoch: without a checkpoint beside it, that is damage.
    pub was_used: bool,
}

struct Source {
    path: Arc<Path>,
    file: File,
    bytes: u64,
    first: Option<WriteHead>,
}

/// Reads the journal in `folder`, which may be missing. `directory_id`: whose it must be, if that matters.
pub(crate) async fn scan(
    folder: &Path,
    directory_id: Option<[u8; 16]>,
    epoch: u64,
    first_sequence: u64,
) -> Result<Scanned, OpenError> {
    let mut sources = open_all(folder, directory_id).await?;
    let mut scanned = Scanned { was_used: sources.iter().any(|source| source.first.is_some()), ..Scanned::default() };
    sources.retain(|source| source.bytes > FIRST_WRITE_AT);
    let mut expected = first_sequence;
    let mut at = start_of(&sources, epoch, first_sequence).await?;
    while let Some((source, position)) = at {
        let before = expected;
        let end = walk(&sources[source], position, epoch, &mut expected, first_sequence, &mut scanned).await?;
        let next = sources.iter().position(|next| is_first(next, epoch, expected));
        // A first write that is torn is still the first of its file: there it ends.
        at = next.filter(|next| expected > before || *next != source).map(|next| (next, FIRST_WRITE_AT));
        if at.is_none() {
            check_end(&sources, Some((source, end)), epoch, expected).await?;
        }
    }
    if scanned.entries.is_empty() {
        check_end(&sources, None, epoch, expected).await?;
    }
    Ok(scanned)
}

/// One entry of a file, as it stands there.
pub(crate) struct StoredEntry {
    pub write: WriteHead,
    pub head: EntryHead,
    /// Of the batch.
    pub position: u64,
    pub is_intact: bool,
}

/// Every entry of one file, of whatever epoch, for people. Changes nothing and takes no lock.
pub(crate) async fn every_entry(path: &Path) -> Result<Vec<StoredEntry>, OpenError> {
    let file = File::open(path, FileMode::Read).await.map_err(io_error(path, "opening"))?;
    let bytes = file.len().await.map_err(io_error(path, "asking for the size"))?;
    let source = Source { path: path.into(), file, bytes, first: None };
    let damaged = |found| OpenError::Journal { path: path.to_owned(), position: 0, found };
    FileHead::decode(&source.read(0, BLOCK_BYTES).await?).map_err(damaged)?;
    let (mut entries, mut position) = (Vec::new(), FIRST_WRITE_AT);
    while position < source.bytes {
        let window = source.read(position, WINDOW_BYTES).await?;
        let mut passed = BLOCK_BYTES;
        if let Some(write) = Write::parse(&window) {
            entries.extend(write.batches().map(|(head, encoded, batch, at)| StoredEntry {
                write: write.head,
                head: *head,
                position: position + at as u64,
                is_intact: batch_is_whole(encoded, batch),
            }));
            passed = write.head.bytes();
        }
        position += passed as u64;
        give_way().await;
    }
    Ok(entries)
}

async fn open_all(folder: &Path, directory_id: Option<[u8; 16]>) -> Result<Vec<Source>, OpenError> {
    let mut sources = Vec::new();
    if !fs::exists(folder).await.map_err(io_error(folder, "looking for the journal"))? {
        return Ok(sources);
    }
    for path in fs::read_dir(folder).await.map_err(io_error(folder, "listing the journal"))? {
        if path.extension().is_none_or(|extension| extension != "journal") {
            continue;
        }
        let file = File::open(&path, FileMode::ReadWrite).await.map_err(io_error(&path, "opening"))?;
        // What the last process saw written may not be durable, and must not be lost after it was read.
        file.sync().await.map_err(io_error(&path, "syncing before the first read"))?;
        let bytes = file.len().await.map_err(io_error(&path, "asking for the size"))?;
        let mut source = Source { path: path.into(), file, bytes, first: None };
        let window = source.read(0, 2 * BLOCK_BYTES).await?;
        let damaged = |found| OpenError::Journal { path: source.path.to_path_buf(), position: 0, found };
        match FileHead::decode(&window).map_err(damaged)? {
            Some(head) if directory_id.is_some_and(|id| head.directory_id != id) => {
                return Err(damaged("it belongs to another data directory: move it back there".to_owned()));
            }
            Some(_) => source.first = window.get(BLOCK_BYTES..).and_then(WriteHead::peek),
            // Made just before a crash, nothing in it.
            None => source.bytes = 0,
        }
        sources.push(source);
    }
    Ok(sources)
}

fn is_first(source: &Source, epoch: u64, sequence: u64) -> bool {
    source.first.is_some_and(|first| first.epoch == epoch && first.sequence == sequence)
}

/// File and position from which the writes from `first_sequence` on are found in a row.
async fn start_of(sources: &[Source], epoch: u64, first_sequence: u64) -> Result<Option<(usize, u64)>, OpenError> {
    let of_epoch = sources.iter().enumerate().filter_map(|(index, source)| Some((index, source.first?)));
    let candidates = of_epoch.filter(|(_, first)| first.epoch == epoch && first.sequence <= first_sequence);
    let Some((index, _)) = candidates.max_by_key(|(_, first)| first.sequence) else { return Ok(None) };
    Ok(Some((index, FIRST_WRITE_AT)))
}

/// Follows the writes of one file from `position`; answers where they end. What is below `first_sequence` is passed over.
async fn walk(
    source: &Source,
    mut position: u64,
    epoch: u64,
    expected: &mut u64,
    first_sequence: u64,
    scanned: &mut Scanned,
) -> Result<u64, OpenError> {
    let mut released = source.first.map_or(0, |first| first.sequence).min(first_sequence);
    loop {
        let window = source.read(position, WINDOW_BYTES).await?;
        let mut at = 0;
        while let Some(write) = Write::parse(&window[at..]) {
            let next = if released < first_sequence { &mut released } else { &mut *expected };
            if write.head.epoch != epoch || write.head.sequence != *next {
                return Ok(position + at as u64);
            }
            let is_released = write.head.sequence < first_sequence;
            if !is_released && !write.is_whole() && !is_on(Mutant::TrustTornTail) {
                return Ok(position + at as u64);
            }
            *next += 1;
            if !is_released {
                write.collect(source, position + at as u64, &mut scanned.entries);
                scanned.bytes += write.head.bytes() as u64;
            }
            at += write.head.bytes();
        }
        if at == 0 {
            return Ok(position);
        }
        position += at as u64;
        give_way().await;
    }
}

/// The write `expected` is not whole, though it should follow: says whether that is how a crash leaves it.
async fn check_end(sources: &[Source], last: Option<(usize, u64)>, epoch: u64, expected: u64) -> Result<(), OpenError> {
    for (index, source) in sources.iter().enumerate() {
        let from = match last {
            Some((last_index, end)) if last_index == index => end,
            // Later writes of a file in use have its first write in front, unless that is what is damaged.
            _ if source.first.is_some_and(|first| first.epoch != epoch || first.sequence < expected) => continue,
            _ => FIRST_WRITE_AT,
        };
        if let Some((position, later)) = later_write(source, from, epoch, expected).await?
            && later.durable_sequence >= expected
        {
            let (at, path) = match last {
                Some((index, end)) => (end, &sources[index].path),
                None => (FIRST_WRITE_AT, &source.path),
            };
            let found = format!(
                "write {expected} is damaged or missing; write {} at byte {position} of {} says that it had been durable",
                later.sequence,
                source.path.display()
            );
            return Err(OpenError::Journal { path: path.to_path_buf(), position: at, found });
        }
    }
    Ok(())
}

/// The first write at or after `from` whose sequence is above `sequence`.
async fn later_write(
    source: &Source,
    from: u64,
    epoch: u64,
    sequence: u64,
) -> Result<Option<(u64, WriteHead)>, OpenError> {
    let mut position = from;
    while position < source.bytes {
        let window = source.read(position, WINDOW_BYTES).await?;
        let mut passed = window.len().max(BLOCK_BYTES);
        for at in (0..window.len()).step_by(BLOCK_BYTES) {
            let Some(head) = WriteHead::peek(&window[at..]) else { continue };
            if head.epoch != epoch || head.sequence <= sequence {
                continue;
            }
            if at > 0 && at + head.heads_bytes() > window.len() {
                // Its heads go on behind the window: the next one begins with it.
                passed = at;
                break;
            }
            if format::decode_entries(&head, &window[at..]).is_some() {
                return Ok(Some((position + at as u64, head)));
            }
        }
        position += passed as u64;
        give_way().await;
    }
    Ok(None)
}

impl Source {
    /// Up to `bytes` from `position` on.
    async fn read(&self, position: u64, bytes: usize) -> Result<Buffer, OpenError> {
        if position >= self.bytes {
            return Ok(Buffer::take(0));
        }
        let bytes = bytes.min((self.bytes - position) as usize).next_multiple_of(BLOCK_BYTES);
        let (read, mut window) = self.file.read_at(Buffer::take(bytes), position).await;
        let read = read.map_err(io_error(&self.path, "reading the journal"))?;
        window.truncate(read.min((self.bytes - position) as usize));
        Ok(window)
    }
}

/// A write whose heads are good, and whose batches may be.
struct Write<'a> {
    head: WriteHead,
    entries: Vec<EntryHead>,
    bytes: &'a [u8],
}

impl<'a> Write<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Write<'a>> {
        let head = WriteHead::peek(bytes).filter(|head| head.bytes() <= bytes.len())?;
        let entries = format::decode_entries(&head, bytes)?;
        Some(Write { head, entries, bytes })
    }

    /// Head, entry and batch of each, with the batch's place in the write.
    fn batches(&self) -> impl Iterator<Item = (&EntryHead, &'a [u8], &'a [u8], usize)> {
        let mut at = self.head.heads_bytes();
        self.entries.iter().enumerate().map(move |(n, entry)| {
            let (batch_at, encoded_at) = (at, HEAD_BYTES + n * ENTRY_HEAD_BYTES);
            at += entry.bytes as usize;
            (entry, &self.bytes[encoded_at..encoded_at + ENTRY_HEAD_BYTES], &self.bytes[batch_at..at], batch_at)
        })
    }

    fn is_whole(&self) -> bool {
        self.batches().all(|(_, encoded, batch, _)| batch_is_whole(encoded, batch))
    }

    fn collect(&self, source: &Source, position: u64, entries: &mut Vec<FoundEntry>) {
        entries.extend(self.batches().map(|(head, _, _, at)| FoundEntry {
            head: *head,
            path: source.path.clone(),
            position: position + at as u64,
        }));
    }
}

/// Reads the batch of an entry that a scan found.
pub(crate) async fn read_batch(file: &File, entry: &FoundEntry) -> Result<Buffer, OpenError> {
    let aligned = entry.position - entry.position % BLOCK_BYTES as u64;
    let start = (entry.position - aligned) as usize;
    let end = start + entry.head.bytes as usize;
    let (read, mut buffer) = file.read_at(Buffer::take(end.next_multiple_of(BLOCK_BYTES)), aligned).await;
    let read = read.map_err(io_error(&entry.path, "reading the journal"))?;
    if read < end {
        let found = "it ends inside of an entry that was there at the scan".to_owned();
        return Err(OpenError::Journal { path: entry.path.to_path_buf(), position: entry.position, found });
    }
    buffer.truncate(end);
    drop(buffer.split_to(start));
    Ok(buffer)
}
