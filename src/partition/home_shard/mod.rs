//! The partitions whose home is this shard, and what the mesh may ask of them.
//!
//! One [`HomeShard`] per shard, for as long as the shard. Rooms: `apply` (the metadata opens, changes and drops partitions), `append` (the
//! sequencing step), `stable` (what happens when bytes became stable, and on timeouts), `read` (waits for enough) and `read_now` (reads),
//! `offsets`, `retention`, `transactions` (gate, markers). All state is behind one `RefCell` that is borrowed for the length of a synchronous
//! step and never across an await; replies are called when it is free again.

mod append;
mod apply;
mod compaction;
mod offsets;
mod range;
mod read;
mod read_now;
mod retention;
mod stable;
mod transactions;

use crate::config::TopicConfig;
use crate::delayed_fetch::DelayedFetch;
use crate::delayed_produce::{DelayedProduce, Done, RequestId};
use crate::message::{ReadTicket, TopicPartition};
use crate::partition::Partition;
use crate::producer_state::{PartitionNumber, ProducerTable};
pub use apply::ApplyError;
pub use compaction::CleanablePartition;
pub use range::LogRange;
use ringlane_log::{LogKey, LogOptions, ShardLogs};
use ringlane_metrics::ShardMetrics;
use ringlane_protocol::ErrorCode;
use ringlane_runtime::Event;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub struct HomeShardOptions {
    pub broker_id: i32,
    pub logs: ShardLogs,
    pub metrics: Rc<ShardMetrics>,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// `producer.id.expiration.check.interval.ms`.
    pub producer_expiry_interval: Duration,
    /// Idempotent producers remembered, all partitions of the shard together; beyond it the least active are forgotten.
    pub producers_max: usize,
    /// Appended bytes that are not yet stable; beyond it produce is refused until the disk keeps up.
    pub unstable_bytes_max: usize,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval: Duration,
}

impl HomeShardOptions {
    /// Kafka's defaults, and limits for a shard of a gigabyte or so.
    pub fn new(broker_id: i32, logs: ShardLogs, metrics: Rc<ShardMetrics>) -> HomeShardOptions {
        HomeShardOptions {
            broker_id,
            logs,
            metrics,
            producer_id_expiration_ms: 24 * 3600 * 1000,
            producer_expiry_interval: Duration::from_secs(600),
            producers_max: 100_000,
            unstable_bytes_max: 256 << 20,
            retention_check_interval: Duration::from_secs(300),
        }
    }
}

/// One partition as the metadata image has it.
#[derive(Clone, Debug)]
pub struct PartitionSpec {
    pub at: TopicPartition,
    pub topic: Arc<str>,
    /// -1: none.
    pub leader_id: i32,
    pub leader_epoch: i32,
    pub replicas_count: usize,
    pub isr_count: usize,
    pub config: Arc<TopicConfig>,
    pub log: LogOptions,
    /// Created since the broker started: it has no data anywhere yet.
    pub is_new: bool,
}

/// Cheap to clone; one per shard. Every call comes from a task of the shard it was made on.
#[derive(Clone)]
pub struct HomeShard {
    inner: Rc<Inner>,
}

struct Inner {
    broker_id: i32,
    logs: ShardLogs,
    metrics: Rc<ShardMetrics>,
    producer_id_expiration_ms: i64,
    producer_expiry_interval: Duration,
    unstable_bytes_max: usize,
    retention_check_interval: Duration,
    /// Something with a deadline has begun to wait while nothing did.
    produce_waits: Event,
    state: RefCell<State>,
}

struct State {
    partitions: HashMap<TopicPartition, Partition, BuildHasherDefault<TopicPartitionHasher>>,
    by_log: BTreeMap<LogKey, TopicPartition>,
    /// Partitions whose log could not be opened: their data is here, so nobody else is to be asked.
    offline: BTreeSet<TopicPartition>,
    producers: ProducerTable,
    produces: DelayedProduce,
    fetches: DelayedFetch,
    unstable_bytes: usize,
    next_request: u64,
    next_partition: u64,
    is_closed: bool,
}

impl HomeShard {
    pub fn new(options: HomeShardOptions) -> HomeShard {
        let HomeShardOptions {
            broker_id,
            logs,
            metrics,
            producer_id_expiration_ms,
            producer_expiry_interval,
            producers_max,
            unstable_bytes_max,
            retention_check_interval,
        } = options;
        let state = State {
            partitions: HashMap::default(),
            by_log: BTreeMap::new(),
            offline: BTreeSet::new(),
            producers: ProducerTable::new(producers_max),
            produces: DelayedProduce::default(),
            fetches: DelayedFetch::default(),
            unstable_bytes: 0,
            next_request: 0,
            next_partition: 0,
            is_closed: false,
        };
        let inner = Rc::new(Inner {
            broker_id,
            logs,
            metrics,
            producer_id_expiration_ms,
            producer_expiry_interval,
            unstable_bytes_max,
            retention_check_interval,
            produce_waits: Event::default(),
            state: RefCell::new(state),
        });
        let shard = Rc::downgrade(&inner);
        inner.logs.keep_states(Rc::new(move |log| shard.upgrade().and_then(|shard| shard.state_of(log))));
        let shard = Rc::downgrade(&inner);
        inner.logs.keep_producers(Rc::new(move |log| shard.upgrade().and_then(|shard| shard.producers_of(log))));
        HomeShard { inner }
    }

    /// Lets a waiting read answer now with what there is: another shard of the same fetch has enough.
    pub fn hurry(&self, ticket: ReadTicket) {
        self.inner.state.borrow_mut().fetches.wake_ticket(ticket);
    }

    /// Refuses what comes from now on and answers what waits. Call it when `ShardLogs::close` has made the rest stable, or instead.
    pub fn close(&self) {
        let done: Vec<Done> = {
            let mut state = self.inner.state.borrow_mut();
            state.is_closed = true;
            state.fetches.wake_all();
            state.produces.give_up_all(ErrorCode::NotLeaderOrFollower)
        };
        done.into_iter().for_each(Done::answer);
    }
}

impl State {
    /// What a request for a partition that is not in the table gets.
    fn missing(&self, at: &TopicPartition) -> ErrorCode {
        match self.offline.contains(at) && !self.is_closed {
            true => ErrorCode::KafkaStorageError,
            false => ErrorCode::NotLeaderOrFollower,
        }
    }

    fn new_request_id(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    fn new_partition_number(&mut self) -> PartitionNumber {
        self.next_partition += 1;
        PartitionNumber(self.next_partition)
    }
}

/// Topic ids are random and made by the controller, so their bytes need no further mixing, and no client can choose them.
#[derive(Default)]
struct TopicPartitionHasher(u64);

impl Hasher for TopicPartitionHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_ne_bytes(word));
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn write_i32(&mut self, word: i32) {
        self.write_u64(word as u64);
    }
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
