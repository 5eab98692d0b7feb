//! `ringlane group`: who reads what, how far they are behind, and moving a group that is at rest. Columns are those of
//! `kafka-consumer-groups.sh`.

use std::collections::BTreeMap;

use ringlane_client::{Admin, Client, Consumer, ConsumerOptions, GroupDescription, GroupMember, GroupOffset, StartAt};
use serde::Serialize;

use crate::args::{BrokerArgs, Format, GroupCommand, SeekArgs, Start};
use crate::exit::Failed;
use crate::shard;
use crate::table::{Table, json, print};

pub fn run(command: GroupCommand) -> Result<(), Failed> {
    shard::run(move || async move {
        let client = shard::connect(command.brokers()).await?;
        match &command {
            GroupCommand::List { brokers } => list(&client, brokers).await,
            GroupCommand::Describe { groups, members, brokers } => describe(&client, groups, *members, brokers).await,
            GroupCommand::Seek(args) => seek(&client, args).await,
            GroupCommand::Delete { groups, brokers } => delete(&client, groups, brokers).await,
        }
    })
}

async fn list(client: &Client, brokers: &BrokerArgs) -> Result<(), Failed> {
    #[derive(Serialize)]
    struct Line {
        group: String,
        state: String,
        protocol_type: String,
    }
    let groups = Admin::new(client).groups().await?.into_iter();
    let lines: Vec<Line> = groups
        .map(|group| Line { group: group.group, state: group.state, protocol_type: group.protocol_type })
        .collect();
    match brokers.format {
        Format::Json => print(&json(&lines)?)?,
        Format::Text => {
            let mut table = Table::new(&["GROUP", "STATE", "PROTOCOL-TYPE"]);
            lines.into_iter().for_each(|line| table.row([line.group, line.state, dash(line.protocol_type)]));
            print(&table.to_string())?
        }
    };
    Ok(())
}

/// One partition of a group: what is committed, what there is, who reads it.
#[derive(Serialize)]
struct Progress {
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
struct Described {
    group: String,
    state: String,
    coordinator: i32,
    protocol: String,
    members: usize,
    partitions: Vec<Progress>,
}

async fn describe(client: &Client, groups: &[String], members: bool, brokers: &BrokerArgs) -> Result<(), Failed> {
    let admin = Admin::new(client);
    let mut texts = Vec::new();
    let mut all = Vec::new();
    for group in groups {
        let description = admin.describe_group(group).await?;
        if members {
            texts.push(members_as_text(&description));
        }
        let offsets = admin.group_offsets(group).await?;
        let partitions = progress(client, &description, offsets).await;
        let described = Described {
            group: group.clone(),
            state: description.state,
            coordinator: description.coordinator,
            protocol: description.protocol,
            members: description.members.len(),
            partitions,
        };
        if !members {
            texts.push(as_text(&described));
        }
        all.push(described);
    }
    match brokers.format {
        Format::Json => print(&json(&all)?)?,
        Format::Text => print(&texts.join("\n"))?,
    };
    Ok(())
}

/// Every partition that the group has committed or that a member has.
async fn progress(client: &Client, group: &GroupDescription, offsets: Vec<GroupOffset>) -> Vec<Progress> {
    let mut partitions: BTreeMap<(String, i32), (Option<i64>, Option<&GroupMember>)> = BTreeMap::new();
    for committed in offsets {
        partitions.insert((committed.topic, committed.partition), (Some(committed.offset), None));
    }
    for member in &group.members {
        for at in &member.partitions {
            partitions.entry(at.clone()).or_default().1 = Some(member);
        }
    }
    let consumer = Consumer::new(client, ConsumerOptions::default());
    let mut progress = Vec::with_capacity(partitions.len());
    for ((topic, partition), (current_offset, member)) in partitions {
        // A topic that is gone has no end; the group's offset is shown all the same.
        let log_end_offset = consumer.offset_of(&topic, partition, StartAt::Latest).await.ok();
        progress.push(Progress {
            topic,
            partition,
            current_offset,
            log_end_offset,
            lag: current_offset.zip(log_end_offset).map(|(current, end)| end - current),
            consumer_id: member.map(|member| member.member_id.clone()),
            host: member.map(|member| member.host.clone()),
            client_id: member.map(|member| member.client_id.clone()),
        });
    }
    progress
}

fn as_text(group: &Described) -> String {
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
    for row in &group.partitions {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        table.row([
            group.group.clone(),
            row.topic.clone(),
            row.partition.to_string(),
            number(row.current_offset),
            number(row.log_end_offset),
            number(row.lag),
            text(&row.consumer_id),
            text(&row.host),
            text(&row.client_id),
        ]);
    }
    table.to_string()
}

fn members_as_text(group: &GroupDescription) -> String {
    let mut table =
        Table::new(&["GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "GROUP-INSTANCE-ID", "#PARTITIONS", "STATE"]);
    for member in &group.members {
        table.row([
            group.group.clone(),
            member.member_id.clone(),
            member.host.clone(),
            member.client_id.clone(),
            member.instance_id.clone().unwrap_or_else(|| "-".to_owned()),
            member.partitions.len().to_string(),
            group.state.clone(),
        ]);
    }
    table.to_string()
}

async fn seek(client: &Client, args: &SeekArgs) -> Result<(), Failed> {
    #[derive(Serialize)]
    struct Line {
        group: String,
        topic: String,
        partition: i32,
        new_offset: i64,
    }
    let admin = Admin::new(client);
    let consumer = Consumer::new(client, ConsumerOptions::default());
    let mut offsets = Vec::new();
    for topic in &args.topics {
        let info = admin.topic(topic).await?;
        let wanted = |partition: &i32| args.partitions.is_empty() || args.partitions.contains(partition);
        for partition in info.partitions.iter().map(|partition| partition.index).filter(wanted) {
            let offset = place(&consumer, topic, partition, args.to).await?;
            offsets.push(GroupOffset { topic: topic.clone(), partition, offset });
        }
    }
    if offsets.is_empty() {
        return Err(Failed::new("none of these partitions exists"));
    }
    if !args.dry_run {
        admin.set_group_offsets(&args.group, &offsets).await?;
    }
    let lines: Vec<Line> = offsets
        .into_iter()
        .map(|GroupOffset { topic, partition, offset }| Line {
            group: args.group.clone(),
            topic,
            partition,
            new_offset: offset,
        })
        .collect();
    match args.brokers.format {
        Format::Json => print(&json(&lines)?)?,
        Format::Text => {
            let mut table = Table::new(&["GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"]);
            for line in lines {
                table.row([line.group, line.topic, line.partition.to_string(), line.new_offset.to_string()]);
            }
            print(&table.to_string())?
        }
    };
    Ok(())
}

/// The offset of a place in a partition: never before its first record nor behind its last one.
async fn place(consumer: &Consumer, topic: &str, partition: i32, place: Start) -> Result<i64, Failed> {
    let start = consumer.offset_of(topic, partition, StartAt::Earliest).await?;
    let end = consumer.offset_of(topic, partition, StartAt::Latest).await?;
    let offset = match place {
        Start::Earliest => start,
        Start::Latest => end,
        Start::Offset(offset) => offset,
        Start::Last(count) => end - count,
        Start::Timestamp(ms) => consumer.offset_of(topic, partition, StartAt::Timestamp(ms)).await?,
    };
    Ok(offset.clamp(start, end))
}

async fn delete(client: &Client, groups: &[String], brokers: &BrokerArgs) -> Result<(), Failed> {
    #[derive(Serialize)]
    struct Line {
        group: String,
        ok: bool,
        status: String,
    }
    let admin = Admin::new(client);
    let mut lines = Vec::new();
    for group in groups {
        let done = admin.delete_group(group).await;
        let status = done.as_ref().err().map_or_else(|| "OK".to_owned(), ToString::to_string);
        lines.push(Line { group: group.clone(), ok: done.is_ok(), status });
    }
    match brokers.format {
        Format::Json => print(&json(&lines)?)?,
        Format::Text => {
            let mut table = Table::new(&["GROUP", "STATUS"]);
            lines.iter().for_each(|line| table.row([line.group.as_str(), line.status.as_str()]));
            print(&table.to_string())?
        }
    };
    match lines.iter().filter(|line| !line.ok).count() {
        0 => Ok(()),
        failed => Err(Failed::new(format!("{failed} of {} groups failed", lines.len()))),
    }
}

fn number(number: Option<i64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}
