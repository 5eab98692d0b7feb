//! One change to the cluster as a record, under Kafka's name and with Kafka's fields.
//!
//! Records are effects ("partition 3 is led by 2"), never commands ("elect a leader"): applying them needs no logic, so every version
//! of the program reads the same state out of the same log. Bytes: [`batch`].

pub mod batch;
mod codec;

use crate::{Broker, BrokerId, ConfigResource, Partition, RecoveryState, Uuid};
use std::sync::Arc;

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    NoOp,
    /// A new incarnation of a broker. `epoch` -1: the log index of the entry that holds this record.
    RegisterBroker(Broker),
    UnregisterBroker {
        broker: BrokerId,
        epoch: i64,
    },
    BrokerRegistrationChange(BrokerRegistrationChange),
    Topic {
        name: Arc<str>,
        id: Uuid,
    },
    /// The topic with its partitions and configs is gone.
    RemoveTopic {
        id: Uuid,
    },
    /// A new partition; the next id of its topic.
    Partition {
        topic: Uuid,
        partition: i32,
        state: Partition,
    },
    PartitionChange(PartitionChange),
    /// `None` removes the key.
    Config {
        resource: ConfigResource,
        key: Arc<str>,
        value: Option<Arc<str>>,
    },
    /// Everything below `next` has been handed out, the last block to `broker`.
    ProducerIds {
        broker: BrokerId,
        broker_epoch: i64,
        next: i64,
    },
    /// Level 0 removes the feature.
    FeatureLevel {
        name: Arc<str>,
        level: i16,
    },
}

/// What changed about a registration; `None` stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BrokerRegistrationChange {
    pub broker: BrokerId,
    pub epoch: i64,
    pub fenced: Option<bool>,
    pub in_controlled_shutdown: Option<bool>,
    pub directories: Option<Vec<Uuid>>,
}

/// What changed about a partition; `None` stays. The partition epoch grows by one with each such record, the leader epoch with each that
/// names a leader (even the same one).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartitionChange {
    pub topic: Uuid,
    pub partition: i32,
    pub isr: Option<Arc<[BrokerId]>>,
    pub leader: Option<BrokerId>,
    pub replicas: Option<Arc<[BrokerId]>>,
    pub directories: Option<Arc<[Uuid]>>,
    pub removing: Option<Arc<[BrokerId]>>,
    pub adding: Option<Arc<[BrokerId]>>,
    pub elr: Option<Arc<[BrokerId]>>,
    pub last_known_elr: Option<Arc<[BrokerId]>>,
    pub recovery: Option<RecoveryState>,
}
