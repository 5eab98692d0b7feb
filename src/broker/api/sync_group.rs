//! SyncGroup (14): the leader brings the assignment of a generation, every member fetches its part.

use super::Handled;
use super::request::Request;
use ringlane_coordinator::group::{GroupReply, GroupRequest, SyncGroup, SyncReply};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::sync_group::{SyncGroupRequest, SyncGroupResponse};

/// First version in which members must say what they have agreed on (KIP-559).
const PROTOCOL_FROM: i16 = 5;

pub async fn answer(request: Request) -> Handled {
    let asked = asked(&request)?;
    let (head, shard) = (request.reply_head(), request.shard().clone());
    // It may wait for its leader: its frame, and its share of the request memory, must not.
    drop(request);
    let lacks_protocol = asked.protocol_type.is_none() || asked.protocol.is_none();
    let group = asked.group.clone();
    let reply = match head.version >= PROTOCOL_FROM && lacks_protocol {
        true => SyncReply::failed(ErrorCode::InconsistentGroupProtocol),
        false => match shard.ask_group(&group, GroupRequest::Sync(asked)).await {
            Ok(GroupReply::Sync(reply)) => reply,
            Ok(_) => SyncReply::failed(ErrorCode::UnknownServerError),
            Err(error) => SyncReply::failed(error),
        },
    };
    let body = SyncGroupResponse {
        throttle_time_ms: 0,
        error_code: reply.error,
        protocol_type: reply.protocol_type.as_deref(),
        protocol_name: reply.protocol.as_deref(),
        assignment: &reply.assignment,
    };
    Ok(head.reply(&shard, &body))
}

fn asked(request: &Request) -> Result<SyncGroup, crate::net::CloseReason> {
    let body: SyncGroupRequest = request.body()?;
    let assignments = body.assignments.iter().map(|part| (part.member_id.to_owned(), part.assignment.into()));
    Ok(SyncGroup {
        group: body.group_id.to_owned(),
        generation: body.generation_id,
        member_id: body.member_id.to_owned(),
        instance_id: body.group_instance_id.map(str::to_owned),
        protocol_type: body.protocol_type.map(str::to_owned),
        protocol: body.protocol_name.map(str::to_owned),
        assignments: assignments.collect(),
    })
}
