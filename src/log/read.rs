//! Reads: from the tail at once, or from disk by a plan that owns what it needs.
//!
//! On the home shard, called by `partition` for every fetch. Disk bytes are wire bytes: whole batches are handed out as they lie in the
//! read buffer, one slice for all of them. Nothing is copied or decoded.

use crate::handles;
use crate::index::SegmentIndex;
use crate::log::LogInner;
use crate::{ReadError, files};
use bytes::Bytes;
use ringlane_protocol::records::{BatchHeader, HEADER_BYTES};
use ringlane_runtime::{BLOCK_BYTES, Buffer, File, now};
use std::rc::Rc;

/// First read of a reader that jumped somewhere; doubled as long as it reads on from where it stopped.
const READ_BYTES_MIN: usize = 128 << 10;
const READ_BYTES_MAX: usize = 1 << 20;
/// Readers of one log that are remembered, so that they can be told to be sequential.
const READERS_MAX: usize = 8;

/// What a read found, or what must be done to find it.
pub enum ReadPlan {
    Ready(ReadData),
    Disk(DiskRead),
}

/// Whole batches, in offset order, contiguous; empty when there is nothing to read.
#[derive(Clone, Debug, Default)]
pub struct ReadData {
    pub slices: Vec<Bytes>,
    pub bytes: usize,
}

/// What a reader asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadRange {
    pub from: i64,
    /// Exclusive.
    pub below: i64,
    pub max_bytes: usize,
    pub at_least_one: bool,
}

/// A read from a segment. Holds no borrow of the log: it may be run whenever, or dropped.
pub struct DiskRead {
    pub(crate) log: Rc<LogInner>,
    pub(crate) range: ReadRange,
    pub(crate) generation: u64,
}

/// Remembers where the last readers of a log stopped.
#[derive(Default)]
pub(crate) struct Readers {
    /// (offset to be read next, bytes of the last read)
    recent: [(i64, usize); READERS_MAX],
    next_slot: usize,
}

impl Readers {
    /// How much to read for somebody who asks for `from`.
    fn read_bytes(&mut self, from: i64) -> usize {
        let known = self.recent.iter_mut().find(|(offset, bytes)| *offset == from && *bytes > 0);
        known.map_or(READ_BYTES_MIN, |reader| (std::mem::take(&mut reader.1) * 2).min(READ_BYTES_MAX))
    }

    fn stopped_at(&mut self, offset: i64, bytes: usize) {
        let free = self.recent.iter().position(|(_, bytes)| *bytes == 0);
        let slot = free.unwrap_or(self.next_slot);
        self.next_slot = (slot + 1) % READERS_MAX;
        self.recent[slot] = (offset, bytes);
    }
}

/// One segment, as a reader needs it.
struct Located {
    base_offset: i64,
    /// None: nothing of the segment is on disk.
    file: Option<File>,
    position: u64,
    /// End of what is on disk.
    end: u64,
    /// First offset of the segment after it.
    next_base: Option<i64>,
}

impl DiskRead {
    /// May return less than asked for (a segment's end, a limit), never nothing where there is something and `at_least_one` was set.
    pub async fn run(self) -> Result<ReadData, ReadError> {
        let mut read_bytes = self.log.readers.borrow_mut().read_bytes(self.range.from);
        read_bytes = read_bytes.min(self.range.max_bytes.max(READ_BYTES_MIN).next_multiple_of(BLOCK_BYTES));
        let mut from = self.range.from;
        loop {
            let located = self.locate(from).await?;
            match self.read_segment(&located, read_bytes).await? {
                Found::Data(data, next_offset) => {
                    self.log.readers.borrow_mut().stopped_at(next_offset, read_bytes);
                    return Ok(data);
                }
                Found::Nothing => return Ok(ReadData::default()),
                Found::SegmentEnds => match located.next_base {
                    Some(base) if base < self.range.below => from = base,
                    _ => return Ok(ReadData::default()),
                },
            }
            // What follows a gap at a segment's end may be in memory only.
            if let Some(data) = self.log.state.borrow().read_tail(&ReadRange { from, ..self.range }) {
                return Ok(data);
            }
        }
    }

    async fn locate(&self, from: i64) -> Result<Located, ReadError> {
        let (base_offset, relative, end, next_base, open) = {
            let state = self.log.state.borrow();
            if state.generation != self.generation {
                return Err(ReadError::Moved);
            }
            let at = state.segment_of(from);
            let segment = &state.segments[at];
            let relative = segment.relative(from);
            let position = |index: &SegmentIndex| u64::from(index.position_before(relative));
            let open = segment.file.clone().zip(segment.index.as_ref().map(position));
            let next_base = state.segments.get(at + 1).map(|next| next.base_offset);
            (segment.base_offset, relative, segment.written_bytes, next_base, open)
        };
        let (file, position) = match open {
            Some((file, position)) => (Some(file), position),
            None if end == 0 => (None, 0),
            None => {
                let handle = handles::handle(&self.log, base_offset).await?;
                let position = handle.index.position_before(relative);
                (Some(handle.file), u64::from(position))
            }
        };
        Ok(Located { base_offset, file, position, end, next_base })
    }

    /// Reads on from `located.position` until the wanted batch is whole in memory, or the segment ends.
    async fn read_segment(&self, located: &Located, mut read_bytes: usize) -> Result<Found, ReadError> {
        let mut position = located.position;
        let Some(file) = &located.file else { return Ok(Found::SegmentEnds) };
        while position < located.end {
            let aligned = position - position % BLOCK_BYTES as u64;
            let chunk = self.read_chunk(located, file, aligned, read_bytes).await?;
            let start = (position - aligned) as usize;
            match self.pick(&chunk, start) {
                Ok(Picked::Batches { from, to, next_offset }) => {
                    let bytes = to - from;
                    let slices = vec![chunk.freeze().slice(from..to)];
                    return Ok(Found::Data(ReadData { slices, bytes }, next_offset));
                }
                Ok(Picked::PastBounds) => return Ok(Found::Nothing),
                Ok(Picked::ReadOn { at, need }) => {
                    let on_disk = located.end - aligned;
                    if at as u64 + need as u64 > on_disk {
                        // The rest of this batch is not written yet: to a reader, the log ends here.
                        return Ok(Found::Nothing);
                    }
                    position = aligned + at as u64;
                    let lead = (position % BLOCK_BYTES as u64) as usize;
                    read_bytes = read_bytes.max((lead + need).next_multiple_of(BLOCK_BYTES));
                }
                Err((at, found)) => {
                    let path = files::segment_path(&self.log.folder, located.base_offset);
                    return Err(ReadError::Corrupt { path, position: aligned + at as u64, found });
                }
            }
        }
        Ok(Found::SegmentEnds)
    }

    /// Up to `read_bytes` from `aligned` on, cut to what the log has there.
    async fn read_chunk(
        &self,
        located: &Located,
        file: &File,
        aligned: u64,
        read_bytes: usize,
    ) -> Result<Buffer, ReadError> {
        let on_disk = (located.end - aligned).next_multiple_of(BLOCK_BYTES as u64);
        let read_bytes = read_bytes.min(on_disk as usize);
        let shard = &self.log.shard;
        let permit = shard.read_budget.acquire(read_bytes).await;
        let started = now();
        let (read, mut chunk) = file.read_at(Buffer::take(read_bytes), aligned).await;
        drop(permit);
        let failure = |source| {
            let path = files::segment_path(&self.log.folder, located.base_offset);
            ReadError::Io { path, position: aligned, bytes: read_bytes, source }
        };
        let read = read.map_err(failure)?;
        shard.metrics.log_read_bytes.add(read as u64);
        shard.metrics.log_read_us.record(started.elapsed().as_micros() as u64);
        if self.log.state.borrow().generation != self.generation {
            return Err(ReadError::Moved);
        }
        let wanted = (read_bytes as u64).min(located.end - aligned) as usize;
        if read < wanted {
            return Err(failure(std::io::ErrorKind::UnexpectedEof.into()));
        }
        chunk.truncate(wanted);
        Ok(chunk)
    }

    /// Decides which batches of `chunk`, which has one beginning at `start`, the reader gets. Pure.
    fn pick(&self, chunk: &[u8], start: usize) -> Result<Picked, (usize, String)> {
        let range = &self.range;
        let mut at = start;
        let mut picked = None;
        let picked_or = |picked: Option<(usize, i64)>, to, otherwise| match picked {
            Some((from, next_offset)) => Picked::Batches { from, to, next_offset },
            None => otherwise,
        };
        while at < chunk.len() {
            let Some(head) = chunk.get(at..at + HEADER_BYTES) else {
                return Ok(picked_or(picked, at, Picked::ReadOn { at, need: HEADER_BYTES }));
            };
            let header = BatchHeader::parse(head).map_err(|error| (at, error.to_string()))?;
            let end = at + header.size();
            if header.last_offset() >= range.from {
                let begin = picked.map_or(at, |(begin, _)| begin);
                let fits = end - begin <= range.max_bytes || (picked.is_none() && range.at_least_one);
                if header.last_offset() >= range.below || !fits {
                    return Ok(picked_or(picked, at, Picked::PastBounds));
                }
                if end > chunk.len() {
                    return Ok(picked_or(picked, at, Picked::ReadOn { at, need: header.size() }));
                }
                picked = Some((begin, header.next_offset()));
            }
            at = end;
        }
        Ok(picked_or(picked, at, Picked::ReadOn { at, need: 0 }))
    }
}

enum Found {
    /// And the offset at which the reader will go on.
    Data(ReadData, i64),
    /// What comes next is outside of the reader's bounds.
    Nothing,
    SegmentEnds,
}

enum Picked {
    Batches {
        from: usize,
        to: usize,
        next_offset: i64,
    },
    PastBounds,
    /// Nothing wanted is whole: read again from `at`, at least `need` bytes.
    ReadOn {
        at: usize,
        need: usize,
    },
}
