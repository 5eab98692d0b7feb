//! `ringlane group seek`: says where a group would go, and moves it when told to.

use std::collections::BTreeMap;

use ringlane_client::{Admin, Client, CommittedOffset, StartAt, TopicPartition};
use serde::Serialize;

use super::args::SeekArgs;
use super::{offsets_of, scope};
use crate::args::Format;
use crate::exit::Failed;
use crate::table::{Table, json, print};

#[derive(Serialize)]
struct Line {
    group: String,
    topic: String,
    partition: i32,
    current_offset: Option<i64>,
    new_offset: i64,
    /// False for what would be done.
    applied: bool,
}

pub async fn seek(client: &Client, args: &SeekArgs) -> Result<(), Failed> {
    let admin = Admin::new(client);
    let committed = admin.group_offsets(&args.group).await?;
    let mut partitions = Vec::new();
    for topic in &args.topics {
        partitions.extend(scope(client, topic).await?);
    }
    if args.all_topics {
        partitions.extend(committed.keys().cloned());
    }
    if partitions.is_empty() {
        return Err(Failed::new(format!(
            "group {} has committed nothing: --topic says where it is to begin",
            args.group
        )));
    }
    let earliest = offsets_of(client, partitions.iter(), StartAt::Earliest).await;
    let latest = offsets_of(client, partitions.iter(), StartAt::Latest).await;
    let timed = match args.to_datetime {
        Some(ms) => offsets_of(client, partitions.iter(), StartAt::Timestamp(ms)).await,
        None => BTreeMap::new(),
    };
    let mut targets = BTreeMap::new();
    for at in &partitions {
        let known = earliest.get(at).zip(latest.get(at));
        let (&start, &end) = known.ok_or_else(|| {
            Failed::new(format!("topic {} partition {} does not say where it begins and ends", at.topic, at.partition))
        })?;
        let current = committed.get(at).map(|committed| committed.offset);
        let wanted = target(args, current, start, end, timed.get(at).copied()).ok_or_else(|| {
            Failed::new(format!("--shift-by: the group has committed nothing in {at}, so it is nowhere to move from"))
        })?;
        targets.insert(at.clone(), CommittedOffset::at(wanted));
    }
    if args.apply {
        admin.set_group_offsets(&args.group, &targets).await?;
    }
    tell(args, &committed, &targets)
}

/// Inside of the partition, whatever was asked for.
fn target(args: &SeekArgs, current: Option<i64>, start: i64, end: i64, timed: Option<i64>) -> Option<i64> {
    let wanted = if args.to_earliest {
        start
    } else if let Some(offset) = args.to_offset {
        offset
    } else if let Some(count) = args.shift_by {
        current?.saturating_add(count)
    } else {
        timed.filter(|_| args.to_datetime.is_some()).unwrap_or(end)
    };
    Some(wanted.clamp(start, end.max(start)))
}

fn tell(
    args: &SeekArgs,
    committed: &BTreeMap<TopicPartition, CommittedOffset>,
    targets: &BTreeMap<TopicPartition, CommittedOffset>,
) -> Result<(), Failed> {
    let lines = targets.iter().map(|(at, target)| Line {
        group: args.group.clone(),
        topic: at.topic.to_string(),
        partition: at.partition,
        current_offset: committed.get(at).map(|committed| committed.offset),
        new_offset: target.offset,
        applied: args.apply,
    });
    let lines: Vec<Line> = lines.collect();
    match args.brokers.format {
        Format::Json => print(&json(&lines)?)?,
        Format::Text => {
            let mut table = Table::new(&["GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "NEW-OFFSET"]);
            for line in &lines {
                table.row([
                    line.group.clone(),
                    line.topic.clone(),
                    line.partition.to_string(),
                    line.current_offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string()),
                    line.new_offset.to_string(),
                ]);
            }
            print(&table.to_string())?
        }
    };
    if !args.apply {
        eprintln!("Nothing was moved: --apply does it.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use crate::commands::group::GroupCommand;
    use clap::Parser;

    fn args(more: &[&str]) -> SeekArgs {
        let line = [&["ringlane", "group", "seek", "g", "--topic", "t"], more].concat();
        match Args::try_parse_from(line).unwrap_or_else(|error| panic!("{error}")).command {
            Command::Group(GroupCommand::Seek(args)) => args,
            _ => panic!("another command"),
        }
    }

    /// A group that is moved before the first or behind the last record falls back on its reset policy, which may skip everything.
    #[test]
    fn a_target_lies_inside_the_partition() {
        let of = |more: &[&str], current| target(&args(more), current, 10, 20, Some(15));
        assert_eq!(of(&["--to-earliest"], None), Some(10));
        assert_eq!(of(&["--to-latest"], None), Some(20));
        assert_eq!(of(&["--to-offset", "3"], None), Some(10));
        assert_eq!(of(&["--to-offset", "99"], None), Some(20));
        assert_eq!(of(&["--shift-by", "-2"], Some(17)), Some(15));
        assert_eq!(of(&["--shift-by", "-100"], Some(17)), Some(10));
        assert_eq!(of(&["--shift-by", "1"], None), None, "from nowhere");
        assert_eq!(of(&["--to-datetime", "@5"], None), Some(15));
    }

    /// Moving a group by accident loses its place.
    #[test]
    fn nothing_moves_without_being_told_to_and_where_to() {
        assert!(!args(&["--to-latest"]).apply);
        assert!(args(&["--to-latest", "--execute"]).apply, "as Kafka's tool calls it");
        let parse = |line: &[&str]| Args::try_parse_from(line).is_ok();
        assert!(!parse(&["ringlane", "group", "seek", "g", "--topic", "t"]), "where to");
        assert!(!parse(&["ringlane", "group", "seek", "g", "--to-latest"]), "in what");
        assert!(!parse(&["ringlane", "group", "seek", "g", "--topic", "t", "--to-latest", "--to-earliest"]));
    }
}
