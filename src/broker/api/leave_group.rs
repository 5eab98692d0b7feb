//! LeaveGroup (13): members go, by their own word or by an administrator's.

use super::Handled;
use super::request::Request;
use ringlane_coordinator::group::{GroupReply, GroupRequest, LeaveGroup, LeavingMember};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};

/// First version for several members (KIP-345).
const BATCHED_FROM: i16 = 3;

pub async fn answer(request: Request) -> Handled {
    let asked = asked(&request)?;
    let codes = match asked.group.is_empty() {
        true => Err(ErrorCode::InvalidGroupId),
        false => {
            let group = asked.group.clone();
            match request.shard().ask_group(&group, GroupRequest::Leave(asked)).await {
                Ok(GroupReply::Leave(codes)) => Ok(codes),
                Ok(_) => Err(ErrorCode::UnknownServerError),
                Err(error) => Err(error),
            }
        }
    };
    let body: LeaveGroupRequest = request.body()?;
    let response = match codes {
        Err(error_code) => LeaveGroupResponse { error_code, ..Default::default() },
        Ok(codes) if request.version < BATCHED_FROM => {
            LeaveGroupResponse { error_code: codes.first().copied().unwrap_or_default(), ..Default::default() }
        }
        Ok(codes) => {
            let members = body.members.iter().zip(codes).map(|(member, error_code)| MemberResponse {
                member_id: member.member_id,
                group_instance_id: member.group_instance_id,
                error_code,
            });
            LeaveGroupResponse { members: members.collect(), ..Default::default() }
        }
    };
    Ok(request.reply(&response))
}

fn asked(request: &Request) -> Result<LeaveGroup, crate::net::CloseReason> {
    let body: LeaveGroupRequest = request.body()?;
    let members = match request.version {
        BATCHED_FROM.. => body
            .members
            .iter()
            .map(|member| LeavingMember {
                member_id: member.member_id.to_owned(),
                instance_id: member.group_instance_id.map(str::to_owned),
            })
            .collect(),
        _ => vec![LeavingMember { member_id: body.member_id.to_owned(), instance_id: None }],
    };
    Ok(LeaveGroup { group: body.group_id.to_owned(), members })
}
