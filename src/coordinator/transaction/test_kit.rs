//! What the tests of this room share: a machine whose records are kept, and short names for its inputs.

use super::*;
use std::collections::BTreeSet;

pub(super) const EXPIRATION_MS: i64 = 7 * 24 * 3600 * 1000;
pub(super) const TIMEOUT_MS: i32 = 60_000;

pub(super) fn options() -> TransactionOptions {
    TransactionOptions {
        timeout_max_ms: 900_000,
        expiration_ms: EXPIRATION_MS,
        version: TransactionVersion::Two,
        coordinator_epoch: 5,
    }
}

/// A machine, its log, and a supply of producer ids.
pub(super) struct Bench {
    pub machine: TransactionMachine,
    pub options: TransactionOptions,
    pub log: Vec<crate::NewRecord>,
    pub now_ms: i64,
    pub next_producer_id: i64,
    /// Markers asked for and not written yet.
    pub markers: Vec<MarkerRequest>,
    replies: u64,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(options())
    }

    pub fn with(options: TransactionOptions) -> Bench {
        Bench {
            machine: TransactionMachine::new(options),
            options,
            log: Vec::new(),
            now_ms: 1_000_000,
            next_producer_id: 100,
            markers: Vec::new(),
            replies: 0,
        }
    }

    pub fn ask(&mut self, request: TransactionRequest) -> TransactionReply {
        let to = ReplyTo(self.replies);
        self.replies += 1;
        let effects = self.machine.handle(request, to, self.now_ms);
        let wanted = effects.producer_ids_wanted;
        let mut replies = self.take(effects);
        if replies.is_empty() && wanted > 0 {
            replies = self.give_ids(wanted);
        }
        assert_eq!(replies.len(), 1, "one reply to one request");
        assert_eq!(replies[0].to, to);
        replies.remove(0).reply
    }

    pub fn give_ids(&mut self, count: usize) -> Vec<crate::Reply<TransactionReply>> {
        let given: Vec<i64> = (self.next_producer_id..).take(count).collect();
        self.next_producer_id += count as i64;
        let effects = self.machine.producer_ids_given(given, self.now_ms);
        self.take(effects)
    }

    pub fn take(&mut self, effects: TransactionEffects) -> Vec<crate::Reply<TransactionReply>> {
        self.log.extend(effects.base.records);
        self.markers.extend(effects.markers);
        effects.base.replies
    }

    /// Writes every marker that is asked for.
    pub fn write_markers(&mut self) {
        while let Some(marker) = self.markers.pop() {
            self.result(&marker, MarkerResult::Done);
        }
    }

    pub fn result(&mut self, marker: &MarkerRequest, result: MarkerResult) {
        let results: Vec<_> = marker.partitions.iter().map(|at| (at.clone(), result)).collect();
        let effects = self.machine.markers_written(&marker.transactional_id, marker.end, results, self.now_ms);
        assert!(self.take(effects).is_empty());
    }

    pub fn wait(&mut self, ms: i64) {
        self.now_ms += ms;
        while self.machine.next_deadline().is_some_and(|deadline_ms| deadline_ms <= self.now_ms) {
            let effects = self.machine.on_time(self.now_ms);
            let wanted = effects.producer_ids_wanted;
            self.take(effects);
            if wanted > 0 {
                self.give_ids(wanted);
                self.now_ms += 100;
            }
        }
    }

    /// The coordinator dies; the next one has the first `kept` records.
    pub fn restart(&mut self, kept: usize) {
        self.log.truncate(kept);
        self.options.coordinator_epoch += 1;
        self.machine = TransactionMachine::new(self.options);
        self.markers.clear();
        for record in &self.log {
            self.machine.replay(&record.key, record.value.as_deref()).unwrap();
        }
        let effects = self.machine.begin(self.now_ms);
        assert!(self.take(effects).is_empty());
    }

    pub fn init(&mut self) -> Result<ProducerIdentity, ErrorCode> {
        self.init_as(None)
    }

    pub fn init_as(&mut self, current: Option<ProducerIdentity>) -> Result<ProducerIdentity, ErrorCode> {
        let request = InitProducerId { transactional_id: "tx".into(), timeout_ms: TIMEOUT_MS, current };
        match self.ask(TransactionRequest::InitProducerId(request)) {
            TransactionReply::InitProducerId(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub fn add(&mut self, producer: ProducerIdentity, partition: i32) -> ErrorCode {
        match self.ask(TransactionRequest::AddPartitions(adding(producer, partition))) {
            TransactionReply::AddPartitions(error) => error,
            other => panic!("{other:?}"),
        }
    }

    pub fn verify(&mut self, producer: ProducerIdentity, partition: i32) -> ErrorCode {
        match self.ask(TransactionRequest::VerifyPartitions(adding(producer, partition))) {
            TransactionReply::VerifyPartitions(results) => results[0].1,
            other => panic!("{other:?}"),
        }
    }

    /// By the first protocol.
    pub fn end(&mut self, producer: ProducerIdentity, outcome: Outcome) -> ErrorCode {
        match self.end_as(producer, outcome, TransactionVersion::Zero) {
            Ok(after) => {
                assert_eq!(after, ProducerIdentity::NONE);
                ErrorCode::None
            }
            Err(error) => error,
        }
    }

    /// By the second protocol.
    pub fn end2(&mut self, producer: ProducerIdentity, outcome: Outcome) -> Result<ProducerIdentity, ErrorCode> {
        self.end_as(producer, outcome, TransactionVersion::Two)
    }

    fn end_as(
        &mut self,
        producer: ProducerIdentity,
        outcome: Outcome,
        version: TransactionVersion,
    ) -> Result<ProducerIdentity, ErrorCode> {
        let request = EndTxn { transactional_id: "tx".into(), producer, outcome, version };
        match self.ask(TransactionRequest::EndTxn(request)) {
            TransactionReply::EndTxn(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub fn state(&self) -> TransactionState {
        self.machine.describe("tx").unwrap().state
    }

    /// A producer with an open transaction in partition 0.
    pub fn open(&mut self) -> ProducerIdentity {
        let producer = self.init().unwrap();
        assert_eq!(self.add(producer, 0), ErrorCode::None);
        producer
    }

    /// The id is at this epoch from now on, at rest.
    pub fn set_epoch(&mut self, epoch: i16) -> ProducerIdentity {
        let entry = self.machine.transactions.get_mut("tx").unwrap();
        entry.transaction.epoch = epoch;
        entry.transaction.producer()
    }
}

pub(super) fn at(partition: i32) -> PartitionName {
    PartitionName::new("orders", partition)
}

pub(super) fn adding(producer: ProducerIdentity, partition: i32) -> AddPartitions {
    let partitions: BTreeSet<_> = [at(partition)].into();
    AddPartitions { transactional_id: "tx".into(), producer, partitions, version: TransactionVersion::Zero }
}

pub(super) fn next_epoch(producer: ProducerIdentity) -> ProducerIdentity {
    ProducerIdentity { epoch: producer.epoch + 1, ..producer }
}

/// SplitMix64: small, seeded, the same everywhere.
pub(super) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    /// Once in `times`.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
