//! What changed between two images: keys only, the values are in the images.

use crate::image::{ConfigResource, Image, LogPosition, Topic};
use crate::{BrokerId, Uuid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What changed from image `from` to image `to`. Deltas of consecutive steps merge, so that a slow reader skips steps, never changes.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Delta {
    pub from: LogPosition,
    pub to: LogPosition,
    /// Topics of `to` that were not in `from`.
    pub created: BTreeSet<Uuid>,
    /// Topics of `from` that are no longer in `to`, as they last were.
    pub deleted: BTreeMap<Uuid, Arc<Topic>>,
    /// Partitions of `to` that are new or changed (leader, ISR, replicas, epochs).
    pub partitions: BTreeSet<(Uuid, i32)>,
    /// Resources that had a key set, changed or removed; they may have none left.
    pub configs: BTreeSet<ConfigResource>,
    /// Brokers that registered, changed or left.
    pub brokers: BTreeSet<BrokerId>,
    pub features: bool,
    pub producer_ids: bool,
}

impl Delta {
    /// Nothing changed yet since `from`.
    pub fn since(from: LogPosition) -> Delta {
        Delta { from, to: from, ..Delta::default() }
    }

    /// From the empty image to `image`: what a shard that starts has to do.
    pub fn everything(image: &Image) -> Delta {
        Delta {
            from: LogPosition::default(),
            to: image.applied(),
            created: image.topics().map(|topic| topic.id).collect(),
            deleted: BTreeMap::new(),
            partitions: image.topics().flat_map(|t| (0..t.partition_count()).map(|p| (t.id, p))).collect(),
            configs: image.configured_resources().cloned().collect(),
            brokers: image.brokers().map(|broker| broker.id).collect(),
            features: true,
            producer_ids: true,
        }
    }

    /// From `old` to `new` when only the two are known: after a snapshot took the place of the entries between.
    pub fn between(old: &Image, new: &Image) -> Delta {
        let mut delta = Delta::everything(new);
        delta.from = old.applied();
        for topic in old.topics() {
            match new.topic(topic.id) {
                Some(_) => drop(delta.created.remove(&topic.id)),
                None => delta.topic_deleted(topic.clone()),
            }
        }
        delta.configs.extend(old.configured_resources().cloned());
        delta.brokers.extend(old.brokers().map(|broker| broker.id));
        delta
    }

    /// Makes this delta span `later` too, which must begin where this one ends.
    pub fn merge(&mut self, later: &Delta) {
        debug_assert_eq!(self.to, later.from, "deltas must be consecutive");
        self.to = later.to;
        self.created.extend(&later.created);
        self.partitions.extend(&later.partitions);
        for topic in later.deleted.values() {
            self.topic_deleted(topic.clone());
        }
        self.configs.extend(later.configs.iter().cloned());
        self.brokers.extend(&later.brokers);
        self.features |= later.features;
        self.producer_ids |= later.producer_ids;
    }

    /// A topic that came and went within the span never was, for whoever reads the whole span.
    pub(super) fn topic_deleted(&mut self, topic: Arc<Topic>) {
        let of_topic: Vec<_> = self.partitions.range((topic.id, 0)..=(topic.id, i32::MAX)).copied().collect();
        for partition in of_topic {
            self.partitions.remove(&partition);
        }
        if !self.created.remove(&topic.id) {
            self.deleted.insert(topic.id, topic);
        }
    }
}
