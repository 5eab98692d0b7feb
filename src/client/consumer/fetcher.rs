//! Performs the requests of a consumer: where to begin, and the next data, one fetch a broker under way.

use super::partition::{Aborted, Partition};
use super::{ConsumerOptions, IsolationLevel, StartAt};
use crate::retry::Retry;
use crate::{Client, ClientError, Connection, Reply, TopicInfo};
use ringlane_protocol::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use ringlane_protocol::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use ringlane_protocol::{ApiKey, ErrorCode};
use ringlane_runtime::{Event, sleep, spawn};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::time::Duration;

/// First version of Fetch that names topics by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// Before a leader that failed, or a topic whose leader is unknown, is asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// Kafka's timestamps that stand for a place (ListOffsets).
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The "replica id" of consumers.
const CONSUMER: i32 = -1;

type At = (Rc<str>, i32);

pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) options: ConsumerOptions,
    pub(super) partitions: RefCell<BTreeMap<At, Partition>>,
    pub(super) generation: Cell<u64>,
    /// Data came, or an error, or what a poll waits for may be started now.
    pub(super) changed: Event,
    /// What the next poll gives back.
    pub(super) error: RefCell<Option<ClientError>>,
    connections: RefCell<BTreeMap<i32, Connection>>,
    /// Brokers with a fetch under way.
    fetching: RefCell<BTreeSet<i32>>,
    refreshing: RefCell<BTreeSet<Rc<str>>>,
}

/// What an answer brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Taken {
    Data,
    /// An error that passes.
    Later,
}

/// One partition of a fetch under way.
struct Asked {
    at: At,
    generation: u64,
    offset: i64,
    topic: Rc<TopicInfo>,
}

impl Shared {
    pub(super) fn new(client: &Client, options: ConsumerOptions) -> Shared {
        Shared {
            client: client.clone(),
            options,
            partitions: RefCell::default(),
            generation: Cell::new(0),
            changed: Event::default(),
            error: RefCell::default(),
            connections: RefCell::default(),
            fetching: RefCell::default(),
            refreshing: RefCell::default(),
        }
    }

    /// Starts what is due: offsets of partitions that have no place yet, and a fetch to each leader that has none under way.
    pub(super) fn start(self: &Rc<Self>) {
        let mut by_leader: BTreeMap<i32, Vec<Asked>> = BTreeMap::new();
        let mut unknown: BTreeSet<Rc<str>> = BTreeSet::new();
        let mut unplaced: Vec<(At, u64, StartAt)> = Vec::new();
        for (at, partition) in self.partitions.borrow_mut().iter_mut() {
            if let (Some(start), false) = (partition.start, partition.is_asking) {
                partition.is_asking = true;
                unplaced.push((at.clone(), partition.generation, start));
                continue;
            }
            let Some(offset) = partition.wants_fetch() else { continue };
            let topic = self.client.known_topic(&at.0);
            let leader = topic.as_ref().and_then(|topic| topic.partition(at.1)?.leader);
            match (topic, leader) {
                (Some(topic), Some(leader)) => {
                    let asked = Asked { at: at.clone(), generation: partition.generation, offset, topic };
                    by_leader.entry(leader).or_default().push(asked);
                }
                _ => drop(unknown.insert(at.0.clone())),
            }
        }
        unknown.iter().for_each(|topic| self.refresh(topic));
        for (at, generation, start) in unplaced {
            spawn("consumer place", place(Rc::downgrade(self), at, generation, start)).detach();
        }
        for (leader, asked) in by_leader {
            if self.fetching.borrow_mut().insert(leader) {
                self.mark(&asked, true);
                spawn("consumer fetch", fetch(Rc::downgrade(self), leader, asked)).detach();
            }
        }
    }

    fn mark(&self, asked: &[Asked], is_asking: bool) {
        let mut partitions = self.partitions.borrow_mut();
        for asked in asked {
            if let Some(partition) = partitions.get_mut(&asked.at).filter(|p| p.generation == asked.generation) {
                partition.is_asking = is_asking;
            }
        }
    }

    async fn connection(&self, broker: i32) -> Result<Connection, ClientError> {
        let open = self.connections.borrow().get(&broker).cloned().filter(Connection::is_open);
        match open {
            Some(connection) => Ok(connection),
            None => {
                let connection = self.client.open(broker).await?;
                self.connections.borrow_mut().insert(broker, connection.clone());
                Ok(connection)
            }
        }
    }

    fn isolation(&self) -> i8 {
        match self.options.isolation {
            IsolationLevel::ReadUncommitted => 0,
            IsolationLevel::ReadCommitted => 1,
        }
    }

    fn fail(&self, error: ClientError) {
        self.error.borrow_mut().get_or_insert(error);
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
            sleep(PAUSE).await;
            let Some(shared) = shared.upgrade() else { return };
            shared.refreshing.borrow_mut().remove(&topic);
            match outcome {
                Ok(_) => shared.changed.notify_all(),
                Err(error) => shared.fail(error),
            }
        };
        spawn("consumer metadata", ask).detach();
    }

    /// The offset that `start` means now. Asks the leader, again when it moved.
    pub(super) async fn offset_of(&self, topic: &Rc<str>, index: i32, start: StartAt) -> Result<i64, ClientError> {
        let timestamp = match start {
            StartAt::Offset(offset) => return Ok(offset),
            StartAt::Earliest => EARLIEST,
            StartAt::Latest => LATEST,
            StartAt::Timestamp(timestamp) => timestamp.max(0),
        };
        match self.list_offset(topic, index, timestamp).await? {
            Some(offset) => Ok(offset),
            // No record is as late as the timestamp.
            None => Ok(self.list_offset(topic, index, LATEST).await?.unwrap_or_default()),
        }
    }

    async fn list_offset(&self, topic: &Rc<str>, index: i32, timestamp: i64) -> Result<Option<i64>, ClientError> {
        let what = format!("offset of topic {topic} partition {index}");
        let mut retry = Retry::within(self.client.options().api_timeout);
        let mut info = self.client.topic(topic).await?;
        loop {
            let leader = info.require(index)?.leader;
            let outcome = match leader {
                Some(leader) => self.list_offset_at(leader, topic, index, timestamp, &what).await,
                None => Err(ClientError::refused(&what, ErrorCode::LeaderNotAvailable, None)),
            };
            match outcome {
                Ok(offset) => return Ok(offset),
                Err(error) => retry.after(&what, error).await?,
            }
            info = self.client.refresh(topic).await?;
        }
    }

    async fn list_offset_at(
        &self,
        leader: i32,
        topic: &Rc<str>,
        index: i32,
        timestamp: i64,
        what: &str,
    ) -> Result<Option<i64>, ClientError> {
        let partition = ListOffsetsPartition { partition_index: index, current_leader_epoch: -1, timestamp };
        let request = ListOffsetsRequest {
            replica_id: CONSUMER,
            isolation_level: self.isolation(),
            topics: vec![ListOffsetsTopic { name: topic, partitions: vec![partition] }],
            timeout_ms: millis(self.client.options().request_timeout),
        };
        let reply = self.connection(leader).await?.call(&request).await?;
        let response: ListOffsetsResponse = reply.body()?;
        let answer = response.topics.first().and_then(|topic| topic.partitions.first());
        let answer = answer.ok_or_else(|| ClientError::refused(what, ErrorCode::UnknownServerError, None))?;
        answer.error_code.ok().map_err(|code| ClientError::refused(what, code, None))?;
        Ok(Some(answer.offset).filter(|&offset| offset >= 0))
    }
}

/// Finds where a partition begins.
async fn place(shared: Weak<Shared>, at: At, generation: u64, start: StartAt) {
    let Some(this) = shared.upgrade() else { return };
    let offset = this.offset_of(&at.0, at.1, start).await;
    if let Some(partition) = this.partitions.borrow_mut().get_mut(&at).filter(|p| p.generation == generation) {
        partition.is_asking = false;
        if let Ok(offset) = offset {
            partition.begin_at(offset);
        }
    }
    match offset {
        Ok(_) => this.changed.notify_all(),
        Err(error) => this.fail(error),
    }
}

async fn fetch(shared: Weak<Shared>, leader: i32, asked: Vec<Asked>) {
    let Some(this) = shared.upgrade() else { return };
    let outcome = this.fetch_from(leader, &asked).await;
    this.mark(&asked, false);
    match outcome {
        Ok((reply, by_id)) => match this.took(&asked, &reply, by_id) {
            Ok(Taken::Data) => {}
            // Such answers come at once: asking again at once would spin.
            Ok(Taken::Later) => sleep(PAUSE).await,
            Err(error) => this.fail(error),
        },
        Err(error) if error.is_retriable() => {
            asked.iter().for_each(|asked| this.refresh(&asked.at.0));
            sleep(PAUSE).await;
        }
        Err(error) => this.fail(error),
    }
    this.fetching.borrow_mut().remove(&leader);
    this.changed.notify_all();
}

impl Shared {
    /// One fetch; tells with the answer whether it names topics by id.
    async fn fetch_from(&self, leader: i32, asked: &[Asked]) -> Result<(Reply, bool), ClientError> {
        let connection = self.connection(leader).await?;
        let has_ids = asked.iter().all(|asked| !asked.topic.id.is_zero());
        let at_most = if has_ids { i16::MAX } else { TOPIC_IDS_FROM - 1 };
        let version = connection.version_up_to(ApiKey::Fetch, at_most)?;
        let partition = |asked: &Asked| FetchPartition {
            partition: asked.at.1,
            fetch_offset: asked.offset,
            partition_max_bytes: self.options.partition_max_bytes,
            ..Default::default()
        };
        // Partitions come in order, so those of one topic stand together.
        let topics = asked.chunk_by(|a, b| a.at.0 == b.at.0).map(|chunk| FetchTopic {
            topic: &chunk[0].topic.name,
            topic_id: chunk[0].topic.id,
            partitions: chunk.iter().map(partition).collect(),
        });
        let request = FetchRequest {
            replica_id: CONSUMER,
            max_wait_ms: millis(self.options.max_wait),
            min_bytes: self.options.min_bytes,
            max_bytes: self.options.max_bytes,
            isolation_level: self.isolation(),
            topics: topics.collect(),
            ..Default::default()
        };
        let reply = connection.call_at(version, &request).await?;
        Ok((reply, version >= TOPIC_IDS_FROM))
    }

    fn took(self: &Rc<Self>, asked: &[Asked], reply: &Reply, by_id: bool) -> Result<Taken, ClientError> {
        let mut taken = Taken::Data;
        let response: FetchResponse = reply.body()?;
        response.error_code.ok().map_err(|code| ClientError::refused("fetch", code, None))?;
        for topic in &response.responses {
            for data in &topic.partitions {
                let found = asked.iter().find(|asked| {
                    let same = if by_id { asked.topic.id == topic.topic_id } else { asked.topic.name == topic.topic };
                    same && asked.at.1 == data.partition_index
                });
                if let Some(asked) = found {
                    taken = taken.max(self.took_partition(asked, data, reply)?);
                }
            }
        }
        Ok(taken)
    }

    fn took_partition(
        self: &Rc<Self>,
        asked: &Asked,
        data: &PartitionData<'_>,
        reply: &Reply,
    ) -> Result<Taken, ClientError> {
        let mut partitions = self.partitions.borrow_mut();
        let Some(partition) = partitions.get_mut(&asked.at).filter(|p| p.generation == asked.generation) else {
            return Ok(Taken::Data); // Reassigned meanwhile.
        };
        let what = || format!("fetch from topic {} partition {} offset {}", asked.at.0, asked.at.1, asked.offset);
        match data.error_code {
            ErrorCode::None => {
                let aborted = data.aborted_transactions.iter().flatten();
                let aborted = aborted.map(|t| Aborted { producer_id: t.producer_id, first_offset: t.first_offset });
                let end_offset = match self.options.isolation {
                    IsolationLevel::ReadUncommitted => data.high_watermark,
                    IsolationLevel::ReadCommitted => data.last_stable_offset,
                };
                let records = data.records.map(|records| reply.slice(records)).unwrap_or_default();
                partition.fetched(records, aborted.collect(), end_offset);
                Ok(Taken::Data)
            }
            ErrorCode::OffsetOutOfRange => match self.options.reset {
                Some(start @ (StartAt::Earliest | StartAt::Latest | StartAt::Timestamp(_))) => {
                    partition.start = Some(start);
                    Ok(Taken::Data)
                }
                // An offset out of range does not get into it by being asked for again.
                Some(StartAt::Offset(_)) | None => Err(ClientError::refused(what(), ErrorCode::OffsetOutOfRange, None)),
            },
            code if code.is_retriable() || code.wants_new_metadata() => {
                drop(partitions);
                self.refresh(&asked.at.0);
                Ok(Taken::Later)
            }
            code => Err(ClientError::refused(what(), code, None)),
        }
    }
}

fn millis(duration: Duration) -> i32 {
    duration.as_millis().try_into().unwrap_or(i32::MAX)
}
