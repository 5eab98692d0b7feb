//! Metadata (3): brokers, topics, partitions, from the shard's own image. Missing topics are created first where that is allowed.

use super::request::{ReplyHead, Request};
use super::{Handled, auto_create};
use crate::net::Connection;
use crate::shard::{Node, Shard};
use ringlane_metadata::{Image, NO_LEADER, Partition, Topic};
use ringlane_protocol::hot::{MetadataPartition, MetadataResponseWriter, MetadataTopic};
use ringlane_protocol::metadata::{MetadataRequest, MetadataResponseBroker};
use ringlane_protocol::{ErrorCode, TopicId};
use std::rc::Rc;
use std::sync::Arc;

/// Null, not empty, asks for all topics.
const NULL_MEANS_ALL_FROM: i16 = 1;
/// First version whose client knows LISTENER_NOT_FOUND.
const LISTENER_NOT_FOUND_FROM: i16 = 6;
/// First version that may ask by topic id.
const TOPIC_IDS_FROM: i16 = 12;

/// Operations on a topic and on the cluster (KIP-430) when nothing is forbidden: READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE and
/// both CONFIGS; for the cluster without READ, WRITE and DELETE but with CLUSTER_ACTION and IDEMPOTENT_WRITE.
pub const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
pub const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;
/// The client did not ask.
pub const NO_OPERATIONS: i32 = i32::MIN;

/// What the request asks, owned.
struct Asked {
    /// `None`: all topics.
    topics: Option<Vec<AskedTopic>>,
    may_create: bool,
    cluster_operations: bool,
    topic_operations: bool,
}

enum AskedTopic {
    Name(String),
    Id(TopicId),
}

/// One topic of the answer.
enum Found {
    Topic(Arc<Topic>),
    Missing { name: Option<String>, id: TopicId, error: ErrorCode },
}

pub async fn answer(request: Request) -> Handled {
    let Some(asked) = parse(&request)? else {
        return refuse_all(&request);
    };
    let connection = request.connection.clone();
    let shard = request.shard().clone();
    let head = request.reply_head();
    drop(request);
    let mut found = find(&shard.image(), asked.topics.as_deref());
    if asked.may_create && shard.config.broker.auto_create_topics_enable {
        create_missing(&shard, &mut found).await;
    }
    Ok(head.reply_by_hand(&shard, |writer| write(writer, head, &connection, &asked, &found)))
}

/// `None`: the request asks for what its version does not have (INVALID_REQUEST for all of it).
fn parse(request: &Request) -> Result<Option<Asked>, crate::net::CloseReason> {
    let body: MetadataRequest = request.body()?;
    let version = request.version;
    let wants_all = match &body.topics {
        None => true,
        Some(topics) => topics.is_empty() && version < NULL_MEANS_ALL_FROM,
    };
    let mut topics = Vec::new();
    for topic in body.topics.iter().flatten() {
        topics.push(match topic.name {
            Some(name) if topic.topic_id.is_zero() => AskedTopic::Name(name.to_owned()),
            _ if version < TOPIC_IDS_FROM => return Ok(None),
            _ => AskedTopic::Id(topic.topic_id),
        });
    }
    Ok(Some(Asked {
        topics: (!wants_all).then_some(topics),
        may_create: body.allow_auto_topic_creation,
        cluster_operations: body.include_cluster_authorized_operations,
        topic_operations: body.include_topic_authorized_operations,
    }))
}

fn find(image: &Image, asked: Option<&[AskedTopic]>) -> Vec<Found> {
    let Some(asked) = asked else {
        return image.topics().map(|topic| Found::Topic(topic.clone())).collect();
    };
    let find_one = |asked: &AskedTopic| match asked {
        AskedTopic::Id(id) => image.topic(*id).map_or_else(
            || Found::Missing { name: None, id: *id, error: ErrorCode::UnknownTopicId },
            |topic| Found::Topic(topic.clone()),
        ),
        AskedTopic::Name(name) => image.topic_by_name(name).map_or_else(
            || Found::Missing {
                name: Some(name.clone()),
                id: TopicId::ZERO,
                error: auto_create::check_name(name).err().unwrap_or(ErrorCode::UnknownTopicOrPartition),
            },
            |topic| Found::Topic(topic.clone()),
        ),
    };
    asked.iter().map(find_one).collect()
}

/// Creates what is missing and may exist, and puts it in its place.
async fn create_missing(shard: &Rc<Shard>, found: &mut [Found]) {
    let missing: Vec<String> = found
        .iter()
        .filter_map(|found| match found {
            Found::Missing { name: Some(name), error: ErrorCode::UnknownTopicOrPartition, .. } => Some(name.clone()),
            _ => None,
        })
        .collect();
    if missing.is_empty() {
        return;
    }
    let refused = auto_create::create(shard, missing).await;
    let image = shard.image();
    for place in found {
        let Found::Missing { name: Some(name), error, .. } = place else { continue };
        if let Some(topic) = image.topic_by_name(name) {
            *place = Found::Topic(topic.clone());
        } else if let Some(refusal) = refused.get(name) {
            *error = *refusal;
        }
    }
}

fn write(
    writer: &mut ringlane_protocol::Writer,
    head: ReplyHead,
    connection: &Connection,
    asked: &Asked,
    found: &[Found],
) {
    let shard = &connection.shard;
    let image = shard.image();
    let nodes = shard.nodes(&image, connection);
    let brokers: Vec<_> = nodes.iter().map(broker).collect();
    let cluster_id = Some(&*shard.identity.cluster_id);
    let mut body =
        MetadataResponseWriter::begin(writer, head.version, &brokers, cluster_id, shard.identity.node_id, found.len());
    let authorized_operations = if asked.topic_operations { TOPIC_OPERATIONS } else { NO_OPERATIONS };
    for found in found {
        match found {
            Found::Missing { name, id, error } => {
                let topic = MetadataTopic {
                    error_code: missing_code(*error, head.version),
                    name: name.as_deref(),
                    topic_id: *id,
                    is_internal: name.as_deref().is_some_and(is_internal),
                    authorized_operations: NO_OPERATIONS,
                };
                body.topic(topic, 0);
            }
            Found::Topic(topic) => {
                let described = MetadataTopic {
                    error_code: ErrorCode::None,
                    name: Some(&topic.name),
                    topic_id: topic.id,
                    is_internal: is_internal(&topic.name),
                    authorized_operations,
                };
                body.topic(described, topic.partitions.len());
                for (index, partition) in topic.partitions.iter().enumerate() {
                    write_partition(&mut body, head.version, &image, &nodes, index, partition);
                }
            }
        }
    }
    let operations = if asked.cluster_operations { CLUSTER_OPERATIONS } else { NO_OPERATIONS };
    body.finish(operations, ErrorCode::None);
}

fn write_partition(
    body: &mut MetadataResponseWriter<'_>,
    version: i16,
    image: &Image,
    nodes: &[Node],
    index: usize,
    partition: &Partition,
) {
    let offline: Vec<i32> = offline_replicas(image, partition);
    let has_endpoint = nodes.iter().any(|node| node.id == partition.leader);
    let (error_code, leader_id) = match partition.leader {
        NO_LEADER => (ErrorCode::LeaderNotAvailable, NO_LEADER),
        leader if has_endpoint => (ErrorCode::None, leader),
        _ if version >= LISTENER_NOT_FOUND_FROM => (ErrorCode::ListenerNotFound, NO_LEADER),
        _ => (ErrorCode::LeaderNotAvailable, NO_LEADER),
    };
    body.partition(MetadataPartition {
        error_code,
        index: index as i32,
        leader_id,
        leader_epoch: partition.leader_epoch,
        replicas: &partition.replicas,
        isr: &partition.isr,
        offline: &offline,
    });
}

/// Replicas on brokers that do not run.
pub fn offline_replicas(image: &Image, partition: &Partition) -> Vec<i32> {
    let is_live = |id: &i32| image.broker(*id).is_some_and(|broker| !broker.fenced);
    partition.replicas.iter().copied().filter(|id| !is_live(id)).collect()
}

fn refuse_all(request: &Request) -> Handled {
    let body: MetadataRequest = request.body()?;
    let topics: Vec<_> = body.topics.unwrap_or_default();
    Ok(request.reply_head().reply_by_hand(request.shard(), |writer| {
        let mut body = MetadataResponseWriter::begin(writer, request.version, &[], None, NO_LEADER, topics.len());
        for topic in &topics {
            let refused = MetadataTopic {
                error_code: ErrorCode::InvalidRequest,
                name: Some(topic.name.unwrap_or_default()),
                topic_id: topic.topic_id,
                is_internal: false,
                authorized_operations: NO_OPERATIONS,
            };
            body.topic(refused, 0);
        }
        body.finish(NO_OPERATIONS, ErrorCode::InvalidRequest);
    }))
}

/// Clients of version 0 do not know UNKNOWN_TOPIC_OR_PARTITION as a passing state.
fn missing_code(error: ErrorCode, version: i16) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition if version == 0 => ErrorCode::LeaderNotAvailable,
        other => other,
    }
}

fn broker(node: &Node) -> MetadataResponseBroker<'_> {
    MetadataResponseBroker { node_id: node.id, host: &node.host, port: node.port, rack: node.rack.as_deref() }
}

/// Topics that Kafka keeps for itself.
pub fn is_internal(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bits are positions in Kafka's AclOperation; tools print them by name.
    #[test]
    fn operations_are_kafkas_bits() {
        let bits = |operations: &[i32]| operations.iter().map(|bit| 1 << bit).sum::<i32>();
        assert_eq!(TOPIC_OPERATIONS, bits(&[3, 4, 5, 6, 7, 8, 10, 11]));
        assert_eq!(CLUSTER_OPERATIONS, bits(&[5, 7, 8, 9, 10, 11, 12]));
    }
}
