//! The batches of one partition on their way out: which goes next, under which sequence, and what a broker's answer means for it.
//!
//! Pure: no clock, no socket. The order of records within the partition is kept whatever happens: after a failure that can be retried,
//! batches go out one by one, oldest first, until the failed ones are through.

use super::record::{Outcome, ProducerRecord, Stored};
use crate::ClientError;
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::{
    BatchBuilder, Compression, CompressionError, HEADER_BYTES, ProducerStamp, patch_producer, sequence_after,
};
use ringlane_runtime::Instant;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// A broker remembers five batches of a producer and partition: more in flight, and a repeated one could not be recognised (KIP-98).
pub(super) const IN_FLIGHT_PER_PARTITION_MAX: usize = 5;

/// Kafka's `retry.backoff.ms` and `retry.backoff.max.ms`.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Who this producer is to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) batch_bytes: usize,
    pub(super) linger: Duration,
    pub(super) delivery_timeout: Duration,
    pub(super) compression: Compression,
    pub(super) idempotence: bool,
    /// Every batch is part of a transaction.
    pub(super) transactional: bool,
    /// 1 without idempotence: only then does a retry never overtake a later batch.
    pub(super) in_flight_max: usize,
}

/// Records that still take more.
struct Open {
    id: u64,
    builder: BatchBuilder,
    outcome: Rc<Outcome>,
    opened: Instant,
}

/// A finished batch: on the wire, or waiting to go there again.
pub(super) struct Batch {
    /// Ascends with the order of records, over all partitions.
    pub(super) id: u64,
    pub(super) bytes: Vec<u8>,
    /// Before compression: what it takes of the producer's buffer.
    pub(super) buffered_bytes: usize,
    records_count: i32,
    stamp: ProducerStamp,
    outcome: Rc<Outcome>,
    opened: Instant,
}

/// What came of sending a batch.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Stored(Stored),
    Refused(ErrorCode, Option<String>),
    /// Unknown whether it was stored.
    Lost(ClientError),
}

/// What the sender must see to after an answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Consequence {
    /// Bytes of the buffer that are free again.
    pub(super) freed_bytes: usize,
    pub(super) failed: Option<ClientError>,
    pub(super) wants_metadata: bool,
    pub(super) wants_identity: bool,
}

pub(super) struct Queue {
    /// "topic orders partition 3".
    name: String,
    waiting: VecDeque<Open>,
    /// Oldest first.
    retries: VecDeque<Batch>,
    /// Ids, ascending.
    in_flight: Vec<u64>,
    identity: Option<Identity>,
    next_sequence: i32,
    /// The partition has stored a batch of this identity.
    is_known: bool,
    /// The broker does not know our sequence: all that follows needs a new identity.
    is_out_of_step: bool,
    not_before: Instant,
    pause: Duration,
}

impl Queue {
    pub(super) fn new(topic: &str, partition: i32) -> Queue {
        Queue {
            name: format!("record for topic {topic} partition {partition}"),
            waiting: VecDeque::new(),
            retries: VecDeque::new(),
            in_flight: Vec::new(),
            identity: None,
            next_sequence: 0,
            is_known: false,
            is_out_of_step: false,
            not_before: Instant::default(),
            pause: PAUSE_MIN,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.retries.is_empty() && self.in_flight.is_empty()
    }

    /// Of the oldest batch without a final answer.
    pub(super) fn oldest_id(&self) -> Option<u64> {
        let waiting = self.waiting.front().map(|open| open.id);
        let retried = self.retries.front().map(|batch| batch.id);
        [waiting, retried, self.in_flight.first().copied()].into_iter().flatten().min()
    }

    /// Adds a record. Gives its batch's outcome, its index in the batch, and the bytes that it takes of the buffer.
    pub(super) fn push(
        &mut self,
        record: &ProducerRecord,
        timestamp: i64,
        next_id: &mut u64,
        limits: &Limits,
        now: Instant,
    ) -> (Rc<Outcome>, i64, usize) {
        let (key, value, headers) = (record.key.as_deref(), record.value.as_deref(), record.header_views());
        let fits = self.waiting.back().is_some_and(|open| {
            let bytes = open.builder.record_size(timestamp, key, value, &headers);
            open.builder.uncompressed_size() + bytes <= limits.batch_bytes
        });
        let mut taken_bytes = 0;
        if !fits {
            *next_id += 1;
            let builder = BatchBuilder::new(limits.compression);
            taken_bytes = HEADER_BYTES;
            self.waiting.push_back(Open { id: *next_id, builder, outcome: Rc::default(), opened: now });
        }
        let open = self.waiting.back_mut().expect("a batch is open");
        let before = open.builder.uncompressed_size();
        open.builder.push(timestamp, key, value, &headers);
        taken_bytes += open.builder.uncompressed_size() - before;
        (open.outcome.clone(), open.builder.records_count() as i64 - 1, taken_bytes)
    }

    /// When the next batch may go out; `None` while only an answer or an identity can change that.
    pub(super) fn ready_at(&self, limits: &Limits, flush: bool) -> Option<Instant> {
        if self.is_out_of_step {
            return None;
        }
        if !self.retries.is_empty() {
            return self.in_flight.is_empty().then_some(self.not_before);
        }
        if self.in_flight.len() >= self.in_flight_max(limits) {
            return None;
        }
        let oldest = self.waiting.front()?;
        let is_full = self.waiting.len() > 1 || oldest.builder.uncompressed_size() >= limits.batch_bytes;
        let ripe = if is_full || flush { Instant::default() } else { oldest.opened + limits.linger };
        Some(ripe.max(self.not_before))
    }

    /// A partition that does not know a producer takes any sequence for its first: until it has stored one, a second batch could get in
    /// front of a first that was refused for a moment (its leader had just been named), and stay there.
    fn in_flight_max(&self, limits: &Limits) -> usize {
        if limits.idempotence && !self.is_known { 1 } else { limits.in_flight_max }
    }

    /// The next batch, ready to send. To be called when [`Queue::ready_at`] has come.
    pub(super) fn take(
        &mut self,
        identity: Option<Identity>,
        is_transactional: bool,
    ) -> Option<Result<Batch, (ClientError, usize)>> {
        if let Some(batch) = self.retries.pop_front() {
            self.in_flight.push(batch.id);
            return Some(Ok(batch));
        }
        let Open { id, mut builder, outcome, opened } = self.waiting.pop_front()?;
        let buffered_bytes = builder.uncompressed_size();
        let records_count = builder.records_count() as i32;
        let stamp = self.next_stamp(identity, records_count);
        builder.set_producer(stamp, is_transactional);
        match builder.finish() {
            Ok(bytes) => {
                self.in_flight.push(id);
                Some(Ok(Batch { id, bytes, buffered_bytes, records_count, stamp, outcome, opened }))
            }
            Err(error) => {
                let error = self.compression_failed(error);
                outcome.set(Err(error.clone()));
                Some(Err((error, buffered_bytes)))
            }
        }
    }

    fn compression_failed(&self, error: CompressionError) -> ClientError {
        ClientError::refused(&self.name, ErrorCode::InvalidRecord, Some(&error.to_string()))
    }

    /// The stamp of a batch that was never sent. A new identity is taken up between batches only: those of the old one first come through.
    fn next_stamp(&mut self, identity: Option<Identity>, records_count: i32) -> ProducerStamp {
        let Some(newest) = identity else { return ProducerStamp::NONE };
        if self.identity.is_none() || (self.identity != identity && self.in_flight.is_empty()) {
            (self.identity, self.next_sequence, self.is_known) = (identity, 0, false);
        }
        let Identity { id, epoch } = self.identity.unwrap_or(newest);
        let base_sequence = self.next_sequence;
        self.next_sequence = sequence_after(base_sequence, records_count);
        ProducerStamp { id, epoch, base_sequence }
    }

    /// The answer to a batch that was taken.
    pub(super) fn answered(&mut self, batch: Batch, answer: Answer, limits: &Limits, now: Instant) -> Consequence {
        let is_oldest =
            self.in_flight.first() == Some(&batch.id) && self.retries.front().is_none_or(|retry| retry.id > batch.id);
        self.in_flight.retain(|&id| id != batch.id);
        let error = match answer {
            Answer::Stored(stored) => {
                self.pause = PAUSE_MIN;
                self.is_known = true;
                return Consequence { freed_bytes: batch.complete(Ok(stored)), ..Default::default() };
            }
            // The broker has it from an earlier try.
            Answer::Refused(ErrorCode::DuplicateSequenceNumber, _) => {
                let stored = Stored { base_offset: -1, log_append_time_ms: -1 };
                self.is_known = true;
                return Consequence { freed_bytes: batch.complete(Ok(stored)), ..Default::default() };
            }
            Answer::Refused(code, message) => ClientError::Refused { what: self.name.clone(), code, message },
            Answer::Lost(error) => error,
        };
        let mut consequence = Consequence::default();
        let code = error.code();
        let is_retriable = match code {
            // A transaction does not outlive a batch that is out of step: the next one begins with a new epoch.
            Some(code) if limits.transactional && is_oldest && is_about_sequences(code) => false,
            Some(code) if limits.idempotence && is_about_sequences(code) => {
                // Behind a batch that failed this only says that the other must come first. The oldest one is out of step itself:
                // then neither it nor any later one was stored, and all may go again under a new identity.
                self.is_out_of_step |= is_oldest;
                consequence.wants_identity = self.is_out_of_step;
                true
            }
            _ => error.is_retriable(),
        };
        consequence.wants_metadata = code.is_none_or(|code| code.wants_new_metadata());
        if !is_retriable || now.since(batch.opened) >= limits.delivery_timeout {
            let error = if is_retriable { self.timed_out(limits, &error) } else { error };
            consequence.freed_bytes = batch.complete(Err(error.clone()));
            consequence.failed = Some(error);
            return consequence;
        }
        let at = self.retries.partition_point(|retry| retry.id < batch.id);
        self.retries.insert(at, batch);
        self.not_before = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        consequence
    }

    /// Whether [`Queue::renew`] is what this queue waits for.
    pub(super) fn wants_identity(&self) -> bool {
        self.is_out_of_step && self.in_flight.is_empty()
    }

    /// Stamps what the broker refused for its sequence anew, from 0 on.
    pub(super) fn renew(&mut self, identity: Identity) {
        debug_assert!(self.wants_identity(), "answers under the old identity are still to come");
        (self.identity, self.next_sequence, self.is_known) = (Some(identity), 0, false);
        self.is_out_of_step = false;
        for batch in &mut self.retries {
            let base_sequence = self.next_sequence;
            self.next_sequence = sequence_after(base_sequence, batch.records_count);
            batch.stamp = ProducerStamp { id: identity.id, epoch: identity.epoch, base_sequence };
            patch_producer(&mut batch.bytes, batch.stamp);
        }
    }

    /// Fails what has waited too long; what is in flight gets its answer or loses its connection first.
    pub(super) fn expire(&mut self, limits: &Limits, now: Instant, last: &ClientError) -> Consequence {
        let mut consequence = Consequence::default();
        let is_late = |opened: Instant| now.since(opened) >= limits.delivery_timeout;
        while self.retries.front().is_some_and(|batch| is_late(batch.opened)) {
            let error = self.timed_out(limits, last);
            let batch = self.retries.pop_front().expect("there is a front");
            consequence.freed_bytes += batch.complete(Err(error.clone()));
            consequence.failed = Some(error);
        }
        while self.waiting.front().is_some_and(|open| is_late(open.opened)) {
            let error = self.timed_out(limits, last);
            let open = self.waiting.pop_front().expect("there is a front");
            consequence.freed_bytes += open.builder.uncompressed_size();
            open.outcome.set(Err(error.clone()));
            consequence.failed = Some(error);
        }
        consequence
    }

    /// Fails what is not in flight.
    pub(super) fn fail_waiting(&mut self, error: &ClientError) -> Consequence {
        let mut consequence = Consequence::default();
        for batch in self.retries.drain(..) {
            consequence.freed_bytes += batch.complete(Err(error.clone()));
            consequence.failed = Some(error.clone());
        }
        for open in self.waiting.drain(..) {
            consequence.freed_bytes += open.builder.uncompressed_size();
            open.outcome.set(Err(error.clone()));
            consequence.failed = Some(error.clone());
        }
        consequence
    }

    /// When [`Queue::expire`] has something to do next.
    pub(super) fn expires_at(&self, limits: &Limits) -> Option<Instant> {
        let retried = self.retries.front().map(|batch| batch.opened);
        let waiting = self.waiting.front().map(|open| open.opened);
        retried.into_iter().chain(waiting).min().map(|opened| opened + limits.delivery_timeout)
    }

    fn timed_out(&self, limits: &Limits, last: &ClientError) -> ClientError {
        ClientError::TimedOut { what: self.name.clone(), after: limits.delivery_timeout, last: last.to_string() }
    }
}

impl Batch {
    /// Tells the records; gives the bytes of the buffer that are free now.
    fn complete(self, result: Result<Stored, ClientError>) -> usize {
        self.outcome.set(result);
        self.buffered_bytes
    }
}

fn is_about_sequences(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerEpoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_protocol::records::{Batch as ReadBatch, Records, check_batch};

    const ME: Identity = Identity { id: 7, epoch: 0 };

    fn limits() -> Limits {
        Limits {
            batch_bytes: 1 << 10,
            linger: Duration::from_millis(5),
            delivery_timeout: Duration::from_secs(10),
            compression: Compression::None,
            idempotence: true,
            transactional: false,
            in_flight_max: IN_FLIGHT_PER_PARTITION_MAX,
        }
    }

    fn at(ms: u64) -> Instant {
        Instant::default() + Duration::from_millis(ms)
    }

    struct Bench {
        queue: Queue,
        last_id: u64,
    }

    impl Bench {
        fn new() -> Bench {
            Bench { queue: Queue::new("t", 0), last_id: 0 }
        }
        /// Of a partition that has stored a batch.
        fn known() -> Bench {
            let mut bench = Bench::new();
            bench.push(0);
            let first = bench.take(0).expect("the first batch");
            bench.answer(first, ErrorCode::None, 0);
            bench
        }
        /// A record that fills a batch.
        fn push(&mut self, ms: u64) {
            let record = ProducerRecord::to("t").value(vec![1; 1000]);
            self.queue.push(&record, 0, &mut self.last_id, &limits(), at(ms));
        }
        fn take(&mut self, ms: u64) -> Option<Batch> {
            let ready = self.queue.ready_at(&limits(), true).is_some_and(|ready| ready <= at(ms));
            let taken = ready.then(|| self.queue.take(Some(ME), false)).flatten()?;
            Some(taken.unwrap_or_else(|(error, _)| panic!("{error}")))
        }
        fn answer(&mut self, batch: Batch, code: ErrorCode, ms: u64) -> Consequence {
            let answer = match code {
                ErrorCode::None => Answer::Stored(Stored { base_offset: 0, log_append_time_ms: -1 }),
                code => Answer::Refused(code, None),
            };
            self.queue.answered(batch, answer, &limits(), at(ms))
        }
    }

    fn stamp(batch: &Batch) -> (i64, i32) {
        let header = check_batch(&batch.bytes).expect("a batch with a sound CRC");
        (header.producer_id, header.base_sequence)
    }

    /// A batch for each record costs a request, a sequence and a journal entry for each: they must share one until it is full or ripe.
    #[test]
    fn records_share_a_batch_until_it_is_full_or_has_lingered() {
        let mut bench = Bench::new();
        let small = ProducerRecord::to("t").key("k").value("v").header("h", "x");
        for i in 0..3 {
            let (_, index, _) = bench.queue.push(&small, 100 + i, &mut bench.last_id, &limits(), at(0));
            assert_eq!(index, i);
        }
        assert_eq!(bench.queue.ready_at(&limits(), false), Some(at(5)), "it lingers");
        bench.push(1);
        assert_eq!(bench.queue.ready_at(&limits(), false), Some(Instant::default()), "a full batch does not");

        let batch = bench.take(2).expect("a batch is ready");
        let read = ReadBatch::parse(&batch.bytes).expect("a batch");
        let records: Vec<_> = Records::new(&read.header, read.body()).map(|record| record.expect("sound")).collect();
        assert_eq!(records.len(), 3);
        assert_eq!((records[2].timestamp(&read.header), records[2].headers.len()), (102, 1));
    }

    /// Were a retried batch sent beside a later one, the later one could be stored first: order broken, or without sequences, for good.
    #[test]
    fn after_a_failure_batches_go_out_one_by_one_in_their_order() {
        let mut bench = Bench::known();
        (0..4).for_each(|_| bench.push(0));
        let [a, b, c] = [bench.take(0), bench.take(0), bench.take(0)].map(|batch| batch.expect("three in flight"));
        assert_eq!([stamp(&a), stamp(&b), stamp(&c)], [(7, 1), (7, 2), (7, 3)]);

        bench.answer(b, ErrorCode::OutOfOrderSequenceNumber, 10);
        assert!(bench.take(1000).is_none(), "others are still in flight");
        let lost = bench.answer(a, ErrorCode::NotLeaderOrFollower, 10);
        assert!(lost.wants_metadata && !lost.wants_identity);
        bench.answer(c, ErrorCode::OutOfOrderSequenceNumber, 10);
        assert!(bench.take(11).is_none(), "it pauses first");

        for sequence in 1..5 {
            let batch = bench.take(5_000).expect("the next one");
            assert_eq!(stamp(&batch), (7, sequence), "a retry keeps its sequence");
            assert!(sequence >= 3 || bench.take(5_000).is_none(), "one by one");
            bench.answer(batch, ErrorCode::None, 5_000);
        }
        assert!(bench.queue.is_empty());
    }

    /// A partition that was named but not yet led refuses the first batch and takes the second for the beginning: the order is broken for
    /// good. Found by the simulation of the broker.
    #[test]
    fn a_second_batch_waits_until_the_partition_knows_the_producer() {
        let mut bench = Bench::new();
        (0..3).for_each(|_| bench.push(0));
        let first = bench.take(0).expect("the first batch");
        assert!(bench.take(0).is_none(), "it goes alone");
        bench.answer(first, ErrorCode::NotLeaderOrFollower, 0);
        let again = bench.take(5_000).expect("the first batch again");
        assert!(bench.take(5_000).is_none());
        bench.answer(again, ErrorCode::None, 5_000);
        assert_eq!([bench.take(5_000), bench.take(5_000)].map(|batch| stamp(&batch.expect("both"))), [(7, 1), (7, 2)]);
    }

    /// When a batch was given up, the broker misses its sequence and would refuse all later ones for ever.
    #[test]
    fn a_gap_in_the_sequences_is_left_with_a_new_identity() {
        let mut bench = Bench::known();
        (0..3).for_each(|_| bench.push(0));
        let [a, b, c] = [bench.take(0), bench.take(0), bench.take(0)].map(|batch| batch.expect("three in flight"));
        let failed = bench.answer(a, ErrorCode::InvalidRecord, 1);
        assert!(failed.failed.is_some() && failed.freed_bytes > 1000);

        let refused = bench.answer(b, ErrorCode::OutOfOrderSequenceNumber, 1);
        assert!(refused.wants_identity, "nothing before it can mend it");
        assert!(!bench.queue.wants_identity(), "an answer under the old identity is still to come");
        bench.answer(c, ErrorCode::OutOfOrderSequenceNumber, 1);
        assert!(bench.queue.wants_identity());
        assert!(bench.take(5_000).is_none());

        bench.queue.renew(Identity { id: 8, epoch: 0 });
        let batch = bench.take(5_000).expect("the retry");
        assert_eq!(stamp(&batch), (8, 0));
        bench.answer(batch, ErrorCode::None, 5_000);
        assert_eq!(stamp(&bench.take(5_000).expect("the other")), (8, 1));
    }

    /// An answer that says "stored already" is the success of an earlier try, not a failure.
    #[test]
    fn a_duplicate_counts_as_stored() {
        let mut bench = Bench::new();
        bench.push(0);
        let batch = bench.take(0).expect("a batch");
        let consequence = bench.answer(batch, ErrorCode::DuplicateSequenceNumber, 1);
        assert!(consequence.failed.is_none() && consequence.freed_bytes > 1000);
        assert!(bench.queue.is_empty());
    }

    /// Without an end a caller would wait for ever on a broker that is gone, and its buffer stay full.
    #[test]
    fn what_is_late_fails_and_frees_its_bytes() {
        let mut bench = Bench::new();
        bench.push(0);
        bench.push(0);
        let lost = bench.take(0).expect("a batch");
        bench.queue.answered(lost, Answer::Lost(ClientError::Closed { what: "connection" }), &limits(), at(9_000));
        assert_eq!(bench.queue.expires_at(&limits()), Some(at(10_000)));
        let error = ClientError::Closed { what: "connection" };
        assert_eq!(bench.queue.expire(&limits(), at(9_999), &error), Consequence::default());
        let late = bench.queue.expire(&limits(), at(10_000), &error);
        assert!(late.freed_bytes > 1000 && matches!(late.failed, Some(ClientError::TimedOut { .. })), "{late:?}");
        assert!(bench.queue.is_empty());
    }
}
