//! `ringlane group describe`: offsets and lag, or members, or states.

use std::collections::{BTreeMap, BTreeSet};

use ringlane_client::{Admin, Client, CommittedOffset, GroupDescription, GroupMember, StartAt, TopicPartition};
use serde::Serialize;

use super::args::DescribeArgs;
use super::share::DescribedShare;
use super::{offsets_of, share};
use crate::args::Format;
use crate::exit::Failed;
use crate::table::{Table, json, print};

/// What share groups are called, which have columns of their own.
const SHARE: &str = "share";

#[derive(Serialize)]
#[serde(untagged)]
enum Any<'a> {
    Group(&'a Described),
    Share(&'a DescribedShare),
}

#[derive(Serialize)]
struct Described {
    group: String,
    r#type: &'static str,
    state: String,
    protocol_type: String,
    assignor: String,
    coordinator: String,
    partitions: Vec<Line>,
    members: Vec<Member>,
}

/// A partition that the group has to do with; `None` for what there is not.
#[derive(Serialize, Debug, PartialEq)]
struct Line {
    topic: String,
    partition: i32,
    current_offset: Option<i64>,
    log_end_offset: Option<i64>,
    lag: Option<i64>,
    consumer_id: Option<String>,
    host: Option<String>,
    client_id: Option<String>,
}

#[derive(Serialize)]
struct Member {
    consumer_id: String,
    group_instance_id: Option<String>,
    host: String,
    client_id: String,
    /// Of the consumer protocol only.
    epoch: Option<i32>,
    assignment: Vec<String>,
}

pub async fn describe(client: &Client, args: &DescribeArgs) -> Result<(), Failed> {
    let admin = Admin::new(client);
    let (mut all, mut shares) = (Vec::new(), Vec::new());
    for group in &args.groups {
        let description = admin.describe_group(group).await?;
        if description.kind == SHARE {
            shares.push(share::describe(&admin, description).await?);
            continue;
        }
        let committed = admin.group_offsets(group).await?;
        let read = description.members.iter().flat_map(|member| &member.assignment);
        let partitions: BTreeSet<TopicPartition> = read.chain(committed.keys()).cloned().collect();
        let needs_ends = !args.members && !args.state;
        let ends = match needs_ends || args.brokers.format == Format::Json {
            true => offsets_of(client, partitions.iter(), StartAt::Latest).await,
            false => BTreeMap::new(),
        };
        all.push(described(description, partitions, &committed, &ends));
    }
    match args.brokers.format {
        Format::Json => {
            let all = all.iter().map(Any::Group).chain(shares.iter().map(Any::Share));
            print(&json(&all.collect::<Vec<_>>())?)?;
        }
        Format::Text => {
            let (of_groups, of_shares) = match () {
                () if args.members => (members(&all), share::members(&shares)),
                () if args.state => (states(&all), share::states(&shares)),
                () => (offsets(&all), share::offsets(&shares)),
            };
            if !all.is_empty() {
                print(&of_groups.to_string())?;
            }
            if !shares.is_empty() {
                print(&of_shares.to_string())?;
            }
        }
    };
    Ok(())
}

fn described(
    group: GroupDescription,
    partitions: BTreeSet<TopicPartition>,
    committed: &BTreeMap<TopicPartition, CommittedOffset>,
    ends: &BTreeMap<TopicPartition, i64>,
) -> Described {
    let lines = partitions.iter().map(|at| {
        let reader = group.members.iter().find(|member| member.assignment.contains(at));
        line(at, committed.get(at), ends.get(at).copied(), reader)
    });
    Described {
        partitions: lines.collect(),
        members: group.members.iter().map(member).collect(),
        group: group.group,
        r#type: group.kind,
        state: group.state,
        protocol_type: group.protocol_type,
        assignor: group.assignor,
        coordinator: group.coordinator,
    }
}

fn line(
    at: &TopicPartition,
    committed: Option<&CommittedOffset>,
    end: Option<i64>,
    reader: Option<&GroupMember>,
) -> Line {
    let current = committed.map(|committed| committed.offset);
    Line {
        topic: at.topic.to_string(),
        partition: at.partition,
        current_offset: current,
        log_end_offset: end,
        lag: current.zip(end).map(|(current, end)| (end - current).max(0)),
        consumer_id: reader.map(|reader| reader.member_id.clone()),
        host: reader.map(|reader| reader.host.clone()),
        client_id: reader.map(|reader| reader.client_id.clone()),
    }
}

fn member(member: &GroupMember) -> Member {
    Member {
        consumer_id: member.member_id.clone(),
        group_instance_id: member.instance.clone(),
        host: member.host.clone(),
        client_id: member.client_id.clone(),
        epoch: Some(member.epoch).filter(|epoch| *epoch >= 0),
        assignment: member.assignment.iter().map(ToString::to_string).collect(),
    }
}

/// The columns of Kafka's own tool, so that what reads that reads this.
fn offsets(groups: &[Described]) -> Table {
    let mut table = Table::new(&[
        "GROUP",
        "TOPIC",
        "PARTITION",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ]);
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for group in groups {
        for line in &group.partitions {
            table.row([
                group.group.clone(),
                line.topic.clone(),
                line.partition.to_string(),
                number(line.current_offset),
                number(line.log_end_offset),
                number(line.lag),
                text(&line.consumer_id),
                text(&line.host),
                text(&line.client_id),
            ]);
        }
    }
    table
}

fn members(groups: &[Described]) -> Table {
    let mut table =
        Table::new(&["GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS", "ASSIGNMENT"]);
    for group in groups {
        for member in &group.members {
            table.row([
                group.group.clone(),
                member.consumer_id.clone(),
                member.group_instance_id.clone().unwrap_or_else(|| "-".to_owned()),
                member.host.clone(),
                member.client_id.clone(),
                member.assignment.len().to_string(),
                if member.assignment.is_empty() { "-".to_owned() } else { member.assignment.join(",") },
            ]);
        }
    }
    table
}

fn states(groups: &[Described]) -> Table {
    let mut table = Table::new(&["GROUP", "COORDINATOR", "TYPE", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS"]);
    for group in groups {
        table.row([
            group.group.clone(),
            group.coordinator.clone(),
            group.r#type.to_owned(),
            if group.assignor.is_empty() { "-".to_owned() } else { group.assignor.clone() },
            group.state.clone(),
            group.members.len().to_string(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lag of minus something, or of everything where nothing is known, sets off alarms or hides a consumer that stands still.
    #[test]
    fn lag_is_what_is_known_to_be_unread() {
        let at = TopicPartition::new("orders", 1);
        let committed = CommittedOffset::at(7);
        let lag = |committed, end| line(&at, committed, end, None).lag;
        assert_eq!(lag(Some(&committed), Some(10)), Some(3));
        assert_eq!(lag(Some(&committed), Some(5)), Some(0), "committed before a truncation");
        assert_eq!(lag(None, Some(10)), None);
        assert_eq!(lag(Some(&committed), None), None);
    }
}
