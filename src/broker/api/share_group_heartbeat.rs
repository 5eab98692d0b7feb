//! ShareGroupHeartbeat (76): a member of a share group (KIP-932) joins, stays or goes, and hears what it shall read.
//!
//! Share partitions need a state before they can be read. When a heartbeat says that some have none, the share coordinator is asked for them
//! behind the answer, and the group is told how that went.

use super::Handled;
use super::request::Request;
use crate::coordinator::CoordinatorTopic;
use crate::shard::Shard;
use crate::task::start;
use futures::future::join_all;
use ringlane_coordinator::group::{GroupReply, GroupRequest, ShareReply, ShareRequest};
use ringlane_coordinator::share_group::{ShareHeartbeat, ShareHeartbeatReply, TopicPartitions};
use ringlane_coordinator::share_state::{ShareKey, ShareStateReply, ShareStateRequest};
use ringlane_protocol::share_group_heartbeat::{
    Assignment, ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse, TopicPartitions as ResponseTopic,
};
use ringlane_protocol::{ErrorCode, TopicId};
use std::rc::Rc;
use std::sync::Arc;

/// Longest member id.
const MEMBER_ID_MAX: usize = 36;
/// Start offset of a state that has none: the group's reset policy decides.
const NOT_KNOWN: i64 = -1;

pub async fn answer(request: Request) -> Handled {
    let said = {
        let body: ShareGroupHeartbeatRequest = request.body()?;
        ShareHeartbeat {
            group: body.group_id.to_owned(),
            member_id: body.member_id.to_owned(),
            epoch: body.member_epoch,
            rack_id: body.rack_id.map(str::to_owned),
            client_id: request.client_id().into_owned(),
            // As Java prints addresses, and so every tool.
            client_host: format!("/{}", request.connection.peer.ip()),
            topics: body.subscribed_topic_names.map(|names| names.into_iter().map(str::to_owned).collect()),
        }
    };
    let refused = |error_code, message: Option<&str>| {
        let response = ShareGroupHeartbeatResponse { error_code, error_message: message, ..Default::default() };
        request.reply(&response)
    };
    if !is_valid_member(Some(&said.member_id)) {
        return Ok(refused(ErrorCode::InvalidRequest, Some("Invalid member id in the request.")));
    }
    // An empty id is of no group, and the request has to be told what is wrong with it.
    if said.group.trim().is_empty() {
        return Ok(refused(ErrorCode::InvalidRequest, Some("GroupId can't be empty.")));
    }
    let (shard, group) = (request.shard().clone(), said.group.clone());
    Ok(match shard.ask_share_group(&group, ShareRequest::Heartbeat(said)).await {
        Ok(ShareReply::Heartbeat(Ok(reply))) => {
            if let Some((state_epoch, topics)) = reply.initialize.clone() {
                start("share state", async move { initialize(&shard, group, state_epoch, topics).await });
            }
            request.reply(&response(&reply))
        }
        Ok(ShareReply::Heartbeat(Err(error))) => refused(error.code(), Some(&error.to_string())),
        Ok(_) => refused(ErrorCode::UnknownServerError, None),
        Err(error) => refused(error, None),
    })
}

/// Kafka's rule for ids of members of share groups.
pub fn is_valid_member(member: Option<&str>) -> bool {
    member.is_some_and(|member| !member.is_empty() && member.encode_utf16().count() <= MEMBER_ID_MAX)
}

fn response(reply: &ShareHeartbeatReply) -> ShareGroupHeartbeatResponse<'_> {
    let topic = |(topic_id, partitions): &(TopicId, Vec<i32>)| ResponseTopic {
        topic_id: *topic_id,
        partitions: partitions.clone(),
    };
    ShareGroupHeartbeatResponse {
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

/// Has the states made; the group hears of it. If this broker stops in between, the group asks again after a while.
async fn initialize(shard: &Rc<Shard>, group: String, state_epoch: i32, topics: Vec<TopicPartitions>) {
    let made = make_states(shard, &group.as_str().into(), state_epoch, &topics, |_, _| NOT_KNOWN).await;
    let told = match made {
        Ok(()) => ShareRequest::Initialized(group.clone(), topics),
        Err(error) => {
            tracing::warn!(group, "no states for share partitions, the group asks again: {error}");
            ShareRequest::NotInitialized(group.clone(), topics)
        }
    };
    drop(shard.ask_share_group(&group, told).await);
}

/// Asks the share coordinators of all these partitions at the same time. The first error counts.
pub async fn make_states(
    shard: &Rc<Shard>,
    group: &Arc<str>,
    state_epoch: i32,
    topics: &[TopicPartitions],
    start_offset: impl Fn(TopicId, i32) -> i64,
) -> Result<(), ErrorCode> {
    CoordinatorTopic::ShareStates.ensure(shard).await?;
    let keys = topics.iter().flat_map(|topic| {
        let key = |partition: &i32| ShareKey { group: group.clone(), topic_id: topic.topic_id, partition: *partition };
        topic.partitions.iter().map(key)
    });
    let asked = keys.map(|key| {
        let start_offset = start_offset(key.topic_id, key.partition);
        shard.ask_share_state(ShareStateRequest::Initialize { key, state_epoch, start_offset })
    });
    for answer in join_all(asked).await {
        match answer? {
            ShareStateReply::Done(done) => done.map_err(|error| error.code())?,
            _ => return Err(ErrorCode::UnknownServerError),
        }
    }
    Ok(())
}

impl Shard {
    /// Asks the coordinator of a share group.
    pub async fn ask_share_group(self: &Rc<Self>, group: &str, request: ShareRequest) -> Result<ShareReply, ErrorCode> {
        match self.ask_group(group, GroupRequest::Share(request)).await? {
            GroupReply::Share(reply) => Ok(reply),
            _ => Err(ErrorCode::UnknownServerError),
        }
    }
}
