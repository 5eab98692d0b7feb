//! The partitions whose home is this shard, and what the mesh may ask of them.

use crate::config::TopicConfig;
use crate::message::*;
use std::sync::Arc;

pub struct HomeShardOptions {
    pub broker_id: i32,
    pub logs: ringlane_log::ShardLogs,
    pub metrics: std::rc::Rc<ringlane_metrics::ShardMetrics>,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// Idempotent producers remembered, all partitions of the shard together; beyond it the least active are forgotten.
    pub producers_max: usize,
    /// Appended bytes that are not yet stable; beyond it produce is refused until the disk keeps up.
    pub unstable_bytes_max: usize,
}

impl HomeShardOptions {
    /// Kafka's defaults, and limits for a shard of a gigabyte or so.
    pub fn new(
        broker_id: i32,
        logs: ringlane_log::ShardLogs,
        metrics: std::rc::Rc<ringlane_metrics::ShardMetrics>,
    ) -> HomeShardOptions {
        HomeShardOptions {
            broker_id,
            logs,
            metrics,
            producer_id_expiration_ms: 24 * 3600 * 1000,
            producers_max: 100_000,
            unstable_bytes_max: 256 << 20,
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
    pub log: ringlane_log::LogOptions,
}

/// Cheap to clone; one per shard. Every call comes from a task of the shard it was made on.
#[derive(Clone)]
pub struct HomeShard {
    _inner: (),
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("partition {partition} of topic {topic}: {source}")]
    Open { topic: Arc<str>, partition: i32, source: ringlane_log::OpenError },
}

impl HomeShard {
    pub fn new(options: HomeShardOptions) -> HomeShard {
        let _ = options;
        todo!()
    }
    /// Opens the partition, or gives the open one its new leader, epoch and settings.
    pub async fn apply(&self, spec: PartitionSpec) -> Result<(), ApplyError> {
        let _ = spec;
        todo!()
    }
    /// The topic is gone: answers everything parked, deletes the log.
    pub async fn remove(&self, at: TopicPartition) {
        let _ = at;
        todo!()
    }
    /// Sequences every entry now; `reply` is called when `acks` is satisfied, or on timeout: never inside this call, unless nothing has to
    /// be waited for. For [`Acks::None`] it comes when the batches are stable, so that the caller can account for their memory until then.
    pub fn append(&self, request: AppendRequest, reply: impl FnOnce(AppendReply) + 'static) {
        let _ = (request, reply);
        todo!()
    }
    /// Decides at the call, not at the first poll, whether to wait, so that a [`HomeShard::hurry`] that comes later finds it.
    /// Dropping the future gives the read up.
    pub fn read(&self, request: ReadRequest) -> impl Future<Output = ReadReply> + use<> {
        let _ = request;
        async { todo!() }
    }
    /// Lets a waiting read answer now with what there is: another shard of the same fetch has enough.
    pub fn hurry(&self, ticket: ReadTicket) {
        let _ = ticket;
        todo!()
    }
    pub async fn offsets(&self, request: OffsetsRequest) -> OffsetsReply {
        let _ = request;
        todo!()
    }
    pub fn epoch_ends(&self, request: EpochEndRequest) -> EpochEndReply {
        let _ = request;
        todo!()
    }
    /// Drives acks, high watermarks, waiting reads and expiry. One task per shard; never returns, drop it to stop.
    pub async fn run(&self) {
        todo!()
    }
    /// Refuses what comes from now on and answers what waits. Call it when `ShardLogs::close` has made the rest stable, or instead.
    pub fn close(&self) {
        todo!()
    }
}
