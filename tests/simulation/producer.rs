//! A producer of the workload: pipelines requests, and after every failure does what its promise allows.

use crate::client::{Workload, own_seed, pause};
use crate::history::{Place, Promise};
use crate::record;
use crate::wire::{Connection, WireError};
use ringlane_protocol::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringlane_protocol::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};
use ringlane_protocol::records::{Compression, ProducerStamp};
use ringlane_protocol::{ErrorCode, Message, Reader};
use ringlane_runtime::sim::Seed;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;

/// Kafka's producers keep at most five requests under way when they are idempotent, as many as the broker remembers batches.
const REQUESTS_IN_FLIGHT_MAX: usize = 5;
/// Partitions of one request.
const BATCHES_PER_REQUEST_MAX: usize = 4;
const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Idempotent,
    /// Not idempotent, with this `acks`.
    Plain(i16),
}

pub struct Producer {
    workload: Rc<Workload>,
    id: u16,
    kind: Kind,
    seed: Seed,
    places: Vec<Place>,
    batches_left: u32,
    next_number: u32,
    identity: Option<(i64, i16)>,
    next_sequences: BTreeMap<Place, i32>,
    /// Partitions that know this producer. A partition that does not takes any sequence for the first, as Kafka's do: until the first
    /// batch is acknowledged, a second one must not be under way, or it could get in front of it.
    known_to: BTreeSet<Place>,
    /// Not yet acknowledged, in the order in which they were made.
    waiting: VecDeque<Batch>,
}

#[derive(Clone)]
struct Batch {
    at: Place,
    numbers: Range<u32>,
    bytes: Vec<u8>,
    is_sent: bool,
}

impl Producer {
    pub fn new(workload: Rc<Workload>, id: u16, kind: Kind, batches: u32) -> Producer {
        let promise = match kind {
            Kind::Idempotent => Promise::ExactlyOnceInOrder,
            Kind::Plain(_) => Promise::AcknowledgedIsThere,
        };
        workload.history.producer(id, promise);
        workload.producing.set(workload.producing.get() + 1);
        let places = workload.places();
        Producer {
            workload,
            id,
            kind,
            seed: own_seed(),
            places,
            batches_left: batches,
            next_number: 0,
            identity: None,
            next_sequences: BTreeMap::new(),
            known_to: BTreeSet::new(),
            waiting: VecDeque::new(),
        }
    }

    pub async fn run(mut self) {
        while self.batches_left > 0 || !self.waiting.is_empty() {
            let mut connection = self.workload.connect().await;
            match self.produce(&mut connection).await {
                Ok(()) => {}
                Err(WireError::Lost) => pause(5..100).await,
                Err(WireError::Wrong(what)) => {
                    self.workload.history.violation(format!("producer {}: {what}", self.id));
                    break;
                }
            }
            self.prepare_retry();
        }
        self.workload.producing.set(self.workload.producing.get() - 1);
    }

    /// Until all is acknowledged or the connection breaks.
    async fn produce(&mut self, connection: &mut Connection) -> Result<(), WireError> {
        if self.kind == Kind::Idempotent && self.identity.is_none() {
            self.identity = Some(init_producer_id(connection).await?);
        }
        let version = 9 + self.seed.below(5) as i16;
        let depth = 1 + self.seed.below(REQUESTS_IN_FLIGHT_MAX as u64) as usize;
        let mut in_flight: VecDeque<Vec<Batch>> = VecDeque::new();
        // Partitions whose earlier batch failed: what follows it fails too, and is no fault of the broker.
        let mut failed: BTreeSet<Place> = BTreeSet::new();
        loop {
            while failed.is_empty() && in_flight.len() < depth {
                let Some(request) = self.next_request() else { break };
                self.send(connection, version, &request).await?;
                match self.kind {
                    Kind::Plain(0) => self.waiting.clear(),
                    _ => in_flight.push_back(request),
                }
                if self.seed.chance(0.3) {
                    pause(0..30).await;
                }
            }
            let Some(request) = in_flight.pop_front() else {
                if failed.is_empty() {
                    return Ok(());
                }
                failed.clear();
                pause(20..100).await;
                self.prepare_retry();
                continue;
            };
            let body = connection.receive().await?;
            let answer = ProduceResponse::decode(&mut Reader::new(&body), version)
                .map_err(|error| WireError::Wrong(format!("Produce v{version}: {error}")))?;
            for batch in request {
                let result = self.result_for(&answer, version, batch.at)?;
                self.take_result(&batch, result, &mut failed)?;
            }
        }
    }

    /// The next batches, all of different partitions: what is to be sent again first, then new ones. Marks them sent.
    fn next_request(&mut self) -> Option<Vec<Batch>> {
        if self.waiting.iter().all(|batch| batch.is_sent) {
            for _ in 0..(1 + self.seed.below(BATCHES_PER_REQUEST_MAX as u64)).min(u64::from(self.batches_left)) {
                let batch = self.make_batch();
                self.waiting.push_back(batch);
            }
        }
        let under_way: BTreeSet<Place> =
            self.waiting.iter().filter(|batch| batch.is_sent).map(|batch| batch.at).collect();
        let mut request: Vec<Batch> = Vec::new();
        for batch in self.waiting.iter_mut().filter(|batch| !batch.is_sent) {
            let must_wait = under_way.contains(&batch.at) && !self.known_to.contains(&batch.at);
            let is_full = request.len() == BATCHES_PER_REQUEST_MAX;
            if must_wait || is_full || request.iter().any(|other| other.at == batch.at) {
                break;
            }
            batch.is_sent = true;
            request.push(batch.clone());
        }
        (!request.is_empty()).then_some(request)
    }

    fn make_batch(&mut self) -> Batch {
        let at = self.places[self.seed.below(self.places.len() as u64) as usize];
        let count = 1 + self.seed.below(20) as u32;
        let numbers = self.next_number..self.next_number + count;
        self.next_number += count;
        self.batches_left -= 1;
        let codec = CODECS[self.seed.below(CODECS.len() as u64) as usize];
        let stamp = self.identity.map(|(id, epoch)| {
            let next = self.next_sequences.entry(at).or_default();
            let base_sequence = *next;
            *next += count as i32;
            ProducerStamp { id, epoch, base_sequence }
        });
        Batch { at, bytes: record::batch(self.id, numbers.clone(), codec, stamp), numbers, is_sent: false }
    }

    async fn send(&self, connection: &mut Connection, version: i16, request: &[Batch]) -> Result<(), WireError> {
        let topic_of = |batch: &Batch| TopicProduceData {
            name: batch.at.topic,
            topic_id: self.workload.topic_id(batch.at.topic),
            partition_data: vec![],
        };
        let mut topics: Vec<TopicProduceData<'_>> = Vec::new();
        for batch in request {
            if topics.iter().all(|topic| topic.name != batch.at.topic) {
                topics.push(topic_of(batch));
            }
            let topic = topics.iter_mut().find(|topic| topic.name == batch.at.topic).expect("just added");
            topic.partition_data.push(PartitionProduceData { index: batch.at.partition, records: Some(&batch.bytes) });
        }
        let acks = match self.kind {
            Kind::Idempotent => -1,
            Kind::Plain(acks) => acks,
        };
        let request = ProduceRequest { transactional_id: None, acks, timeout_ms: 10_000, topic_data: topics };
        if acks == 0 {
            connection.send_unanswered(version, &request).await
        } else {
            connection.send(version, &request).await
        }
    }

    fn result_for<'a, 'b>(
        &self,
        answer: &'a ProduceResponse<'b>,
        version: i16,
        at: Place,
    ) -> Result<&'a PartitionProduceResponse<'b>, WireError> {
        let is_topic = |name: &str, id| match version {
            ..13 => name == at.topic,
            _ => id == self.workload.topic_id(at.topic),
        };
        let topic = answer.responses.iter().find(|topic| is_topic(topic.name, topic.topic_id));
        let result =
            topic.and_then(|topic| topic.partition_responses.iter().find(|partition| partition.index == at.partition));
        result.ok_or_else(|| WireError::Wrong(format!("Produce v{version}: no result for {at}")))
    }

    fn take_result(
        &mut self,
        batch: &Batch,
        result: &PartitionProduceResponse<'_>,
        failed: &mut BTreeSet<Place>,
    ) -> Result<(), WireError> {
        let history = &self.workload.history;
        match result.error_code {
            ErrorCode::None if result.base_offset >= 0 => {
                history.acknowledged(batch.at, result.base_offset, self.id, batch.numbers.clone());
                self.forget(batch);
            }
            ErrorCode::DuplicateSequenceNumber if self.kind == Kind::Idempotent => {
                history.acknowledged_somewhere(batch.at, self.id, batch.numbers.clone());
                self.forget(batch);
            }
            // Behind a failed batch it is what the broker must say.
            ErrorCode::OutOfOrderSequenceNumber if failed.contains(&batch.at) => {}
            ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::RequestTimedOut
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::KafkaStorageError => {
                let message = result.error_message.unwrap_or_default();
                self.workload.last_trouble.replace(format!(
                    "{:?} producer {}, {}: {} {message}",
                    self.kind,
                    self.id,
                    batch.at,
                    result.error_code.name()
                ));
                failed.insert(batch.at);
            }
            other => {
                let Batch { at, numbers, .. } = batch;
                let message = result.error_message.unwrap_or_default();
                let what = format!("{at}, records {numbers:?}: {} at {} {message}", other.name(), result.base_offset);
                return Err(WireError::Wrong(what));
            }
        }
        Ok(())
    }

    fn forget(&mut self, batch: &Batch) {
        self.known_to.insert(batch.at);
        self.waiting.retain(|waiting| waiting.numbers != batch.numbers);
    }

    /// Nothing is under way any more. What is not acknowledged is sent again; a plain producer may also give it up.
    fn prepare_retry(&mut self) {
        if self.kind != Kind::Idempotent {
            let seed = &mut self.seed;
            self.waiting.retain(|batch| !batch.is_sent || seed.chance(0.5));
        }
        self.waiting.iter_mut().for_each(|batch| batch.is_sent = false);
    }
}

async fn init_producer_id(connection: &mut Connection) -> Result<(i64, i16), WireError> {
    const VERSION: i16 = 4;
    loop {
        let request = InitProducerIdRequest { transaction_timeout_ms: 60_000, ..Default::default() };
        let body = connection.call(VERSION, &request).await?;
        let answer = InitProducerIdResponse::decode(&mut Reader::new(&body), VERSION)
            .map_err(|error| WireError::Wrong(format!("InitProducerId: {error}")))?;
        match answer.error_code {
            ErrorCode::None => return Ok((answer.producer_id, answer.producer_epoch)),
            ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::RequestTimedOut
            | ErrorCode::NotController => pause(10..100).await,
            other => return Err(WireError::Wrong(format!("InitProducerId: {}", other.name()))),
        }
    }
}
