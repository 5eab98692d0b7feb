//! ShareGroupDescribe (77): state, members and assignments of share groups.

use super::Handled;
use super::describe_groups::GROUP_OPERATIONS;
use super::metadata::NO_OPERATIONS;
use super::request::Request;
use ringlane_coordinator::group::{ShareReply, ShareRequest};
use ringlane_coordinator::share_group::{DescribedShareGroup, DescribedShareMember};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::share_group_describe::{
    Assignment, DescribedGroup, Member, ShareGroupDescribeRequest, ShareGroupDescribeResponse, TopicPartitions,
};

struct Found {
    group: String,
    result: Result<DescribedShareGroup, (ErrorCode, Option<String>)>,
}

pub async fn answer(request: Request) -> Handled {
    let (groups, wants_operations) = {
        let body: ShareGroupDescribeRequest = request.body()?;
        let groups: Vec<String> = body.group_ids.iter().map(|group| group.to_string()).collect();
        (groups, body.include_authorized_operations)
    };
    let mut found = Vec::with_capacity(groups.len());
    for group in groups {
        let result = describe(&request, &group).await;
        found.push(Found { group, result });
    }
    let groups = found.iter().map(|found| described(found, wants_operations)).collect();
    Ok(request.reply(&ShareGroupDescribeResponse { throttle_time_ms: 0, groups }))
}

async fn describe(request: &Request, group: &str) -> Result<DescribedShareGroup, (ErrorCode, Option<String>)> {
    if group.is_empty() {
        return Err((ErrorCode::InvalidGroupId, None));
    }
    match request.shard().ask_share_group(group, ShareRequest::Describe(group.to_owned())).await {
        Ok(ShareReply::Describe(described)) => described.map_err(|error| (error.code(), Some(error.to_string()))),
        Ok(_) => Err((ErrorCode::UnknownServerError, None)),
        Err(error) => Err((error, None)),
    }
}

fn described(found: &Found, wants_operations: bool) -> DescribedGroup<'_> {
    match &found.result {
        Err((error_code, message)) => DescribedGroup {
            error_code: *error_code,
            error_message: message.as_deref(),
            group_id: &found.group,
            ..Default::default()
        },
        Ok(described) => DescribedGroup {
            group_id: &found.group,
            group_state: described.state,
            group_epoch: described.epoch,
            assignment_epoch: described.target_epoch,
            assignor_name: described.assignor,
            members: described.members.iter().map(member).collect(),
            authorized_operations: if wants_operations { GROUP_OPERATIONS } else { NO_OPERATIONS },
            ..Default::default()
        },
    }
}

fn member(member: &DescribedShareMember) -> Member<'_> {
    let topics = member.assignment.iter().map(|(topic_id, topic_name, partitions)| TopicPartitions {
        topic_id: *topic_id,
        topic_name,
        partitions: partitions.clone(),
    });
    Member {
        member_id: &member.member_id,
        rack_id: member.rack_id.as_deref(),
        member_epoch: member.epoch,
        client_id: &member.client_id,
        client_host: &member.client_host,
        subscribed_topic_names: member.topics.iter().map(|topic| &**topic).collect(),
        assignment: Assignment { topic_partitions: topics.collect() },
    }
}
