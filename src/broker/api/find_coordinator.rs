//! FindCoordinator (10): the broker that leads the partition which coordinates a group or a transactional id. The topic of the coordinators is
//! created when it is first asked for. The coordinator of a share group's states is asked for by "group:topic id:partition".

use super::Handled;
use super::request::{ReplyHead, Request};
use crate::coordinator::{CoordinatorTopic, partition_of};
use crate::net::Connection;
use crate::shard::{Node, Shard};
use ringlane_metadata::NO_LEADER;
use ringlane_protocol::ErrorCode;
use ringlane_protocol::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use std::rc::Rc;

/// First version with several keys in one request.
const BATCHED_FROM: i16 = 4;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;
/// Groups, transactions, share groups.
const KEY_TYPES: std::ops::RangeInclusive<i8> = 0..=2;

const NOBODY: i32 = -1;

type Found = Result<Node, (ErrorCode, &'static str)>;

pub async fn answer(request: Request) -> Handled {
    let (key_type, keys) = {
        let body: FindCoordinatorRequest = request.body()?;
        let keys: Vec<String> = match request.version {
            BATCHED_FROM.. => body.coordinator_keys.iter().map(|key| key.to_string()).collect(),
            _ => vec![body.key.to_owned()],
        };
        (body.key_type, keys)
    };
    let (head, connection) = (request.reply_head(), request.connection.clone());
    drop(request);
    let found = find(&connection, key_type, &keys).await;
    Ok(reply(head, &connection.shard, &keys, &found))
}

async fn find(connection: &Rc<Connection>, key_type: i8, keys: &[String]) -> Vec<Found> {
    let all = |error, message| keys.iter().map(|_| Err((error, message))).collect();
    if !KEY_TYPES.contains(&key_type) {
        return all(ErrorCode::InvalidRequest, "key type 0 (group), 1 (transaction) or 2 (share group) is expected");
    }
    let topic = match key_type {
        GROUP => CoordinatorTopic::Offsets,
        TRANSACTION => CoordinatorTopic::Transactions,
        _ => CoordinatorTopic::ShareStates,
    };
    let is_share_key = |key: &String| key.splitn(3, ':').count() == 3;
    if key_type == SHARE && !keys.iter().all(is_share_key) {
        return all(ErrorCode::InvalidRequest, "a key of a share group is group:topicId:partition");
    }
    if topic.ensure(&connection.shard).await.is_err() {
        return all(ErrorCode::CoordinatorNotAvailable, "the topic of the coordinators cannot be created now");
    }
    keys.iter().map(|key| node_of(connection, topic, key)).collect()
}

fn node_of(connection: &Connection, topic: CoordinatorTopic, key: &str) -> Found {
    let shard = &connection.shard;
    let image = shard.image();
    let leader = image.topic_by_name(topic.name()).map_or(NO_LEADER, |topic| {
        let partition = partition_of(key, topic.partitions.len());
        topic.partition(partition).map_or(NO_LEADER, |partition| partition.leader)
    });
    let nodes = shard.nodes(&image, connection);
    let leads = nodes.into_iter().find(|node| node.id == leader);
    leads.ok_or((ErrorCode::CoordinatorNotAvailable, "no broker that is up leads the coordinator's partition"))
}

fn reply(head: ReplyHead, shard: &Shard, keys: &[String], found: &[Found]) -> crate::net::Answer {
    let coordinators = keys.iter().zip(found).map(|(key, found)| match found {
        Ok(node) => Coordinator {
            key,
            node_id: node.id,
            host: &node.host,
            port: node.port,
            error_code: ErrorCode::None,
            error_message: Some(""),
        },
        Err((error_code, message)) => Coordinator {
            key,
            node_id: NOBODY,
            host: "",
            port: NOBODY,
            error_code: *error_code,
            error_message: Some(message),
        },
    });
    let mut coordinators: Vec<Coordinator> = coordinators.collect();
    if head.version >= BATCHED_FROM {
        return head.reply(shard, &FindCoordinatorResponse { coordinators, ..Default::default() });
    }
    let Some(Coordinator { node_id, host, port, error_code, error_message, .. }) = coordinators.pop() else {
        return head.reply(shard, &FindCoordinatorResponse::default());
    };
    let error_message = error_message.filter(|message| !message.is_empty());
    head.reply(shard, &FindCoordinatorResponse { node_id, host, port, error_code, error_message, ..Default::default() })
}
