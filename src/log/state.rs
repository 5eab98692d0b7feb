//! Owns what one log knows: its segments, its tail, what is written and what is stable. Decides, never acts.
//!
//! Lives in a `RefCell` on the home shard and is borrowed for the length of one decision, never across an await. `log` appends and
//! plans reads; `writer` asks for the next step, performs it and reports back; `recovery` builds the first state.

use crate::read::ReadRange;
use crate::segment::Segment;
use crate::snapshots::Snapshots;
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
/// So much that is stable is worth a write of its own. Less waits for company, for a second at most.
const FLUSH_BYTES: u64 = 512 << 10;

pub(crate) struct LogState {
    pub options: LogOptions,
    /// Oldest first, never empty. The last one takes appends; those behind `writing_base` have no file yet.
    pub segments: VecDeque<Segment>,
    pub tail: Tail,
    /// Below it nothing is read, though the first segment may begin before it. Raised by `log_start`, which also has `start_offset`.
    pub log_start: i64,
    pub raising_log_start: bool,
    pub end_offset: i64,
    pub stable_offset: i64,
    /// Everything below is written to segments.
    pub flushed_offset: i64,
    /// Everything below is durable in segments: the recovery point.
    pub synced_offset: i64,
    /// Up to where somebody waits for `flushed_offset`.
    pub flush_wanted: i64,
    /// Stable bytes that are in no segment.
    pub flushable_bytes: u64,
    /// The log waits in line to be flushed by age.
    pub in_flush_line: bool,
    /// Bytes that are in no segment, stable or not.
    pub unflushed_bytes: u64,
    /// Much is pending: it goes straight to the segment, which makes it stable, and not into the journal.
    pub direct: bool,
    /// In written mode: a checkpoint says that the mode is in force. Until then acks wait for durable bytes.
    pub may_ack_written: bool,
    /// Of a failed log: journal writes above this one may be all that there is of some of its batches.
    pub pinned_after: u64,
    /// The log is being cut somewhere behind the segment with this base.
    pub cutting_from: Option<i64>,
    pub failed: Option<Arc<LogFailed>>,
    /// Appends are refused: the log is being closed or deleted.
    pub closing: bool,
    /// The writer starts nothing new: a truncation is under way.
    pub on_hold: bool,
    pub writer_running: bool,
    pub syncer_running: bool,
    /// Up to where space is being set aside just now; the writer stays below, because the file's size is about to be set to this.
    pub reserving_bytes: Option<u64>,
    /// Space ran out or the file system cannot: writes extend the file from now on.
    pub reserve_gave_up: bool,
    pub next_segment: NextSegment,
    /// Grows when segments go, at either end, or are exchanged: a read that began before it plans again.
    pub generation: u64,
    pub snapshots: Snapshots,
    /// Grows when batches go at the end: what was under way for them is void.
    pub cuts: u64,
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
    flushed_offset: i64,
    durability: Durability,
}

impl LogState {
    /// `segments` as found on disk, the last one with its file; `partial_block` is what it has in its last, incomplete block.
    pub fn new(
        options: LogOptions,
        mut segments: VecDeque<Segment>,
        end_offset: i64,
        partial_block: Vec<u8>,
    ) -> LogState {
        segments.iter_mut().rev().skip(1).for_each(|segment| segment.is_sealed = true);
        LogState {
            options,
            writing_base: segments.back().map_or(0, |segment| segment.base_offset),
            segments,
            tail: Tail::new(end_offset),
            log_start: 0,
            raising_log_start: false,
            end_offset,
            stable_offset: end_offset,
            flushed_offset: end_offset,
            synced_offset: end_offset,
            flush_wanted: 0,
            flushable_bytes: 0,
            in_flush_line: false,
            unflushed_bytes: 0,
            direct: false,
            may_ack_written: false,
            pinned_after: 0,
            cutting_from: None,
            failed: None,
            closing: false,
            on_hold: false,
            writer_running: false,
            syncer_running: false,
            reserving_bytes: None,
            reserve_gave_up: false,
            next_segment: NextSegment::Missing,
            generation: 0,
            snapshots: Snapshots::default(),
            cuts: 0,
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
        self.unflushed_bytes += bytes.len() as u64;
        self.tail.push(TailBatch { base_offset, last_offset, bytes })
    }

    /// Bytes of this log that no ack can be given for yet.
    pub fn unstable_bytes(&self) -> u64 {
        self.unflushed_bytes - self.flushable_bytes
    }

    /// A batch of `bytes` is about to be appended: says whether it goes to the journal, which takes up to `journal_bytes_max`, or with more
    /// than `direct_bytes` waiting past it.
    pub fn takes_journal(&mut self, bytes: usize, journal_bytes_max: usize, direct_bytes: usize) -> bool {
        self.direct |= bytes > journal_bytes_max || self.unstable_bytes() as usize + bytes > direct_bytes;
        !self.direct
    }

    /// The journal has the log's batches up to `next_offset`. Answers whether that is news.
    pub fn journaled(&mut self, next_offset: i64, bytes: usize) -> bool {
        if next_offset <= self.stable_offset || self.failed.is_some() {
            return false;
        }
        self.stable_offset = next_offset;
        // What a direct write was quicker with is in its segment already.
        self.flushable_bytes += (bytes as u64).min(self.unstable_bytes());
        true
    }

    /// Whether the writer has something to do now, rather than wait for more.
    pub fn is_flush_due(&self) -> bool {
        self.direct || self.flushed_offset < self.flush_wanted || self.flushable_bytes >= FLUSH_BYTES
    }

    /// Offsets that the writer may write: of a log that uses the journal, only what the journal has. So whatever a power cut takes from a
    /// segment behind the recovery point, the journal gives back.
    fn writable_below(&self) -> i64 {
        if self.direct { i64::MAX } else { self.stable_offset }
    }

    /// `None`: nothing to do, or not allowed to.
    pub fn next_step(&self) -> Option<Step> {
        let batch = self.tail.get(self.next_write.sequence)?;
        if self.failed.is_some() || self.on_hold || batch.last_offset >= self.writable_below() {
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

        let below = next_base.min(self.writable_below());
        let (new_bytes, cursor, last) = self.take_up_to(WRITE_BYTES_MAX - repeated, below);
        let block_bytes = repeated + new_bytes;
        let mut block = Buffer::take(block_bytes.next_multiple_of(BLOCK_BYTES));
        block[..repeated].copy_from_slice(&self.partial_block);
        self.copy_pending(&mut block[repeated..block_bytes]);
        block[block_bytes..].fill(0);

        let acks_written = self.options.stable_mode == StableMode::Written && self.may_ack_written;
        let needs_durable = self.direct && !acks_written;
        // Earlier writes may not be durable, and what is acknowledged must not lie behind a hole.
        let sync_after = needs_durable && self.synced_offset < self.flushed_offset;
        let durability = if needs_durable && !sync_after { Durability::Durable } else { Durability::Written };
        Some(WritePlan {
            position: segment.written_bytes - repeated as u64,
            block,
            durability,
            sync_after,
            done: WriteDone {
                block_bytes,
                new_bytes,
                batches: (cursor.sequence - self.next_write.sequence) as usize,
                cursor,
                flushed_offset: last.map_or(self.flushed_offset, |offset| offset + 1),
                durability: if sync_after { Durability::Durable } else { durability },
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
        if self.failed.is_some() {
            // The log ended while the write was under way: what it had was dropped, and nobody is told of more.
            return;
        }
        let full_blocks = done.block_bytes / BLOCK_BYTES * BLOCK_BYTES;
        self.partial_block.clear();
        self.partial_block.extend_from_slice(&block[full_blocks..done.block_bytes]);
        self.next_write = done.cursor;
        self.flushed_offset = done.flushed_offset;
        if done.durability == Durability::Durable {
            self.synced_offset = done.flushed_offset;
        }
        if self.direct {
            self.stable_offset = self.stable_offset.max(done.flushed_offset);
            self.direct = self.stable_offset < self.end_offset;
        }
        let new_bytes = done.new_bytes as u64;
        self.unflushed_bytes -= new_bytes;
        self.flushable_bytes = self.flushable_bytes.saturating_sub(new_bytes).min(self.unflushed_bytes);
        let writing = self.writing();
        writing.written_bytes += new_bytes;
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
        // Written is not enough: if the sync fails, memory is where the batch still is.
        if self.tail.get(sequence).is_none_or(|batch| batch.last_offset >= self.synced_offset) {
            return Eviction::NotDurable;
        }
        Eviction::Freed(self.tail.evict_front().map_or(0, |batch| batch.memory_bytes()))
    }

    /// Nothing more gets written. What is not stable is dropped; what is can still be read, if need be from memory. Returns the memory set
    /// free.
    pub fn fail(&mut self, failed: Arc<LogFailed>, released_sequence: u64) -> usize {
        self.failed = Some(failed);
        self.pinned_after = released_sequence;
        (self.unflushed_bytes, self.flushable_bytes) = (0, 0);
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
        self.stable_offset = offset.min(self.stable_offset.max(self.flushed_offset));
        (self.flushed_offset, self.synced_offset) = (offset, offset);
        (self.unflushed_bytes, self.flushable_bytes, self.direct) = (0, 0, false);
        self.generation += 1;
        self.cuts += 1;
        let freed = self.tail.truncate(offset);
        self.next_write = Cursor { sequence: self.tail.end_sequence(), skip: 0 };
        freed
    }

    /// Takes the `count` oldest segments out of the log. They are sealed, and never all. Readers under way plan again.
    pub fn drop_oldest(&mut self, count: usize) -> Vec<Segment> {
        assert!(count < self.segments.len() && count <= self.writing_index(), "a log has a segment to write to");
        if count > 0 {
            self.generation += 1;
        }
        self.segments.drain(..count).collect()
    }

    /// `new` takes the place of the sealed neighbours `old_bases`. Reads under way plan again.
    pub fn replace_segments(&mut self, old_bases: &[i64], new: Segment) {
        let first = self.segments.partition_point(|segment| segment.base_offset < new.base_offset);
        let old: Vec<Segment> = self.segments.drain(first..first + old_bases.len()).collect();
        assert!(
            old.iter().map(|segment| segment.base_offset).eq(old_bases.iter().copied()),
            "not neighbours of this log"
        );
        self.segments.insert(first, Segment { is_sealed: true, ..new });
        self.generation += 1;
    }

    /// What the tail has for a reader, if `from` is in it.
    pub fn read_tail(&self, range: &ReadRange) -> Option<ReadData> {
        let in_tail = range.from >= self.tail.start_offset() || range.from >= range.below;
        in_tail.then(|| self.tail.read(range))
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
    /// Its segment may lose it.
    NotDurable,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::ENTRY_BYTES_MAX;
    use crate::options::DIRECT_BYTES;
    use bytes::Bytes;

    fn log(segment_bytes: u32) -> LogState {
        let options = LogOptions { segment_bytes, ..LogOptions::default() };
        LogState::new(options, VecDeque::from([Segment::new(0)]), 0, Vec::new())
    }

    fn append(state: &mut LogState, bytes: usize) {
        let offset = state.end_offset;
        let bytes = Bytes::from(vec![offset as u8 + 1; bytes]);
        // Past the journal: what is written is stable then.
        state.direct = true;
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
        assert_eq!(state.unflushed_bytes, 0);
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

    /// What the journal does not have yet must not be in a segment: a power cut may take it there, and nothing would give it back.
    #[test]
    fn a_segment_gets_what_the_journal_has() {
        let mut state = log(1 << 30);
        let bytes = Bytes::from(vec![7; 1000]);
        for offset in 0..3 {
            assert!(state.takes_journal(1000, ENTRY_BYTES_MAX, DIRECT_BYTES));
            let batch =
                AppendBatch { bytes: bytes.clone(), base_offset: offset, last_offset: offset, max_timestamp: -1 };
            state.append(batch);
        }
        assert!(state.next_step().is_none() && !state.is_flush_due());
        assert!(state.journaled(2, 2000) && !state.journaled(2, 2000));
        state.flush_wanted = 2;
        assert_eq!(write(&mut state).1.len(), 2000);
        assert_eq!((state.flushed_offset, state.stable_offset, state.synced_offset), (2, 2, 0));
        assert_eq!((state.flushable_bytes, state.unflushed_bytes), (0, 1000));
        assert!(state.next_step().is_none());
    }

    /// Much that waits goes to the segment alone; what the journal still has under way for it must not confuse the count.
    #[test]
    fn a_log_with_much_pending_passes_the_journal_until_all_is_stable() {
        let mut state = log(1 << 30);
        assert!(state.takes_journal(1000, ENTRY_BYTES_MAX, DIRECT_BYTES));
        append(&mut state, 1000);
        state.direct = false;
        assert!(!state.takes_journal(DIRECT_BYTES, ENTRY_BYTES_MAX, DIRECT_BYTES));
        append(&mut state, DIRECT_BYTES);
        assert!(
            !state.takes_journal(1, ENTRY_BYTES_MAX, DIRECT_BYTES),
            "also the small one behind it: the journal would have a hole"
        );
        append(&mut state, 1);
        assert!(state.is_flush_due());
        assert!(state.journaled(1, 1000), "was under way before");
        write(&mut state);
        assert_eq!((state.stable_offset, state.synced_offset, state.direct), (3, 3, false));
        assert_eq!((state.flushable_bytes, state.unflushed_bytes), (0, 0));
        assert!(state.takes_journal(1000, ENTRY_BYTES_MAX, DIRECT_BYTES));
    }

    /// An evicted batch that is not on disk would be gone.
    #[test]
    fn only_what_is_durable_in_a_segment_can_be_evicted() {
        let mut state = log(1 << 30);
        append(&mut state, 100);
        assert!(matches!(state.evict(0), Eviction::NotDurable));
        write(&mut state);
        append(&mut state, 100);
        assert!(matches!(state.evict(0), Eviction::Freed(bytes) if bytes > 100));
        assert!(matches!(state.evict(0), Eviction::Gone));
        assert!(matches!(state.evict(1), Eviction::NotDurable));
        assert_eq!(state.tail.start_offset(), 1);
    }
}
