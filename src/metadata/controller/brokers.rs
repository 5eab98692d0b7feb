//! Brokers coming and going.

use crate::{BrokerId, Endpoint, FeatureRange, Uuid};

/// A broker's introduction of itself. It starts fenced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisterBroker {
    pub broker: BrokerId,
    /// New at each start of the process.
    pub incarnation: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub features: Vec<FeatureRange>,
    pub rack: Option<String>,
    pub directories: Vec<Uuid>,
}

/// The registration's epoch is its log index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokerRegistered {
    pub epoch: i64,
}
