//! Owns what one log knows: its segments, its tail, what is written and what is stable. Decides, never acts.
//!
//! Lives in a `RefCell` on the home shard and is borrowed for the length of one decision, never across an await. `log` appends and
//! plans reads; `writer` asks for the next step, performs it and reports back; `recovery` builds the first state.

use crate::read::ReadRange;
use crate::segment::Segment;
use crate::tail::{Sequence, Tail, TailBatch};
use crate::{AppendBatch, LogFailed, LogOptions, ReadData, StableMode};
use ringlane_runtime::{BLOCK_BYTES, Buffer, Durability, File};
use std::collections::VecDeque;
use std::sync::Arc;

/// Largest write. 1 MiB costs 0.03 CPU-s a GiB, 64 KiB six times that (`bench/README.md`, "log writes").
pub(crate) const WRITE_BYTES_MAX: usize = 1 << 20;
/// A write that a crash cut short lies within this many bytes of the block in which the good bytes end: recovery tells it from
/// damage by that.
pub(crate) const WRITE_SPAN_BYTES: u64 = WRITE_BYTES_MAX as u64;
const _: () = assert!(WRITE_BYTES_MAX.is_multiple_of(BLOCK_BYTES));

pub(crate) struct LogState {
    pub options: LogOptions,
    /// Oldest first, never empty. The last one takes appends; those behind `writing_base` have no file yet.
    pub segments: VecDeque<Segment>,
    pub tail: Tail,
    pub end_offset: i64,
    pub stable_offset: i64,
    /// What survives power loss. Behind `stable_offset` in written mode only.
    pub durable_offset: i64,
    /// Since when in written mode `durable_offset` is known on disk, see `flush`. Until then acks wait for durable bytes.
    pub may_ack_written: bool,
    pub failed: Option<Arc<LogFailed>>,
    /// Appends are refused: the log is being closed or deleted.
    pub closing: bool,
    /// The writer starts nothing new: a truncation is under way.
    pub on_hold: bool,
    pub writer_running: bool,
    pub flusher_running: bool,
    /// Up to where space is being set aside just now; the writer stays below, because the file's size is about to be set to this.
    pub reserving_bytes: Option<u64>,
    /// Space ran out or the file system cannot: writes extend the file from now on.
    pub reserve_gave_up: bool,
    pub next_segment: NextSegment,
    /// Grows with each truncation or exchange of segments: a read that began before it plans again.
    pub generation: u64,
    writing_base: i64,
    next_write: Cursor,
    /// The bytes of the last block of the segment being written, if it is not full: the next write repeats them in front.
    partial_block: Vec<u8>,
}

/// The file that the next roll takes. It holds its data under a name of its own until a background task has renamed it.
pub(crate) enum NextSegment {
    Missing,
    Making,
    Ready { file: File, reserved_bytes: u64 },
    Renaming,
    Failed(std::io::Error),
}

/// The first byte not yet written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cursor {
    sequence: Sequence,
    /// Bytes of that batch which are written already.
    skip: usize,
}

/// What the writer does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Write,
    /// The pending batches belong to the next segment.
    Roll,
    /// Space is being set aside where the next write would go.
    AwaitSpace,
}

/// One write, decided. Owns its bytes.
pub(crate) struct WritePlan {
    /// In the file of the segment being written.
    pub position: u64,
    pub block: Buffer,
    pub durability: Durability,
    /// Earlier writes were not durable, and this one has to be: sync the file behind it.
    pub sync_after: bool,
    pub done: WriteDone,
}

/// What is true once the device has a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteDone {
    /// Bytes in the block before the padding.
    block_bytes: usize,
    /// New bytes of the log among them.
    pub new_bytes: usize,
    pub batches: usize,
    cursor: Cursor,
    stable_offset: i64,
    durable: bool,
}

impl LogState {
    /// `segments` as found on disk, the last one with its file; `partial_block` is what it has in its last, incomplete block.
    pub fn new(options: LogOptions, segments: VecDeque<Segment>, end_offset: i64, partial_block: Vec<u8>) -> LogState {
        LogState {
            options,
            writing_base: segments.back().map_or(0, |segment| segment.base_offset),
            segments,
            tail: Tail::new(end_offset),
            end_offset,
            stable_offset: end_offset,
            durable_offset: end_offset,
            may_ack_written: false,
            failed: None,
            closing: false,
            on_hold: false,
            writer_running: false,
            flusher_running: false,
            reserving_bytes: None,
            reserve_gave_up: false,
            next_segment: NextSegment::Missing,
            generation: 0,
            next_write: Cursor { sequence: 0, skip: 0 },
            partial_block,
        }
    }

    pub fn active(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("a log has a segment")
    }

    /// The segment that the writer writes to.
    pub fn writing(&mut self) -> &mut Segment {
        let at = self.writing_index();
        &mut self.segments[at]
    }

    fn writing_index(&self) -> usize {
        self.segments.partition_point(|segment| segment.base_offset < self.writing_base)
    }

    /// Puts a batch at the end, in a new segment if the rules ask for one.
    pub fn append(&mut self, batch: AppendBatch) -> Sequence {
        debug_assert!(batch.base_offset >= self.end_offset && batch.last_offset >= batch.base_offset);
        let options = self.options;
        if self.active().must_roll(&batch, &options) {
            self.segments.push_back(Segment::new(batch.base_offset));
        }
        let active = self.active();
        active.push(batch.last_offset, batch.max_timestamp, batch.bytes.len(), options.index_interval_bytes);
        self.end_offset = batch.last_offset + 1;
        let AppendBatch { bytes, base_offset, last_offset, .. } = batch;
        self.tail.push(TailBatch { base_offset, last_offset, bytes })
    }

    /// `None`: nothing to do, or not allowed to.
    pub fn next_step(&self) -> Option<Step> {
        let batch = self.tail.get(self.next_write.sequence)?;
        if self.failed.is_some() || self.on_hold {
            return None;
        }
        let writing = &self.segments[self.writing_index()];
        let next_base = self.segments.get(self.writing_index() + 1).map(|segment| segment.base_offset);
        let belongs_to_next = next_base.is_some_and(|base| batch.base_offset >= base);
        let reaches_reservation =
            self.reserving_bytes.is_some_and(|reserving| writing.written_bytes + WRITE_SPAN_BYTES > reserving);
        match belongs_to_next {
            true if self.reserving_bytes.is_some() => Some(Step::AwaitSpace),
            true => Some(Step::Roll),
            false if reaches_reservation => Some(Step::AwaitSpace),
            false => Some(Step::Write),
        }
    }

    /// Bytes that wait for the device, counted up to what one write takes.
    pub fn pending_bytes(&self) -> usize {
        let mut bytes = 0;
        for batch in self.tail.from(self.next_write.sequence) {
            bytes += batch.bytes.len();
            if bytes >= WRITE_BYTES_MAX {
                break;
            }
        }
        bytes.saturating_sub(self.next_write.skip)
    }

    /// Decides the next write: all that waits for the current segment, up to [`WRITE_BYTES_MAX`]. A batch may be cut there, at a block's
    /// end; it becomes stable with the write that completes it.
    pub fn plan_write(&self) -> Option<WritePlan> {
        if self.next_step() != Some(Step::Write) {
            return None;
        }
        let at = self.writing_index();
        let segment = &self.segments[at];
        let next_base = self.segments.get(at + 1).map_or(i64::MAX, |segment| segment.base_offset);
        let repeated = self.partial_block.len();

        let (new_bytes, cursor, last) = self.take_up_to(WRITE_BYTES_MAX - repeated, next_base);
        let block_bytes = repeated + new_bytes;
        let mut block = Buffer::take(block_bytes.next_multiple_of(BLOCK_BYTES));
        block[..repeated].copy_from_slice(&self.partial_block);
        self.copy_pending(&mut block[repeated..block_bytes]);
        block[block_bytes..].fill(0);

        let written_mode = self.options.stable_mode == StableMode::Written && self.may_ack_written;
        let durability = if written_mode { Durability::Written } else { Durability::Durable };
        Some(WritePlan {
            position: segment.written_bytes - repeated as u64,
            block,
            durability,
            sync_after: !written_mode && self.durable_offset < self.stable_offset,
            done: WriteDone {
                block_bytes,
                new_bytes,
                batches: (cursor.sequence - self.next_write.sequence) as usize,
                cursor,
                stable_offset: last.map_or(self.stable_offset, |offset| offset + 1),
                durable: !written_mode,
            },
        })
    }

    /// How far `room` bytes reach: bytes taken, the cursor behind them, last offset of the last batch completed.
    fn take_up_to(&self, room: usize, below: i64) -> (usize, Cursor, Option<i64>) {
        let mut cursor = self.next_write;
        let (mut taken, mut last) = (0, None);
        for batch in self.tail.from(cursor.sequence).take_while(|batch| batch.base_offset < below) {
            let left = batch.bytes.len() - cursor.skip;
            if taken + left > room {
                cursor.skip += room - taken;
                return (room, cursor, last);
            }
            taken += left;
            last = Some(batch.last_offset);
            cursor = Cursor { sequence: cursor.sequence + 1, skip: 0 };
        }
        (taken, cursor, last)
    }

    /// Fills `into` with pending bytes: the one copy of the append path.
    fn copy_pending(&self, mut into: &mut [u8]) {
        let mut skip = self.next_write.skip;
        for batch in self.tail.from(self.next_write.sequence) {
            let left: &[u8] = &batch.bytes[std::mem::take(&mut skip)..];
            let bytes = left.len().min(into.len());
            into[..bytes].copy_from_slice(&left[..bytes]);
            into = &mut into[bytes..];
            if into.is_empty() {
                break;
            }
        }
    }

    /// The device has the write. `block` is what was written.
    pub fn written(&mut self, done: &WriteDone, block: &[u8]) {
        let full_blocks = done.block_bytes / BLOCK_BYTES * BLOCK_BYTES;
        self.partial_block.clear();
        self.partial_block.extend_from_slice(&block[full_blocks..done.block_bytes]);
        self.next_write = done.cursor;
        self.stable_offset = done.stable_offset;
        if done.durable {
            self.durable_offset = done.stable_offset;
        }
        let writing = self.writing();
        writing.written_bytes += done.new_bytes as u64;
        debug_assert!(writing.written_bytes <= writing.bytes);
    }

    /// The next segment has its file: the writer goes on there.
    pub fn roll_to(&mut self, file: File, reserved_bytes: u64) -> i64 {
        let next_index = self.writing_index() + 1;
        let next = &mut self.segments[next_index];
        next.file = Some(file);
        next.reserved_bytes = reserved_bytes;
        let base_offset = next.base_offset;
        let sealed_base = std::mem::replace(&mut self.writing_base, base_offset);
        self.partial_block.clear();
        sealed_base
    }

    /// Lets go of the tail's oldest batch if it is `sequence` and on disk. Answers what the cache should do with its entry.
    pub fn evict(&mut self, sequence: Sequence) -> Eviction {
        if sequence < self.tail.front_sequence() || sequence >= self.tail.end_sequence() {
            return Eviction::Gone;
        }
        if sequence >= self.next_write.sequence {
            return Eviction::NotWritten;
        }
        Eviction::Freed(self.tail.evict_front().map_or(0, |batch| batch.memory_bytes()))
    }

    /// Nothing more gets written. What the device does not have is dropped; what it has can still be read. Returns the memory set free.
    pub fn fail(&mut self, failed: Arc<LogFailed>) -> usize {
        self.failed = Some(failed);
        self.tail.truncate(self.stable_offset)
    }

    /// Forgets everything from `offset` on. `position` is where its batch began in the segment `base`, whose index is built anew by the
    /// caller. Returns the memory set free.
    pub fn truncate(&mut self, offset: i64, segment: Segment, partial_block: Vec<u8>) -> usize {
        self.segments.retain(|other| other.base_offset < segment.base_offset);
        self.writing_base = segment.base_offset;
        self.segments.push_back(segment);
        self.partial_block = partial_block;
        self.end_offset = self.end_offset.min(offset);
        self.stable_offset = self.stable_offset.min(offset);
        self.durable_offset = self.durable_offset.min(offset);
        self.generation += 1;
        let freed = self.tail.truncate(offset);
        self.next_write = Cursor { sequence: self.tail.end_sequence(), skip: 0 };
        freed
    }

    /// `new` takes the place of the sealed neighbours `old_bases`. Reads under way plan again.
    pub fn replace_segments(&mut self, old_bases: &[i64], new: Segment) {
        let first = self.segments.partition_point(|segment| segment.base_offset < new.base_offset);
        let old: Vec<Segment> = self.segments.drain(first..first + old_bases.len()).collect();
        assert!(
            old.iter().map(|segment| segment.base_offset).eq(old_bases.iter().copied()),
            "not neighbours of this log"
        );
        self.segments.insert(first, new);
        self.generation += 1;
    }

    /// What the tail has for a reader, if `from` is in it.
    pub fn read_tail(&self, range: &ReadRange) -> Option<ReadData> {
        let in_tail = range.from >= self.tail.start_offset() || range.from >= range.below;
        in_tail.then(|| self.tail.read(range))
    }

    /// Bytes that the device does not have yet.
    pub fn unwritten_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes - segment.written_bytes).sum()
    }

    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Index of the segment that holds `offset` or, in a gap, the first after it.
    pub fn segment_of(&self, offset: i64) -> usize {
        self.segments.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1)
    }

    /// Bytes from about `from` on that lie on disk before the tail begins, counted up to `cap`.
    pub fn disk_bytes_from(&self, from: i64, cap: usize) -> usize {
        let mut bytes = 0u64;
        for segment in self.segments.range(self.segment_of(from)..) {
            if segment.base_offset >= self.tail.start_offset() {
                break;
            }
            let position =
                |offset| segment.index.as_ref().map(|index| u64::from(index.position_before(segment.relative(offset))));
            let end = position(self.tail.start_offset()).unwrap_or(segment.written_bytes);
            bytes += end.saturating_sub(position(from).unwrap_or(0));
            if bytes >= cap as u64 {
                return cap;
            }
        }
        bytes as usize
    }
}

/// What became of a cache entry.
pub(crate) enum Eviction {
    Freed(usize),
    /// The tail no longer holds the batch.
    Gone,
    NotWritten,
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn log(segment_bytes: u32) -> LogState {
        let options = LogOptions { segment_bytes, ..LogOptions::default() };
        LogState::new(options, VecDeque::from([Segment::new(0)]), 0, Vec::new())
    }

    fn append(state: &mut LogState, bytes: usize) {
        let offset = state.end_offset;
        let bytes = Bytes::from(vec![offset as u8 + 1; bytes]);
        state.append(AppendBatch { bytes, base_offset: offset, last_offset: offset, max_timestamp: -1 });
    }

    /// Plans a write and has it done. Position, bytes before the padding, offset that is stable then.
    fn write(state: &mut LogState) -> (u64, Vec<u8>, i64) {
        let WritePlan { position, block, done, .. } = state.plan_write().expect("something waits");
        assert!(position.is_multiple_of(BLOCK_BYTES as u64) && block.len().is_multiple_of(BLOCK_BYTES));
        assert!(block.len() <= WRITE_BYTES_MAX);
        state.written(&done, &block);
        (position, block[..done.block_bytes].to_vec(), state.stable_offset)
    }

    /// A batch reported stable with its first half would be lost with its second.
    #[test]
    fn a_batch_cut_by_the_largest_write_is_stable_with_its_last_byte() {
        let mut state = log(1 << 30);
        for _ in 0..3 {
            append(&mut state, 700_000);
        }
        let (first, second) = (write(&mut state), write(&mut state));

        assert_eq!((first.0, first.1.len(), first.2), (0, WRITE_BYTES_MAX, 1));
        assert_eq!((second.0, second.1.len(), second.2), (WRITE_BYTES_MAX as u64, WRITE_BYTES_MAX, 2));
        assert_eq!(write(&mut state).2, 3);
        let all = [vec![1; 700_000], vec![2; 700_000], vec![3; 700_000]].concat();
        assert_eq!([first.1, second.1].concat(), all[..2 * WRITE_BYTES_MAX]);
        assert_eq!(state.next_step(), None);
    }

    /// Other bytes in front would damage what was acknowledged before.
    #[test]
    fn the_last_block_is_written_again_with_the_same_bytes_in_front() {
        let mut state = log(1 << 30);
        append(&mut state, 5_000);
        assert_eq!(write(&mut state).0, 0);
        append(&mut state, 100);
        append(&mut state, 200);
        let (position, bytes, stable) = write(&mut state);

        assert_eq!((position, stable), (4096, 3));
        assert_eq!(bytes, [vec![1; 5_000 - 4_096], vec![2; 100], vec![3; 200]].concat());
        assert_eq!(state.unwritten_bytes(), 0);
    }

    /// Bytes of two segments in one write would put a batch where no reader looks for it.
    #[test]
    fn a_write_ends_at_its_segments_end_and_waits_there_for_space_being_set_aside() {
        let mut state = log(1_000_000);
        append(&mut state, 600_000);
        append(&mut state, 600_000);
        assert_eq!(state.segments.len(), 2);
        assert_eq!(write(&mut state).1.len(), 600_000);

        state.reserving_bytes = Some(8 << 20);
        assert_eq!(state.next_step(), Some(Step::AwaitSpace), "the roll cuts the file, the reservation grows it");
        state.reserving_bytes = None;
        assert_eq!(state.next_step(), Some(Step::Roll));
        assert!(state.plan_write().is_none());
    }

    /// An evicted batch that is not on disk would be gone.
    #[test]
    fn only_what_is_written_can_be_evicted() {
        let mut state = log(1 << 30);
        append(&mut state, 100);
        assert!(matches!(state.evict(0), Eviction::NotWritten));
        write(&mut state);
        append(&mut state, 100);
        assert!(matches!(state.evict(0), Eviction::Freed(bytes) if bytes > 100));
        assert!(matches!(state.evict(0), Eviction::Gone));
        assert!(matches!(state.evict(1), Eviction::NotWritten));
        assert_eq!(state.tail.start_offset(), 1);
    }
}
