//! The partitions whose home is this shard, and what the mesh may ask of them.

use crate::config::TopicConfig;
use crate::message::*;
use std::sync::Arc;

pub struct HomeShardOptions {
    pub broker_id: i32,
    pub logs: ringlane_log::ShardLogs,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
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
    /// Sequences every entry now; `reply` is called when `acks` is satisfied, or on timeout. Never waits.
    pub fn append(&self, request: AppendRequest, reply: impl FnOnce(AppendReply) + 'static) {
        let _ = (request, reply);
        todo!()
    }
    pub async fn read(&self, request: ReadRequest) -> ReadReply {
        let _ = request;
        todo!()
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
    /// Drives acks, high watermarks, waiting reads and expiry. One task per shard; returns after `close`.
    pub async fn run(&self) {
        todo!()
    }
    /// Answers everything parked. Call before `ShardLogs::close`.
    pub fn close(&self) {
        todo!()
    }
}
