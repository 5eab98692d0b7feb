//! Creating and deleting topics.

use crate::{BrokerId, Uuid};
use std::sync::Arc;

/// What the controller's own configuration says about new topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicRules {
    /// `num.partitions`
    pub default_partitions: i32,
    /// `default.replication.factor`
    pub default_replication_factor: i16,
    /// `delete.topic.enable`
    pub delete_enabled: bool,
}

/// One topic of a CreateTopics request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateTopic {
    pub name: String,
    /// The id that it will have; drawn by the caller (`Uuid::from_random`), so that deciding stays pure.
    pub id: Uuid,
    /// -1: the default. Must be -1 with `assignments`.
    pub partitions: i32,
    /// -1: the default. Must be -1 with `assignments`.
    pub replication_factor: i16,
    /// (partition, its replicas, preferred leader first); empty: the controller places them.
    pub assignments: Vec<(i32, Vec<BrokerId>)>,
    /// A null value stays a null: Kafka refuses it.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic that now exists (or would, with `validate_only`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreatedTopic {
    pub id: Uuid,
    pub name: Arc<str>,
    pub partitions: i32,
    pub replication_factor: i16,
}

/// One topic of a DeleteTopics request: by name, or by id (then `name` is `None`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteTopic {
    pub name: Option<String>,
    pub id: Uuid,
}

/// A topic that is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeletedTopic {
    pub id: Uuid,
    pub name: Arc<str>,
}
