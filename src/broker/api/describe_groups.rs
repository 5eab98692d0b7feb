//! DescribeGroups (15): state and members of classic groups.

use super::Handled;
use super::metadata::NO_OPERATIONS;
use super::request::Request;
use ringlane_coordinator::group::{DescribedGroup, GroupReply, GroupRequest};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup as Described, DescribedGroupMember,
};

/// First version whose clients know GROUP_ID_NOT_FOUND; the others are told of a dead group (KIP-1043).
const NOT_FOUND_FROM: i16 = 6;
/// Operations on a group (KIP-430) when nothing is forbidden: READ, DELETE, DESCRIBE and both CONFIGS.
pub const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

struct Found {
    group: String,
    result: Result<DescribedGroup, ErrorCode>,
    message: Option<String>,
}

pub async fn answer(request: Request) -> Handled {
    let (groups, wants_operations) = {
        let body: DescribeGroupsRequest = request.body()?;
        let groups: Vec<String> = body.groups.iter().map(|group| group.to_string()).collect();
        (groups, body.include_authorized_operations)
    };
    let mut found = Vec::with_capacity(groups.len());
    for group in groups {
        found.push(describe(&request, group).await);
    }
    let groups = found.iter().map(|found| described(found, wants_operations));
    Ok(request.reply(&DescribeGroupsResponse { throttle_time_ms: 0, groups: groups.collect() }))
}

async fn describe(request: &Request, group: String) -> Found {
    let asked = GroupRequest::Describe(vec![group.clone()]);
    let mut result = match request.shard().ask_group(&group, asked).await {
        Ok(GroupReply::Describe(mut groups)) => groups.pop().ok_or(ErrorCode::UnknownServerError),
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(error) => Err(error),
    };
    let mut message = None;
    if let Ok(described) = &mut result
        && described.error != ErrorCode::None
    {
        match request.version >= NOT_FOUND_FROM {
            true => message = Some(format!("Group {group} not found.")),
            false => described.error = ErrorCode::None,
        }
    }
    Found { group, result, message }
}

fn described(found: &Found, wants_operations: bool) -> Described<'_> {
    let Found { group, result, message } = found;
    let group = match result {
        Err(error_code) => {
            return Described { error_code: *error_code, group_id: group, ..Default::default() };
        }
        Ok(described) => Described {
            error_code: described.error,
            error_message: message.as_deref(),
            group_id: group,
            group_state: described.state,
            protocol_type: &described.protocol_type,
            protocol_data: &described.protocol,
            members: described
                .members
                .iter()
                .map(|member| DescribedGroupMember {
                    member_id: &member.member_id,
                    group_instance_id: member.instance_id.as_deref(),
                    client_id: &member.client_id,
                    client_host: &member.client_host,
                    member_metadata: &member.metadata,
                    member_assignment: &member.assignment,
                })
                .collect(),
            authorized_operations: NO_OPERATIONS,
        },
    };
    match wants_operations && group.error_code == ErrorCode::None {
        true => Described { authorized_operations: GROUP_OPERATIONS, ..group },
        false => group,
    }
}
