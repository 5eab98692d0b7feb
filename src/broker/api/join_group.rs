//! JoinGroup (11): a member wants to be in a group's next generation. The answer comes when that begins.

use super::Handled;
use super::request::{ReplyHead, Request};
use crate::net::Answer;
use crate::shard::Shard;
use ringlane_coordinator::group::{GroupReply, GroupRequest, JoinGroup, JoinReply, Protocol};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use ringlane_runtime::random_bytes;

/// Before it, the session's timeout was the rebalance's, too.
const REBALANCE_TIMEOUT_FROM: i16 = 1;
/// First version whose clients come again with the id that they are given (KIP-394).
const MEMBER_ID_REQUIRED_FROM: i16 = 4;
/// First version whose answer may have no protocol.
const NO_PROTOCOL_FROM: i16 = 7;
/// First version that says whether the leader has to assign (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;

pub async fn answer(request: Request) -> Handled {
    let asked = asked(&request)?;
    let (head, shard) = (request.reply_head(), request.shard().clone());
    // It may wait for minutes: its frame, and its share of the request memory, must not.
    drop(request);
    let (group, member_id) = (asked.group.clone(), asked.member_id.clone());
    let reply = match shard.ask_group(&group, GroupRequest::Join(asked)).await {
        Ok(GroupReply::Join(reply)) => reply,
        Ok(_) => JoinReply::failed(ErrorCode::UnknownServerError, &member_id),
        Err(error) => JoinReply::failed(error, &member_id),
    };
    Ok(encode(head, &shard, &reply))
}

fn asked(request: &Request) -> Result<JoinGroup, crate::net::CloseReason> {
    let body: JoinGroupRequest = request.body()?;
    let version = request.version;
    let client_id = request.client_id().into_owned();
    let protocol = |protocol: &JoinGroupRequestProtocol<'_>| Protocol {
        name: protocol.name.into(),
        metadata: protocol.metadata.into(),
    };
    Ok(JoinGroup {
        group: body.group_id.to_owned(),
        member_id: body.member_id.to_owned(),
        new_member_id: format!("{}-{}", body.group_instance_id.unwrap_or(&client_id), uuid(random_bytes())),
        instance_id: body.group_instance_id.map(str::to_owned),
        client_id,
        // As Java prints addresses, and so every tool.
        client_host: format!("/{}", request.connection.peer.ip()),
        session_timeout_ms: body.session_timeout_ms,
        rebalance_timeout_ms: match version {
            REBALANCE_TIMEOUT_FROM.. => body.rebalance_timeout_ms,
            _ => body.session_timeout_ms,
        },
        protocol_type: body.protocol_type.to_owned(),
        protocols: body.protocols.iter().map(protocol).collect(),
        takes_member_id: version >= MEMBER_ID_REQUIRED_FROM,
        can_skip_assignment: version >= SKIP_ASSIGNMENT_FROM,
    })
}

fn encode(head: ReplyHead, shard: &Shard, reply: &JoinReply) -> Answer {
    let no_protocol = if head.version >= NO_PROTOCOL_FROM { None } else { Some("") };
    let members = reply.members.iter().map(|member| JoinGroupResponseMember {
        member_id: &member.member_id,
        group_instance_id: member.instance_id.as_deref(),
        metadata: &member.metadata,
    });
    head.reply(
        shard,
        &JoinGroupResponse {
            throttle_time_ms: 0,
            error_code: reply.error,
            generation_id: reply.generation,
            protocol_type: reply.protocol_type.as_deref(),
            protocol_name: reply.protocol.as_deref().or(no_protocol),
            leader: &reply.leader,
            skip_assignment: reply.skip_assignment,
            member_id: &reply.member_id,
            members: members.collect(),
        },
    )
}

/// A version 4 uuid in text.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let number = u128::from_be_bytes(bytes);
    let hex = format!("{number:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tools cut member ids at the uuid that Kafka puts behind the client's name.
    #[test]
    fn member_ids_end_in_a_uuid() {
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
