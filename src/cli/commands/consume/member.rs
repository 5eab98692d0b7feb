//! `ringlane consume --group`: as a member of a group, which leaves in order.

use std::rc::Rc;

use ringlane_client::{
    Client, Consumer, ConsumerOptions, GroupConsumer, GroupOptions, Polled, StartAt, TopicPartition,
};

use super::{POLL, line};
use crate::args::{ConsumeArgs, Start};
use crate::exit::Failed;
use crate::shard::{self, Stop};
use crate::table::{Printed, print_bytes};

pub fn run(args: ConsumeArgs) -> Result<(), Failed> {
    let reset = reset(args.offset)?;
    shard::run_to_order(move |stop| async move {
        let client = shard::connect(&args.brokers).await?;
        let options = GroupOptions {
            protocol: args.group_protocol,
            instance: args.instance.clone(),
            consumer: ConsumerOptions { isolation: args.isolation, reset: Some(reset), ..ConsumerOptions::default() },
            ..GroupOptions::of(args.group.as_deref().unwrap_or_default())
        };
        let member = GroupConsumer::new(&client, options);
        let ends = if args.exit_at_end { Some(ends(&client, &args.topic).await?) } else { None };
        member.subscribe(&[&args.topic]);
        let read = read(&member, &args, ends.as_deref(), &stop).await;
        let left = member.close().await;
        read?;
        Ok(left?)
    })
}

/// A place that is the same for every partition.
fn reset(start: Start) -> Result<StartAt, Failed> {
    match start {
        Start::Earliest => Ok(StartAt::Earliest),
        Start::Latest => Ok(StartAt::Latest),
        Start::Timestamp(timestamp) => Ok(StartAt::Timestamp(timestamp)),
        Start::Offset(_) | Start::Last(_) => Err(Failed::new(
            "--offset with --group is start, end or @MS: it only counts where the group has committed nothing; \
             `ringlane group seek` moves a group",
        )),
    }
}

/// Where the partitions end now.
async fn ends(client: &Client, topic: &str) -> Result<Vec<(TopicPartition, i64)>, Failed> {
    let consumer = Consumer::new(client, ConsumerOptions::default());
    let mut ends = Vec::new();
    for partition in &client.refresh(topic).await?.partitions {
        let end = consumer.offset_of(topic, partition.index, StartAt::Latest).await?;
        ends.push((TopicPartition::new(topic, partition.index), end));
    }
    Ok(ends)
}

async fn read(
    member: &GroupConsumer,
    args: &ConsumeArgs,
    ends: Option<&[(TopicPartition, i64)]>,
    stop: &Rc<Stop>,
) -> Result<(), Failed> {
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut is_in = false;
    while left > 0 && !(is_in && ends.is_some_and(|ends| at_end(member, ends))) {
        let records = match stop.unless_set(member.poll(POLL)).await {
            None => return Ok(()),
            Some(Ok(Polled::Records(records))) => records,
            Some(Ok(Polled::Assigned(_))) => {
                is_in = true;
                continue;
            }
            Some(Ok(Polled::Revoked(_) | Polled::Lost(_))) => continue,
            Some(Err(error)) => return Err(error.into()),
        };
        for record in records {
            if left == 0 {
                // What was not printed is not read: the next member begins there.
                let at = TopicPartition::new(&record.topic, record.partition);
                if member.position(&at).is_some_and(|position| position > record.offset) {
                    member.seek(&at, StartAt::Offset(record.offset))?;
                }
                continue;
            }
            left -= 1;
            if print_bytes(&line(&record, args)?)? == Printed::NobodyReads {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether all that this member has is read, up to where it ended when the command began.
fn at_end(member: &GroupConsumer, ends: &[(TopicPartition, i64)]) -> bool {
    let has_read = |(at, end): &(TopicPartition, i64)| member.position(at).is_none_or(|position| position >= *end);
    let assignment = member.assignment();
    assignment.iter().all(|at| member.position(at).is_some()) && ends.iter().all(has_read)
}
