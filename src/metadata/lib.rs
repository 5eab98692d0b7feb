//! What the cluster is: topics, partitions, brokers, configs, features; who may change it and how the change is agreed upon.
//!
//! Owns four things, all of them pure (no I/O, no clock, no randomness: whoever calls passes bytes, ticks and ids in):
//!
//! * [`record`]: one change as a record with Kafka's name, and the bytes of an atomic batch of them;
//! * [`image`]: the state that the records add up to ([`Image`]), and what one step changed ([`Delta`]);
//! * [`controller`]: (image, request) -> records and answers, with Kafka's error codes;
//! * [`quorum`]: the raft core that makes every broker apply the same records in the same order.
//!
//! Lives on shard 0 of every broker; images travel from there to all shards as `Arc<Image>`. The journal, the ticks and the
//! wire are the broker's (`ringlane_broker::quorum`).

pub mod controller;
pub mod image;
pub mod quorum;
pub mod record;

pub use controller::{ControllerReply, ControllerRequest, Refused};
pub use image::{
    Broker, ConfigResource, Delta, Endpoint, FeatureRange, Image, LogPosition, Partition, RecoveryState, ResourceKind,
    Topic,
};
pub use record::Record;

/// Kafka's Uuid: topics, directories, incarnations.
pub use ringlane_protocol::TopicId as Uuid;

/// A broker's id (`node.id`).
pub type BrokerId = i32;

/// "Nobody": the leader of a partition that has none.
pub const NO_LEADER: BrokerId = -1;
