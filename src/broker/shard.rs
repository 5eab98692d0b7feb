//! What one shard of the broker is made of, and how it follows the metadata.
//!
//! One [`Shard`] per shard, made when shard 0 says `Open`, shared there as `Rc`. Owns the shard's image, its home partitions, its
//! connections and its budgets. The image is replaced whole, never changed: a handler keeps the one that it began with.

use crate::api::ProducerIds;
use crate::api::fetch::FetchSessions;
use crate::compaction::CompactedTopics;
use crate::coordinator::Coordinators;
use crate::mesh::{CREDITS_PER_LANE, Placement, ShardReply, ShardRequest, serve};
use crate::net::{Connection, ConnectionCounts, Connections, Refusals};
use crate::quorum::{Identity, MetaNode, Publication};
use crate::settings::{self, Settings, TopicSettings};
use crate::share::Shares;
use crate::task::keep_running;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use ringlane_config::Config;
use ringlane_log::cleaner::{self, CompactionOptions};
use ringlane_log::{DataDirState, Recovered, ShardLogs, ShardLogsOptions, VolumeOptions};
use ringlane_metadata::{ControllerReply, ControllerRequest, Image, Partition, Refused, Topic};
use ringlane_metrics::{ShardMetrics, Snapshot};
use ringlane_partition::{HomeShard, HomeShardOptions, PartitionSpec, ReadTicket, TopicConfig, TopicPartition};
use ringlane_protocol::{ErrorCode, TopicId, Writer};
use ringlane_runtime::{BLOCK_BYTES, Budget, Event, MeshEnd, Permit, ShardId, Task, counters, shard, shard_count};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Where the controller of this broker lives.
pub const CONTROLLER_SHARD: ShardId = ShardId(0);
/// Reads that one shard may have waiting on another; the other half of the credits is for work that does not wait.
const PARKED_READS_PER_LANE: usize = CREDITS_PER_LANE / 2;
/// Logs that a shard opens at the same time.
const OPENS_IN_FLIGHT: usize = 16;
/// Files of a journal: while one is written, the others wait for their checkpoint.
const JOURNAL_FILES: usize = 8;
/// How long an orderly stop waits for answers under way.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// A response up to this size is copied out of the shard's scratch memory, a larger one takes the memory with it.
const COPIED_RESPONSE_BYTES: usize = 16 << 10;

pub type Lanes = MeshEnd<ShardRequest, ShardReply>;

/// What shard 0 has found out before the others can begin.
#[derive(Clone)]
pub struct Opening {
    pub identity: Identity,
    pub volumes: Vec<VolumeOptions>,
    pub recovered: Arc<Recovered>,
}

/// Reads this shard's part of the journals that there are, also of those that shards had which are no more.
pub async fn scan_journals(volumes: &[VolumeOptions]) -> Recovered {
    let (own, shards) = (shard().0, shard_count() as u16);
    Recovered::scan(volumes, |journal| journal % shards == own).await
}

/// One shard of the broker.
pub struct Shard {
    pub id: ShardId,
    pub config: Arc<Config>,
    pub settings: Settings,
    pub identity: Identity,
    pub mesh: Lanes,
    pub placement: Placement,
    pub home: HomeShard,
    pub metrics: Rc<ShardMetrics>,
    pub request_budget: Budget,
    /// Fetched bytes that clients have not read yet.
    pub fetch_budget: Budget,
    pub connections: Connections,
    pub counts: ConnectionCounts,
    pub refusals: Refusals,
    pub sessions: RefCell<FetchSessions>,
    pub producer_ids: ProducerIds,
    pub coordinators: Coordinators,
    pub shares: Shares,
    /// By shard: see [`PARKED_READS_PER_LANE`].
    parked_reads: Vec<Budget>,
    /// Notified when the shard has stopped.
    pub stopped: Event,
    next_ticket: Cell<u64>,
    logs: ShardLogs,
    image: RefCell<Rc<ShardImage>>,
    topics: RefCell<BTreeMap<TopicId, TopicSettings>>,
    /// On shard 0 only.
    controller: Option<MetaNode>,
    scratch: RefCell<Vec<u8>>,
    /// What is created from now on has no data anywhere yet.
    has_begun: Cell<bool>,
}

/// The shard's own handle on the image that all shards share: a request counts its users here, not on a cache line of every core.
#[derive(Default)]
pub struct ShardImage(Arc<Image>);

impl std::ops::Deref for ShardImage {
    type Target = Image;
    fn deref(&self) -> &Image {
        &self.0
    }
}

/// A broker as clients of one listener are told.
pub struct Node {
    pub id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<Arc<str>>,
}

impl Shard {
    /// Starts the shard's logs. Tasks start with [`Shard::start`].
    pub fn open(
        config: Arc<Config>,
        mesh: Lanes,
        counts: ConnectionCounts,
        opening: Opening,
        controller: Option<MetaNode>,
    ) -> Rc<Shard> {
        let (id, shards) = (shard(), shard_count());
        let metrics = Rc::new(ShardMetrics::default());
        let broker = &config.broker;
        let journal_file_bytes = broker.io_journal_bytes / JOURNAL_FILES;
        let logs_options = ShardLogsOptions {
            journal_file_bytes: journal_file_bytes.next_multiple_of(BLOCK_BYTES) as u64,
            journal_files_max: JOURNAL_FILES,
            tail_cache_bytes: broker.tail_bytes_per_shard(),
            read_memory_bytes: broker.read_bytes_per_shard(),
            metrics: metrics.clone(),
            ..ShardLogsOptions::new(opening.volumes, opening.recovered)
        };
        let logs = ShardLogs::start(logs_options);
        let home = HomeShard::new(HomeShardOptions {
            producer_id_expiration_ms: broker.producer_id_expiration_ms,
            producer_expiry_interval: Duration::from_millis(broker.producer_id_expiration_check_interval_ms),
            producers_max: broker.shard_producers_max,
            // What every connection shard may have admitted, and again as much from requests that timed out meanwhile.
            unstable_bytes_max: 2 * shards * broker.request_bytes_per_shard(shards),
            retention_check_interval: Duration::from_millis(broker.log_retention_check_interval_ms),
            ..HomeShardOptions::new(opening.identity.node_id, logs.clone(), metrics.clone())
        });
        let sessions_max = broker.max_incremental_fetch_session_cache_slots.div_ceil(shards);
        let share_sessions_max = broker.group_share_max_share_sessions.div_ceil(shards);
        Rc::new(Shard {
            id,
            settings: Settings::of(&config),
            identity: opening.identity,
            mesh,
            placement: Placement::new(shards),
            home,
            metrics,
            request_budget: Budget::new("requests", broker.request_bytes_per_shard(shards)),
            fetch_budget: Budget::new("fetched", broker.read_bytes_per_shard()),
            connections: Connections::default(),
            counts,
            refusals: Refusals::default(),
            sessions: RefCell::new(FetchSessions::new(sessions_max, id.0, shards)),
            producer_ids: ProducerIds::default(),
            coordinators: Coordinators::default(),
            shares: Shares::new(share_sessions_max),
            parked_reads: (0..shards).map(|_| Budget::new("parked reads", PARKED_READS_PER_LANE)).collect(),
            stopped: Event::default(),
            next_ticket: Cell::new(0),
            logs,
            image: RefCell::default(),
            topics: RefCell::default(),
            controller,
            scratch: RefCell::default(),
            has_begun: Cell::new(false),
            config,
        })
    }

    /// All that the metadata had at the start is open, on all shards: the journals of the last process are void, this shard's begins.
    /// In the directories `given_up` they stay as they are: some shard could not take from them what it needs.
    pub async fn begin(&self, given_up: &[PathBuf]) -> Result<(), String> {
        self.has_begun.set(true);
        self.logs.give_up(given_up);
        self.logs.begin().await.map_err(|failed| failed.to_string())
    }

    pub async fn end_recovery(&self) {
        self.logs.end_recovery(shard_count()).await;
        // From now on coordinators may append to their logs.
        self.coordinators.follow(self, &self.image());
    }

    /// The tasks that run for as long as the shard: they end when these are dropped.
    pub fn start(self: &Rc<Self>) -> Vec<Task<()>> {
        let (home, swept, served) = (self.home.clone(), self.clone(), self.clone());
        let run_home = move || {
            let home = home.clone();
            async move { home.run().await }
        };
        let sweep = move || {
            let shard = swept.clone();
            async move { shard.connections.sweep(&shard.fetch_budget).await }
        };
        let cleaned = self.clone();
        let clean = move || {
            let options = settings::cleaner(&cleaned.config, shard_count());
            cleaner::run(cleaned.logs.clone(), options, Rc::new(CompactedTopics(cleaned.clone())))
        };
        let coordinating = self.clone();
        let run_outbox = move || {
            let shard = coordinating.clone();
            async move { shard.run_outbox().await }
        };
        vec![
            keep_running("cleaner", clean),
            keep_running("transactions", run_outbox),
            keep_running("home shard", run_home),
            keep_running("connection sweep", sweep),
            keep_running("mesh", move || serve(served.clone())),
        ]
    }

    /// The metadata as this shard has it.
    pub fn image(&self) -> Rc<ShardImage> {
        self.image.borrow().clone()
    }

    pub fn topic_config(&self, topic: TopicId) -> Option<Arc<TopicConfig>> {
        self.topics.borrow().get(&topic).map(|settings| settings.partition.clone())
    }

    /// The data directories of this broker.
    pub fn data_dirs(&self) -> Vec<DataDirState> {
        self.logs.data_dirs()
    }

    pub fn failed_directories(&self) -> Vec<PathBuf> {
        self.data_dirs().into_iter().filter(|dir| dir.failure.is_some()).map(|dir| dir.path).collect()
    }

    /// `None`: the topic is not compacted.
    pub fn compaction_of(&self, topic: TopicId) -> Option<CompactionOptions> {
        self.topics.borrow().get(&topic)?.compaction
    }

    /// The right to have one more read waiting on `to`; `None` when too many are. At home a read takes no credit, and the home shard has its
    /// own limit.
    pub fn park_read(&self, to: ShardId) -> Option<Permit> {
        self.parked_reads[to.0 as usize].try_acquire(if to == self.id { 0 } else { 1 })
    }

    /// A name for a read that no other read of this shard has.
    pub fn next_ticket(&self) -> ReadTicket {
        let number = self.next_ticket.get();
        self.next_ticket.set(number + 1);
        ReadTicket { shard: self.id.0, number }
    }

    /// Writes a response into the shard's scratch memory and takes it out.
    pub fn encode(&self, write: impl FnOnce(&mut Writer)) -> Bytes {
        let mut memory = self.scratch.take();
        memory.clear();
        let mut writer = Writer::over(memory);
        write(&mut writer);
        if writer.len() > COPIED_RESPONSE_BYTES {
            return Bytes::from(writer.into_bytes());
        }
        let bytes = Bytes::copy_from_slice(writer.as_slice());
        self.scratch.replace(writer.into_bytes());
        bytes
    }

    /// Live brokers as clients of this connection's listener are told.
    ///
    /// Without advertised.listeners, or with a listener on every address, our own address is the one that the client has reached us at.
    pub fn nodes(&self, image: &Image, connection: &Connection) -> Vec<Node> {
        let node = |broker: &Arc<ringlane_metadata::Broker>| {
            let endpoint = broker.endpoint(&connection.listener)?;
            let is_ours = broker.id == self.identity.node_id;
            let (host, port) = if is_ours && !self.settings.is_advertised(&connection.listener) {
                (connection.local.ip().to_string(), connection.local.port())
            } else {
                (endpoint.host.clone(), endpoint.port)
            };
            Some(Node { id: broker.id, host, port: port.into(), rack: broker.rack.clone() })
        };
        image.live_brokers().filter_map(node).collect()
    }

    /// Where the brokers `ids` listen, each once. For hints: who is not there is left out.
    pub fn endpoints_of(&self, image: &Image, connection: &Connection, ids: &[i32]) -> Vec<Node> {
        if ids.is_empty() {
            return Vec::new();
        }
        let mut nodes = self.nodes(image, connection);
        nodes.retain(|node| ids.contains(&node.id));
        nodes
    }

    /// Follows one step of the metadata: opens and changes partitions whose home this is, takes the new image, removes what is gone.
    pub async fn publish(&self, publication: Publication) -> Result<(), String> {
        let Publication { image, delta } = publication;
        let mut changed: BTreeSet<TopicId> = delta.partitions.iter().map(|(topic, _)| *topic).collect();
        changed.extend(&delta.created);
        let reconfigured = delta.configs.iter().filter_map(|resource| image.topic_by_name(&resource.name));
        changed.extend(reconfigured.map(|topic| topic.id));
        let specs: Vec<PartitionSpec> =
            changed.iter().filter_map(|id| image.topic(*id)).flat_map(|topic| self.configure(&image, topic)).collect();
        let opened = self.apply(specs).await;
        self.image.replace(Rc::new(ShardImage(image)));
        for topic in delta.deleted.values() {
            self.topics.borrow_mut().remove(&topic.id);
            for at in self.partitions_at_home(topic).map(|(at, _)| at) {
                self.home.remove(at).await;
            }
        }
        if self.has_begun.get() {
            self.coordinators.follow(self, &self.image());
            let deleted: Vec<_> = delta.deleted.values().map(|topic| (topic.id, topic.name.to_string())).collect();
            self.coordinators.topics_deleted(&deleted);
            self.shares.follow(&self.image(), self.identity.node_id);
        }
        opened
    }

    /// Takes the topic's settings and says what that means for its partitions at home here.
    fn configure(&self, image: &Image, topic: &Arc<Topic>) -> Vec<PartitionSpec> {
        let settings = settings::topic(&self.config, image, &topic.name);
        self.topics.borrow_mut().insert(topic.id, settings.clone());
        let spec = |(at, partition): (TopicPartition, &Partition)| PartitionSpec {
            at,
            topic: topic.name.clone(),
            leader_id: partition.leader,
            leader_epoch: partition.leader_epoch,
            replicas_count: partition.replicas.len(),
            isr_count: partition.isr.len(),
            config: settings.partition.clone(),
            log: settings.log_of(at),
            is_new: self.has_begun.get(),
        };
        self.partitions_at_home(topic).map(spec).collect()
    }

    /// Partitions that this broker holds and whose home this shard is.
    fn partitions_at_home<'a>(&self, topic: &'a Topic) -> impl Iterator<Item = (TopicPartition, &'a Partition)> {
        let (own, placement, node) = (self.id, self.placement, self.identity.node_id);
        let topic_id = topic.id;
        (0..).zip(topic.partitions.iter()).filter_map(move |(index, partition)| {
            let is_ours = placement.home(topic_id, index) == own && partition.replicas.contains(&node);
            is_ours.then_some((TopicPartition { topic_id, partition: index }, partition))
        })
    }

    /// Partitions of `topic` that this broker leads and whose home this shard is.
    pub fn led_at_home<'a>(&'a self, topic: &'a Topic) -> impl Iterator<Item = TopicPartition> + 'a {
        let node = self.identity.node_id;
        self.partitions_at_home(topic).filter(move |(_, partition)| partition.leader == node).map(|(at, _)| at)
    }

    /// Opens or changes partitions, a few at a time. The first failure is returned when all have been tried.
    async fn apply(&self, specs: Vec<PartitionSpec>) -> Result<(), String> {
        let mut waiting = specs.into_iter();
        let mut opening = FuturesUnordered::new();
        let mut result = Ok(());
        loop {
            while opening.len() < OPENS_IN_FLIGHT {
                let Some(spec) = waiting.next() else { break };
                opening.push(self.home.apply(spec));
            }
            match opening.next().await {
                None => return result,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::error!(shard = self.id.0, "cannot open {error}");
                    result = result.and(Err(error.to_string()));
                }
            }
        }
    }

    /// The shard's counters, with the gauges that nobody keeps up to date in between.
    pub fn snapshot(&self) -> Snapshot {
        self.metrics.request_bytes_held.set(self.request_budget.used_bytes() as i64);
        self.metrics.fetch_sessions.set(self.sessions.borrow().len() as i64);
        let machine = counters();
        for (gauge, value) in [
            (&self.metrics.ring_enters, machine.ring_enters),
            (&self.metrics.ring_wakes, machine.ring_wakes),
            (&self.metrics.pool_used_bytes, machine.pool_used_bytes),
            (&self.metrics.pool_slab_bytes, machine.pool_slab_bytes),
            (&self.metrics.pool_misses, machine.pool_misses),
            (&self.metrics.stall_max_ms, machine.shard_stall_max_ms),
            (&self.metrics.stalls, machine.shard_stalls),
            (&self.metrics.tasks_failed, machine.task_panics),
        ] {
            gauge.set(value as i64);
        }
        self.metrics.snapshot()
    }

    /// Asks the controller, which lives here.
    pub async fn decide(&self, request: ControllerRequest) -> ControllerReply {
        match &self.controller {
            Some(controller) => controller.request(request).await,
            None => ControllerReply::Refused(Refused {
                code: ErrorCode::NotController,
                message: format!("shard {} is not shard {}", self.id.0, CONTROLLER_SHARD.0),
            }),
        }
    }

    /// Orderly stop: answers leave, everything appended is written.
    pub async fn stop(&self) -> Result<(), String> {
        // First, because members may wait for minutes.
        self.coordinators.close();
        self.shares.close();
        self.connections.stop(STOP_GRACE).await;
        self.home.close();
        self.logs.close().await.map_err(|error| error.to_string())
    }
}
