//! One share partition: who gets which offsets, and what becomes of them.

use super::*;

const LOCK_MS: i64 = 30_000;

fn options() -> SharePartitionOptions {
    SharePartitionOptions::default()
}

struct Bench {
    partition: SharePartition,
    options: SharePartitionOptions,
    /// Batches of the log.
    log: Vec<LogBatch>,
    now_ms: i64,
}

impl Bench {
    /// A log of batches with so many records each.
    fn new(batches: &[i64]) -> Bench {
        let mut base_offset = 0;
        let log = batches.iter().map(|count| {
            let batch = LogBatch { base_offset, last_offset: base_offset + count - 1, aborted: false };
            base_offset += count;
            batch
        });
        Bench {
            partition: SharePartition::load(0, &[]).unwrap(),
            options: options(),
            log: log.collect(),
            now_ms: 1_000,
        }
    }

    fn fetch_as(&mut self, member: &str, records_max: i64, mode: AcquireMode) -> Vec<(i64, i64, i16)> {
        let fetch_offset = self.partition.fetch_offset();
        let batches: Vec<LogBatch> =
            self.log.iter().copied().filter(|batch| batch.last_offset >= fetch_offset).collect();
        let request = AcquireRequest { member: member.into(), records_max, batch_size: 500, mode };
        let fetched = Fetched { fetch_offset, batches: &batches };
        let acquired = self.partition.acquire(&request, fetched, &self.options, self.now_ms);
        acquired.iter().map(|records| (records.first_offset, records.last_offset, records.delivery_count)).collect()
    }

    fn fetch(&mut self, member: &str, records_max: i64) -> Vec<(i64, i64, i16)> {
        self.fetch_as(member, records_max, AcquireMode::BatchOptimized)
    }

    fn say(
        &mut self,
        member: &str,
        first_offset: i64,
        last_offset: i64,
        kind: AcknowledgeType,
    ) -> Result<(), AcknowledgeError> {
        let batch = AcknowledgementBatch { first_offset, last_offset, types: vec![kind] };
        self.partition.acknowledge(member, &[batch], &self.options, self.now_ms).map(drop)
    }

    /// The share coordinator takes what there is.
    fn write(&mut self, ok: bool) -> Option<StateWrite> {
        let write = self.partition.take_write()?;
        self.partition.written(ok, &self.options, self.now_ms);
        Some(write)
    }

    fn ack(&mut self, member: &str, first: i64, last: i64, kind: AcknowledgeType) {
        self.say(member, first, last, kind).unwrap();
        self.write(true).unwrap();
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.partition.on_time(&self.options, self.now_ms);
        self.write(true);
    }
}

/// Cutting a batch costs the broker nothing and the consumers the records that they have to pass over: it is cut only for who asks.
#[test]
fn whole_batches_unless_the_limit_is_strict() {
    let mut bench = Bench::new(&[10, 10, 10]);
    assert_eq!(bench.fetch("a", 12), [(0, 19, 1)]);
    assert_eq!(bench.fetch_as("b", 4, AcquireMode::RecordLimit), [(20, 23, 1)]);
    assert_eq!(bench.fetch_as("a", 4, AcquireMode::RecordLimit), [(24, 27, 1)]);
    assert_eq!(bench.fetch("b", 1), [(28, 29, 1)]);
    assert_eq!(bench.fetch("a", 1), []);
}

/// A record that two members have is processed twice although nobody has failed.
#[test]
fn a_record_is_one_members_until_its_lock_expires() {
    let mut bench = Bench::new(&[10]);
    assert_eq!(bench.fetch("a", 100), [(0, 9, 1)]);
    assert_eq!(bench.fetch("b", 100), []);
    assert!(matches!(bench.say("b", 0, 9, AcknowledgeType::Accept), Err(AcknowledgeError::InvalidRecordState(_))));
    bench.ack("a", 0, 3, AcknowledgeType::Accept);
    assert_eq!(bench.partition.start_offset(), 4);
    bench.say("a", 8, 9, AcknowledgeType::Renew).unwrap();
    bench.pass(LOCK_MS - 1);
    bench.say("a", 8, 9, AcknowledgeType::Renew).unwrap();
    bench.pass(1);
    assert!(bench.say("a", 4, 7, AcknowledgeType::Accept).is_err(), "too late");
    assert_eq!(bench.fetch("b", 100), [(4, 7, 2)]);
    bench.options.renew_enabled = false;
    assert!(bench.say("a", 8, 9, AcknowledgeType::Renew).is_err());
}

/// One wrong batch in a request must not leave the others half done: the client takes all of them for refused.
#[test]
fn a_request_that_is_wrong_changes_nothing() {
    let mut bench = Bench::new(&[10, 10]);
    bench.fetch("a", 10);
    let batch = |first_offset, last_offset, types: &[AcknowledgeType]| AcknowledgementBatch {
        first_offset,
        last_offset,
        types: types.to_vec(),
    };
    let accept = [AcknowledgeType::Accept];
    let wrong = [
        batch(5, 10, &accept),
        batch(12, 12, &accept),
        batch(5, 4, &accept),
        batch(5, 6, &[AcknowledgeType::Accept; 3]),
        batch(5, 6, &[]),
        batch(0, 5, &accept),
    ];
    for wrong in wrong {
        let batches = [batch(0, 2, &accept), wrong.clone()];
        assert!(bench.partition.acknowledge("a", &batches, &options(), 0).is_err(), "{wrong:?}");
        assert_eq!(bench.write(true), None);
    }
    use AcknowledgeType::{Accept, Gap, Reject, Release};
    let each = [batch(0, 3, &[Accept, Release, Reject, Gap]), batch(4, 9, &accept)];
    bench.partition.acknowledge("a", &each, &options(), 0).unwrap();
    let write = bench.write(true).unwrap();
    let states: Vec<_> =
        write.batches.iter().map(|batch| (batch.first_offset, batch.last_offset, batch.state.code())).collect();
    assert_eq!(states, [(0, 0, 2), (1, 1, 0), (2, 3, 4), (4, 9, 2)]);
    assert_eq!((write.start_offset, write.delivery_complete_count), (0, 9));
    assert_eq!(bench.partition.start_offset(), 1);
    assert_eq!(bench.fetch("b", 1), [(1, 1, 2)]);
}

/// What the share coordinator has not taken must not count: after a restart nobody would know of it.
#[test]
fn a_write_that_fails_gives_the_records_back_to_their_member() {
    let mut bench = Bench::new(&[10]);
    bench.fetch("a", 10);
    bench.say("a", 0, 4, AcknowledgeType::Accept).unwrap();
    assert!(bench.say("a", 0, 4, AcknowledgeType::Accept).is_err(), "under way");
    bench.write(false);
    assert_eq!(bench.partition.start_offset(), 0);
    bench.say("a", 0, 4, AcknowledgeType::Accept).unwrap();
    let first = bench.partition.take_write().unwrap();
    bench.say("a", 5, 9, AcknowledgeType::Accept).unwrap();
    assert_eq!(bench.partition.take_write(), None, "one at a time");
    bench.now_ms += LOCK_MS;
    bench.partition.on_time(&options(), bench.now_ms);
    bench.partition.written(false, &options(), bench.now_ms);
    assert_eq!(bench.fetch("b", 10), [(0, 4, 2)], "its lock has expired meanwhile");
    let second = bench.write(true).unwrap();
    assert!(second.number > first.number);
    assert_eq!(second.batches.len(), 1);
}

/// A record that kills its consumers would be delivered for ever, and kill the neighbours that it is delivered with.
#[test]
fn a_record_is_delivered_so_often_and_at_last_alone() {
    let mut bench = Bench::new(&[8]);
    assert_eq!(bench.fetch("a", 100), [(0, 7, 1)]);
    for expected in [[(0, 7, 2)], [(0, 7, 3)]] {
        bench.pass(LOCK_MS);
        assert_eq!(bench.fetch("a", 100), expected);
    }
    bench.pass(LOCK_MS);
    assert_eq!(bench.fetch("a", 100), [(0, 3, 4)], "half of them");
    assert_eq!(bench.fetch("b", 100), [(4, 7, 4)]);
    bench.pass(LOCK_MS);
    for offset in 0..8 {
        assert_eq!(bench.fetch("a", 100), [(offset, offset, 5)], "alone");
        if offset != 3 {
            bench.ack("a", offset, offset, AcknowledgeType::Accept);
        }
    }
    assert_eq!(bench.partition.start_offset(), 3);
    bench.pass(LOCK_MS);
    assert_eq!(bench.fetch("a", 100), [], "given up");
    assert_eq!(bench.partition.start_offset(), 8);
    assert_eq!(bench.partition.range_count(), 0);
}

/// Without a limit one slow consumer would make the broker remember every record behind the one that it is at.
#[test]
fn no_more_than_so_many_are_in_flight() {
    let mut bench = Bench::new(&[10; 30]);
    bench.options.record_locks_max = 100;
    assert_eq!(bench.fetch("a", 95), [(0, 99, 1)]);
    assert!(!bench.partition.can_acquire(&bench.options));
    assert_eq!(bench.fetch("b", 10), []);
    bench.ack("a", 50, 59, AcknowledgeType::Release);
    assert!(bench.partition.can_acquire(&bench.options));
    assert_eq!(bench.fetch("b", 100), [(50, 59, 2)]);
    bench.ack("a", 0, 9, AcknowledgeType::Accept);
    assert_eq!(bench.fetch("b", 100), [(100, 109, 1)]);
}

/// A member that has gone would keep its records until their locks expire, with others waiting for them.
#[test]
fn who_goes_gives_back_what_it_has() {
    let mut bench = Bench::new(&[10, 10]);
    bench.fetch("a", 10);
    bench.fetch("b", 10);
    assert!(bench.partition.release("a", &options()).is_some());
    assert_eq!(bench.fetch("b", 100), [], "not before it is written");
    bench.write(true);
    assert_eq!(bench.fetch("b", 100), [(0, 9, 2)]);
    assert_eq!(bench.partition.release("nobody", &options()), None);
}

/// Offsets that the cleaner has taken can be acknowledged by nobody: the start would stop there.
#[test]
fn offsets_without_records_are_passed_over() {
    let mut bench = Bench::new(&[10, 10, 10]);
    bench.fetch("a", 30);
    bench.ack("a", 0, 29, AcknowledgeType::Release);
    bench.log.remove(0);
    assert_eq!(bench.fetch("a", 30), [(10, 29, 2)]);
    assert_eq!(bench.partition.start_offset(), 10);
    bench.log.push(LogBatch { base_offset: 40, last_offset: 49, aborted: false });
    assert_eq!(bench.fetch("a", 30), [(40, 49, 1)]);
    bench.ack("a", 10, 29, AcknowledgeType::Accept);
    assert_eq!(bench.partition.start_offset(), 40);
    bench.partition.log_start_moved(45);
    bench.ack("a", 40, 49, AcknowledgeType::Accept);
    assert_eq!(bench.partition.start_offset(), 50);
    bench.partition.log_start_moved(70);
    assert_eq!((bench.partition.start_offset(), bench.partition.fetch_offset()), (70, 70));
}

/// Records of an aborted transaction are none for a group that reads committed ones.
#[test]
fn aborted_records_are_given_to_nobody() {
    let mut bench = Bench::new(&[5, 5, 5]);
    bench.log[1].aborted = true;
    assert_eq!(bench.fetch("a", 100), [(0, 4, 1), (10, 14, 1)]);
    bench.ack("a", 0, 4, AcknowledgeType::Accept);
    assert_eq!(bench.partition.start_offset(), 10);
}

/// What was given out and never heard of is known to nobody after a restart: it must be given out again.
#[test]
fn it_begins_where_the_share_coordinator_has_it() {
    let batch = |first_offset, last_offset, state, delivery_count| StateBatch {
        first_offset,
        last_offset,
        state,
        delivery_count,
    };
    let stored = [
        batch(10, 12, RecordState::Acknowledged, 1),
        batch(20, 24, RecordState::Available, 3),
        batch(25, 29, RecordState::Archived, 5),
    ];
    let mut bench = Bench::new(&[15, 15, 10]);
    bench.partition = SharePartition::load(10, &stored).unwrap();
    assert_eq!((bench.partition.start_offset(), bench.partition.fetch_offset()), (13, 13));
    assert_eq!(bench.fetch("a", 100), [(13, 19, 1)], "the next has been delivered too often to come with others");
    assert_eq!(bench.fetch("a", 100), [(20, 21, 4)]);
    assert!(SharePartition::load(10, &[batch(9, 9, RecordState::Acknowledged, 1)]).is_err());
    assert!(SharePartition::load(10, &[batch(11, 10, RecordState::Acknowledged, 1)]).is_err());
    assert!(SharePartition::load(10, &[batch(11, 11, RecordState::Acquired, 1)]).is_err());
}
