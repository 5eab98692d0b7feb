//! What the log ought to hold: every batch appended, in a plain list, and how much of it was reported stable.

use bytes::Bytes;
use ringlane_log::{AppendBatch, ReadData, StableMode};
use ringlane_protocol::records::{BatchBuilder, BatchHeader, Compression};
use ringlane_runtime::{Instant, random_u64};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// In written mode what is older than this must survive power loss: `flush.ms` and the disk's time for it.
const FLUSHED_AFTER: Duration = Duration::from_millis(400);
const EPOCH_MS: i64 = 1_700_000_000_000;

pub struct Stored {
    pub base_offset: i64,
    pub last_offset: i64,
    pub bytes: Bytes,
    /// Offset and timestamp of each record.
    pub records: Vec<(i64, i64)>,
}

pub struct History {
    seed: u64,
    pub batches: Vec<Stored>,
    /// Everything below was reported stable (or found at a start).
    stable: i64,
    /// Everything below must survive power loss.
    durable: i64,
    /// What the next start must find.
    must_survive: i64,
    mode: StableMode,
    reported: VecDeque<(Instant, i64)>,
    /// Where the log ends when the truncation under way is done.
    truncating_to: Option<i64>,
    found: bool,
    open: bool,
    story: Vec<String>,
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stable {}, durable {}, must survive {}\n{}",
            self.stable,
            self.durable,
            self.must_survive,
            self.story.join("\n")
        )
    }
}

impl History {
    pub fn new(seed: u64) -> History {
        History {
            seed,
            batches: Vec::new(),
            stable: 0,
            durable: 0,
            must_survive: 0,
            mode: StableMode::Durable,
            reported: VecDeque::new(),
            truncating_to: None,
            found: false,
            open: false,
            story: Vec::new(),
        }
    }

    pub fn begin_life(&mut self, mode: StableMode, what: String) {
        self.story.push(format!("life {what} {mode:?}, {} batches", self.batches.len()));
        (self.found, self.open, self.truncating_to, self.mode) = (false, false, None, mode);
        self.reported.clear();
    }

    pub fn end_life(&mut self, now: Instant, power_lost: bool) {
        if self.open {
            let flushed = self.reported.iter().rev().find(|(at, _)| now.since(*at) > FLUSHED_AFTER);
            self.durable = match self.mode {
                StableMode::Durable => self.stable,
                StableMode::Written => flushed.map_or(self.durable, |(_, stable)| self.durable.max(*stable)),
            };
            self.must_survive = self.stable;
        }
        if power_lost {
            self.must_survive = self.durable;
        }
    }

    /// What a partition would keep beside its log: here, how many batches there are.
    pub fn state(&self) -> Bytes {
        Bytes::copy_from_slice(&(self.batches.len() as u64).to_be_bytes())
    }

    /// The headers that a state stands for.
    pub fn headers_of(&self, state: &[u8]) -> Vec<BatchHeader> {
        let count = u64::from_be_bytes(state.try_into().expect("is what `state` gave")) as usize;
        assert!(count <= self.batches.len(), "a state of more batches than there ever were");
        self.batches[..count].iter().map(|batch| BatchHeader::parse(&batch.bytes).expect("was appended")).collect()
    }

    /// What the log holds is known, and stays so for now.
    pub fn knows_itself(&self) -> bool {
        self.found && self.truncating_to.is_none()
    }

    /// The log takes appends.
    pub fn is_ready(&mut self) {
        self.open = true;
    }

    pub fn is_open(&self) -> bool {
        self.open
    }

    pub fn end_offset(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.last_offset + 1)
    }

    pub fn became_stable(&mut self, now: Instant, offset: i64) {
        assert!(offset >= self.stable, "seed {}: stable went back from {} to {offset}\n{self}", self.seed, self.stable);
        assert!(offset <= self.end_offset(), "seed {}: stable {offset} past the end {}", self.seed, self.end_offset());
        let offset = self.truncating_to.map_or(offset, |end| end.min(offset));
        self.stable = offset;
        self.reported.push_back((now, offset));
    }

    /// What a start found: some first part of the list, with all of it that had to survive.
    pub fn found(&mut self, headers: &[BatchHeader]) {
        let matching = headers.iter().zip(&self.batches).take_while(|(found, stored)| {
            found.base_offset == stored.base_offset
                && found.size() == stored.bytes.len()
                && **found == BatchHeader::parse(&stored.bytes).expect("was appended")
        });
        let count = matching.count();
        assert_eq!(count, headers.len(), "seed {}: a batch that was never there\n{self}", self.seed);
        self.batches.truncate(count);
        let end = self.end_offset();
        assert!(end >= self.must_survive, "seed {}: lost: the log ends at {end}\n{self}", self.seed);
        (self.stable, self.durable, self.found) = (end, end, true);
    }

    /// From now on batches that end at `offset` or later may be gone.
    pub fn begin_truncation(&mut self, offset: i64) {
        let kept = self.batches.iter().rev().find(|batch| batch.last_offset < offset);
        let end = kept.map_or(0, |batch| batch.last_offset + 1);
        self.story.push(format!("truncate to {offset}, the end is then {end}"));
        self.truncating_to = Some(end);
        self.stable = self.stable.min(end);
        self.durable = self.durable.min(end);
        self.reported.iter_mut().for_each(|(_, stable)| *stable = (*stable).min(end));
    }

    /// From now on they must not come back.
    pub fn end_truncation(&mut self, offset: i64) {
        self.batches.retain(|batch| batch.last_offset < offset);
        self.truncating_to = None;
    }

    /// A batch for the end of the log.
    pub fn make_batch(&mut self) -> AppendBatch {
        let gap = if random_u64().is_multiple_of(20) { random_u64() % 50 } else { 0 };
        let base_offset = self.end_offset() + gap as i64;
        let compression = if random_u64().is_multiple_of(4) { Compression::Lz4 } else { Compression::None };
        let mut builder = BatchBuilder::new(compression).base_offset(base_offset).leader_epoch(3);
        let records = 1 + random_u64() % 20;
        let value_bytes = match random_u64() % 20 {
            0 => 10_000,
            1..=4 => 1_500,
            _ => random_u64() % 200,
        };
        let mut timestamps = Vec::new();
        for n in 0..records {
            let timestamp = EPOCH_MS + base_offset * 3 + (random_u64() % 300) as i64;
            let value = random_u64().to_be_bytes().repeat(value_bytes as usize / 8);
            builder.push(timestamp, None, Some(&value), &[]);
            timestamps.push((base_offset + n as i64, timestamp));
        }
        let bytes = Bytes::from(builder.finish().expect("compresses"));
        let header = BatchHeader::parse(&bytes).expect("was built");
        AppendBatch::new(&header, bytes)
    }

    pub fn appended(&mut self, batch: &AppendBatch) {
        let parsed = ringlane_protocol::records::Batch::parse(&batch.bytes).expect("was built");
        let body = parsed.uncompressed_body(1 << 30).expect("was compressed");
        let records = ringlane_protocol::records::Records::new(&parsed.header, &body)
            .map(|record| record.expect("was built"))
            .map(|record| (record.offset(&parsed.header), record.timestamp(&parsed.header)))
            .collect();
        let AppendBatch { bytes, base_offset, last_offset, .. } = batch.clone();
        self.batches.push(Stored { base_offset, last_offset, bytes, records });
    }

    /// Compares what a read gave. It may be less than was asked for, not nothing, and never anything else.
    pub fn check_read(&self, from: i64, below: i64, max_bytes: usize, at_least_one: bool, data: &ReadData) {
        let what = format!("seed {}: read {from}..{below}, {max_bytes} bytes", self.seed);
        let first = self.batches.partition_point(|batch| batch.last_offset < from);
        let mut wanted = self.batches[first..].iter().take_while(|batch| batch.last_offset < below).peekable();
        let got: Vec<u8> = data.slices.concat();
        assert_eq!(got.len(), data.bytes, "{what}");
        let first_bytes = wanted.peek().map_or(0, |batch| batch.bytes.len());
        if got.is_empty() {
            let may_be_empty = first_bytes == 0 || (!at_least_one && first_bytes > max_bytes);
            assert!(may_be_empty, "{what}: nothing, though a batch of {first_bytes} bytes is there\n{self}");
            return;
        }
        let limit = if at_least_one { max_bytes.max(first_bytes) } else { max_bytes };
        assert!(got.len() <= limit, "{what}: {} bytes", got.len());
        let mut rest: &[u8] = &got;
        while !rest.is_empty() {
            let batch = wanted.next().unwrap_or_else(|| panic!("{what}: more than is there\n{self}"));
            assert!(rest.starts_with(&batch.bytes), "{what}: other bytes at offset {}\n{self}", batch.base_offset);
            rest = &rest[batch.bytes.len()..];
        }
    }

    pub fn first_at_or_after(&self, timestamp: i64, below: i64) -> Option<(i64, i64)> {
        self.records_below(below).find(|(_, at)| *at >= timestamp)
    }

    pub fn largest(&self, below: i64) -> Option<(i64, i64)> {
        let mut best: Option<(i64, i64)> = None;
        for (offset, timestamp) in self.records_below(below) {
            if best.is_none_or(|(_, known)| timestamp > known) {
                best = Some((offset, timestamp));
            }
        }
        best
    }

    /// Of batches that lie wholly below, as reads give them.
    fn records_below(&self, below: i64) -> impl Iterator<Item = (i64, i64)> {
        let whole = self.batches.iter().take_while(move |batch| batch.last_offset < below);
        whole.flat_map(|batch| batch.records.iter().copied())
    }
}
