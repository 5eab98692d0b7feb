//! What a shard remembers of idempotent producers (KIP-98): per partition and producer id the epoch and the last five batches, so that a
//! batch that is sent again is answered with the offset it already has.
//!
//! Pure; lives on the home shard. The sequencing step checks, then notes what it appended; opening a log replays its headers. Bounded:
//! clients choose producer ids, so the table forgets the least active ones, as if they had expired.

use crate::message::ActiveProducer;
use ringlane_log::cleaner::LastOfProducer;
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::{BatchHeader, NO_PRODUCER_EPOCH, NO_SEQUENCE, NO_TIMESTAMP, sequence_after};
use ringlane_protocol::storage::producer_snapshot::{LastBatch, ProducerEntry};
use std::collections::{BTreeMap, VecDeque};

/// Batches remembered per producer: librdkafka and Java keep at most five requests in flight (KIP-98, KAFKA-5494).
const BATCHES_KEPT: usize = 5;

/// "None yet", as DescribeProducers says it.
const NO_COORDINATOR_EPOCH: i32 = -1;

/// Names a partition inside its shard; never used again while the shard runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PartitionNumber(pub u64);

type Key = (PartitionNumber, i64);

/// All producers of one shard.
pub(crate) struct ProducerTable {
    producers: BTreeMap<Key, Producer>,
    /// Every key of `producers` once. A hand goes round (second chance): who was active since it last came by stays.
    clock: VecDeque<Key>,
    producers_max: usize,
}

struct Producer {
    epoch: i16,
    batches: Batches,
    active_ms: i64,
    /// Largest timestamp of its last batch, or that of its last marker.
    timestamp: i64,
    /// Of the coordinator that wrote its last marker.
    coordinator_epoch: Option<i32>,
    /// Active since the clock's hand came by.
    touched: bool,
}

/// What to do with a produced batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    /// Appended before: answer with this.
    Duplicate(Appended),
    Refuse(ErrorCode, String),
}

/// Where and when a remembered batch was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub base_offset: i64,
    pub last_offset: i64,
    pub max_timestamp: i64,
}

/// A producer as a checkpoint stores it, its batches oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptProducer {
    pub producer_id: i64,
    pub epoch: i16,
    pub active_ms: i64,
    pub timestamp: i64,
    pub coordinator_epoch: Option<i32>,
    pub batches: Vec<KeptBatch>,
}

impl ProducerTable {
    pub fn new(producers_max: usize) -> ProducerTable {
        // Grown once, as untouched address space, so that no append ever pays for a growth.
        ProducerTable { producers: BTreeMap::new(), clock: VecDeque::with_capacity(producers_max), producers_max }
    }

    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Judges a batch from a client. Changes nothing: the append may still fail.
    pub fn check(&self, partition: PartitionNumber, batch: &BatchHeader) -> Verdict {
        match self.producers.get(&(partition, batch.producer_id)) {
            // Expired, forgotten, or its records are deleted: any sequence is a beginning.
            None => Verdict::Append,
            Some(producer) => producer.check(batch),
        }
    }

    /// Notes a batch of the log: just appended, or found at open. `batch` has its final offsets.
    pub fn note(&mut self, partition: PartitionNumber, batch: &BatchHeader, now_ms: i64) {
        let key = (partition, batch.producer_id);
        if let Some(producer) = self.producers.get_mut(&key) {
            producer.note(batch, now_ms);
            return;
        }
        let mut producer = Producer::new(NO_PRODUCER_EPOCH, now_ms);
        producer.note(batch, now_ms);
        // A first batch is no activity yet: who never sends a second one goes first.
        producer.touched = false;
        self.insert(key, producer);
    }

    /// Notes who wrote the marker that was noted last.
    pub fn note_coordinator(&mut self, partition: PartitionNumber, producer_id: i64, coordinator_epoch: i32) {
        if let Some(producer) = self.producers.get_mut(&(partition, producer_id)) {
            producer.coordinator_epoch = Some(coordinator_epoch);
        }
    }

    /// The epochs of a producer and of the coordinator that wrote its last marker; `None` for one that is not known.
    pub fn epochs_of(&self, partition: PartitionNumber, producer_id: i64) -> Option<(i16, Option<i32>)> {
        let known = self.producers.get(&(partition, producer_id))?;
        Some((known.epoch, known.coordinator_epoch))
    }

    /// The producers of one partition as DescribeProducers has them.
    pub fn active(&self, partition: PartitionNumber) -> impl Iterator<Item = ActiveProducer> {
        let of_partition = self.producers.range((partition, i64::MIN)..=(partition, i64::MAX));
        of_partition.map(|((_, producer_id), known)| ActiveProducer {
            producer_id: *producer_id,
            epoch: known.epoch,
            last_sequence: known.batches.last().map_or(NO_SEQUENCE, |last| last.last_sequence),
            last_timestamp: known.timestamp,
            coordinator_epoch: known.coordinator_epoch.unwrap_or(NO_COORDINATOR_EPOCH),
            transaction_start_offset: -1,
        })
    }

    /// Takes a producer back that a checkpoint stored.
    pub fn restore(&mut self, partition: PartitionNumber, kept: KeptProducer) {
        let mut producer = Producer::new(kept.epoch, kept.active_ms);
        (producer.timestamp, producer.coordinator_epoch) = (kept.timestamp, kept.coordinator_epoch);
        kept.batches.into_iter().for_each(|batch| producer.batches.push(batch));
        self.insert((partition, kept.producer_id), producer);
    }

    /// Takes a producer from one of Kafka's snapshots, unless it is known as that has it: then more of its batches are.
    pub fn import(&mut self, partition: PartitionNumber, entry: &ProducerEntry, now_ms: i64) {
        let key = (partition, entry.producer_id);
        let last_offset = entry.last_batch.map(|last| last.last_offset);
        let active_ms = entry.timestamp.min(now_ms);
        let mut imported = Producer::new(entry.epoch, active_ms);
        match self.producers.get_mut(&key) {
            Some(known) if known.epoch == entry.epoch && known.batches.last_offset() == last_offset => {
                imported.batches = std::mem::take(&mut known.batches);
            }
            _ => entry.last_batch.into_iter().for_each(|last| {
                imported.batches.push(KeptBatch {
                    last_sequence: last.last_sequence,
                    offset_delta: last.offset_delta,
                    last_offset: last.last_offset,
                    max_timestamp: entry.timestamp,
                });
            }),
        }
        (imported.timestamp, imported.coordinator_epoch) = (entry.timestamp, entry.coordinator_epoch);
        self.insert(key, imported);
    }

    /// The producers of one partition, as Kafka's snapshot has them. `open`: their open transactions, by producer id.
    pub fn entries_of(&self, partition: PartitionNumber, open: impl Iterator<Item = (i64, i64)>) -> Vec<ProducerEntry> {
        let of_partition = self.producers.range((partition, i64::MIN)..=(partition, i64::MAX));
        let entry = |((_, producer_id), producer): (&Key, &Producer)| ProducerEntry {
            last_batch: producer.batches.last().map(|last| LastBatch {
                last_sequence: last.last_sequence,
                last_offset: last.last_offset,
                offset_delta: last.offset_delta,
            }),
            timestamp: producer.timestamp,
            coordinator_epoch: producer.coordinator_epoch,
            ..ProducerEntry::new(*producer_id, producer.epoch)
        };
        let mut entries: Vec<ProducerEntry> = of_partition.map(entry).collect();
        for (producer_id, first_offset) in open {
            let found = entries.binary_search_by_key(&producer_id, |entry| entry.producer_id);
            // Forgotten to save memory: its transaction holds readers of committed records all the same.
            let at = found.unwrap_or_else(|at| {
                entries.insert(at, ProducerEntry::new(producer_id, NO_PRODUCER_EPOCH));
                at
            });
            entries[at].open_transaction_from = Some(first_offset);
        }
        entries
    }

    /// The producers of one partition, for a checkpoint.
    pub fn kept_of(&self, partition: PartitionNumber) -> Vec<KeptProducer> {
        let of_partition = self.producers.range((partition, i64::MIN)..=(partition, i64::MAX));
        let keep = |((_, producer_id), producer): (&Key, &Producer)| KeptProducer {
            producer_id: *producer_id,
            epoch: producer.epoch,
            active_ms: producer.active_ms,
            timestamp: producer.timestamp,
            coordinator_epoch: producer.coordinator_epoch,
            batches: producer.batches.oldest_first(),
        };
        of_partition.map(keep).collect()
    }

    fn insert(&mut self, key: Key, producer: Producer) {
        if self.producers.len() >= self.producers_max {
            self.forget_least_active();
        }
        if self.producers.insert(key, producer).is_none() {
            self.clock.push_back(key);
        }
    }

    /// Epoch and last data batch of each producer of a partition.
    pub fn last_of(&self, partition: PartitionNumber) -> impl Iterator<Item = (i64, LastOfProducer)> {
        let of_partition = (partition, i64::MIN)..=(partition, i64::MAX);
        self.producers.range(of_partition).map(|((_, id), producer)| {
            (*id, LastOfProducer { epoch: producer.epoch, last_data_offset: producer.batches.last_offset() })
        })
    }

    /// Forgets whom nobody heard of for `expiration_ms` among the next `count` producers, so that the caller can do it in slices.
    pub fn expire_some(&mut self, count: usize, now_ms: i64, expiration_ms: i64) {
        for _ in 0..count.min(self.clock.len()) {
            let Some(key) = self.clock.pop_front() else { return };
            match self.producers.get(&key) {
                Some(producer) if now_ms.saturating_sub(producer.active_ms) < expiration_ms => {
                    self.clock.push_back(key)
                }
                _ => drop(self.producers.remove(&key)),
            }
        }
    }

    /// Forgets the producers of a partition that is closed.
    pub fn forget_partition(&mut self, partition: PartitionNumber) {
        let of_partition = (partition, i64::MIN)..=(partition, i64::MAX);
        if self.producers.range(of_partition).next().is_none() {
            return;
        }
        self.producers.retain(|(other, _), _| *other != partition);
        self.clock.retain(|(other, _)| *other != partition);
    }

    fn forget_least_active(&mut self) {
        while let Some(key) = self.clock.pop_front() {
            match self.producers.get_mut(&key) {
                Some(producer) if producer.touched => {
                    producer.touched = false;
                    self.clock.push_back(key);
                }
                _ => {
                    self.producers.remove(&key);
                    return;
                }
            }
        }
    }
}

impl Producer {
    fn new(epoch: i16, active_ms: i64) -> Producer {
        let batches = Batches::default();
        Producer { epoch, batches, active_ms, timestamp: NO_TIMESTAMP, coordinator_epoch: None, touched: false }
    }

    fn check(&self, batch: &BatchHeader) -> Verdict {
        let (epoch, first) = (batch.producer_epoch, batch.base_sequence);
        if epoch == self.epoch
            && let Some(appended) = self.batches.find(first, batch.last_sequence())
        {
            return Verdict::Duplicate(appended);
        }
        let who = format_args!("producer {} with epoch {epoch}", batch.producer_id);
        if epoch < self.epoch {
            return Verdict::Refuse(
                ErrorCode::InvalidProducerEpoch,
                format!("{who}: epoch {} was seen before", self.epoch),
            );
        }
        let expected = if epoch > self.epoch { 0 } else { self.batches.next_sequence() };
        if first != expected && self.epoch != NO_PRODUCER_EPOCH {
            let message = format!("{who} sent sequence {first}, {expected} was expected");
            return Verdict::Refuse(ErrorCode::OutOfOrderSequenceNumber, message);
        }
        Verdict::Append
    }

    fn note(&mut self, batch: &BatchHeader, now_ms: i64) {
        if batch.producer_epoch != self.epoch {
            self.epoch = batch.producer_epoch;
            self.batches = Batches::default();
        }
        // Markers carry no sequence: they only tell the epoch.
        if batch.base_sequence != NO_SEQUENCE {
            self.batches.push(KeptBatch {
                last_sequence: batch.last_sequence(),
                offset_delta: batch.last_offset_delta,
                last_offset: batch.last_offset(),
                max_timestamp: batch.max_timestamp,
            });
        }
        self.timestamp = batch.max_timestamp;
        self.active_ms = self.active_ms.max(now_ms);
        self.touched = true;
    }
}

/// The last batches of one producer and epoch, in place: a producer costs one allocation-free entry.
#[derive(Default)]
struct Batches {
    kept: [KeptBatch; BATCHES_KEPT],
    count: u8,
    /// Where the next one goes.
    next: u8,
}

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct KeptBatch {
    pub last_sequence: i32,
    pub offset_delta: i32,
    pub last_offset: i64,
    pub max_timestamp: i64,
}

impl KeptBatch {
    fn first_sequence(&self) -> i32 {
        sequence_after(self.last_sequence, -self.offset_delta)
    }
}

impl Batches {
    fn push(&mut self, batch: KeptBatch) {
        self.kept[usize::from(self.next)] = batch;
        self.next = (self.next + 1) % BATCHES_KEPT as u8;
        self.count = (self.count + 1).min(BATCHES_KEPT as u8);
    }

    fn oldest_first(&self) -> Vec<KeptBatch> {
        let (count, kept) = (usize::from(self.count), BATCHES_KEPT);
        (0..count).map(|n| self.kept[(usize::from(self.next) + kept - count + n) % kept]).collect()
    }

    fn find(&self, first: i32, last: i32) -> Option<Appended> {
        let mut kept = self.kept[..usize::from(self.count)].iter();
        let found = kept.find(|kept| kept.last_sequence == last && kept.first_sequence() == first)?;
        Some(Appended {
            base_offset: found.last_offset - i64::from(found.offset_delta),
            last_offset: found.last_offset,
            max_timestamp: found.max_timestamp,
        })
    }

    fn next_sequence(&self) -> i32 {
        self.last().map_or(0, |last| sequence_after(last.last_sequence, 1))
    }

    fn last_offset(&self) -> Option<i64> {
        self.last().map(|last| last.last_offset)
    }

    fn last(&self) -> Option<&KeptBatch> {
        let last = (usize::from(self.next) + BATCHES_KEPT - 1) % BATCHES_KEPT;
        (self.count > 0).then(|| &self.kept[last])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_kit::{Random, produced};

    const HERE: PartitionNumber = PartitionNumber(1);

    fn table() -> ProducerTable {
        ProducerTable::new(1_000)
    }

    /// Appends if allowed; returns the verdict.
    fn send(table: &mut ProducerTable, offset: i64, batch: BatchHeader) -> Verdict {
        let verdict = table.check(HERE, &batch);
        if verdict == Verdict::Append {
            table.note(HERE, &BatchHeader { base_offset: offset, ..batch }, 0);
        }
        verdict
    }

    fn refused(verdict: Verdict) -> ErrorCode {
        match verdict {
            Verdict::Refuse(error, _) => error,
            other => panic!("{other:?}"),
        }
    }

    /// The client's answer got lost and it sends again: stored twice, every consumer would see the records twice.
    #[test]
    fn a_repeated_batch_is_answered_with_its_first_offset() {
        let mut table = table();
        for i in 0..7 {
            assert_eq!(send(&mut table, 100 + 10 * i, produced(5, 0, 10 * i as i32, 10)), Verdict::Append);
        }
        for i in 2..7 {
            let Verdict::Duplicate(appended) = send(&mut table, 999, produced(5, 0, 10 * i as i32, 10)) else {
                panic!("batch {i} was not recognised")
            };
            assert_eq!((appended.base_offset, appended.last_offset), (100 + 10 * i, 109 + 10 * i));
        }
        // Older than five batches: not known to be stored, so not accepted (46 is not used any more).
        assert_eq!(refused(send(&mut table, 999, produced(5, 0, 10, 10))), ErrorCode::OutOfOrderSequenceNumber);
        // The same first sequence with another count is another batch.
        assert_eq!(refused(send(&mut table, 999, produced(5, 0, 60, 9))), ErrorCode::OutOfOrderSequenceNumber);
    }

    /// A gap means that a batch in between was lost or is still on its way: accepting the later one would reorder records.
    #[test]
    fn gaps_are_refused_and_sequences_wrap() {
        let mut table = table();
        assert_eq!(send(&mut table, 0, produced(5, 0, i32::MAX - 1, 2)), Verdict::Append, "unknown: anything goes");
        assert_eq!(refused(send(&mut table, 2, produced(5, 0, 1, 1))), ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(send(&mut table, 2, produced(5, 0, 0, 3)), Verdict::Append, "MAX is followed by 0");
        assert_eq!(send(&mut table, 5, produced(5, 0, 3, 1)), Verdict::Append);
        assert!(matches!(send(&mut table, 5, produced(5, 0, i32::MAX - 1, 2)), Verdict::Duplicate(_)));
    }

    /// A zombie with an old epoch must not write between its successor's batches.
    #[test]
    fn a_later_epoch_begins_at_zero_and_shuts_out_the_earlier() {
        let mut table = table();
        assert_eq!(send(&mut table, 0, produced(5, 3, 7, 1)), Verdict::Append);
        assert_eq!(refused(send(&mut table, 1, produced(5, 4, 8, 1))), ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(send(&mut table, 1, produced(5, 4, 0, 1)), Verdict::Append);
        assert_eq!(refused(send(&mut table, 2, produced(5, 3, 8, 1))), ErrorCode::InvalidProducerEpoch);
        assert_eq!(
            refused(send(&mut table, 2, produced(5, 3, 7, 1))),
            ErrorCode::InvalidProducerEpoch,
            "not a duplicate now"
        );
    }

    /// Anyone who can produce can invent producer ids; the memory for them must not grow, and busy producers must keep theirs.
    #[test]
    fn invented_producer_ids_do_not_push_out_a_busy_producer() {
        let mut table = ProducerTable::new(100);
        for i in 0..10_000 {
            if i % 50 == 0 {
                assert_eq!(send(&mut table, i, produced(7, 0, (i / 50) as i32, 1)), Verdict::Append);
            }
            table.note(HERE, &produced(1_000 + i, 0, 0, 1), 0);
            assert!(table.len() <= 100 && table.clock.len() == table.len());
        }
        assert_eq!(refused(table.check(HERE, &produced(7, 0, 5_000, 1))), ErrorCode::OutOfOrderSequenceNumber);
    }

    /// Without expiry a table full of producers that will never come back stays full.
    #[test]
    fn silent_producers_expire_and_closed_partitions_are_forgotten() {
        let mut table = table();
        table.note(HERE, &produced(1, 0, 0, 1), 1_000);
        table.note(HERE, &produced(2, 0, 0, 1), 5_000);
        table.note(PartitionNumber(2), &produced(1, 0, 0, 1), 1_000);
        table.forget_partition(PartitionNumber(2));
        assert_eq!((table.len(), table.clock.len()), (2, 2));
        table.expire_some(10, 6_000, 5_000);
        assert_eq!((table.len(), table.clock.len()), (1, 1));
        assert_eq!(
            table.check(HERE, &produced(1, 0, 77, 1)),
            Verdict::Append,
            "forgotten: any sequence is a beginning"
        );
    }

    /// The rules once more, as plainly as they can be said: all batches in a list, looked at from the end.
    #[test]
    fn agrees_with_a_list_of_all_batches() {
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let mut table = table();
            let mut stored: Vec<BatchHeader> = Vec::new();
            for step in 0..200 {
                let producer = random.below(3) as i64;
                let last = stored.iter().rev().find(|batch| batch.producer_id == producer);
                let epoch = last.map_or(0, |last| last.producer_epoch) + [0, 0, 0, 0, 0, 0, 1, -1][random.below(8)];
                let count = 1 + random.below(3) as i32;
                let next = last.map_or(0, |last| sequence_after(last.last_sequence(), 1));
                let first =
                    [next, next, next, 0, sequence_after(next, -count), sequence_after(next, -2)][random.below(6)];
                let batch = produced(producer, epoch.max(0), first, count);

                let of_epoch: Vec<_> = stored
                    .iter()
                    .rev()
                    .filter(|other| other.producer_id == producer)
                    .take_while(|other| other.producer_epoch == batch.producer_epoch)
                    .collect();
                let expected = match last {
                    None => "append",
                    Some(last) => {
                        let is_same = |other: &&&BatchHeader| {
                            other.base_sequence == first && other.last_sequence() == batch.last_sequence()
                        };
                        if of_epoch.iter().take(5).find(is_same).is_some() {
                            "duplicate"
                        } else if batch.producer_epoch < last.producer_epoch {
                            "fenced"
                        } else if first == (if batch.producer_epoch > last.producer_epoch { 0 } else { next }) {
                            "append"
                        } else {
                            "out of order"
                        }
                    }
                };
                let offset = stored.last().map_or(0, BatchHeader::next_offset);
                let actual = match send(&mut table, offset, batch) {
                    Verdict::Append => "append",
                    Verdict::Duplicate(_) => "duplicate",
                    Verdict::Refuse(ErrorCode::InvalidProducerEpoch, _) => "fenced",
                    Verdict::Refuse(..) => "out of order",
                };
                assert_eq!(actual, expected, "seed {seed}, step {step}");
                if actual == "append" {
                    stored.push(BatchHeader { base_offset: offset, ..batch });
                }
            }
        }
    }
}
