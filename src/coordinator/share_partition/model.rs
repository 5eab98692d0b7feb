//! Random members against one share partition and its share coordinator: they fetch, acknowledge, renew, crash, come late; writes fail; the
//! broker crashes and loads what was written. What must hold is checked after every step, and that all ends when all is quiet.

use super::*;
use crate::share_state::combine;
use std::collections::BTreeMap;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: i64) -> i64 {
        (self.next() % bound as u64) as i64
    }
    fn chance(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }
}

const MEMBERS: [&str; 3] = ["a", "b", "c"];
const LOCK_MS: i64 = 1_000;

/// What members believe: until when they have an offset.
type Held = BTreeMap<i64, (usize, i64)>;

struct Model {
    seed: u64,
    random: Random,
    partition: SharePartition,
    options: SharePartitionOptions,
    log: Vec<LogBatch>,
    now_ms: i64,
    held: Held,
    /// Said to the partition, not yet answered: with the write that they wait for.
    waiting: Vec<(WriteNumber, i64)>,
    /// The share coordinator's state.
    stored_start: i64,
    stored: Vec<StateBatch>,
    /// Offsets whose acknowledgement was answered with success: nobody may get them again.
    confirmed: BTreeMap<i64, ()>,
    start_before: i64,
}

impl Model {
    fn new(seed: u64) -> Model {
        let mut random = Random(seed);
        let options = SharePartitionOptions {
            lock_ms: LOCK_MS,
            delivery_count_limit: [2, 5, 7][random.below(3) as usize],
            record_locks_max: [20, 100, 2_000][random.below(3) as usize],
            renew_enabled: true,
        };
        Model {
            seed,
            random,
            partition: SharePartition::load(0, &[]).unwrap(),
            options,
            log: Vec::new(),
            now_ms: 0,
            held: Held::new(),
            waiting: Vec::new(),
            stored_start: 0,
            stored: Vec::new(),
            confirmed: BTreeMap::new(),
            start_before: 0,
        }
    }

    fn end(&self) -> i64 {
        self.log.last().map_or(0, |batch| batch.last_offset + 1)
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..15 if self.end() < 400 => self.produce(),
            15..45 => self.fetch(),
            45..70 => self.acknowledge(),
            70..85 => self.write(85),
            85..93 => self.pass(300),
            93..95 => self.member_goes(),
            95..97 => self.crash(),
            97..98 => self.compact(),
            _ => {}
        }
        self.check();
    }

    fn produce(&mut self) {
        // Control records and the cleaner leave gaps.
        let base_offset = self.end() + if self.random.chance(10) { self.random.below(5) } else { 0 };
        let last_offset = base_offset + self.random.below(12);
        let aborted = self.random.chance(10);
        self.log.push(LogBatch { base_offset, last_offset, aborted });
    }

    fn compact(&mut self) {
        if self.log.len() > 2 {
            let at = self.random.below(self.log.len() as i64 - 1) as usize;
            self.log.remove(at);
        }
    }

    fn fetch(&mut self) {
        if !self.partition.can_acquire(&self.options) {
            return;
        }
        let fetch_offset = self.partition.fetch_offset();
        let batches: Vec<LogBatch> = self
            .log
            .iter()
            .copied()
            .filter(|batch| batch.last_offset >= fetch_offset)
            .take(1 + self.random.below(4) as usize)
            .collect();
        let who = self.random.below(3) as usize;
        let records_max = 1 + self.random.below(30);
        let mode = if self.random.chance(50) { AcquireMode::RecordLimit } else { AcquireMode::BatchOptimized };
        let request = AcquireRequest { member: MEMBERS[who].into(), records_max, batch_size: 5, mode };
        let fetched = Fetched { fetch_offset, batches: &batches };
        let acquired = self.partition.acquire(&request, fetched, &self.options, self.now_ms);
        let count: i64 = acquired.iter().map(AcquiredRecords::count).sum();
        assert!(mode == AcquireMode::BatchOptimized || count <= records_max, "seed {}", self.seed);
        for records in acquired {
            assert!(records.delivery_count <= self.options.delivery_count_limit, "seed {}", self.seed);
            for offset in records.first_offset..=records.last_offset {
                let before = self.held.insert(offset, (who, self.now_ms + LOCK_MS));
                let free = before.is_none_or(|(_, until_ms)| until_ms <= self.now_ms);
                assert!(free, "seed {}: {offset} has two owners", self.seed);
                assert!(!self.confirmed.contains_key(&offset), "seed {}: {offset} was acknowledged", self.seed);
            }
        }
    }

    /// Somebody says something of some of what it has, in time or not.
    fn acknowledge(&mut self) {
        let who = self.random.below(3) as usize;
        let own: Vec<i64> =
            self.held.iter().filter(|(_, (owner, _))| *owner == who).map(|(offset, _)| *offset).collect();
        if own.is_empty() {
            return;
        }
        let first = own[self.random.below(own.len() as i64) as usize];
        let last =
            own.iter().copied().skip_while(|offset| *offset < first).zip(first..).take_while(|(own, at)| own == at);
        let last = last.map(|(own, _)| own).last().unwrap().min(first + self.random.below(10));
        let kinds = [
            AcknowledgeType::Accept,
            AcknowledgeType::Accept,
            AcknowledgeType::Release,
            AcknowledgeType::Reject,
            AcknowledgeType::Renew,
            AcknowledgeType::Gap,
        ];
        let types: Vec<AcknowledgeType> = (first..=last).map(|_| kinds[self.random.below(6) as usize]).collect();
        let batch = AcknowledgementBatch { first_offset: first, last_offset: last, types: types.clone() };
        let said = self.partition.acknowledge(MEMBERS[who], &[batch], &self.options, self.now_ms);
        let in_time = (first..=last).all(|offset| self.held[&offset].1 > self.now_ms);
        assert!(said.is_ok() || !in_time, "seed {}: {first} to {last}: {said:?}", self.seed);
        let Ok(write) = said else { return };
        for (offset, kind) in (first..=last).zip(types) {
            if kind == AcknowledgeType::Renew {
                self.held.insert(offset, (who, self.now_ms + LOCK_MS));
                continue;
            }
            self.held.remove(&offset);
            if kind != AcknowledgeType::Release {
                self.waiting.extend(write.map(|write| (write, offset)));
            }
        }
    }

    fn write(&mut self, percent_ok: i64) {
        let Some(write) = self.partition.take_write() else { return };
        let ok = self.random.chance(percent_ok);
        // An answer that is lost: written all the same.
        let is_stored = ok || self.random.chance(30);
        if is_stored {
            assert!(write.start_offset >= self.stored_start, "seed {}: the start goes back", self.seed);
            self.stored_start = write.start_offset;
            self.stored = combine(&self.stored, &write.batches, write.start_offset);
        }
        self.partition.written(ok, &self.options, self.now_ms);
        let number = write.number;
        let answered = self.waiting.extract_if(.., |(waits_for, _)| *waits_for == number);
        let offsets: Vec<i64> = answered.map(|(_, offset)| offset).collect();
        if ok {
            self.confirmed.extend(offsets.into_iter().map(|offset| (offset, ())));
        }
        // Else their member has them again, or nobody; what it believes does not matter.
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.partition.on_time(&self.options, self.now_ms);
    }

    fn member_goes(&mut self) {
        let who = self.random.below(3) as usize;
        self.partition.release(MEMBERS[who], &self.options);
        self.held.retain(|_, (owner, _)| *owner != who);
    }

    /// Only what was written is left.
    fn crash(&mut self) {
        self.partition = SharePartition::load(self.stored_start, &self.stored).unwrap();
        self.held.clear();
        self.waiting.clear();
        self.start_before = self.partition.start_offset();
    }

    fn check(&mut self) {
        let start = self.partition.start_offset();
        assert!(start >= self.start_before, "seed {}: the start goes back", self.seed);
        self.start_before = start;
        let mut at = None;
        for (first, range) in self.partition.ranges.iter() {
            assert!(range.last >= first && at.is_none_or(|at| at == first), "seed {}: a gap at {first}", self.seed);
            at = Some(range.last + 1);
        }
        assert_eq!(at.unwrap_or(self.partition.next), self.partition.next, "seed {}", self.seed);
        assert!(self.partition.ranges.len() as i64 <= self.partition.in_flight(), "seed {}", self.seed);
    }

    /// Nobody fails any more: every record ends, and the start comes to the end of the log.
    fn quieten(&mut self) {
        self.held.clear();
        for _ in 0..2_000 {
            self.pass(LOCK_MS);
            self.write(100);
            self.fetch();
            let held = std::mem::take(&mut self.held);
            for (offset, (who, _)) in held {
                let batch = AcknowledgementBatch {
                    first_offset: offset,
                    last_offset: offset,
                    types: vec![AcknowledgeType::Accept],
                };
                self.partition.acknowledge(MEMBERS[who], &[batch], &self.options, self.now_ms).unwrap();
            }
            self.write(100);
            self.check();
            if self.partition.start_offset() == self.end() {
                assert_eq!(self.partition.range_count(), 0);
                return;
            }
        }
        panic!("seed {}: stopped at {} of {}", self.seed, self.partition.start_offset(), self.end());
    }
}

/// Thousands of histories that nobody has thought of.
#[test]
fn random_members_lose_nothing_and_get_nothing_twice() {
    for seed in 0..400 {
        let mut model = Model::new(seed);
        for _ in 0..400 {
            model.step();
        }
        model.quieten();
    }
}
