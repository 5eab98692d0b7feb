//! Reads: from the tail at once, or from disk by a plan that owns what it needs.
//!
//! On the home shard, called by `partition` for every fetch. Disk bytes are wire bytes: whole batches are handed out as they lie in the
//! read buffers. Nothing is copied or decoded. Rooms: `window` (which bytes are the reader's), `stream` (who reads on from where it stopped),
//! `ahead` (what is read, when, and in which memory), `slot` (one read), `memory`.

mod ahead;
mod memory;
mod slot;
mod stream;
mod window;

use crate::index::SegmentIndex;
use crate::log::LogInner;
use crate::{ReadError, files, handles};
pub(crate) use ahead::ReadAhead;
use bytes::Bytes;
use slot::Extent;
use std::rc::Rc;
use stream::{Mark, Stream};
use window::{Picked, join_batches};

/// A batch that is larger than its reader's reads is read in pieces of this size.
const READ_BYTES_MAX: usize = 1 << 20;

/// What a read found, or what must be done to find it.
pub enum ReadPlan {
    Ready(ReadData),
    Disk(DiskRead),
}

/// Whole batches, in offset order, contiguous; empty when there is nothing to read.
#[derive(Clone, Debug, Default)]
pub struct ReadData {
    /// Together they are whole batches; from disk one batch may lie in several of them ([`ReadData::joined`]).
    pub slices: Vec<Bytes>,
    pub bytes: usize,
}

impl ReadData {
    /// The same in slices of whole batches each, for who parses them: copies what lies in two.
    pub fn joined(self) -> ReadData {
        ReadData { slices: join_batches(self.slices), bytes: self.bytes }
    }
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

enum Found {
    Data(ReadData),
    /// What comes next is outside of the reader's bounds, or not written yet.
    Nothing,
    /// And where the next one begins.
    SegmentEnds(Option<i64>),
}

impl DiskRead {
    /// May return less than asked for (a segment's end, a limit, what is in memory already), never nothing where there is something and
    /// `at_least_one` was set.
    pub async fn run(self) -> Result<ReadData, ReadError> {
        let log = &self.log;
        let shard = &log.shard;
        self.check_generation()?;
        let mut stream = match shard.read_ahead.take(log.key, self.range.from, self.generation) {
            Some(stream) => stream,
            None => self.locate().await?,
        };
        let data = loop {
            match self.read_segment(&mut stream).await? {
                Found::Data(data) => break data,
                Found::Nothing => break ReadData::default(),
                Found::SegmentEnds(Some(base_offset)) if base_offset < self.range.below => {
                    stream.enter(base_offset);
                    // What follows a gap at a segment's end may be in memory only.
                    let range = ReadRange { from: base_offset, ..self.range };
                    if let Some(data) = log.state.borrow().read_tail(&range) {
                        return Ok(data);
                    }
                }
                Found::SegmentEnds(_) => break ReadData::default(),
            }
        };
        shard.read_ahead.put(shard, stream);
        Ok(data)
    }

    /// A stream for a reader that is new here: the index says about where it begins.
    async fn locate(&self) -> Result<Stream, ReadError> {
        let from = self.range.from;
        let (base_offset, relative, is_empty, position) = {
            let state = self.log.state.borrow();
            let segment = &state.segments[state.segment_of(from)];
            let relative = segment.relative(from);
            let position = |index: &SegmentIndex| u64::from(index.position_before(relative));
            let known = segment.file.as_ref().and(segment.index.as_ref()).map(position);
            (segment.base_offset, relative, segment.written_bytes == 0, known)
        };
        let position = match position {
            Some(position) => position,
            None if is_empty => 0,
            None => {
                let handle = handles::handle(&self.log, base_offset).await?;
                u64::from(handle.index.position_before(relative))
            }
        };
        let next = Mark { offset: from, position };
        Ok(self.log.shard.read_ahead.begin(self.log.key, self.generation, base_offset, next))
    }

    /// Reads on until what is wanted is whole in memory, or the segment ends.
    async fn read_segment(&self, stream: &mut Stream) -> Result<Found, ReadError> {
        loop {
            self.check_generation()?;
            let Some((end, next_base)) = self.written(stream.base_offset) else { return Err(ReadError::Moved) };
            stream.absorb();
            let picked = stream.window.pick(stream.next.position, &self.range).map_err(|bad| ReadError::Corrupt {
                path: files::segment_path(&self.log.folder, stream.base_offset),
                position: bad.position,
                found: bad.found,
            })?;
            let (at, need) = match picked {
                Picked::Batches { from, to, next_offset } => {
                    let slices = stream.window.slices(from, to);
                    stream.gave(self.range.from, from, to, next_offset);
                    return Ok(Found::Data(ReadData { slices, bytes: (to - from) as usize }));
                }
                Picked::PastBounds => return Ok(Found::Nothing),
                Picked::ReadOn { at, need } => (at, need),
            };
            if at >= end {
                return Ok(Found::SegmentEnds(next_base));
            }
            if at + need as u64 > end {
                // The rest of this batch is not written yet: to a reader, the log ends here.
                return Ok(Found::Nothing);
            }
            stream.skip_to(at);
            self.read_on(stream, at + need as u64, end).await?;
        }
    }

    /// Waits for what follows the stream's window, which is read now unless it is on its way; `need_end`: how far is needed at least.
    async fn read_on(&self, stream: &mut Stream, need_end: u64, end: u64) -> Result<(), ReadError> {
        let read_ahead = &self.log.shard.read_ahead;
        if !stream.is_followed() {
            stream.ahead.clear();
        }
        loop {
            let (base_offset, start) = stream.end();
            let is_enough = base_offset != stream.base_offset || start >= need_end;
            if is_enough && !stream.ahead.is_empty() {
                break;
            }
            let missing = need_end.saturating_sub(start) as usize;
            let bytes = missing.min(READ_BYTES_MAX).max(stream.read_bytes);
            let extent = Extent { base_offset, start, end: ahead::extent_end(start, bytes, end) };
            read_ahead.read_now(&self.log, stream, extent);
        }
        read_ahead.read_ahead(&self.log, stream);
        let Some(first) = stream.ahead.front().cloned() else { return Ok(()) };
        first.until_done().await;
        match first.take() {
            Some(Ok(bytes)) => {
                stream.ahead.pop_front();
                stream.window.push(bytes);
                Ok(())
            }
            Some(Err(error)) if first.is_demand => Err(error),
            // Read ahead in vain: now somebody wants it.
            _ => {
                stream.ahead.clear();
                Ok(())
            }
        }
    }

    fn check_generation(&self) -> Result<(), ReadError> {
        let is_same = self.log.state.borrow().generation == self.generation;
        if is_same { Ok(()) } else { Err(ReadError::Moved) }
    }

    /// End of what is on disk of a segment, and first offset of the one after it.
    fn written(&self, base_offset: i64) -> Option<(u64, Option<i64>)> {
        let state = self.log.state.borrow();
        let at = state.segments.binary_search_by_key(&base_offset, |segment| segment.base_offset).ok()?;
        Some((state.segments[at].written_bytes, state.segments.get(at + 1).map(|next| next.base_offset)))
    }
}
