//! The coordinator with its log, which loses what is not stable, the network between it and the partitions, and what is known of outcomes.

use super::partition::{FakePartition, Gate};
use crate::transaction::test_kit::{Random, TIMEOUT_MS, options};
use crate::transaction::*;
use crate::{NewRecord, Reply, ReplyTo};
use ringlane_protocol::ErrorCode;
use std::collections::{BTreeMap, VecDeque};

pub const PARTITIONS: usize = 3;

pub struct World {
    seed: u64,
    random: Random,
    version: TransactionVersion,
    machine: TransactionMachine,
    coordinator_epoch: i32,
    log: Vec<NewRecord>,
    stable: usize,
    /// Effects that wait for the log to be stable up to there.
    waiting: VecDeque<(usize, TransactionEffects)>,
    now_ms: i64,
    next_producer_id: i64,
    next_request: u64,
    answers: BTreeMap<ReplyTo, TransactionReply>,
    /// Whose requests are not answered yet.
    asked_by: BTreeMap<ReplyTo, (String, Option<ProducerIdentity>)>,
    /// On their way to the partitions.
    markers: Vec<MarkerRequest>,
    pub partitions: [FakePartition; PARTITIONS],
    /// Which life of its transactional id an identity belongs to. A later life has shut the earlier ones out.
    lives: BTreeMap<ProducerIdentity, u64>,
    last_life: BTreeMap<String, u64>,
    next_life: u64,
    /// Which transaction a record belongs to; what its producer was told of the transaction.
    transaction_of: BTreeMap<u64, u64>,
    told: BTreeMap<u64, Outcome>,
    next_record: u64,
}

impl World {
    pub fn new(seed: u64, version: TransactionVersion) -> World {
        World {
            seed,
            random: Random(seed),
            version,
            machine: TransactionMachine::new(options()),
            coordinator_epoch: options().coordinator_epoch,
            log: Vec::new(),
            stable: 0,
            waiting: VecDeque::new(),
            now_ms: 0,
            next_producer_id: 1,
            next_request: 0,
            answers: BTreeMap::new(),
            asked_by: BTreeMap::new(),
            markers: Vec::new(),
            partitions: Default::default(),
            lives: BTreeMap::new(),
            last_life: BTreeMap::new(),
            next_life: 0,
            transaction_of: BTreeMap::new(),
            told: BTreeMap::new(),
            next_record: 0,
        }
    }

    /// Sends a request; its answer, if it comes, is found with [`World::answer`].
    pub fn ask(&mut self, request: TransactionRequest) -> ReplyTo {
        let to = ReplyTo(self.next_request);
        self.next_request += 1;
        let was_shut_out = self.is_shut_out(&request);
        self.asked_by.insert(to, (request.transactional_id().to_owned(), producer_of(&request)));
        let effects = self.machine.handle(request.clone(), to, self.now_ms);
        for reply in &effects.base.replies {
            let ok = matches!(
                reply.reply,
                TransactionReply::AddPartitions(ErrorCode::None) | TransactionReply::EndTxn(Ok(_))
            );
            assert!(!(ok && was_shut_out), "seed {}: a producer that was shut out got an OK: {request:?}", self.seed);
        }
        self.keep(effects);
        to
    }

    fn is_shut_out(&self, request: &TransactionRequest) -> bool {
        let Some(producer) = producer_of(request) else { return false };
        let life = self.lives.get(&producer).copied().unwrap_or(0);
        self.last_life.get(request.transactional_id()).is_some_and(|last| life < *last)
    }

    fn keep(&mut self, effects: TransactionEffects) {
        self.log.extend(effects.base.records.iter().cloned());
        let wanted = effects.producer_ids_wanted;
        self.waiting.push_back((self.log.len(), effects));
        if wanted > 0 {
            let ids: Vec<i64> = (self.next_producer_id..).take(wanted).collect();
            self.next_producer_id += wanted as i64;
            let effects = self.machine.producer_ids_given(ids, self.now_ms);
            self.keep(effects);
        }
    }

    pub fn answer(&mut self, to: ReplyTo) -> Option<TransactionReply> {
        self.answers.remove(&to)
    }

    /// A stable answer: a new life of its id, which shuts out those before it; or the same life under another identity.
    fn note_life(&mut self, to: ReplyTo, reply: &TransactionReply) {
        let Some((id, before)) = self.asked_by.remove(&to) else { return };
        match reply {
            TransactionReply::InitProducerId(Ok(producer)) => {
                self.next_life += 1;
                self.lives.insert(*producer, self.next_life);
                self.last_life.insert(id, self.next_life);
            }
            TransactionReply::EndTxn(Ok(after)) if *after != ProducerIdentity::NONE => {
                if let Some(life) = before.and_then(|before| self.lives.get(&before).copied()) {
                    self.lives.insert(*after, life);
                }
            }
            _ => {}
        }
    }

    pub fn append(
        &mut self,
        partition: usize,
        producer: ProducerIdentity,
        guard: Option<u64>,
        transaction: u64,
    ) -> Result<(), ErrorCode> {
        let record = self.next_record;
        self.next_record += 1;
        self.partitions[partition].append(producer, guard, record)?;
        self.transaction_of.insert(record, transaction);
        Ok(())
    }

    pub fn gate(&mut self, partition: usize, producer: ProducerIdentity) -> Result<Gate, ErrorCode> {
        self.partitions[partition].gate(producer)
    }

    pub fn was_told(&mut self, transaction: u64, outcome: Outcome) {
        self.told.insert(transaction, outcome);
    }

    pub fn some_becomes_stable(&mut self) {
        let unstable = self.log.len() - self.stable;
        self.stable += self.random.below(unstable + 1);
        self.release();
    }

    fn release(&mut self) {
        while let Some((_, effects)) = self.waiting.pop_front_if(|(needed, _)| *needed <= self.stable) {
            self.markers.extend(effects.markers);
            for Reply { to, reply } in effects.base.replies {
                self.note_life(to, &reply);
                // Some answers never arrive.
                if !self.random.one_in(8) {
                    self.answers.insert(to, reply);
                }
            }
        }
    }

    /// One of the markers on their way, or its answer, or both get lost; or it arrives twice.
    pub fn deliver_a_marker(&mut self) {
        if self.markers.is_empty() {
            return;
        }
        let at = self.random.below(self.markers.len());
        let marker = self.markers.swap_remove(at);
        let is_lost = self.random.one_in(6);
        let is_answer_lost = self.random.one_in(6);
        // In the first protocol a marker that comes again, late, ends the next transaction: Kafka's reason for the second.
        if marker.version.bumps_epoch() && self.random.one_in(6) {
            self.markers.push(marker.clone());
        }
        let mut results = Vec::new();
        for at in &marker.partitions {
            let error = match is_lost {
                true => ErrorCode::NotLeaderOrFollower,
                false => self.partitions[at.partition as usize].end(&marker),
            };
            let result = if is_answer_lost { MarkerResult::Retry } else { MarkerResult::of(error) };
            let is_ours = marker.coordinator_epoch == self.coordinator_epoch;
            assert!(!(is_ours && result == MarkerResult::Fenced), "seed {}: fenced by itself", self.seed);
            results.push((at.clone(), result));
        }
        if marker.coordinator_epoch == self.coordinator_epoch {
            let effects = self.machine.markers_written(&marker.transactional_id, marker.end, results, self.now_ms);
            self.keep(effects);
        }
    }

    pub fn time_passes(&mut self) {
        self.now_ms += self.random.below(TIMEOUT_MS as usize / 2) as i64;
        self.on_time();
    }

    fn on_time(&mut self) {
        while self.machine.next_deadline().is_some_and(|deadline_ms| deadline_ms <= self.now_ms) {
            let effects = self.machine.on_time(self.now_ms);
            self.keep(effects);
        }
        let all = TransactionFilter { duration_ms: i64::from(TIMEOUT_MS), ..TransactionFilter::default() };
        let late = self.machine.list(&all, self.now_ms);
        let late = late.iter().find(|listed| listed.state == TransactionState::Ongoing);
        assert!(late.is_none(), "seed {}: open past its timeout: {late:?}", self.seed);
    }

    /// The coordinator dies; some of what was not stable is lost, and the next one begins with the rest.
    pub fn crash(&mut self) {
        let unstable = self.log.len() - self.stable;
        self.log.truncate(self.stable + self.random.below(unstable + 1));
        self.stable = self.log.len();
        self.waiting.clear();
        self.coordinator_epoch += 1;
        let options = TransactionOptions { coordinator_epoch: self.coordinator_epoch, ..options() };
        self.machine = TransactionMachine::new(options);
        for record in &self.log {
            self.machine.replay(&record.key, record.value.as_deref()).unwrap();
        }
        if !self.version.bumps_epoch() {
            self.markers.clear();
        }
        let effects = self.machine.begin(self.now_ms);
        self.keep(effects);
        self.on_time();
    }

    /// Chaos ends: everything becomes stable, every marker arrives, every open transaction times out.
    pub fn settle(&mut self) {
        for _ in 0..200 {
            self.stable = self.log.len();
            self.release();
            self.deliver_a_marker();
            self.now_ms += 1_000;
            self.on_time();
        }
        assert!(self.markers.is_empty() || self.version.bumps_epoch());
        for (number, partition) in self.partitions.iter().enumerate() {
            assert!(!partition.is_anything_open(), "seed {}: open for ever in partition {number}", self.seed);
        }
    }

    /// Says how many transactions were committed.
    pub fn check_outcomes(&self) -> usize {
        let mut outcomes: BTreeMap<u64, Outcome> = BTreeMap::new();
        for (record, outcome) in self.partitions.iter().flat_map(|partition| &partition.ended) {
            let transaction = self.transaction_of[record];
            let before = *outcomes.entry(transaction).or_insert(*outcome);
            assert_eq!(before, *outcome, "seed {}: transaction {transaction} has two outcomes", self.seed);
        }
        for (transaction, outcome) in &outcomes {
            let told = self.told.get(transaction).unwrap_or(outcome);
            assert_eq!(
                told, outcome,
                "seed {}: transaction {transaction} is not what its producer was told",
                self.seed
            );
        }
        outcomes.values().filter(|outcome| **outcome == Outcome::Commit).count()
    }
}

fn producer_of(request: &TransactionRequest) -> Option<ProducerIdentity> {
    match request {
        TransactionRequest::AddPartitions(request) => Some(request.producer),
        TransactionRequest::EndTxn(request) => Some(request.producer),
        _ => None,
    }
}
