//! ConsumerGroupHeartbeat (68): a member of a consumer group (KIP-848) joins, says what it wants and owns, and hears what it shall own.

use super::Handled;
use super::request::Request;
use crate::net::CloseReason;
use ringlane_coordinator::consumer_group::{ConsumerHeartbeat, ConsumerHeartbeatReply, OwnedTopic};
use ringlane_coordinator::group::{GroupReply, GroupRequest};
use ringlane_protocol::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ResponseTopicPartitions,
};
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::random_bytes;

/// First version whose clients give themselves their member ids.
const NAMES_ITSELF_FROM: i16 = 1;

pub async fn answer(request: Request) -> Handled {
    let asked = asked(&request)?;
    let group = asked.group.clone();
    let refused = |error_code, message: Option<&str>| {
        let response = ConsumerGroupHeartbeatResponse { error_code, error_message: message, ..Default::default() };
        request.reply(&response)
    };
    // An empty id is of no group, and the request has to be told what is wrong with it.
    if group.trim().is_empty() {
        return Ok(refused(ErrorCode::InvalidRequest, Some("GroupId can't be empty.")));
    }
    Ok(match request.shard().ask_group(&group, GroupRequest::ConsumerHeartbeat(Box::new(asked))).await {
        Ok(GroupReply::ConsumerHeartbeat(Ok(reply))) => request.reply(&response(&reply)),
        Ok(GroupReply::ConsumerHeartbeat(Err(error))) => refused(error.code(), Some(&error.to_string())),
        Ok(_) => refused(ErrorCode::UnknownServerError, None),
        Err(error) => refused(error, None),
    })
}

fn asked(request: &Request) -> Result<ConsumerHeartbeat, CloseReason> {
    let body: ConsumerGroupHeartbeatRequest = request.body()?;
    let owned = body.topic_partitions.as_ref().map(|topics| {
        let topic = |topic: &ringlane_protocol::consumer_group_heartbeat::RequestTopicPartitions| OwnedTopic {
            topic: topic.topic_id,
            partitions: topic.partitions.clone(),
        };
        topics.iter().map(topic).collect()
    });
    Ok(ConsumerHeartbeat {
        group: body.group_id.to_owned(),
        member_id: body.member_id.to_owned(),
        new_member_id: TopicId(random_bytes()).to_string(),
        must_name_itself: request.version >= NAMES_ITSELF_FROM,
        epoch: body.member_epoch,
        instance_id: body.instance_id.map(str::to_owned),
        rack_id: body.rack_id.map(str::to_owned),
        client_id: request.client_id().into_owned(),
        // As Java prints addresses, and so every tool.
        client_host: format!("/{}", request.connection.peer.ip()),
        rebalance_timeout_ms: body.rebalance_timeout_ms,
        topics: body.subscribed_topic_names.map(|names| names.into_iter().map(str::to_owned).collect()),
        regex: body.subscribed_topic_regex.map(str::to_owned),
        assignor: body.server_assignor.map(str::to_owned),
        owned,
    })
}

fn response(reply: &ConsumerHeartbeatReply) -> ConsumerGroupHeartbeatResponse<'_> {
    let topic = |(topic_id, partitions): &(TopicId, Vec<i32>)| ResponseTopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.clone(),
    };
    ConsumerGroupHeartbeatResponse {
        member_id: Some(&reply.member_id),
        member_epoch: reply.epoch,
        heartbeat_interval_ms: reply.heartbeat_interval_ms,
        assignment: reply
            .assignment
            .as_ref()
            .map(|topics| Assignment { topic_partitions: topics.iter().map(topic).collect() }),
        ..Default::default()
    }
}
