//! What a group must know of the cluster's topics. The host gives it with every input, as of one moment.

use ringlane_protocol::TopicId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A view of the cluster's topics.
pub trait Topics: std::fmt::Debug {
    /// Grows with every change of what this trait shows: a topic created or deleted, partitions added, racks changed. It is written down with
    /// resolved regular expressions, so it must not go back when the coordinator moves: the offset of the metadata log serves.
    fn version(&self) -> i64;
    fn id(&self, name: &str) -> Option<TopicId>;
    fn name(&self, id: TopicId) -> Option<Arc<str>>;
    fn partition_count(&self, id: TopicId) -> Option<i32>;
    /// Racks of the partition's replicas, ascending; brokers without one are left out.
    fn racks(&self, id: TopicId, partition: i32) -> Vec<Arc<str>>;
    /// Every topic that members may know of.
    fn each_name(&self, see: &mut dyn FnMut(&Arc<str>));
}

/// Topics in a table of their own: for tests, and for hosts that keep no other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicTable {
    version: i64,
    topics: BTreeMap<Arc<str>, Topic>,
    names: BTreeMap<TopicId, Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub id: TopicId,
    pub partition_count: i32,
    /// Of each partition; may be shorter than there are partitions.
    pub racks: Vec<Vec<Arc<str>>>,
}

impl TopicTable {
    pub fn set(&mut self, name: &str, topic: Topic) {
        self.remove(name);
        self.version += 1;
        self.names.insert(topic.id, name.into());
        self.topics.insert(name.into(), topic);
    }

    pub fn remove(&mut self, name: &str) {
        if let Some(topic) = self.topics.remove(name) {
            self.version += 1;
            self.names.remove(&topic.id);
        }
    }

    fn topic(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(self.names.get(&id)?)
    }
}

impl Topics for TopicTable {
    fn version(&self) -> i64 {
        self.version
    }
    fn id(&self, name: &str) -> Option<TopicId> {
        self.topics.get(name).map(|topic| topic.id)
    }
    fn name(&self, id: TopicId) -> Option<Arc<str>> {
        self.names.get(&id).cloned()
    }
    fn partition_count(&self, id: TopicId) -> Option<i32> {
        self.topic(id).map(|topic| topic.partition_count)
    }
    fn racks(&self, id: TopicId, partition: i32) -> Vec<Arc<str>> {
        let racks = self.topic(id).and_then(|topic| topic.racks.get(usize::try_from(partition).ok()?));
        racks.cloned().unwrap_or_default()
    }
    fn each_name(&self, see: &mut dyn FnMut(&Arc<str>)) {
        self.topics.keys().for_each(see);
    }
}
