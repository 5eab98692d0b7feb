//! Creating and deleting topics.

use crate::controller::placement::{self, Placement};
use crate::controller::{Decision, PARTITIONS_PER_REQUEST_MAX, Refused, configs, decide_each, refuse_repeated};
use crate::{BrokerId, ConfigResource, Image, Record, Uuid};
use ringlane_protocol::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Longest topic name: with "-" and ten digits of partition it stays a file name.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;
/// Kafka keeps its own metadata log under this name.
const METADATA_TOPIC: &str = "__cluster_metadata";

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

/// Creates what can be created; each other topic has its reason.
pub fn create_topics(
    image: &Image,
    rules: &TopicRules,
    topics: &[CreateTopic],
) -> Decision<Vec<Result<CreatedTopic, Refused>>> {
    if let Err(refused) = check_total(rules, topics) {
        return Decision::none(topics.iter().map(|_| Err(refused.clone())).collect());
    }
    let repeated = refuse_repeated(topics.iter().map(|topic| topic.name.as_str()));
    let lookalikes = Lookalikes::among(image, topics);
    decide_each(topics, |topic| {
        repeated(&topic.name)?;
        check_new_name(image, &lookalikes, &topic.name)?;
        let config_records = new_topic_configs(topic)?;
        let partitions = place_partitions(image, rules, topic)?;
        let created = CreatedTopic {
            id: topic.id,
            name: Arc::from(topic.name.as_str()),
            partitions: partitions.len() as i32,
            replication_factor: partitions.first().map_or(0, |partition| partition.replicas.len() as i16),
        };
        let mut records = vec![Record::Topic { name: created.name.clone(), id: topic.id }];
        records.extend(config_records);
        records.extend(placement::partition_records(image, topic.id, 0, partitions));
        Ok((records, created))
    })
}

/// Deletes what can be deleted.
pub fn delete_topics(
    image: &Image,
    rules: &TopicRules,
    topics: &[DeleteTopic],
) -> Decision<Vec<Result<DeletedTopic, Refused>>> {
    if !rules.delete_enabled {
        let refused = Refused::new(
            ErrorCode::TopicDeletionDisabled,
            "topics cannot be deleted here: delete.topic.enable is false in the broker's configuration",
        );
        return Decision::none(topics.iter().map(|_| Err(refused.clone())).collect());
    }
    let found: Vec<_> = topics.iter().map(|topic| find(image, topic)).collect();
    let mut counts = BTreeMap::<Uuid, u32>::new();
    found.iter().flatten().for_each(|topic| *counts.entry(topic.id).or_default() += 1);
    decide_each(&found, |topic| {
        let topic = topic.clone()?;
        if counts.get(&topic.id).is_some_and(|count| *count > 1) {
            return Err(invalid(format!("topic {} (id {}) is named more than once", topic.name, topic.id)));
        }
        Ok((vec![Record::RemoveTopic { id: topic.id }], topic))
    })
}

fn find(image: &Image, asked: &DeleteTopic) -> Result<DeletedTopic, Refused> {
    let topic = match (&asked.name, asked.id.is_zero()) {
        (Some(_), false) => return Err(invalid("a topic is named by its name or by its id, not by both")),
        (None, true) => return Err(invalid("a topic to delete has neither name nor id")),
        (Some(name), true) => image.topic_by_name(name).ok_or_else(|| {
            Refused::new(ErrorCode::UnknownTopicOrPartition, format!("there is no topic named {name:?}"))
        })?,
        (None, false) => image.topic(asked.id).ok_or_else(|| {
            Refused::new(ErrorCode::UnknownTopicId, format!("there is no topic with id {}", asked.id))
        })?,
    };
    Ok(DeletedTopic { id: topic.id, name: topic.name.clone() })
}

/// Whether all the partitions asked for may come into being at once.
fn check_total(rules: &TopicRules, topics: &[CreateTopic]) -> Result<(), Refused> {
    let partitions = |topic: &CreateTopic| match (topic.assignments.len(), topic.partitions) {
        (0, -1) => rules.default_partitions.max(0) as usize,
        (0, partitions) => partitions.max(0) as usize,
        (assigned, _) => assigned,
    };
    match topics.iter().map(partitions).sum() {
        0..=PARTITIONS_PER_REQUEST_MAX => Ok(()),
        total => Err(Refused::new(
            ErrorCode::PolicyViolation,
            format!(
                "{total} partitions in one request are more than {PARTITIONS_PER_REQUEST_MAX}: create them in parts"
            ),
        )),
    }
}

fn check_new_name(image: &Image, lookalikes: &Lookalikes, name: &str) -> Result<(), Refused> {
    if name == METADATA_TOPIC {
        return Err(invalid(format!("{METADATA_TOPIC} is reserved for the cluster's own metadata")));
    }
    if image.topic_by_name(name).is_some() {
        return Err(Refused::new(ErrorCode::TopicAlreadyExists, format!("topic {name} already exists")));
    }
    check_topic_name(name).map_err(|message| Refused::new(ErrorCode::InvalidTopicException, message))?;
    match lookalikes.of(name) {
        Some(other) => Err(Refused::new(
            ErrorCode::InvalidTopicException,
            format!(
                "topic {name} and the existing topic {other} differ only in '.' and '_', which metric names cannot tell apart"
            ),
        )),
        None => Ok(()),
    }
}

/// Kafka's rules for topic names.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name {
        "" => Err("a topic name cannot be empty".into()),
        "." | ".." => Err("a topic cannot be named \".\" or \"..\": they mean directories".into()),
        _ if name.len() > TOPIC_NAME_BYTES_MAX => Err(format!(
            "topic name of {} bytes, at most {TOPIC_NAME_BYTES_MAX} are possible: {}...",
            name.len(),
            &name[..name.floor_char_boundary(40)]
        )),
        _ => match name.chars().find(|c| !legal(*c)) {
            Some(c) => {
                Err(format!("topic name {name:?} contains {c:?}; ASCII letters, digits, '.', '_' and '-' are allowed"))
            }
            None => Ok(()),
        },
    }
}

/// Existing topics under the name that metrics would give them. Only built when a new name could clash.
struct Lookalikes(BTreeMap<String, Arc<str>>);

impl Lookalikes {
    fn among(image: &Image, topics: &[CreateTopic]) -> Lookalikes {
        let mut existing = BTreeMap::new();
        if topics.iter().any(|topic| Self::can_clash(&topic.name)) {
            let clashing = image.topics().filter(|topic| Self::can_clash(&topic.name));
            existing.extend(clashing.map(|topic| (Self::unified(&topic.name), topic.name.clone())));
        }
        Lookalikes(existing)
    }

    fn of(&self, name: &str) -> Option<&Arc<str>> {
        Self::can_clash(name).then(|| self.0.get(&Self::unified(name)))?
    }

    fn can_clash(name: &str) -> bool {
        name.contains(['.', '_'])
    }

    fn unified(name: &str) -> String {
        name.replace('.', "_")
    }
}

fn new_topic_configs(topic: &CreateTopic) -> Result<Vec<Record>, Refused> {
    let nulls: Vec<_> =
        topic.configs.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key.as_str()).collect();
    if !nulls.is_empty() {
        let message = format!("a new topic's configs need values; null was given for: {}", nulls.join(", "));
        return Err(Refused::new(ErrorCode::InvalidConfig, message));
    }
    let wanted: BTreeMap<_, _> =
        topic.configs.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?))).collect();
    configs::check_topic(&wanted)?;
    let resource = ConfigResource::topic(&topic.name);
    let record = |(key, value)| Record::Config {
        resource: resource.clone(),
        key: Arc::from(key),
        value: Some(Arc::from(value)),
    };
    Ok(wanted.into_iter().map(record).collect())
}

fn place_partitions(image: &Image, rules: &TopicRules, topic: &CreateTopic) -> Result<Vec<Placement>, Refused> {
    if !topic.assignments.is_empty() {
        return assigned_partitions(image, topic);
    }
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        let message =
            format!("replication factor {}: at least 1 is needed, or -1 for the default", topic.replication_factor);
        return Err(Refused::new(ErrorCode::InvalidReplicationFactor, message));
    }
    if topic.partitions < -1 || topic.partitions == 0 {
        let message = format!("{} partitions: at least 1 is needed, or -1 for the default", topic.partitions);
        return Err(Refused::new(ErrorCode::InvalidPartitions, message));
    }
    let or_default = |asked: i32, default: i32| if asked == -1 { default } else { asked };
    let count = or_default(topic.partitions, rules.default_partitions);
    let factor = or_default(topic.replication_factor.into(), rules.default_replication_factor.into());
    placement::place(image, topic.id, 0, count as usize, factor as usize)
}

fn assigned_partitions(image: &Image, topic: &CreateTopic) -> Result<Vec<Placement>, Refused> {
    if topic.replication_factor != -1 {
        return Err(invalid("with replicas assigned by hand the replication factor must be -1"));
    }
    if topic.partitions != -1 {
        return Err(invalid("with replicas assigned by hand the number of partitions must be -1"));
    }
    let bad = |message: String| Refused::new(ErrorCode::InvalidReplicaAssignment, message);
    let mut placed = BTreeMap::new();
    let mut factor = None;
    for (partition, replicas) in &topic.assignments {
        let placement = placement::check_assignment(image, *partition, replicas, factor)?;
        factor = Some(replicas.len());
        if placed.insert(*partition, placement).is_some() {
            return Err(bad(format!("partition {partition} is assigned more than once")));
        }
    }
    let expected: BTreeSet<i32> = (0..placed.len() as i32).collect();
    match placed.keys().copied().collect::<BTreeSet<_>>().difference(&expected).next() {
        Some(partition) => Err(bad(format!("partition {partition} is assigned, but ids must run from 0 without gaps"))),
        None => Ok(placed.into_values().collect()),
    }
}

fn invalid(message: impl Into<String>) -> Refused {
    Refused::new(ErrorCode::InvalidRequest, message)
}
