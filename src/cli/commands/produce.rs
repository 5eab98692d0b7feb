//! `ringlane produce`: lines of standard input become records.

use std::collections::{BTreeMap, VecDeque};
use std::io::BufRead;
use std::rc::Rc;
use std::time::Duration;

use ringlane_client::{Acks, ClientError, Delivery, Producer, ProducerOptions, ProducerRecord, RecordMetadata};
use ringlane_runtime::blocking;
use serde::Serialize;

use crate::args::{Format, ProduceArgs};
use crate::exit::Failed;
use crate::shard;
use crate::table::{Table, json, print};

/// Records whose delivery is not looked at yet; more wait until the oldest is known.
const DELIVERIES_MAX: usize = 20_000;
/// The most that a broker allows unless it is told otherwise (`transaction.max.timeout.ms`): input may come slowly.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(900);
/// A line without an end must not take all memory; no broker takes a record of this size.
const LINE_BYTES_MAX: usize = 128 << 20;

pub fn run(args: ProduceArgs) -> Result<(), Failed> {
    let headers = headers(&args.headers)?;
    shard::run(move || produce(args, headers))
}

async fn produce(args: ProduceArgs, headers: Vec<(String, Option<bytes::Bytes>)>) -> Result<(), Failed> {
    let client = shard::connect_to_create(&args.brokers).await?;
    let producer = Producer::new(&client, options(&args));
    if args.transactional_id.is_none() {
        return send_all(&producer, &args, headers).await?.tell(&args);
    }
    producer.init_transactions().await?;
    producer.begin_transaction().await?;
    let outcome = match send_all(&producer, &args, headers).await {
        Ok(sent) => producer.commit_transaction().await.map(|()| sent).map_err(Failed::from),
        Err(failed) => Err(failed),
    };
    match outcome {
        Ok(sent) => sent.tell(&args),
        Err(failed) => match producer.abort_transaction().await {
            Ok(()) => Err(Failed::new(format!("{failed}. The transaction was aborted: no record counts"))),
            // Another producer has the id, and its coordinator has aborted this transaction: an abort only hears that again.
            Err(ClientError::Fatal { .. }) => Err(failed),
            Err(error) => Err(Failed::new(format!("{failed}. The transaction could not be aborted either: {error}"))),
        },
    }
}

/// Every line of standard input, to the last acknowledgement.
async fn send_all(
    producer: &Producer,
    args: &ProduceArgs,
    headers: Vec<(String, Option<bytes::Bytes>)>,
) -> Result<Sent, Failed> {
    let template = ProducerRecord { partition: args.partition, headers, ..ProducerRecord::to(args.topic.as_str()) };
    let mut sent = Sent::default();
    let mut lines = Lines::default();
    while let Some(chunk) = read_chunk().await? {
        for line in lines.push(&chunk)? {
            sent.take(producer.send(record(&template, line, args)?).await?).await?;
        }
    }
    if let Some(line) = lines.rest() {
        sent.take(producer.send(record(&template, line, args)?).await?).await?;
    }
    // What failed is told by the deliveries, with the record's own reason.
    let flushed = producer.flush().await;
    sent.finish().await?;
    flushed?;
    Ok(sent)
}

fn options(args: &ProduceArgs) -> ProducerOptions {
    ProducerOptions {
        acks: args.acks,
        idempotence: args.acks == Acks::All,
        compression: args.compression,
        transactional_id: args.transactional_id.clone(),
        transaction_timeout: TRANSACTION_TIMEOUT,
        ..ProducerOptions::default()
    }
}

fn headers(given: &[String]) -> Result<Vec<(String, Option<bytes::Bytes>)>, Failed> {
    let header = |text: &String| {
        let (key, value) =
            text.split_once('=').ok_or_else(|| Failed::new(format!("--header {text}: expected KEY=VALUE")))?;
        Ok((key.to_owned(), Some(bytes::Bytes::copy_from_slice(value.as_bytes()))))
    };
    given.iter().map(header).collect()
}

fn record(template: &ProducerRecord, line: Vec<u8>, args: &ProduceArgs) -> Result<ProducerRecord, Failed> {
    let Some(separator) = args.key_separator.as_deref() else {
        return Ok(ProducerRecord { value: Some(line.into()), ..template.clone() });
    };
    let at = line.windows(separator.len()).position(|window| window == separator.as_bytes()).ok_or_else(|| {
        Failed::new(format!("the line {:?} has no key separator {separator:?}", String::from_utf8_lossy(&line)))
    })?;
    let line = bytes::Bytes::from(line);
    let (key, value) = (line.slice(..at), line.slice(at + separator.len()..));
    Ok(ProducerRecord { key: Some(key), value: Some(value), ..template.clone() })
}

/// What standard input has now; `None` at its end. On a helper thread: the terminal's user types slowly.
async fn read_chunk() -> Result<Option<Vec<u8>>, Failed> {
    let read = || {
        let mut input = std::io::stdin().lock();
        let chunk = input.fill_buf()?.to_vec();
        input.consume(chunk.len());
        Ok::<_, std::io::Error>(chunk)
    };
    let chunk = blocking("standard input", read).await.map_err(|error| Failed::new(error.to_string()))?;
    let chunk = chunk.map_err(|error| Failed::new(format!("cannot read standard input: {error}")))?;
    Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
}

/// Lines out of chunks that end anywhere.
#[derive(Default)]
struct Lines {
    open: Vec<u8>,
}

impl Lines {
    /// The lines that `chunk` ends, without their ends.
    fn push(&mut self, chunk: &[u8]) -> Result<Vec<Vec<u8>>, Failed> {
        let mut lines = Vec::new();
        let mut parts = chunk.split(|byte| *byte == b'\n');
        let last = parts.next_back().unwrap_or_default();
        for part in parts {
            self.open.extend_from_slice(part);
            lines.push(std::mem::take(&mut self.open));
        }
        self.open.extend_from_slice(last);
        if self.open.len() > LINE_BYTES_MAX {
            return Err(Failed::new(format!("a line of standard input is longer than {LINE_BYTES_MAX} bytes")));
        }
        Ok(lines)
    }

    /// The last line, when nothing ended it.
    fn rest(self) -> Option<Vec<u8>> {
        Some(self.open).filter(|line| !line.is_empty())
    }
}

/// What was sent and where it went.
#[derive(Default)]
struct Sent {
    waiting: VecDeque<Delivery>,
    partitions: BTreeMap<i32, Stored>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stored {
    records: u64,
    first_offset: i64,
    last_offset: i64,
}

impl Sent {
    async fn take(&mut self, delivery: Delivery) -> Result<(), Failed> {
        self.waiting.push_back(delivery);
        if self.waiting.len() > DELIVERIES_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.count(oldest.await?);
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Failed> {
        while let Some(delivery) = self.waiting.pop_front() {
            let metadata = delivery.await?;
            self.count(metadata);
        }
        Ok(())
    }

    fn count(&mut self, metadata: RecordMetadata) {
        let first = Stored { records: 0, first_offset: metadata.offset, last_offset: metadata.offset };
        let stored = self.partitions.entry(metadata.partition).or_insert(first);
        stored.records += 1;
        stored.first_offset = stored.first_offset.min(metadata.offset);
        stored.last_offset = stored.last_offset.max(metadata.offset);
    }

    fn tell(&self, args: &ProduceArgs) -> Result<(), Failed> {
        #[derive(Serialize)]
        struct Line<'a> {
            topic: &'a str,
            partition: i32,
            records: u64,
            /// -1 when the broker does not tell (acks=0).
            first_offset: i64,
            last_offset: i64,
        }
        let topic: Rc<str> = args.topic.as_str().into();
        let line = |(partition, stored): (&i32, &Stored)| Line {
            topic: &topic,
            partition: *partition,
            records: stored.records,
            first_offset: stored.first_offset,
            last_offset: stored.last_offset,
        };
        let lines: Vec<Line> = self.partitions.iter().map(line).collect();
        match args.brokers.format {
            Format::Json => print(&json(&lines)?)?,
            Format::Text => {
                let mut table = Table::new(&["TOPIC", "PARTITION", "RECORDS", "FIRST-OFFSET", "LAST-OFFSET"]);
                for line in &lines {
                    let offset = |offset: i64| if offset < 0 { "-".to_owned() } else { offset.to_string() };
                    table.row([
                        line.topic.to_owned(),
                        line.partition.to_string(),
                        line.records.to_string(),
                        offset(line.first_offset),
                        offset(line.last_offset),
                    ]);
                }
                print(&table.to_string())?
            }
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe ends its chunks in the middle of lines: records would be cut, or two joined.
    #[test]
    fn lines_survive_chunks_that_end_anywhere() {
        let text = b"first\n\nsecond line\nlast without end";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut all: Vec<Vec<u8>> = text.chunks(size).flat_map(|chunk| lines.push(chunk).unwrap()).collect();
            all.extend(lines.rest());
            assert_eq!(all, [&b"first"[..], b"", b"second line", b"last without end"]);
        }
    }
}
