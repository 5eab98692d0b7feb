//! `ringlane consume`: records of one topic to standard output, by partition and offset.

mod member;

use std::time::Duration;

use ringlane_client::{Client, Consumer, ConsumerOptions, ConsumerRecord, StartAt};
use serde::Serialize;

use crate::args::{ConsumeArgs, Format, Start};
use crate::exit::Failed;
use crate::shard;
use crate::table::{Printed, json, print_bytes};

/// How long one poll waits: between two of them the end is looked at.
const POLL: Duration = Duration::from_millis(500);

pub fn run(args: ConsumeArgs) -> Result<(), Failed> {
    if args.group.is_some() {
        return member::run(args);
    }
    shard::run(move || async move {
        let client = shard::connect(&args.brokers).await?;
        consume(&client, &args).await
    })
}

async fn consume(client: &Client, args: &ConsumeArgs) -> Result<(), Failed> {
    let consumer = Consumer::new(client, ConsumerOptions { isolation: args.isolation, ..ConsumerOptions::default() });
    let partitions = partitions(client, args).await?;
    let mut ends = Vec::new();
    for &partition in &partitions {
        let end = consumer.offset_of(&args.topic, partition, StartAt::Latest).await?;
        consumer.assign(&args.topic, partition, start(args.offset, end)).await?;
        ends.push((partition, end));
    }
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 && !(args.exit_at_end && at_end(&consumer, args, &ends)) {
        for record in consumer.poll(POLL).await? {
            let beyond = args.exit_at_end
                && ends.iter().any(|(partition, end)| *partition == record.partition && record.offset >= *end);
            if left == 0 || beyond {
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

async fn partitions(client: &Client, args: &ConsumeArgs) -> Result<Vec<i32>, Failed> {
    let topic = client.refresh(&args.topic).await?;
    let all: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
    if args.partitions.is_empty() {
        return Ok(all);
    }
    match args.partitions.iter().find(|partition| !all.contains(partition)) {
        Some(missing) => {
            Err(Failed::new(format!("topic {} has no partition {missing}: it has {}", args.topic, all.len())))
        }
        None => Ok(args.partitions.clone()),
    }
}

fn start(offset: Start, end: i64) -> StartAt {
    match offset {
        Start::Earliest => StartAt::Earliest,
        Start::Latest => StartAt::Offset(end),
        Start::Offset(offset) => StartAt::Offset(offset),
        Start::Last(count) => StartAt::Offset(end.saturating_sub(count).max(0)),
        Start::Timestamp(timestamp) => StartAt::Timestamp(timestamp),
    }
}

fn at_end(consumer: &Consumer, args: &ConsumeArgs, ends: &[(i32, i64)]) -> bool {
    ends.iter()
        .all(|(partition, end)| consumer.position(&args.topic, *partition).is_some_and(|position| position >= *end))
}

fn line(record: &ConsumerRecord, args: &ConsumeArgs) -> Result<Vec<u8>, Failed> {
    if args.brokers.format == Format::Json {
        return Ok(json(&JsonRecord::from(record))?.into_bytes());
    }
    let mut line = Vec::new();
    if let Some(separator) = &args.key_separator {
        line.extend_from_slice(record.key.as_deref().unwrap_or_default());
        line.extend_from_slice(separator.as_bytes());
    }
    line.extend_from_slice(record.value.as_deref().unwrap_or_default());
    line.push(b'\n');
    Ok(line)
}

#[derive(Serialize)]
struct JsonRecord<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    /// Milliseconds since 1970.
    timestamp: i64,
    key: Option<Bytes<'a>>,
    value: Option<Bytes<'a>>,
    headers: Vec<JsonHeader<'a>>,
}

#[derive(Serialize)]
pub(super) struct JsonHeader<'a> {
    pub(super) key: Bytes<'a>,
    pub(super) value: Option<Bytes<'a>>,
}

/// Text where the bytes are text; else their hexadecimal digits, in an object so that nobody takes them for text.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Bytes<'a> {
    Text(&'a str),
    Binary { hex: String },
}

impl<'a> From<&'a ConsumerRecord> for JsonRecord<'a> {
    fn from(record: &'a ConsumerRecord) -> JsonRecord<'a> {
        JsonRecord {
            topic: &record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.as_deref().map(Bytes::from),
            value: record.value.as_deref().map(Bytes::from),
            headers: record
                .headers
                .iter()
                .map(|(key, value)| JsonHeader { key: Bytes::from(&key[..]), value: value.as_deref().map(Bytes::from) })
                .collect(),
        }
    }
}

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(bytes: &'a [u8]) -> Bytes<'a> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Bytes::Text(text),
            Err(_) => Bytes::Binary { hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that are no text would be replaced by question marks, and a script could not tell.
    #[test]
    fn json_keeps_every_byte() {
        let text = |bytes: &[u8]| serde_json::to_string(&Bytes::from(bytes)).unwrap();
        assert_eq!(text("grüß".as_bytes()), "\"grüß\"");
        assert_eq!(text(&[0xff, 0x00]), r#"{"hex":"ff00"}"#);
    }

    /// "The last three" of a partition with two records must not ask for offset -1, which means "the end".
    #[test]
    fn the_start_is_never_before_the_log() {
        assert_eq!(start(Start::Last(3), 2), StartAt::Offset(0));
        assert_eq!(start(Start::Last(3), 10), StartAt::Offset(7));
        assert_eq!(start(Start::Latest, 10), StartAt::Offset(10));
    }
}
