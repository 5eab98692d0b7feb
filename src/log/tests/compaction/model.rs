//! What the log ought to hold: every record appended, in a plain list, whatever was cleaned since.

use super::transactions::{Ledger, committed};
use ringlane_log::cleaner::LastOfProducer;
use ringlane_protocol::records::{Batch, BatchHeader, Records};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// `delete.retention.ms` of the test's log.
pub const DELETE_RETENTION_MS: i64 = 300;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    pub timestamp: i64,
}

#[derive(Default)]
pub struct Model {
    seed: u64,
    /// By offset; and when it was appended.
    records: BTreeMap<i64, (Known, i64)>,
    batches: BTreeMap<i64, BatchHeader>,
    pub transactions: Ledger,
    /// Newest record of each key that counts: of no transaction, or of a committed one.
    by_key: BTreeMap<Vec<u8>, i64>,
    /// Offsets of the newest record of each key: the values of `by_key`.
    newest: BTreeSet<i64>,
    /// What was found at the last start, or appended and not seen removed since.
    found: BTreeSet<i64>,
    pub stable: i64,
    pub is_open: bool,
    pub rounds: u64,
    story: Vec<String>,
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: end {}, stable {}\n{}", self.seed, self.end_offset(), self.stable, self.story.join("\n"))
    }
}

impl Model {
    pub fn new(seed: u64) -> Model {
        Model { seed, ..Model::default() }
    }

    pub fn begin_life(&mut self, what: String) {
        self.story.push(format!("{what}, {} records, stable {}", self.records.len(), self.stable));
        self.is_open = false;
    }

    pub fn end_offset(&self) -> i64 {
        self.batches.values().next_back().map_or(0, BatchHeader::next_offset)
    }

    pub fn appended(&mut self, bytes: &[u8], now_ms: i64) {
        let header = BatchHeader::parse(bytes).expect("was built");
        for (offset, record) in records_of(bytes) {
            self.records.insert(offset, (record, now_ms));
            self.found.insert(offset);
        }
        self.batches.insert(header.base_offset, header);
        self.note(&header);
    }

    fn note(&mut self, header: &BatchHeader) {
        let records = self.records.range(header.base_offset..header.next_offset());
        for offset in self.transactions.note(header, records.map(|(offset, (known, _))| (*offset, known))) {
            let newest = self.by_key.entry(self.records[&offset].0.key.clone()).or_insert(offset);
            self.newest.remove(newest);
            *newest = (*newest).max(offset);
            self.newest.insert(*newest);
        }
    }

    /// Of each producer that is not forgotten, as the owner of the log would know it.
    pub fn last_of_producers(&self) -> BTreeMap<i64, LastOfProducer> {
        let mut last = BTreeMap::new();
        let known = self.batches.values().filter(|header| header.has_producer());
        for header in known.filter(|header| !self.transactions.is_forgotten(header.producer_id)) {
            let none = LastOfProducer { epoch: header.producer_epoch, last_data_offset: None };
            let of_producer = last.entry(header.producer_id).or_insert(none);
            if of_producer.epoch != header.producer_epoch {
                *of_producer = none;
            }
            if !header.is_control() {
                of_producer.last_data_offset = Some(header.last_offset());
            }
        }
        last
    }

    /// An orderly end, after so many rounds of cleaning.
    pub fn closed(&mut self, rounds: u64) {
        self.stable = self.end_offset();
        self.rounds += rounds;
    }

    /// A start saw these batches; the log ends at `end_offset`.
    pub fn opened(&mut self, headers: &[BatchHeader], end_offset: i64) {
        assert!(end_offset >= self.stable, "lost: the log ends at {end_offset}\n{self}");
        assert!(end_offset <= self.end_offset(), "the log ends at {end_offset}\n{self}");
        self.records.retain(|offset, _| *offset < end_offset);
        self.batches.retain(|base_offset, _| *base_offset < end_offset);
        (self.by_key, self.newest) = Default::default();
        self.transactions.begin_again();
        self.batches.clone().values().for_each(|header| self.note(header));
        self.found.retain(|offset| *offset < end_offset);
        for header in headers {
            let Some(known) = self.batches.get(&header.base_offset) else {
                panic!("a batch at {} was never there\n{self}", header.base_offset);
            };
            let same = |header: &BatchHeader| (header.last_offset(), header.producer_id, header.last_sequence());
            assert_eq!(same(header), same(known), "{self}");
        }
        for (producer, last) in self.last_of_producers() {
            let is_last = |header: &&BatchHeader| match last.last_data_offset {
                Some(offset) => !header.is_control() && header.last_offset() == offset,
                None => header.is_control() && header.producer_epoch == last.epoch,
            };
            let is_there = headers.iter().filter(|header| header.producer_id == producer).any(|h| is_last(&h));
            assert!(is_there, "the last batch of producer {producer}, {last:?}, is gone\n{self}");
        }
        let open = Ledger::open_in(headers);
        assert_eq!(open, self.transactions.open(), "open transactions, as a start finds them\n{self}");
        (self.stable, self.is_open) = (end_offset, true);
    }

    /// Checks what a read from `from` gave; answers where the next one goes on.
    pub fn check_read(&self, from: i64, slices: &[impl AsRef<[u8]>], now_ms: i64) -> i64 {
        let mut seen = BTreeSet::new();
        let mut next = from;
        for slice in slices {
            let mut rest = slice.as_ref();
            while !rest.is_empty() {
                let header = BatchHeader::parse(rest).unwrap_or_else(|error| panic!("{error}\n{self}"));
                assert!(header.last_offset() >= next, "a batch twice, at {}\n{self}", header.base_offset);
                for (offset, record) in records_of(rest) {
                    let known = self.records.get(&offset).map(|(known, _)| known);
                    assert_eq!(Some(&record), known, "offset {offset} is another record\n{self}");
                    seen.insert(offset);
                }
                next = header.next_offset();
                rest = &rest[header.size()..];
            }
        }
        let missing: Vec<i64> =
            self.newest.range(from..next).filter(|offset| !seen.contains(*offset)).copied().collect();
        self.check_missing(&missing, now_ms);
        next
    }

    /// `found`: what was answered for the first record at or after `timestamp`.
    pub fn check_lookup(&self, timestamp: i64, below: i64, found: Option<(i64, i64)>, now_ms: i64) {
        if let Some((offset, at)) = found {
            assert_eq!(self.records.get(&offset).map(|(known, _)| known.timestamp), Some(at), "{self}");
            assert!(at >= timestamp, "{self}");
        }
        let end = found.map_or(below, |(offset, _)| offset);
        let earlier = self.newest.range(..end).filter(|offset| self.records[offset].0.timestamp >= timestamp);
        self.check_missing(&earlier.copied().collect::<Vec<_>>(), now_ms);
    }

    /// Only old tombstones may be missing of what is newest.
    fn check_missing(&self, missing: &[i64], now_ms: i64) {
        for offset in missing {
            let (known, appended_ms) = &self.records[offset];
            let may_be_gone = known.value.is_none() && now_ms >= appended_ms + DELETE_RETENTION_MS;
            assert!(may_be_gone, "a read lacks offset {offset}\n{self}");
        }
    }

    /// Of the offsets from `from` on, up to `below`, those that are the newest of their keys must have been read.
    pub fn check_rest(&self, from: i64, below: i64, now_ms: i64) {
        self.check_missing(&self.newest.range(from..below).copied().collect::<Vec<_>>(), now_ms);
    }

    /// The whole log as read, while nothing was appended: a reader of committed records gets each key's newest value, and no other.
    pub fn check_committed(&self, live: &[Vec<u8>], below: i64, now_ms: i64) {
        let (view, undecided) = committed(live);
        assert_eq!(undecided, self.transactions.undecided_at(below), "transactions without an end\n{self}");
        let mut newest_read = BTreeMap::new();
        for (offset, record) in &view {
            newest_read.insert(&record.key, *offset);
            assert!(
                !self.transactions.is_aborted(*offset),
                "the aborted record {offset} is shown as committed\n{self}"
            );
        }
        for (key, offset) in self.by_key.iter().filter(|(_, offset)| **offset < below) {
            match newest_read.get(key) {
                Some(read) => assert_eq!(read, offset, "a consumer ends with an old value\n{self}"),
                None => self.check_missing(&[*offset], now_ms),
            }
        }
    }

    /// The whole log as read at last: below `cleaned`, each record is the newest of its key there.
    pub fn check_cleaned(&mut self, live: &[Vec<u8>], cleaned: i64) {
        let mut newest_below = BTreeMap::new();
        let counts = |offset: &i64| self.transactions.is_committed(*offset);
        for (offset, (known, _)) in self.records.range(..cleaned).filter(|(offset, _)| counts(offset)) {
            newest_below.insert(known.key.clone(), *offset);
        }
        let all: Vec<(i64, Known)> = live.iter().flat_map(|bytes| batches_of(bytes)).collect();
        let data = all.iter().filter(|(offset, _)| *offset < cleaned && !self.transactions.is_marker(*offset));
        for (offset, record) in data {
            assert_eq!(
                newest_below.get(&record.key),
                Some(offset),
                "cleaned to {cleaned}, an old record is left\n{self}"
            );
        }
        self.found = all.into_iter().map(|(offset, _)| offset).collect();
    }

    pub fn markers_removed(&self) -> usize {
        self.records
            .keys()
            .filter(|offset| self.transactions.is_marker(**offset) && !self.found.contains(offset))
            .count()
    }

    pub fn records_removed(&self) -> usize {
        self.records.len() - self.found.len()
    }
}

fn batches_of(mut bytes: &[u8]) -> Vec<(i64, Known)> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        records.extend(records_of(bytes));
        bytes = &bytes[BatchHeader::parse(bytes).expect("was compared").size()..];
    }
    records
}

/// Records of the first batch in `bytes`.
pub fn records_of(bytes: &[u8]) -> Vec<(i64, Known)> {
    let batch = Batch::parse(bytes).expect("a whole batch");
    batch.check_crc().expect("a sound batch");
    let body = batch.uncompressed_body(1 << 24).expect("unpacks");
    let known = |record: ringlane_protocol::records::Record<'_>| Known {
        key: record.key.expect("every record has one").to_vec(),
        value: record.value.map(<[u8]>::to_vec),
        timestamp: record.timestamp(&batch.header),
    };
    let records = Records::new(&batch.header, &body).map(|record| record.expect("was built"));
    records.map(|record| (record.offset(&batch.header), known(record))).collect()
}
