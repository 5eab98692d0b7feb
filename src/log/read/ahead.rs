//! Reads of a shard from its segments: how many at once, who is next, and what is read before anybody asks for it.
//!
//! One per shard. `DiskRead` takes its reader's stream out, has reads made for it, waits for the first of them, and puts the stream back. A
//! read that somebody waits for goes before any that nobody waits for: those may fill a part only of what may be in flight, and make way
//! as soon as one waits. Memory for what is read ahead is shared out evenly to the readers that read on from where they stopped, so a
//! consumer that is far behind takes nothing from the next one. Never grows past its budget: a stream without room reads when asked.

use super::memory::{Memory, Reserved};
use super::slot::{Extent, Slot};
use super::stream::{Mark, Stream, StreamId, Streams};
use crate::log::LogInner;
use crate::shard::Shard;
use crate::state::LogState;
use crate::{LogKey, ReadError, files, handles};
use bytes::Bytes;
use ringlane_runtime::{Budget, Buffer, Instant, Permit, now, spawn};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Of the bytes in flight, what reads may have that nobody waits for yet, in quarters: a consumer that comes now finds room at once.
const AHEAD_QUARTERS: usize = 3;
const _: () = assert!(AHEAD_QUARTERS < 4);
/// While producers are at work, a read counts for so many in flight: the device serves in order, and a journal's write, which acks wait for,
/// should find one read before it and not eight. Without producers the device is the readers' alone.
const WEIGHT_BESIDE_WRITES: usize = 8;
/// Producers are at work for so long after an append.
const WRITES_LAST: Duration = Duration::from_millis(20);

pub(crate) struct ReadAhead {
    streams: RefCell<Streams>,
    memory: Memory,
    in_flight: Budget,
    /// Bytes that had been appended to the shard's logs when somebody looked last, and when they were last seen to grow.
    appended: Cell<(u64, Option<Instant>)>,
    /// Streams that want more read ahead than there was room for, in turn. Some may be gone.
    waiting: RefCell<VecDeque<StreamId>>,
    /// First read of a reader that jumped somewhere; doubled as long as it reads on from where it stopped.
    first_bytes: usize,
}

/// What became of the wish for one more read.
enum Step {
    Started,
    Enough,
    NoRoom,
}

impl ReadAhead {
    pub fn new(memory_bytes: usize, bytes_in_flight: usize, first_bytes: usize) -> ReadAhead {
        ReadAhead {
            streams: RefCell::default(),
            memory: Memory::new(memory_bytes),
            in_flight: Budget::new("log reads", bytes_in_flight),
            appended: Cell::default(),
            waiting: RefCell::default(),
            first_bytes,
        }
    }

    /// The stream of the reader that stopped at `offset`, if there is one.
    pub fn take(&self, log: LogKey, offset: i64, generation: u64) -> Option<Stream> {
        self.streams.borrow_mut().take(log, offset, generation)
    }

    pub fn begin(&self, log: LogKey, generation: u64, base_offset: i64, next: Mark) -> Stream {
        Stream::new(log, generation, base_offset, next, self.first_bytes)
    }

    pub fn put(&self, shard: &Rc<Shard>, mut stream: Stream) {
        let is_too_much =
            self.memory.used_bytes() > self.memory.limit_bytes() && stream.ahead_bytes() > self.share_bytes();
        if !stream.is_sequential() || is_too_much {
            stream.restart();
        }
        let is_sequential = stream.is_sequential();
        let id = self.streams.borrow_mut().put(stream, now());
        if is_sequential {
            self.want(id);
            self.pump(shard);
        }
    }

    pub fn forget(&self, log: LogKey) {
        self.streams.borrow_mut().forget(log);
    }

    /// Begins a read of `extent` for a reader that waits for it.
    pub fn read_now(&self, log: &Rc<LogInner>, stream: &mut Stream, extent: Extent) {
        let slot = Slot::new(extent, stream.generation, true, log.shard.metrics.clone());
        spawn("read", fill(log.clone(), slot.clone(), None)).detach();
        stream.ahead.push_back(slot);
    }

    /// Begins what should be read ahead for `stream`, as far as there is room now.
    pub fn read_ahead(&self, log: &Rc<LogInner>, stream: &mut Stream) {
        let share = self.share_bytes();
        while let Step::Started = self.step(log, stream, share) {}
    }

    /// Begins what waiting streams want, a read for each in turn.
    fn pump(&self, shard: &Rc<Shard>) {
        loop {
            let Some(id) = self.waiting.borrow_mut().pop_front() else { return };
            let share = self.share_bytes();
            let mut streams = self.streams.borrow_mut();
            let Some(stream) = streams.get_mut(id) else { continue };
            let Some(log) = shard.log(stream.log) else { continue };
            match self.step(&log, stream, share) {
                Step::Started => self.waiting.borrow_mut().push_back(id),
                Step::Enough => {}
                Step::NoRoom => return self.waiting.borrow_mut().push_front(id),
            }
        }
    }

    fn want(&self, id: StreamId) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.push_back(id);
        let mut streams = self.streams.borrow_mut();
        if waiting.len() > 2 * streams.len() {
            waiting.retain(|id| streams.get_mut(*id).is_some());
        }
    }

    /// One more read ahead for `stream`, if it should have one and there is room.
    fn step(&self, log: &Rc<LogInner>, stream: &mut Stream, share: usize) -> Step {
        if stream.ahead_bytes() >= stream.ahead_bytes_wanted(share) {
            return Step::Enough;
        }
        let extent = {
            let state = log.state.borrow();
            if state.generation != stream.generation {
                return Step::Enough;
            }
            state.extent_after(stream.end(), stream.read_bytes)
        };
        let Some(extent) = extent else { return Step::Enough };
        let bytes = extent.aligned_bytes();
        let (weight, in_flight) = (self.weight(&log.shard, bytes), self.in_flight.used_bytes());
        if in_flight > 0 && in_flight + weight > self.in_flight.limit_bytes() / 4 * AHEAD_QUARTERS {
            return Step::NoRoom;
        }
        let Some(permit) = self.in_flight.try_acquire(weight) else { return Step::NoRoom };
        let Some(reserved) = self.memory.try_reserve(bytes) else { return Step::NoRoom };
        let slot = Slot::new(extent, stream.generation, false, log.shard.metrics.clone());
        spawn("read ahead", fill(log.clone(), slot.clone(), Some((permit, reserved)))).detach();
        stream.ahead.push_back(slot);
        Step::Started
    }

    /// What a read of `bytes` counts for in flight.
    fn weight(&self, shard: &Shard, bytes: usize) -> usize {
        let (seen, last) = self.appended.get();
        let (appended, now) = (shard.metrics.log_appended_bytes.value(), now());
        let last = if appended == seen { last } else { Some(now) };
        self.appended.set((appended, last));
        let is_beside_writes = last.is_some_and(|last| now.since(last) < WRITES_LAST);
        if is_beside_writes { bytes * WEIGHT_BESIDE_WRITES } else { bytes }
    }

    /// What one of the readers may have in memory.
    fn share_bytes(&self) -> usize {
        // And one, the reader whose stream is not in the table just now.
        self.memory.limit_bytes() / (self.streams.borrow().sequential() + 1)
    }
}

/// Reads what the slot stands for. `admitted`: nobody waits for it yet, but there is room.
async fn fill(log: Rc<LogInner>, slot: Rc<Slot>, admitted: Option<(Permit, Reserved)>) {
    let ahead = &log.shard.read_ahead;
    let filling = Filling { log: &log, slot: &slot };
    let bytes = slot.extent.aligned_bytes();
    let (permit, reserved) = match admitted {
        Some(admitted) => admitted,
        None => {
            let permit = ahead.in_flight.acquire(ahead.weight(&log.shard, bytes)).await;
            (permit, ahead.memory.reserve(bytes))
        }
    };
    // Who waited may be gone: then nobody else has the slot.
    if Rc::strong_count(&slot) > 1 {
        let outcome = read(&log, &slot, reserved).await;
        if !slot.is_demand && outcome.is_ok() {
            log.shard.metrics.log_read_ahead_bytes.add(slot.extent.bytes() as u64);
        }
        slot.finish(outcome);
    }
    log.shard.metrics.log_read_memory_bytes.set(ahead.memory.used_bytes() as i64);
    drop((permit, filling));
    ahead.pump(&log.shard);
}

/// Sees to it that nobody waits for ever for a read whose task failed.
struct Filling<'a> {
    log: &'a LogInner,
    slot: &'a Slot,
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if !self.slot.is_done() {
            let source = io::Error::other("its task has failed");
            self.slot.finish(Err(io_error(self.log, self.slot.extent, source)));
        }
    }
}

fn io_error(log: &LogInner, extent: Extent, source: io::Error) -> ReadError {
    let path = files::segment_path(&log.folder, extent.base_offset);
    ReadError::Io { path, position: extent.aligned_start(), bytes: extent.aligned_bytes(), source }
}

async fn read(log: &Rc<LogInner>, slot: &Slot, reserved: Reserved) -> Result<Bytes, ReadError> {
    let Slot { extent, generation, .. } = slot;
    let (start, bytes) = (extent.aligned_start(), extent.aligned_bytes());
    let is_old = || log.state.borrow().generation != *generation;
    let in_memory = {
        let state = log.state.borrow();
        if state.generation != *generation {
            return Err(ReadError::Moved);
        }
        state.segments.iter().find(|segment| segment.base_offset == extent.base_offset).and_then(|s| s.file.clone())
    };
    let file = match in_memory {
        Some(file) => file,
        None => handles::handle(log, extent.base_offset).await?.file,
    };
    let started = now();
    let (read, mut buffer) = file.read_at(Buffer::take(bytes), start).await;
    if is_old() {
        return Err(ReadError::Moved);
    }
    let read = read.map_err(|source| io_error(log, *extent, source))?;
    log.shard.metrics.log_read_bytes.add(read as u64);
    log.shard.metrics.log_read_us.record(started.elapsed().as_micros() as u64);
    let lead = (extent.start - start) as usize;
    if read < lead + extent.bytes() {
        return Err(io_error(log, *extent, io::ErrorKind::UnexpectedEof.into()));
    }
    buffer.truncate(lead + extent.bytes());
    Ok(reserved.freeze(buffer).slice(lead..))
}

impl LogState {
    /// What a reader that reads on will want of the files behind `end` (segment and byte), up to `bytes` of it. Nothing that the tail has.
    fn extent_after(&self, (base_offset, position): (i64, u64), bytes: usize) -> Option<Extent> {
        let at = self.segments.binary_search_by_key(&base_offset, |segment| segment.base_offset).ok()?;
        let tail_start = self.tail.start_offset();
        let (segment, next) = (&self.segments[at], self.segments.get(at + 1));
        let before_tail = next.filter(|next| next.base_offset <= tail_start);
        if let Some(next) = before_tail.filter(|_| position >= segment.bytes) {
            return if next.bytes > 0 { self.extent_after((next.base_offset, 0), bytes) } else { None };
        }
        let wanted_end = match (before_tail, &segment.index) {
            (Some(_), _) => segment.written_bytes,
            (None, Some(index)) => u64::from(index.position_before(segment.relative(tail_start))),
            (None, None) => 0,
        };
        let end = extent_end(position, bytes, segment.written_bytes);
        (position < wanted_end).then_some(Extent { base_offset, start: position, end })
    }
}

/// Ends at a block's border or where the written bytes end, so that the next read begins where this one ends.
pub(super) fn extent_end(start: u64, bytes: usize, written_bytes: u64) -> u64 {
    let block = ringlane_runtime::BLOCK_BYTES as u64;
    (start - start % block + (bytes as u64).next_multiple_of(block)).min(written_bytes)
}
