//! `ringlane group`: which groups there are, how far they have read, and moving them elsewhere.

mod args;
mod delete;
mod describe;
mod list;
mod seek;
mod share;
mod time;

pub use self::args::GroupCommand;
use crate::exit::Failed;
use crate::shard;

use std::collections::BTreeMap;

use ringlane_client::{Client, Consumer, ConsumerOptions, StartAt, TopicPartition};

pub fn run(command: GroupCommand) -> Result<(), Failed> {
    shard::run(move || async move {
        let client = shard::connect(command.brokers()).await?;
        match &command {
            GroupCommand::List { state, brokers } => list::list(&client, state, brokers).await,
            GroupCommand::Describe(args) => describe::describe(&client, args).await,
            GroupCommand::Seek(args) => seek::seek(&client, args).await,
            GroupCommand::Delete(args) => delete::delete(&client, args).await,
        }
    })
}

/// The offset that `start` means now in each partition; a partition that cannot be asked is left out.
async fn offsets_of<'a>(
    client: &Client,
    partitions: impl Iterator<Item = &'a TopicPartition>,
    start: StartAt,
) -> BTreeMap<TopicPartition, i64> {
    let consumer = Consumer::new(client, ConsumerOptions::default());
    let mut offsets = BTreeMap::new();
    for at in partitions {
        if let Ok(offset) = consumer.offset_of(&at.topic, at.partition, start).await {
            offsets.insert(at.clone(), offset);
        }
    }
    offsets
}

/// TOPIC or TOPIC:PARTITION,... of this topic's partitions.
async fn scope(client: &Client, text: &str) -> Result<Vec<TopicPartition>, Failed> {
    let (topic, wanted) = text.split_once(':').map_or((text, None), |(topic, wanted)| (topic, Some(wanted)));
    let info = client.refresh(topic).await?;
    let Some(wanted) = wanted else {
        return Ok(info.partitions.iter().map(|partition| TopicPartition::new(topic, partition.index)).collect());
    };
    let parse = |partition: &str| match partition.parse() {
        Ok(index) if info.partition(index).is_some() => Ok(TopicPartition::new(topic, index)),
        _ => Err(Failed::new(format!(
            "{text}: topic {topic} has no partition {partition:?}; it has {}, counted from 0",
            info.partitions.len()
        ))),
    };
    wanted.split(',').map(parse).collect()
}
