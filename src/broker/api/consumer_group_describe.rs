//! ConsumerGroupDescribe (69): state, members and assignments of consumer groups (KIP-848). Classic groups are DescribeGroups' affair.

use super::Handled;
use super::describe_groups::GROUP_OPERATIONS;
use super::metadata::NO_OPERATIONS;
use super::request::Request;
use ringlane_coordinator::consumer_group::{DescribedAssignment, DescribedConsumerGroup, DescribedConsumerMember};
use ringlane_coordinator::group::{GroupReply, GroupRequest};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup, Member, TopicPartitions,
};

struct Found {
    group: String,
    result: Result<DescribedConsumerGroup, ErrorCode>,
    message: Option<String>,
}

pub async fn answer(request: Request) -> Handled {
    let (groups, wants_operations) = {
        let body: ConsumerGroupDescribeRequest = request.body()?;
        let groups: Vec<String> = body.group_ids.iter().map(|group| group.to_string()).collect();
        (groups, body.include_authorized_operations)
    };
    let mut found = Vec::with_capacity(groups.len());
    for group in groups {
        found.push(describe(&request, group).await);
    }
    let groups = found.iter().map(|found| described(found, wants_operations)).collect();
    Ok(request.reply(&ConsumerGroupDescribeResponse { throttle_time_ms: 0, groups }))
}

async fn describe(request: &Request, group: String) -> Found {
    if group.is_empty() {
        return Found { group, result: Err(ErrorCode::InvalidGroupId), message: None };
    }
    let asked = GroupRequest::DescribeConsumers(vec![group.clone()]);
    let result = match request.shard().ask_group(&group, asked).await {
        Ok(GroupReply::DescribeConsumers(mut groups)) => groups.pop().flatten().ok_or(ErrorCode::GroupIdNotFound),
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(error) => Err(error),
    };
    let not_found = result.as_ref().is_err_and(|error| *error == ErrorCode::GroupIdNotFound);
    let message = not_found.then(|| format!("Group {group} is not a consumer group."));
    Found { group, result, message }
}

fn described(found: &Found, wants_operations: bool) -> DescribedGroup<'_> {
    let Found { group, result, message } = found;
    match result {
        Err(error_code) => DescribedGroup {
            error_code: *error_code,
            error_message: message.as_deref(),
            group_id: group,
            ..Default::default()
        },
        Ok(described) => DescribedGroup {
            group_id: group,
            group_state: described.state.name(),
            group_epoch: described.epoch,
            assignment_epoch: described.target_epoch,
            assignor_name: &described.assignor,
            members: described.members.iter().map(member).collect(),
            authorized_operations: if wants_operations { GROUP_OPERATIONS } else { NO_OPERATIONS },
            ..Default::default()
        },
    }
}

fn member(member: &DescribedConsumerMember) -> Member<'_> {
    Member {
        member_id: &member.member_id,
        instance_id: member.instance_id.as_deref(),
        rack_id: member.rack_id.as_deref(),
        member_epoch: member.epoch,
        client_id: &member.client_id,
        client_host: &member.client_host,
        subscribed_topic_names: member.topics.iter().map(|topic| &**topic).collect(),
        subscribed_topic_regex: Some(&member.regex),
        assignment: assignment(&member.assignment),
        target_assignment: assignment(&member.target),
        member_type: member.member_type,
    }
}

fn assignment(topics: &DescribedAssignment) -> Assignment<'_> {
    let topic_partitions = topics
        .iter()
        .map(|(topic_id, name, partitions)| TopicPartitions {
            topic_id: *topic_id,
            topic_name: name,
            partitions: partitions.clone(),
        })
        .collect();
    Assignment { topic_partitions }
}
