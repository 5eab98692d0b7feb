//! `ringlane topic`: several topics at a time, one result a line; fails when one of them failed.

use ringlane_client::{
    Admin, Client, ConfigEntry, ConfigResource, Consumer, ConsumerOptions, NewTopic, StartAt, TopicInfo,
};
use ringlane_protocol::ErrorCode;
use serde::Serialize;

use crate::args::{BrokerArgs, CreateArgs, Format, TopicCommand};
use crate::commands::delete_records::delete_records;
use crate::exit::Failed;
use crate::shard;
use crate::table::{Table, json, print};

pub fn run(command: TopicCommand) -> Result<(), Failed> {
    shard::run(move || async move {
        let client = shard::connect(command.brokers()).await?;
        match &command {
            TopicCommand::Create(args) => create(&client, args).await,
            TopicCommand::Delete { names, if_exists, brokers } => delete(&client, names, *if_exists, brokers).await,
            TopicCommand::DeleteRecords(args) => delete_records(&client, args).await,
            TopicCommand::List { internal, brokers } => list(&client, *internal, brokers).await,
            TopicCommand::Describe { names, brokers } => describe(&client, names, brokers).await,
        }
    })
}

async fn create(client: &Client, args: &CreateArgs) -> Result<(), Failed> {
    let configs = args
        .configs
        .iter()
        .map(|config| config.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Failed::new("-c expects KEY=VALUE"))?;
    let admin = Admin::new(client);
    let mut results = Vec::new();
    for name in &args.names {
        let topic = NewTopic {
            partitions: args.partitions,
            replication_factor: args.replicas,
            configs: configs.clone(),
            ..NewTopic::named(name)
        };
        let done = match admin.create_topic(&topic, args.dry_run).await {
            Ok(_) if args.dry_run => Ok("OK (not created: dry run)"),
            Ok(_) => Ok("OK"),
            Err(error) if args.if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) => Ok("exists"),
            Err(error) => Err(error.to_string()),
        };
        results.push((name.clone(), done));
    }
    tell(&results, args.brokers.format)
}

async fn delete(client: &Client, names: &[String], if_exists: bool, brokers: &BrokerArgs) -> Result<(), Failed> {
    let admin = Admin::new(client);
    let mut results = Vec::new();
    for name in names {
        let done = match admin.delete_topic(name).await {
            Ok(()) => Ok("OK"),
            Err(error) if if_exists && error.code() == Some(ErrorCode::UnknownTopicOrPartition) => Ok("does not exist"),
            Err(error) => Err(error.to_string()),
        };
        results.push((name.clone(), done));
    }
    tell(&results, brokers.format)
}

/// What became of each topic.
fn tell(results: &[(String, Result<&str, String>)], format: Format) -> Result<(), Failed> {
    #[derive(Serialize)]
    struct Line<'a> {
        topic: &'a str,
        ok: bool,
        status: &'a str,
    }
    let lines: Vec<Line> = results
        .iter()
        .map(|(topic, done)| Line {
            topic,
            ok: done.is_ok(),
            status: match done {
                Ok(status) => status,
                Err(message) => message,
            },
        })
        .collect();
    match format {
        Format::Json => print(&json(&lines)?)?,
        Format::Text => {
            let mut table = Table::new(&["TOPIC", "STATUS"]);
            lines.iter().for_each(|line| table.row([line.topic, line.status]));
            print(&table.to_string())?
        }
    };
    let failed = lines.iter().filter(|line| !line.ok).count();
    if failed == 0 { Ok(()) } else { Err(Failed::new(format!("{failed} of {} topics failed", lines.len()))) }
}

async fn list(client: &Client, internal: bool, brokers: &BrokerArgs) -> Result<(), Failed> {
    #[derive(Serialize)]
    struct Line {
        topic: String,
        partitions: usize,
        replicas: usize,
    }
    let topics = Admin::new(client).topics().await?;
    let lines = topics.iter().filter(|topic| internal || !topic.is_internal).map(|topic| Line {
        topic: topic.name.clone(),
        partitions: topic.partitions.len(),
        replicas: topic.partitions.first().map_or(0, |partition| partition.replicas.len()),
    });
    let lines: Vec<Line> = lines.collect();
    match brokers.format {
        Format::Json => print(&json(&lines)?)?,
        Format::Text => {
            let mut table = Table::new(&["NAME", "PARTITIONS", "REPLICAS"]);
            lines.iter().for_each(|line| {
                table.row([line.topic.clone(), line.partitions.to_string(), line.replicas.to_string()])
            });
            print(&table.to_string())?
        }
    };
    Ok(())
}

#[derive(Serialize)]
struct Described {
    topic: String,
    id: String,
    internal: bool,
    /// What an ack of this topic means.
    durability: &'static str,
    partitions: Vec<DescribedPartition>,
    configs: Vec<DescribedConfig>,
}

#[derive(Serialize)]
struct DescribedPartition {
    partition: i32,
    leader: Option<i32>,
    epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    log_start_offset: i64,
    high_watermark: i64,
}

#[derive(Serialize)]
struct DescribedConfig {
    key: String,
    value: Option<String>,
    source: &'static str,
}

async fn describe(client: &Client, names: &[String], brokers: &BrokerArgs) -> Result<(), Failed> {
    let mut all = Vec::new();
    for name in names {
        let topic = Admin::new(client).topic(name).await?;
        let configs = Admin::new(client).describe_configs(&ConfigResource::Topic(name.clone())).await?;
        all.push(described(client, &topic, configs).await?);
    }
    match brokers.format {
        Format::Json => print(&json(&all)?)?,
        Format::Text => print(&all.iter().map(as_text).collect::<Vec<_>>().join("\n"))?,
    };
    Ok(())
}

async fn described(client: &Client, topic: &TopicInfo, configs: Vec<ConfigEntry>) -> Result<Described, Failed> {
    let consumer = Consumer::new(client, ConsumerOptions::default());
    let mut partitions = Vec::new();
    for partition in &topic.partitions {
        partitions.push(DescribedPartition {
            partition: partition.index,
            leader: partition.leader,
            epoch: partition.leader_epoch,
            replicas: partition.replicas.clone(),
            isr: partition.isr.clone(),
            log_start_offset: consumer.offset_of(&topic.name, partition.index, StartAt::Earliest).await?,
            high_watermark: consumer.offset_of(&topic.name, partition.index, StartAt::Latest).await?,
        });
    }
    let flush_messages =
        configs.iter().find(|config| config.name == "flush.messages").and_then(|config| config.value.as_deref());
    Ok(Described {
        topic: topic.name.clone(),
        id: topic.id.to_string(),
        internal: topic.is_internal,
        durability: match flush_messages {
            Some("1") => "durable: an ack survives power loss",
            _ => "written: an ack survives the end of the broker, not power loss",
        },
        partitions,
        configs: configs
            .into_iter()
            .map(|config| DescribedConfig { source: source(config.source), key: config.name, value: config.value })
            .collect(),
    })
}

/// The names that Kafka's tools print for DescribeConfigs' numbers.
fn source(number: i8) -> &'static str {
    match number {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        5 => "DEFAULT_CONFIG",
        _ => "UNKNOWN",
    }
}

fn as_text(topic: &Described) -> String {
    let mut summary = Table::new(&["SUMMARY", ""]);
    summary.row(["name".to_owned(), topic.topic.clone()]);
    summary.row(["id".to_owned(), topic.id.clone()]);
    summary.row(["internal".to_owned(), topic.internal.to_string()]);
    summary.row(["durability".to_owned(), topic.durability.to_owned()]);
    summary.row(["partitions".to_owned(), topic.partitions.len().to_string()]);
    let mut configs = Table::new(&["CONFIG", "VALUE", "SOURCE"]);
    for config in &topic.configs {
        configs.row([config.key.as_str(), config.value.as_deref().unwrap_or("-"), config.source]);
    }
    let mut partitions =
        Table::new(&["PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "LOG-START-OFFSET", "HIGH-WATERMARK"]);
    for partition in &topic.partitions {
        partitions.row([
            partition.partition.to_string(),
            partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
            partition.epoch.to_string(),
            numbers(&partition.replicas),
            numbers(&partition.isr),
            partition.log_start_offset.to_string(),
            partition.high_watermark.to_string(),
        ]);
    }
    format!("{summary}\n{configs}\n{partitions}")
}

fn numbers(numbers: &[i32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
