//! What an image is made of. Plain data; every list in it is immutable and shared.

use crate::{BrokerId, NO_LEADER, Uuid};
use imbl::Vector;
use std::sync::Arc;

/// A topic. Its configs are under [`ConfigResource::topic`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    pub id: Uuid,
    pub name: Arc<str>,
    /// Partition `i` is element `i`: ids have no gaps.
    pub partitions: Vector<Partition>,
}

impl Topic {
    pub fn partition(&self, partition: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    pub fn partition_count(&self) -> i32 {
        self.partitions.len() as i32
    }
}

/// Who holds a partition and who leads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// The preferred leader first.
    pub replicas: Arc<[BrokerId]>,
    /// The log directory of each replica, in the order of `replicas`.
    pub directories: Arc<[Uuid]>,
    pub isr: Arc<[BrokerId]>,
    /// Eligible leader replicas (KIP-966): out of the ISR, yet hold everything below the high watermark.
    pub elr: Arc<[BrokerId]>,
    pub last_known_elr: Arc<[BrokerId]>,
    pub adding: Arc<[BrokerId]>,
    pub removing: Arc<[BrokerId]>,
    /// [`NO_LEADER`] when nobody can lead.
    pub leader: BrokerId,
    /// Grows by one at each change of leader.
    pub leader_epoch: i32,
    /// Grows by one at each change.
    pub partition_epoch: i32,
    pub recovery: RecoveryState,
}

impl Partition {
    pub fn has_leader(&self) -> bool {
        self.leader != NO_LEADER
    }
}

/// Whether the leader was elected uncleanly and still settles its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RecoveryState {
    #[default]
    Recovered = 0,
    Recovering = 1,
}

/// A registered broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broker {
    pub id: BrokerId,
    /// The log index of its registration: a later incarnation has a larger one.
    pub epoch: i64,
    pub incarnation: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub features: Vec<FeatureRange>,
    pub rack: Option<Arc<str>>,
    /// Fenced brokers lead nothing and are shown to nobody.
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    /// Its log directories.
    pub directories: Vec<Uuid>,
}

impl Broker {
    /// The address that clients of the listener `name` are told.
    pub fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener == name)
    }

    /// May lead and join an ISR.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }
}

/// One advertised listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    pub listener: String,
    pub host: String,
    pub port: u16,
    /// Kafka's numbering: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// The levels of a feature that a broker understands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeatureRange {
    pub name: String,
    pub min: i16,
    pub max: i16,
}

/// What a config key is set on. `name` is empty for the default of all brokers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConfigResource {
    pub kind: ResourceKind,
    pub name: Arc<str>,
}

impl ConfigResource {
    pub fn topic(name: &str) -> ConfigResource {
        ConfigResource { kind: ResourceKind::Topic, name: Arc::from(name) }
    }

    pub fn broker(id: BrokerId) -> ConfigResource {
        ConfigResource { kind: ResourceKind::Broker, name: Arc::from(id.to_string()) }
    }

    /// What holds for every broker that has no value of its own.
    pub fn broker_default() -> ConfigResource {
        ConfigResource { kind: ResourceKind::Broker, name: Arc::from("") }
    }
}

/// Kafka's resource types, with their numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ResourceKind {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ResourceKind {
    pub fn from_i8(value: i8) -> Option<ResourceKind> {
        use ResourceKind::*;
        [Topic, Broker, BrokerLogger, ClientMetrics, Group].into_iter().find(|kind| *kind as i8 == value)
    }
}
