//! The cluster as of one committed entry.
//!
//! An image is a value: persistent maps, so a clone costs a few reference counts and every shard holds the one it last received.
//! Applying the same records to the same image gives the same image on every node and in every version (effects, not
//! commands); [`Image::hash`] lets nodes and tests compare. All iteration is in key order.

mod apply;
mod delta;
mod parts;
mod snapshot;
#[cfg(test)]
mod tests;

pub use apply::ApplyError;
pub use delta::Delta;
pub use parts::{Broker, ConfigResource, Endpoint, FeatureRange, Partition, RecoveryState, ResourceKind, Topic};
pub use snapshot::SnapshotError;

use crate::{BrokerId, Uuid};
use imbl::OrdMap;
use std::sync::Arc;

/// `metadata.version`: the feature that gates records and controller logic.
pub const METADATA_VERSION: &str = "metadata.version";

/// Where in the metadata log something stands. The index is what Kafka's tools call the metadata offset, the term its controller
/// epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogPosition {
    pub term: u64,
    pub index: u64,
}

/// The cluster as of one committed entry. `Clone` is cheap; `Send`.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Image {
    applied: LogPosition,
    topics: OrdMap<Uuid, Arc<Topic>>,
    topic_ids: OrdMap<Arc<str>, Uuid>,
    brokers: OrdMap<BrokerId, Arc<Broker>>,
    configs: OrdMap<ConfigResource, OrdMap<Arc<str>, Arc<str>>>,
    features: OrdMap<Arc<str>, i16>,
    next_producer_id: i64,
}

impl Image {
    /// Nothing but finalized features.
    pub(crate) fn bootstrap(applied: LogPosition, features: impl Iterator<Item = (&'static str, i16)>) -> Image {
        let features = features.map(|(name, level)| (Arc::from(name), level)).collect();
        Image { applied, features, ..Image::default() }
    }

    /// The last entry that is part of this image.
    pub fn applied(&self) -> LogPosition {
        self.applied
    }

    pub fn topic(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    pub fn topic_by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(self.topic_ids.get(name)?)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topic_ids.values().filter_map(|id| self.topics.get(id))
    }

    /// Topics by name from `name` on (itself included), for paged answers.
    pub fn topics_from<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Arc<Topic>> + use<'a> {
        self.topic_ids.range(Arc::from(name)..).filter_map(|(_, id)| self.topics.get(id))
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    pub fn partition(&self, topic: Uuid, partition: i32) -> Option<&Partition> {
        self.topics.get(&topic)?.partition(partition)
    }

    pub fn broker(&self, id: BrokerId) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    /// Every registered broker, fenced ones included, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    /// Brokers that clients may be sent to.
    pub fn live_brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    /// The value set for one key of one resource; defaults are not here (see `ringlane_config`).
    pub fn config(&self, resource: &ConfigResource, key: &str) -> Option<&Arc<str>> {
        self.configs.get(resource)?.get(key)
    }

    /// All keys set for a resource, by key.
    pub fn configs<'a>(
        &'a self,
        resource: &ConfigResource,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<str>)> + use<'a> {
        self.configs.get(resource).into_iter().flat_map(|keys| keys.iter())
    }

    /// All keys set for a topic, by key.
    pub fn topic_configs<'a>(&'a self, topic: &str) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<str>)> + use<'a> {
        self.configs(&ConfigResource::topic(topic))
    }

    /// Every resource that has any key set.
    pub fn configured_resources(&self) -> impl Iterator<Item = &ConfigResource> {
        self.configs.keys()
    }

    /// Finalized features, by name.
    pub fn features(&self) -> impl Iterator<Item = (&Arc<str>, i16)> {
        self.features.iter().map(|(name, level)| (name, *level))
    }

    pub fn feature(&self, name: &str) -> Option<i16> {
        self.features.get(name).copied()
    }

    /// The first producer id of the next block.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }
}
