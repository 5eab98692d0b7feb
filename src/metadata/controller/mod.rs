//! Decides. Every function here is pure: (image, request) -> records to commit and one answer per item, with Kafka's error codes and
//! Kafka's order of checks. Nothing takes effect until the records are committed.
//!
//! Called by the active controller on shard 0 with the *specified* image (committed state plus the batches in flight), so that two
//! requests in a row cannot both create the same topic.

mod brokers;
mod configs;
mod election;
pub mod features;
mod partitions;
mod placement;
mod producer_ids;
mod topics;

#[cfg(test)]
mod tests;

pub use brokers::{BrokerRegistered, RegisterBroker, register_broker, unfence_broker};
pub use configs::{AlterConfigs, AlterOp, ConfigChange, alter_configs};
pub use partitions::{CreatePartitions, create_partitions};
pub use producer_ids::{PRODUCER_ID_BLOCK_SIZE, ProducerIdBlock, allocate_producer_ids};
pub use topics::{
    CreateTopic, CreatedTopic, DeleteTopic, DeletedTopic, TopicRules, check_topic_name, create_topics, delete_topics,
};

use crate::{BrokerId, ConfigResource, Image, Record};
use ringlane_protocol::ErrorCode;
use std::collections::BTreeMap;

/// Most partitions that one request may create, as in Kafka: what one atomic batch and one round of opening logs should hold.
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// Why one item of a request was not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    pub code: ErrorCode,
    /// What was asked, what was found, how to fix it. Goes to the client as it is.
    pub message: String,
}

impl Refused {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refused {
        Refused { code, message: message.into() }
    }
}

/// What to commit and what to answer once it is applied. Without records there is nothing to wait for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision<T> {
    pub records: Vec<Record>,
    pub answer: T,
}

impl<T> Decision<T> {
    fn none(answer: T) -> Decision<T> {
        Decision { records: Vec::new(), answer }
    }

    fn map<U>(self, into: impl FnOnce(T) -> U) -> Decision<U> {
        Decision { records: self.records, answer: into(self.answer) }
    }

    /// The same answer, but nothing happens.
    fn only_validated_if(mut self, validate_only: bool) -> Decision<T> {
        if validate_only {
            self.records.clear();
        }
        self
    }
}

/// Everything that may be asked of the controller. Owned and `Send`: it travels between shards, and later between brokers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControllerRequest {
    CreateTopics {
        topics: Vec<CreateTopic>,
        validate_only: bool,
    },
    DeleteTopics {
        topics: Vec<DeleteTopic>,
    },
    CreatePartitions {
        topics: Vec<CreatePartitions>,
        validate_only: bool,
    },
    AlterConfigs {
        resources: Vec<AlterConfigs>,
        validate_only: bool,
    },
    /// A block of producer ids for this broker's epoch.
    AllocateProducerIds {
        broker: BrokerId,
        epoch: i64,
    },
    RegisterBroker(RegisterBroker),
    /// The broker has applied its registration and may serve.
    UnfenceBroker {
        broker: BrokerId,
        epoch: i64,
    },
}

/// The answer to the [`ControllerRequest`] of the same name; lists are in the order of the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControllerReply {
    CreateTopics(Vec<Result<CreatedTopic, Refused>>),
    DeleteTopics(Vec<Result<DeletedTopic, Refused>>),
    CreatePartitions(Vec<Result<(), Refused>>),
    /// The resource is `None` when its type is unknown.
    AlterConfigs(Vec<(Option<ConfigResource>, Result<(), Refused>)>),
    AllocateProducerIds(Result<ProducerIdBlock, Refused>),
    RegisterBroker(Result<BrokerRegistered, Refused>),
    UnfenceBroker(Result<(), Refused>),
    /// The whole request was refused: not the controller (41), queue full, stopping.
    Refused(Refused),
}

/// Decides one request. `next_index` is the log index that the records will have if they are committed.
pub fn decide(
    image: &Image,
    rules: &TopicRules,
    next_index: u64,
    request: &ControllerRequest,
) -> Decision<ControllerReply> {
    match request {
        ControllerRequest::CreateTopics { topics, validate_only } => {
            create_topics(image, rules, topics).only_validated_if(*validate_only).map(ControllerReply::CreateTopics)
        }
        ControllerRequest::DeleteTopics { topics } => {
            delete_topics(image, rules, topics).map(ControllerReply::DeleteTopics)
        }
        ControllerRequest::CreatePartitions { topics, validate_only } => {
            create_partitions(image, topics).only_validated_if(*validate_only).map(ControllerReply::CreatePartitions)
        }
        ControllerRequest::AlterConfigs { resources, validate_only } => {
            alter_configs(image, resources).only_validated_if(*validate_only).map(ControllerReply::AlterConfigs)
        }
        ControllerRequest::AllocateProducerIds { broker, epoch } => {
            allocate_producer_ids(image, *broker, *epoch).map(ControllerReply::AllocateProducerIds)
        }
        ControllerRequest::RegisterBroker(broker) => {
            register_broker(image, next_index, broker).map(ControllerReply::RegisterBroker)
        }
        ControllerRequest::UnfenceBroker { broker, epoch } => {
            unfence_broker(image, *broker, *epoch).map(ControllerReply::UnfenceBroker)
        }
    }
}

/// Collects the records of those items that were not refused.
fn decide_each<I, T>(
    items: &[I],
    mut one: impl FnMut(&I) -> Result<(Vec<Record>, T), Refused>,
) -> Decision<Vec<Result<T, Refused>>> {
    let mut records = Vec::new();
    let answer = items
        .iter()
        .map(|item| {
            let (of_item, answer) = one(item)?;
            records.extend(of_item);
            Ok(answer)
        })
        .collect();
    Decision { records, answer }
}

/// Refuses an item whose key occurs more than once in its request; Kafka refuses all of them, not all but the first.
fn refuse_repeated<'a>(keys: impl Iterator<Item = &'a str>) -> impl Fn(&str) -> Result<(), Refused> {
    let mut counts = BTreeMap::<String, u32>::new();
    for key in keys {
        *counts.entry(key.to_string()).or_default() += 1;
    }
    move |key| match counts.get(key) {
        Some(2..) => {
            Err(Refused::new(ErrorCode::InvalidRequest, format!("{key} is named more than once in this request")))
        }
        _ => Ok(()),
    }
}
