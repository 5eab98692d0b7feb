//! `ringlane group describe` of share groups: where they begin, in the columns of Kafka's own tool.

use ringlane_client::{Admin, GroupDescription, GroupMember, ShareOffset, TopicPartition};
use serde::Serialize;

use crate::exit::Failed;
use crate::table::Table;

#[derive(Serialize)]
pub struct DescribedShare {
    group: String,
    r#type: &'static str,
    state: String,
    assignor: String,
    coordinator: String,
    partitions: Vec<Line>,
    members: Vec<Member>,
}

/// A partition that the group has a state for; `None` for what nobody knows.
#[derive(Serialize)]
struct Line {
    topic: String,
    partition: i32,
    start_offset: Option<i64>,
    lag: Option<i64>,
}

#[derive(Serialize)]
struct Member {
    consumer_id: String,
    host: String,
    client_id: String,
    epoch: i32,
    assignment: Vec<String>,
}

pub async fn describe(admin: &Admin, group: GroupDescription) -> Result<DescribedShare, Failed> {
    let offsets = admin.share_group_offsets(&group.group).await?;
    let line = |(at, offset): (TopicPartition, ShareOffset)| Line {
        topic: at.topic.to_string(),
        partition: at.partition,
        start_offset: offset.start_offset,
        lag: offset.lag,
    };
    let member = |member: &GroupMember| Member {
        consumer_id: member.member_id.clone(),
        host: member.host.clone(),
        client_id: member.client_id.clone(),
        epoch: member.epoch,
        assignment: member.assignment.iter().map(ToString::to_string).collect(),
    };
    Ok(DescribedShare {
        partitions: offsets.into_iter().map(line).collect(),
        members: group.members.iter().map(member).collect(),
        group: group.group,
        r#type: group.kind,
        state: group.state,
        assignor: group.assignor,
        coordinator: group.coordinator,
    })
}

pub fn offsets(groups: &[DescribedShare]) -> Table {
    let mut table = Table::new(&["GROUP", "TOPIC", "PARTITION", "START-OFFSET", "LAG"]);
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    for group in groups {
        for line in &group.partitions {
            let (topic, partition) = (line.topic.clone(), line.partition.to_string());
            table.row([group.group.clone(), topic, partition, number(line.start_offset), number(line.lag)]);
        }
    }
    table
}

pub fn members(groups: &[DescribedShare]) -> Table {
    let mut table = Table::new(&["GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS", "ASSIGNMENT"]);
    for group in groups {
        for member in &group.members {
            table.row([
                group.group.clone(),
                member.consumer_id.clone(),
                member.host.clone(),
                member.client_id.clone(),
                member.assignment.len().to_string(),
                if member.assignment.is_empty() { "-".to_owned() } else { member.assignment.join(",") },
            ]);
        }
    }
    table
}

pub fn states(groups: &[DescribedShare]) -> Table {
    let mut table = Table::new(&["GROUP", "COORDINATOR", "STATE", "#MEMBERS"]);
    for group in groups {
        let members = group.members.len().to_string();
        table.row([group.group.clone(), group.coordinator.clone(), group.state.clone(), members]);
    }
    table
}
