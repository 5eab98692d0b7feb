//! Readers that read on from where they stopped: where each is, what it has in memory, what is being read for it.
//!
//! Pure but for the slots, which only lie here. One table per shard, owned by `ahead`. A reader takes its stream out, reads, and puts it back;
//! what is never put back (a client went away, a log changed) is gone with all it held.

use super::slot::{Extent, Slot};
use super::window::Window;
use crate::LogKey;
use crate::mutants::{Mutant, is_on};
use ringlane_runtime::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Reads in a row that make a reader sequential: before, nothing is kept or read ahead for it.
const SEQUENTIAL_FROM: u32 = 2;
/// Reads grow up to so many times the first one's size.
const GROWTH_MAX: usize = 8;
/// A sequential reader has so many reads ahead of it, if memory allows.
const READS_AHEAD: usize = 6;
/// Readers that are remembered on a shard; beyond it the one that was here longest ago goes.
const STREAMS_MAX: usize = 4096;
/// A reader that has not come for so long is forgotten, with what was read for it.
const IDLE: Duration = Duration::from_secs(10);

/// A place in a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    pub offset: i64,
    /// In the stream's segment, where the batch with the offset begins.
    pub position: u64,
}

pub(crate) struct Stream {
    pub log: LogKey,
    /// Of the log. When that has grown, nothing here is right any more.
    pub generation: u64,
    /// Of the segment in which the marks and the window lie.
    pub base_offset: i64,
    /// Where the last read began: whoever could not use its answer comes again for the same bytes.
    last: Option<Mark>,
    /// Where the next read begins.
    pub next: Mark,
    pub window: Window,
    /// Reads behind the window, each where the one before ends; also of the segments that follow.
    pub ahead: VecDeque<Rc<Slot>>,
    in_a_row: u32,
    first_bytes: usize,
    pub read_bytes: usize,
    used_at: Instant,
}

impl Stream {
    /// A reader of whom nothing is known.
    pub fn new(log: LogKey, generation: u64, base_offset: i64, next: Mark, first_bytes: usize) -> Stream {
        Stream {
            log,
            generation,
            base_offset,
            last: None,
            next,
            window: Window::at(next.position),
            ahead: VecDeque::new(),
            in_a_row: 0,
            first_bytes,
            read_bytes: first_bytes,
            used_at: Instant::default(),
        }
    }

    pub fn is_sequential(&self) -> bool {
        self.in_a_row >= SEQUENTIAL_FROM
    }

    /// The reader has come again, for `offset`.
    fn comes_for(&mut self, offset: i64) {
        match self.last.filter(|last| last.offset == offset && self.next.offset != offset) {
            Some(last) => {
                self.next.offset = last.offset;
                self.skip_to(last.position);
            }
            None => {
                self.in_a_row += 1;
                self.read_bytes = (self.read_bytes * 2).min(self.first_bytes * GROWTH_MAX);
                self.window.drop_before(self.next.position);
            }
        }
    }

    /// A read from `offset` was given `from..to`.
    pub fn gave(&mut self, offset: i64, from: u64, to: u64, next_offset: i64) {
        self.last = Some(Mark { offset, position: from });
        self.next = Mark { offset: next_offset, position: to };
    }

    /// Goes on at `position`, whether or not that has been read.
    pub fn skip_to(&mut self, position: u64) {
        self.next.position = position;
        if position < self.window.start() || position > self.window.end() {
            self.restart();
        }
    }

    /// Goes on at the beginning of the segment `base_offset`, which follows.
    pub fn enter(&mut self, base_offset: i64) {
        self.base_offset = base_offset;
        self.last = None;
        self.next.position = 0;
        self.window = Window::at(0);
        if !self.is_followed() {
            self.ahead.clear();
        }
    }

    /// Whether what is under way begins where the window ends.
    pub fn is_followed(&self) -> bool {
        let is_next = |slot: &Rc<Slot>| {
            let Extent { base_offset, start, .. } = slot.extent;
            (base_offset, start) == (self.base_offset, self.window.end())
        };
        self.ahead.front().is_some_and(is_next)
    }

    /// Forgets what is in memory and under way.
    pub fn restart(&mut self) {
        self.window = Window::at(self.next.position);
        self.ahead.clear();
    }

    /// Takes in what was read ahead and is there, as far as it is of this segment.
    pub fn absorb(&mut self) {
        while let Some(slot) = self.ahead.front().filter(|_| self.is_followed()) {
            match slot.is_done().then(|| slot.take()).flatten() {
                Some(Ok(bytes)) => {
                    self.window.push(bytes);
                    self.ahead.pop_front();
                }
                Some(Err(_)) => {
                    // Whoever needs it reads it, and gets the error if there still is one.
                    self.ahead.clear();
                }
                None => return,
            }
        }
    }

    /// Where the next read goes on: segment and byte.
    pub fn end(&self) -> (i64, u64) {
        let window_end = (self.base_offset, self.window.end());
        self.ahead.back().map_or(window_end, |slot| (slot.extent.base_offset, slot.extent.end))
    }

    /// Bytes in memory, or under way, that the reader has not been given.
    pub fn ahead_bytes(&self) -> usize {
        let in_window = self.window.end().saturating_sub(self.next.position) as usize;
        in_window + self.ahead.iter().map(|slot| slot.extent.bytes()).sum::<usize>()
    }

    /// How many there should be, of `share` at most.
    pub fn ahead_bytes_wanted(&self, share: usize) -> usize {
        if self.is_sequential() { (READS_AHEAD * self.read_bytes).min(share) } else { 0 }
    }
}

/// Names a stream while it lies in the table. Those put back later have larger ones.
pub(crate) type StreamId = u64;

/// All readers of a shard that are not reading just now.
#[derive(Default)]
pub(crate) struct Streams {
    by_id: BTreeMap<StreamId, Stream>,
    /// Each stream twice: where it may come again, and where it goes on.
    by_offset: BTreeSet<(LogKey, i64, StreamId)>,
    next_id: StreamId,
    sequential: usize,
}

impl Streams {
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// How many of them have something read ahead.
    pub fn sequential(&self) -> usize {
        self.sequential
    }

    /// The stream of a reader that comes for `offset`.
    pub fn take(&mut self, log: LogKey, offset: i64, generation: u64) -> Option<Stream> {
        let (.., id) = *self.by_offset.range((log, offset, 0)..=(log, offset, StreamId::MAX)).next_back()?;
        let mut stream = self.remove(id)?;
        if stream.generation != generation && !is_on(Mutant::KeepReadAhead) {
            return None;
        }
        stream.generation = generation;
        stream.comes_for(offset);
        Some(stream)
    }

    pub fn put(&mut self, mut stream: Stream, now: Instant) -> StreamId {
        stream.used_at = now;
        while let Some((id, oldest)) = self.by_id.first_key_value()
            && (self.by_id.len() >= STREAMS_MAX || now.since(oldest.used_at) >= IDLE)
        {
            self.remove(*id);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.sequential += usize::from(stream.is_sequential());
        for mark in stream.last.iter().chain([&stream.next]) {
            self.by_offset.insert((stream.log, mark.offset, id));
        }
        self.by_id.insert(id, stream);
        id
    }

    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.by_id.get_mut(&id)
    }

    /// The log is gone, or not what it was.
    pub fn forget(&mut self, log: LogKey) {
        while let Some((.., id)) = self.by_offset.range((log, i64::MIN, 0)..=(log, i64::MAX, StreamId::MAX)).next() {
            self.remove(*id);
        }
    }

    fn remove(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.by_id.remove(&id)?;
        self.sequential -= usize::from(stream.is_sequential());
        for mark in stream.last.iter().chain([&stream.next]) {
            self.by_offset.remove(&(stream.log, mark.offset, id));
        }
        Some(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const FIRST_BYTES: usize = 1000;

    fn after(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    fn stream(log: u64, offset: i64) -> Stream {
        Stream::new(LogKey(log), 0, 0, Mark { offset, position: offset as u64 * 100 }, FIRST_BYTES)
    }

    /// Reads ten offsets, 100 bytes each.
    fn read_ten(stream: &mut Stream) -> i64 {
        let Mark { offset, position } = stream.next;
        if stream.window.end() < position + 1000 {
            stream.window.push(Bytes::from(vec![0; 1500]));
        }
        stream.gave(offset, position, position + 1000, offset + 10);
        offset + 10
    }

    /// Without growth a consumer that is far behind waits for the disk at each small read; with growth from the first read on, one that
    /// jumps about reads a megabyte for each record.
    #[test]
    fn reads_grow_while_a_reader_reads_on() {
        let mut streams = Streams::default();
        let mut reader = stream(1, 50);
        let mut sizes = Vec::new();
        for _ in 0..6 {
            sizes.push((reader.read_bytes, reader.ahead_bytes_wanted(usize::MAX)));
            let next = read_ten(&mut reader);
            streams.put(reader, after(1));
            assert!(streams.take(LogKey(1), next + 1, 0).is_none() && streams.take(LogKey(2), next, 0).is_none());
            reader = streams.take(LogKey(1), next, 0).expect("reads on");
        }
        assert_eq!(sizes, [(1000, 0), (2000, 0), (4000, 24_000), (8000, 48_000), (8000, 48_000), (8000, 48_000)]);
        assert_eq!(reader.ahead_bytes_wanted(500), 500);
    }

    /// Whoever could not use an answer must not have its bytes read from the disk again, nor count as one who reads on.
    #[test]
    fn a_reader_may_come_again_for_the_same_bytes() {
        let mut streams = Streams::default();
        let mut reader = stream(1, 50);
        let next = read_ten(&mut reader);
        let (start, in_memory) = (reader.window.start(), reader.window.end());
        streams.put(reader, after(1));

        let mut again = streams.take(LogKey(1), 50, 0).expect("the same");
        assert_eq!((again.next, again.read_bytes), (Mark { offset: 50, position: 5000 }, FIRST_BYTES));
        assert_eq!((again.window.start(), again.window.end()), (start, in_memory));
        again.gave(50, 5000, 5100, 51);
        streams.put(again, after(1));
        assert!(streams.take(LogKey(1), next, 0).is_none(), "it was given less this time");
        let on = streams.take(LogKey(1), 51, 0).expect("reads on");
        assert_eq!((on.next.position, on.read_bytes), (5100, 2 * FIRST_BYTES));
        assert!(streams.take(LogKey(1), 50, 0).is_none() && streams.len() == 0);
    }

    /// Bytes of a file that was cut or exchanged since are another log's bytes.
    #[test]
    fn nothing_is_kept_of_a_log_that_changed() {
        let mut streams = Streams::default();
        streams.put(stream(1, 50), after(1));
        assert!(streams.take(LogKey(1), 50, 1).is_none());
        for (log, offset) in [(1, 50), (1, 70), (2, 50)] {
            streams.put(stream(log, offset), after(1));
        }
        streams.forget(LogKey(1));
        assert!(streams.take(LogKey(1), 70, 0).is_none());
        assert!(streams.take(LogKey(2), 50, 0).is_some() && streams.len() == 0);
    }

    /// Consumers come and go: what the gone ones held must not stay, however many there were.
    #[test]
    fn readers_that_do_not_come_are_forgotten() {
        let mut streams = Streams::default();
        for offset in 0..STREAMS_MAX as i64 + 10 {
            streams.put(stream(1, offset), after(1));
        }
        assert_eq!(streams.len(), STREAMS_MAX);
        assert!(streams.take(LogKey(1), 9, 0).is_none() && streams.take(LogKey(1), 10, 0).is_some());
        streams.put(stream(1, 0), after(1) + IDLE);
        assert_eq!((streams.len(), streams.by_offset.len(), streams.sequential()), (1, 1, 0));
    }

    /// A window of one segment with the bytes of another behind it would give a reader batches from the wrong place.
    #[test]
    fn what_does_not_follow_is_dropped() {
        let mut reader = stream(1, 0);
        let metrics = Rc::new(ringlane_metrics::ShardMetrics::default());
        let slot = |base_offset, start| {
            let slot = Slot::new(Extent { base_offset, start, end: start + 500 }, 0, false, metrics.clone());
            slot.finish(Ok(Bytes::from(vec![0; 500])));
            slot
        };
        reader.ahead.extend([slot(0, 0), slot(0, 500), slot(40, 0)]);
        reader.absorb();
        assert_eq!((reader.window.end(), reader.ahead.len(), reader.end()), (1000, 1, (40, 500)));
        assert_eq!(reader.ahead_bytes(), 1500);
        reader.skip_to(800);
        assert_eq!((reader.window.start(), reader.ahead.len()), (0, 1));
        reader.enter(40);
        reader.absorb();
        assert_eq!((reader.window.end(), reader.ahead.len()), (500, 0));

        reader.ahead.push_back(slot(40, 600));
        assert!(!reader.is_followed());
        reader.skip_to(550);
        assert_eq!((reader.window.start(), reader.window.end(), reader.ahead.len()), (550, 550, 0));
        assert_eq!(metrics.log_read_ahead_wasted_bytes.value(), 500);
    }
}
