//! The filter against a plain list of records: random histories with tombstones, aborted transactions, records without keys, every codec,
//! maps that are too small, rounds at random times.

use super::*;
use crate::cleaner::test_kit::in_simulator;
use crate::cleaner::transactions::Outcomes;
use ringlane_protocol::records::{
    BatchBuilder, Compression, ProducerStamp, check_batch, marker_batch, patch_base_offset,
};
use ringlane_protocol::storage::txn_index::AbortedTransaction;
use ringlane_runtime::sim::Seed;
use std::collections::BTreeSet;

const RETENTION_MS: i64 = 1_000;

/// What a history knows of one record.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Known {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

#[derive(Default)]
struct History {
    /// Everything ever appended.
    records: BTreeMap<i64, Known>,
    headers: BTreeMap<i64, BatchHeader>,
    /// Batches of aborted transactions, with the offset of the marker.
    aborted_batches: BTreeMap<i64, i64>,
    /// First offset and batches of the transaction that a producer has open.
    open: BTreeMap<i64, (i64, Vec<i64>)>,
    sequences: BTreeMap<i64, i32>,
    end: i64,
}

impl History {
    /// A batch for the end, data or marker.
    fn append(&mut self, choices: &mut Seed, now_ms: i64) -> Vec<u8> {
        let producer = choices.below(5) as i64;
        if self.open.contains_key(&producer) && choices.chance(0.3) {
            return self.end_transaction(producer, choices.chance(0.5), now_ms);
        }
        let codec = Compression::ALL[choices.below(5) as usize];
        let mut builder = BatchBuilder::new(codec).base_offset(self.end);
        let count = choices.within(1..12) as i32;
        if producer > 0 {
            let sequence = self.sequences.entry(producer).or_default();
            let transactional = producer > 2;
            builder.set_producer(ProducerStamp { id: producer, epoch: 1, base_sequence: *sequence }, transactional);
            *sequence += count;
            if transactional {
                self.open.entry(producer).or_insert((self.end, Vec::new())).1.push(self.end);
            }
        }
        for n in 0..i64::from(count) {
            let key = (!choices.chance(0.05)).then(|| format!("key-{}", choices.below(30)).into_bytes());
            let value = (!choices.chance(0.2)).then(|| vec![b'v'; choices.below(40) as usize]);
            let timestamp = now_ms - choices.below(50) as i64;
            builder.push(timestamp, key.as_deref(), value.as_deref(), &[]);
            self.records.insert(self.end + n, Known { timestamp, key, value });
        }
        self.note(builder.finish().unwrap())
    }

    fn end_transaction(&mut self, producer: i64, commits: bool, now_ms: i64) -> Vec<u8> {
        let (_, batches) = self.open.remove(&producer).unwrap();
        let kind = if commits { ControlType::Commit } else { ControlType::Abort };
        let mut bytes = marker_batch(kind, producer, 1, 0, now_ms);
        patch_base_offset(&mut bytes, self.end);
        if !commits {
            self.aborted_batches.extend(batches.into_iter().map(|base| (base, self.end)));
        }
        self.note(bytes)
    }

    fn note(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let header = check_batch(&bytes).unwrap();
        self.end = header.next_offset();
        self.headers.insert(header.base_offset, header);
        bytes
    }

    fn last_stable_offset(&self) -> i64 {
        self.open.values().map(|(first, _)| *first).min().unwrap_or(self.end)
    }

    fn last_of_producers(&self) -> BTreeMap<i64, LastOfProducer> {
        let data = self.headers.values().filter(|header| header.has_producer() && !header.is_control());
        data.map(|header| {
            (header.producer_id, LastOfProducer { epoch: 1, last_data_offset: Some(header.last_offset()) })
        })
        .collect()
    }

    fn batch_of(&self, offset: i64) -> &BatchHeader {
        self.headers.range(..=offset).next_back().unwrap().1
    }

    /// Whether a record of data counts: neither a marker nor aborted.
    fn is_committed(&self, offset: i64) -> bool {
        !self.aborted_batches.contains_key(&self.batch_of(offset).base_offset)
    }
}

/// The log: batches, and what the rounds so far know.
struct Log {
    batches: Vec<Vec<u8>>,
    cleaned: i64,
    /// When a tombstone was first seen by a round, by its batch.
    seen_ms: BTreeMap<i64, i64>,
}

fn live_records(batches: &[Vec<u8>]) -> BTreeMap<i64, Known> {
    let mut live = BTreeMap::new();
    for bytes in batches {
        let header = check_batch(bytes).unwrap();
        let batch = Batch::parse(bytes).unwrap();
        let body = batch.uncompressed_body(1 << 20).unwrap();
        for record in Records::new(&header, &body).map(Result::unwrap).filter(|_| !header.is_control()) {
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            live.insert(record.offset(&header), Known { timestamp: record.timestamp(&header), key, value });
        }
    }
    live
}

/// Records at a time: few, so that a batch needs several steps.
const STEP: usize = 3;

/// As `sift` does it, without giving way.
fn map_batch(newest: &mut KeyMap, transactions: &mut Transactions, batch: &Batch<'_>, from: i64) -> Option<i64> {
    if !has_keys(transactions, batch, from).unwrap() {
        return None;
    }
    let body = batch.uncompressed_body(1 << 20).unwrap();
    let mut records = Records::new(&batch.header, &body);
    loop {
        match map_keys(newest, &batch.header, &mut records, from, STEP).unwrap() {
            MapStep::More => {}
            MapStep::All => return None,
            MapStep::Full(offset) => return Some(offset),
        }
    }
}

/// The same for the second walk.
fn judge(round: &Round<'_>, transactions: &mut Transactions, batch: &Batch<'_>) -> Verdict {
    let data_is_void = match glance(round, transactions, batch).unwrap() {
        Glance::Decided(verdict) => return verdict,
        Glance::Records { data_is_void } => data_is_void,
    };
    let (header, body) = (&batch.header, batch.uncompressed_body(1 << 20).unwrap());
    let (mut choice, mut records) = (Choice::default(), Records::new(header, &body));
    while choose(round, header, &mut records, &mut choice, STEP).unwrap() {}
    match settle(round, header, choice, data_is_void).unwrap() {
        Settled::Verdict(verdict) => verdict,
        Settled::Rewrite(mut retained) => {
            let mut records = Records::new(header, &body);
            while retain(round, header, &mut records, &mut retained, STEP).unwrap() {}
            Verdict::Rewrite(retained.finish().unwrap())
        }
    }
}

/// What the batches themselves say of the transactions in `from..end`.
fn aborted_in(batches: &[Vec<u8>], from: i64, end: i64) -> Vec<AbortedTransaction> {
    let mut outcomes = Outcomes::new(end);
    for batch in batches.iter().map(|bytes| Batch::parse(bytes).unwrap()) {
        if batch.header.next_offset() > from {
            let kind = if batch.header.is_control() { control_kind(&batch).unwrap() } else { None };
            outcomes.note(&batch.header, kind);
        }
    }
    assert_eq!(outcomes.undecided(), None, "all that begins below the last stable offset has ended");
    outcomes.into_aborted()
}

fn run_round(log: &mut Log, history: &History, choices: &mut Seed, now_ms: i64) -> Option<i64> {
    // Any end of a batch up to the last stable offset.
    let ends: Vec<i64> = log.batches.iter().map(|bytes| check_batch(bytes).unwrap().next_offset()).collect();
    let in_reach: Vec<i64> =
        ends.into_iter().filter(|end| *end <= history.last_stable_offset() && *end > log.cleaned).collect();
    let end = *in_reach.get(choices.below(in_reach.len().max(1) as u64) as usize)?;
    let memory =
        if choices.chance(0.3) { choices.within(1..20) as usize * super::super::key_map::SLOT_BYTES } else { 1 << 20 };
    let mut producers = history.last_of_producers();
    producers.retain(|_, _| !choices.chance(0.1));

    let below = |bytes: &Vec<u8>| check_batch(bytes).unwrap().base_offset < end;
    let mut newest = KeyMap::new(memory, 0.9, (end - log.cleaned) as u64);
    let aborted = aborted_in(&log.batches, log.cleaned, end);
    let mut transactions = Transactions::new(&aborted);
    let mut covered = end;
    for bytes in log.batches.iter().filter(|bytes| below(bytes)) {
        let batch = Batch::parse(bytes).unwrap();
        if let Some(full_at) = map_batch(&mut newest, &mut transactions, &batch, log.cleaned) {
            covered = full_at;
            break;
        }
    }
    assert!(covered > log.cleaned, "a round gets on, however small the map");

    let round =
        Round { newest: &newest, covered, end, now_ms, delete_retention_ms: RETENTION_MS, producers: &producers };
    let mut transactions = Transactions::new(&aborted);
    let before = std::mem::take(&mut log.batches);
    for bytes in &before {
        let batch = Batch::parse(bytes).unwrap();
        let verdict = match below(bytes) {
            true => judge(&round, &mut transactions, &batch),
            false => Verdict::Keep,
        };
        match verdict {
            Verdict::Drop => {}
            Verdict::Keep => log.batches.push(bytes.clone()),
            Verdict::Rewrite(bytes) => log.batches.push(bytes),
        }
    }
    check(log, &before, history, &round);
    log.cleaned = covered;
    Some(covered)
}

fn check(log: &mut Log, before: &[Vec<u8>], history: &History, round: &Round<'_>) {
    let covered = round.covered;
    let live = live_records(&log.batches);
    for (offset, record) in &live {
        assert_eq!(Some(record), history.records.get(offset), "offset {offset} is another record");
    }
    let mut newest_of_all = BTreeMap::new();
    let mut newest_covered = BTreeMap::new();
    for (offset, record) in history.records.iter().filter(|(offset, _)| history.is_committed(**offset)) {
        let Some(key) = &record.key else { continue };
        newest_of_all.insert(key, *offset);
        if *offset < covered {
            newest_covered.insert(key, *offset);
        }
    }
    for (key, offset) in newest_of_all {
        let base_offset = history.batch_of(offset).base_offset;
        let horizon = log.seen_ms.get(&base_offset).map_or(i64::MAX, |seen| seen + RETENTION_MS);
        let is_tombstone = history.records[&offset].value.is_none();
        let must_be_gone = is_tombstone && horizon <= round.now_ms && offset < covered;
        let may_be_gone = is_tombstone && horizon <= round.now_ms;
        assert!(live.contains_key(&offset) || may_be_gone, "the newest record of {key:?}, at {offset}, is gone");
        assert!(!live.contains_key(&offset) || !must_be_gone, "the tombstone at {offset} outlived its horizon");
    }
    for (offset, record) in live.range(..covered) {
        let key = record.key.as_ref().expect("a record without key is dropped");
        assert_eq!(newest_covered.get(key), Some(offset), "an old record of {key:?} was kept");
        assert!(history.is_committed(*offset), "the aborted record {offset} was kept");
        if record.value.is_none() {
            log.seen_ms.entry(history.batch_of(*offset).base_offset).or_insert(round.now_ms);
        }
    }
    // A tombstone behind the covered part is stamped with its batch.
    for (offset, record) in live.range(covered..) {
        let base_offset = history.batch_of(*offset).base_offset;
        if record.value.is_none() && base_offset < covered {
            log.seen_ms.entry(base_offset).or_insert(round.now_ms);
        }
    }

    let headers: BTreeMap<i64, BatchHeader> = log
        .batches
        .iter()
        .map(|bytes| check_batch(bytes).unwrap())
        .map(|header| (header.base_offset, header))
        .collect();
    assert_eq!(headers.len(), log.batches.len());
    for (base_offset, header) in &headers {
        let first = &history.headers[base_offset];
        assert_eq!(header.last_offset(), first.last_offset());
        assert_eq!((header.producer_id, header.producer_epoch), (first.producer_id, first.producer_epoch));
        assert_eq!((header.base_sequence, header.last_sequence()), (first.base_sequence, first.last_sequence()));
        assert_eq!((header.is_control(), header.is_transactional()), (first.is_control(), first.is_transactional()));
        if header.attributes.has_delete_horizon() && !header.is_control() {
            assert_eq!(header.base_timestamp, log.seen_ms[base_offset] + RETENTION_MS, "the horizon moved");
        }
    }
    let ends_of = |headers: &mut dyn Iterator<Item = BatchHeader>| -> BTreeSet<(i64, i64)> {
        let data = headers.filter(|header| !header.is_control());
        data.map(|header| (header.producer_id, header.last_offset())).collect()
    };
    let (now, then) =
        (ends_of(&mut headers.values().copied()), ends_of(&mut before.iter().map(|bytes| check_batch(bytes).unwrap())));
    for (producer, last) in round.producers {
        // One that an earlier round took for forgotten may be gone.
        let end = (*producer, last.last_data_offset.unwrap());
        assert!(now.contains(&end) || !then.contains(&end), "the last batch of producer {producer} is gone");
    }
    let ends: BTreeSet<i64> = headers.values().map(BatchHeader::next_offset).collect();
    assert!(covered < round.end || ends.contains(&round.end), "the end of the round is forgotten");

    let is_there = |offset: &i64| headers.contains_key(offset);
    for (batch, marker) in &history.aborted_batches {
        assert!(!is_there(batch) || is_there(marker), "the marker {marker} went before the batch {batch}");
    }
    for bytes in before {
        let header = check_batch(bytes).unwrap();
        if header.is_control() && !is_there(&header.base_offset) {
            assert!(header.attributes.has_delete_horizon() || header.records_count == 0, "a marker went at once");
            assert!(header.records_count == 0 || header.base_timestamp <= round.now_ms, "before its horizon");
        }
    }
}

/// Whatever a history and whenever rounds come: the newest record of each key stays, and what must go goes.
#[test]
fn rounds_keep_exactly_what_the_rules_say() {
    in_simulator(|| {
        let (mut rounds, mut dropped) = (0, 0);
        for seed in 0..400 {
            let mut choices = Seed::new(seed);
            let mut history = History::default();
            let mut log = Log { batches: Vec::new(), cleaned: 0, seen_ms: BTreeMap::new() };
            let mut now_ms = 1_000_000;
            for _ in 0..choices.within(1..8) {
                for _ in 0..choices.within(1..25) {
                    let bytes = history.append(&mut choices, now_ms);
                    log.batches.push(bytes);
                    now_ms += choices.below(20) as i64;
                }
                if choices.chance(0.3) {
                    now_ms += RETENTION_MS;
                }
                let before = log.batches.len();
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    run_round(&mut log, &history, &mut choices, now_ms)
                }));
                match outcome {
                    Ok(covered) => rounds += usize::from(covered.is_some()),
                    Err(_) => panic!("seed {seed}"),
                }
                dropped += before - log.batches.len();
            }
        }
        assert!(rounds > 1_000 && dropped > 3_000, "{rounds} rounds dropped {dropped} batches: nothing was tested");
    });
}

fn one_round(batches: &[Vec<u8>], aborted: &[AbortedTransaction], now_ms: i64) -> Vec<Vec<u8>> {
    let end = check_batch(&batches[batches.len() - 1]).unwrap().next_offset();
    let mut newest = KeyMap::new(1 << 20, 0.9, 100);
    let mut transactions = Transactions::new(aborted);
    for bytes in batches {
        let batch = Batch::parse(bytes).unwrap();
        assert_eq!(map_batch(&mut newest, &mut transactions, &batch, 0), None);
    }
    let producers = BTreeMap::new();
    let round = Round {
        newest: &newest,
        covered: end,
        end: end + 1,
        now_ms,
        delete_retention_ms: RETENTION_MS,
        producers: &producers,
    };
    let mut transactions = Transactions::new(aborted);
    let mut left = Vec::new();
    for bytes in batches {
        match judge(&round, &mut transactions, &Batch::parse(bytes).unwrap()) {
            Verdict::Drop => {}
            Verdict::Keep => left.push(bytes.clone()),
            Verdict::Rewrite(bytes) => left.push(bytes),
        }
    }
    left
}

/// KIP-534: a marker needs three rounds to go: one takes the data, one sees that it is gone and notes the horizon, one is past it.
#[test]
fn an_abort_marker_goes_one_horizon_after_its_data() {
    in_simulator(|| {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.set_producer(ProducerStamp { id: 7, epoch: 1, base_sequence: 0 }, true);
        builder.push(1, Some(b"key"), Some(b"aborted"), &[]);
        let data = builder.finish().unwrap();
        let mut marker = marker_batch(ControlType::Abort, 7, 1, 0, 5);
        patch_base_offset(&mut marker, 1);
        let aborted = [AbortedTransaction { producer_id: 7, first_offset: 0, last_offset: 1, last_stable_offset: 0 }];

        let first = one_round(&[data, marker.clone()], &aborted, 10_000);
        assert_eq!(first, [marker], "the marker stays as it was");
        let second = one_round(&first, &[], 20_000);
        let header = check_batch(&second[0]).unwrap();
        assert!(header.attributes.has_delete_horizon() && header.base_timestamp == 20_000 + RETENTION_MS);
        assert_eq!(
            control_kind(&Batch::parse(&second[0]).unwrap()).unwrap(),
            Some(ControlKind::Marker(ControlType::Abort))
        );
        assert_eq!(one_round(&second, &[], 20_000 + RETENTION_MS - 1), second);
        assert!(one_round(&second, &[], 20_000 + RETENTION_MS).is_empty());
    });
}

/// A batch of which everything stays is the same bytes: recompressing it would cost CPU for nothing and might change it.
#[test]
fn what_stays_whole_stays_byte_for_byte() {
    in_simulator(|| {
        for codec in Compression::ALL {
            let mut builder = BatchBuilder::new(codec);
            for n in 0..5u8 {
                builder.push(1, Some(&[n]), Some(b"value"), &[]);
            }
            let bytes = builder.finish().unwrap();
            assert_eq!(one_round(std::slice::from_ref(&bytes), &[], 10_000), [bytes]);
        }
    });
}
