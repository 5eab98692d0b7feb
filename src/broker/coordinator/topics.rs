//! The cluster's topics, as groups that assign partitions see them.
//!
//! One per shard, shared by its machines, replaced with the shard's image between two inputs of a machine: never within one.

use crate::shard::ShardImage;
use ringlane_coordinator::consumer_group::Topics;
use ringlane_metadata::Partition;
use ringlane_protocol::TopicId;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

#[derive(Default)]
pub struct ClusterTopics {
    image: RefCell<Rc<ShardImage>>,
}

impl ClusterTopics {
    pub fn follow(&self, image: Rc<ShardImage>) {
        self.image.replace(image);
    }
}

impl fmt::Debug for ClusterTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterTopics(version {})", self.version())
    }
}

impl Topics for ClusterTopics {
    /// Of all metadata: it also grows when no topic has changed, and groups then compare their topics once in vain.
    fn version(&self) -> i64 {
        self.image.borrow().applied().index as i64
    }

    fn id(&self, name: &str) -> Option<TopicId> {
        self.image.borrow().topic_by_name(name).map(|topic| topic.id)
    }

    fn name(&self, id: TopicId) -> Option<Arc<str>> {
        self.image.borrow().topic(id).map(|topic| topic.name.clone())
    }

    fn partition_count(&self, id: TopicId) -> Option<i32> {
        self.image.borrow().topic(id).map(|topic| topic.partition_count())
    }

    fn racks(&self, id: TopicId, partition: i32) -> Vec<Arc<str>> {
        let image = self.image.borrow();
        let replicas = image.partition(id, partition).map(|Partition { replicas, .. }| replicas.clone());
        let replicas = replicas.iter().flat_map(|replicas| replicas.iter());
        let mut racks: Vec<_> = replicas.filter_map(|id| image.broker(*id)?.rack.clone()).collect();
        racks.sort();
        racks
    }

    fn each_name(&self, see: &mut dyn FnMut(&Arc<str>)) {
        self.image.borrow().topics().for_each(|topic| see(&topic.name));
    }
}
