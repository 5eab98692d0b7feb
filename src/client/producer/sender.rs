//! Performs what the accumulator decides: asks for a producer id, finds leaders, keeps a connection to each, sends and hears the
//! answers. One task per producer, and one for each request in flight; all end with the last handle of the producer.

use super::accumulator::{Accumulator, Target};
use super::queue::{Answer, Batch, Identity};
use super::record::Stored;
use super::transactional::Transactional;
use super::{Acks, ProducerOptions};
use crate::{Client, ClientError, Connection, Reply};
use futures::future::select;
use ringlane_protocol::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringlane_protocol::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use ringlane_protocol::records::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID};
use ringlane_protocol::{ApiKey, ErrorCode, TopicId};
use ringlane_runtime::{Event, Instant, now, sleep, sleep_until, spawn};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Kafka's `max.in.flight.requests.per.connection`.
const REQUESTS_IN_FLIGHT_MAX: usize = 5;
/// Between two tries to reach a broker, to learn a leader, or to get a producer id.
const PAUSE: Duration = Duration::from_millis(100);
/// First version of Produce that names topics by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// What a request takes beside its batches, generously.
const REQUEST_OVERHEAD_BYTES: usize = 512;

pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) options: ProducerOptions,
    pub(super) batches: RefCell<Accumulator>,
    /// A batch was opened or answered, a connection or a leader was found, a flush began.
    pub(super) changed: Event,
    pub(super) is_closed: Cell<bool>,
    pub(super) transactional: Option<Transactional>,
    brokers: RefCell<BTreeMap<i32, Broker>>,
    refreshing: RefCell<BTreeSet<Rc<str>>>,
    is_asking_identity: Cell<bool>,
}

#[derive(Default)]
struct Broker {
    connection: Option<Connection>,
    is_connecting: bool,
    requests_in_flight: usize,
}

impl Shared {
    pub(super) fn new(client: &Client, options: ProducerOptions, batches: Accumulator) -> Shared {
        let timeout = options.transaction_timeout;
        let transactional = options.transactional_id.as_deref().map(|id| Transactional::new(client, id, timeout));
        Shared {
            client: client.clone(),
            transactional,
            options,
            batches: RefCell::new(batches),
            changed: Event::default(),
            is_closed: Cell::new(false),
            brokers: RefCell::default(),
            refreshing: RefCell::default(),
            is_asking_identity: Cell::new(false),
        }
    }
}

pub(super) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(this) = shared.upgrade() else { return };
        let changed = this.changed.listen();
        let next_event = this.step();
        drop(this);
        match next_event {
            Some(at) => {
                select(pin!(changed), pin!(sleep_until(at))).await;
            }
            None => changed.await,
        }
    }
}

impl Shared {
    /// Starts everything that can be started now. Gives the time of the next step, if time alone brings one.
    fn step(self: &Rc<Self>) -> Option<Instant> {
        let now = now();
        if self.batches.borrow_mut().expire(now) {
            self.drop_what_is_lost();
            // There is room again, and a flush may be done.
            self.changed.notify_all();
        }
        if self.batches.borrow().wants_identity() {
            self.ask_identity();
        }
        // A round takes at most one batch of each partition into each request.
        while self.round(now) {}
        self.batches.borrow().next_event(now)
    }

    fn round(self: &Rc<Self>, now: Instant) -> bool {
        let mut ready = self.batches.borrow().ready(now);
        if let Some(transactional) = &self.transactional {
            ready.retain(|target| transactional.transaction.borrow_mut().may_send(target));
            self.add_partitions();
        }
        let mut by_leader: BTreeMap<i32, Vec<Target>> = BTreeMap::new();
        for target in ready {
            let topic = self.client.known_topic(&target.topic);
            match topic.and_then(|topic| topic.partition(target.partition)?.leader) {
                Some(leader) => by_leader.entry(leader).or_default().push(target),
                None => self.refresh(&target.topic),
            }
        }
        let mut is_any_sent = false;
        for (leader, targets) in by_leader {
            if let Some(connection) = self.free_connection(leader) {
                is_any_sent |= self.send(leader, &connection, targets);
            }
        }
        is_any_sent
    }

    /// A connection to `broker` with room for a request. Begins to connect if there is none.
    fn free_connection(self: &Rc<Self>, broker: i32) -> Option<Connection> {
        let mut brokers = self.brokers.borrow_mut();
        let state = brokers.entry(broker).or_default();
        match &state.connection {
            Some(connection) if connection.is_open() => {
                (state.requests_in_flight < REQUESTS_IN_FLIGHT_MAX).then(|| connection.clone())
            }
            _ if state.is_connecting || state.requests_in_flight > 0 => None,
            _ => {
                state.is_connecting = true;
                spawn("producer connect", connect(Rc::downgrade(self), self.client.clone(), broker)).detach();
                None
            }
        }
    }

    fn send(self: &Rc<Self>, leader: i32, connection: &Connection, targets: Vec<Target>) -> bool {
        let mut taken: Vec<(Target, Batch)> = Vec::new();
        let mut request_bytes = REQUEST_OVERHEAD_BYTES;
        for target in targets {
            // A batch's size is only known when it is taken; one may stand above the limit, as a large record does alone.
            if request_bytes >= self.options.max_request_bytes {
                break;
            }
            if let Some(batch) = self.batches.borrow_mut().take(&target) {
                request_bytes += batch.bytes.len();
                taken.push((target, batch));
            }
        }
        if taken.is_empty() {
            return false;
        }
        let ids = self.topic_ids(&taken);
        let at_most = if ids.is_some() { i16::MAX } else { TOPIC_IDS_FROM - 1 };
        let at_most = at_most.min(self.transactional.as_ref().map_or(i16::MAX, Transactional::produce_max));
        let started = connection.version_up_to(ApiKey::Produce, at_most).and_then(|version| {
            let request = self.request(&taken, ids.as_ref().filter(|_| version >= TOPIC_IDS_FROM));
            match self.options.acks {
                Acks::None => connection.tell(version, &request).map(|()| None),
                _ => connection.start(version, &request).map(Some),
            }
        });
        self.brokers.borrow_mut().entry(leader).or_default().requests_in_flight += 1;
        let (shared, connection) = (Rc::downgrade(self), connection.clone());
        let hear = async move {
            let answers = match started {
                Ok(Some(pending)) => pending.wait().await.and_then(|reply| answers_of(&reply, &taken, ids.as_ref())),
                Ok(None) => {
                    connection.sent().await;
                    let stored = Answer::Stored(Stored { base_offset: -1, log_append_time_ms: -1 });
                    Ok(taken.iter().map(|_| stored.clone()).collect())
                }
                Err(error) => Err(error),
            };
            if let Some(shared) = shared.upgrade() {
                shared.heard(leader, taken, answers);
            }
        };
        spawn("producer request", hear).detach();
        true
    }

    /// The id of each topic, unless one has none.
    fn topic_ids(&self, taken: &[(Target, Batch)]) -> Option<BTreeMap<Rc<str>, TopicId>> {
        let id_of = |topic: &Rc<str>| self.client.known_topic(topic).map(|info| info.id).filter(|id| !id.is_zero());
        taken.iter().map(|(target, _)| Some((target.topic.clone(), id_of(&target.topic)?))).collect()
    }

    fn request<'r>(
        &'r self,
        taken: &'r [(Target, Batch)],
        ids: Option<&BTreeMap<Rc<str>, TopicId>>,
    ) -> ProduceRequest<'r> {
        // Targets come in order, so those of one topic stand together.
        let topics = taken.chunk_by(|(a, _), (b, _)| a.topic == b.topic).map(|chunk| {
            let topic = &chunk[0].0.topic;
            let partitions = chunk
                .iter()
                .map(|(target, batch)| PartitionProduceData { index: target.partition, records: Some(&batch.bytes) });
            TopicProduceData {
                name: topic,
                topic_id: ids.and_then(|ids| ids.get(topic).copied()).unwrap_or_default(),
                partition_data: partitions.collect(),
            }
        });
        ProduceRequest {
            transactional_id: self.options.transactional_id.as_deref(),
            acks: match self.options.acks {
                Acks::None => 0,
                Acks::Leader => 1,
                Acks::All => -1,
            },
            timeout_ms: self.client.options().request_timeout.as_millis().try_into().unwrap_or(i32::MAX),
            topic_data: topics.collect(),
        }
    }

    fn heard(self: &Rc<Self>, leader: i32, taken: Vec<(Target, Batch)>, answers: Result<Vec<Answer>, ClientError>) {
        if let Some(broker) = self.brokers.borrow_mut().get_mut(&leader) {
            broker.requests_in_flight -= 1;
        }
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => vec![Answer::Lost(error); taken.len()],
        };
        let now = now();
        let mut stale: BTreeSet<Rc<str>> = BTreeSet::new();
        for ((target, batch), answer) in taken.into_iter().zip(answers) {
            let consequence = self.batches.borrow_mut().answered(&target, batch, answer, now);
            if consequence.wants_metadata {
                stale.insert(target.topic);
            }
        }
        stale.iter().for_each(|topic| self.refresh(topic));
        self.drop_what_is_lost();
        self.changed.notify_all();
    }

    /// Asks for a topic's leaders, once at a time.
    fn refresh(self: &Rc<Self>, topic: &Rc<str>) {
        if !self.refreshing.borrow_mut().insert(topic.clone()) {
            return;
        }
        let (shared, client, topic) = (Rc::downgrade(self), self.client.clone(), topic.clone());
        let ask = async move {
            let outcome = client.refresh(&topic).await;
            // Also a good answer may name no leader yet: asking again at once would spin.
            sleep(PAUSE).await;
            let Some(shared) = shared.upgrade() else { return };
            if let Err(error) = outcome {
                shared.batches.borrow_mut().note(error);
            }
            shared.refreshing.borrow_mut().remove(&topic);
            shared.changed.notify_all();
        };
        spawn("producer metadata", ask).detach();
    }

    fn ask_identity(self: &Rc<Self>) {
        if self.is_asking_identity.replace(true) {
            return;
        }
        let (shared, client) = (Rc::downgrade(self), self.client.clone());
        let ask = async move {
            let outcome = init_producer_id(&client).await;
            if outcome.is_err() {
                sleep(PAUSE).await;
            }
            let Some(shared) = shared.upgrade() else { return };
            shared.is_asking_identity.set(false);
            match outcome {
                Ok(identity) => shared.batches.borrow_mut().set_identity(identity),
                Err(error) => shared.batches.borrow_mut().note(error),
            }
            shared.changed.notify_all();
        };
        spawn("producer id", ask).detach();
    }
}

async fn connect(shared: Weak<Shared>, client: Client, broker: i32) {
    let outcome = client.open(broker).await;
    if outcome.is_err() {
        // The leader may have moved meanwhile, so that this broker is not asked again.
        sleep(PAUSE).await;
    }
    let Some(shared) = shared.upgrade() else { return };
    {
        let mut brokers = shared.brokers.borrow_mut();
        let state = brokers.entry(broker).or_default();
        state.is_connecting = false;
        match outcome {
            Ok(connection) => state.connection = Some(connection),
            Err(error) => {
                shared.batches.borrow_mut().note(error);
                drop(brokers);
                let ready = shared.batches.borrow().ready(now());
                ready.iter().for_each(|target| shared.refresh(&target.topic));
            }
        }
    }
    shared.changed.notify_all();
}

async fn init_producer_id(client: &Client) -> Result<Identity, ClientError> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
    };
    let reply = client.any().await?.call(&request).await?;
    let response: InitProducerIdResponse = reply.body()?;
    response.error_code.ok().map_err(|code| ClientError::refused("asking for a producer id", code, None))?;
    Ok(Identity { id: response.producer_id, epoch: response.producer_epoch })
}

/// The answer to each batch, in the order of the batches.
fn answers_of(
    reply: &Reply,
    taken: &[(Target, Batch)],
    ids: Option<&BTreeMap<Rc<str>, TopicId>>,
) -> Result<Vec<Answer>, ClientError> {
    let response: ProduceResponse = reply.body()?;
    let answer_to = |target: &Target| {
        let id = ids.and_then(|ids| ids.get(&target.topic).copied());
        let topic = response.responses.iter().find(|topic| match reply.version >= TOPIC_IDS_FROM {
            true => Some(topic.topic_id) == id,
            false => *topic.name == *target.topic,
        });
        let partition = topic
            .and_then(|topic| topic.partition_responses.iter().find(|partition| partition.index == target.partition));
        match partition {
            None => Answer::Refused(ErrorCode::UnknownServerError, Some("the answer leaves it out".to_string())),
            Some(partition) if partition.error_code.is_ok() => Answer::Stored(Stored {
                base_offset: partition.base_offset,
                log_append_time_ms: partition.log_append_time_ms,
            }),
            Some(partition) => {
                let record = partition.record_errors.iter().find_map(|record| record.batch_index_error_message);
                let message = record.or(partition.error_message);
                Answer::Refused(partition.error_code, message.map(str::to_string))
            }
        }
    };
    Ok(taken.iter().map(|(target, _)| answer_to(target)).collect())
}
