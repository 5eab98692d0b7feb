//! Sends records: batches them by partition, repeats what fails, keeps their order, and with idempotence stores each once.
//!
//! `queue`, `accumulator` and `transaction` decide and know neither clock nor socket; `sender` and
//! `transactional` perform. Records wait in memory up to
//! [`ProducerOptions::buffer_bytes`]; beyond that `send` waits.

mod accumulator;
mod partitioner;
mod queue;
mod record;
mod sender;
mod transaction;
mod transactional;

pub use partitioner::partition_for_key;
pub use record::{Delivery, ProducerRecord, RecordMetadata};

use crate::{Client, ClientError, TopicInfo};
use accumulator::{Accumulator, Target};
use queue::{IN_FLIGHT_PER_PARTITION_MAX, Limits};
use ringlane_protocol::records::{Compression, HEADER_BYTES};
use ringlane_runtime::{now, random_u64, spawn, wall_clock_ms};
use sender::Shared;
use std::rc::Rc;
use std::time::Duration;

/// Which replicas must have a record before it counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// The broker does not answer; records may be lost unseen.
    None,
    Leader,
    /// All in-sync replicas.
    #[default]
    All,
}

#[derive(Debug, Clone)]
pub struct ProducerOptions {
    pub acks: Acks,
    /// A record that had to be sent twice is stored once (KIP-98). Only with [`Acks::All`].
    pub idempotence: bool,
    pub compression: Compression,
    /// How long a batch that is not full waits for more.
    pub linger: Duration,
    /// A batch is sent when it has this many bytes, before compression.
    pub batch_bytes: usize,
    /// A request takes no further batch when it has this many bytes; also the largest record.
    pub max_request_bytes: usize,
    /// Records that are not acknowledged yet; `send` waits while there are more.
    pub buffer_bytes: usize,
    /// A record that is not acknowledged after this has failed.
    pub delivery_timeout: Duration,
    /// Records become visible transaction by transaction (KIP-98). Only one producer with this id is alive at a time: the latest.
    pub transactional_id: Option<String>,
    /// The coordinator aborts a transaction that is open for longer.
    pub transaction_timeout: Duration,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions {
            acks: Acks::All,
            idempotence: true,
            compression: Compression::None,
            linger: Duration::from_millis(5),
            batch_bytes: 64 << 10,
            max_request_bytes: 1 << 20,
            buffer_bytes: 32 << 20,
            delivery_timeout: Duration::from_secs(120),
            transactional_id: None,
            transaction_timeout: Duration::from_secs(60),
        }
    }
}

/// Sends records in batches, in the order of the calls within each partition. Clones share it. Dropping the last one drops records
/// that were not sent yet: flush before.
#[derive(Clone)]
pub struct Producer {
    shared: Rc<Shared>,
}

/// Upper bound of what a record takes beside key, value and headers.
const RECORD_OVERHEAD_BYTES: usize = 64;

impl Producer {
    /// With a transactional id records are always acknowledged by all in-sync replicas, and idempotent.
    pub fn new(client: &Client, mut options: ProducerOptions) -> Producer {
        let transactional = options.transactional_id.is_some();
        if transactional {
            (options.acks, options.idempotence) = (Acks::All, true);
        }
        let idempotence = options.idempotence && options.acks == Acks::All;
        let limits = Limits {
            batch_bytes: options.batch_bytes,
            linger: options.linger,
            delivery_timeout: options.delivery_timeout,
            compression: options.compression,
            idempotence,
            transactional,
            in_flight_max: if idempotence { IN_FLIGHT_PER_PARTITION_MAX } else { 1 },
        };
        let batches = Accumulator::new(limits, options.buffer_bytes);
        let shared = Rc::new(Shared::new(client, options, batches));
        spawn("producer", sender::run(Rc::downgrade(&shared))).detach();
        Producer { shared }
    }

    /// Puts a record into its batch; waits while the topic's partitions are not known or the buffer is full. The delivery resolves
    /// when the record is stored.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ClientError> {
        let shared = &self.shared;
        let topic = shared.client.topic(&record.topic).await?;
        let bytes = record_bytes(&record);
        let max = shared.options.max_request_bytes;
        if HEADER_BYTES + bytes > max {
            return Err(ClientError::RecordTooLarge { bytes, max });
        }
        let partition = self.place(&topic, &record, bytes)?;
        loop {
            let changed = shared.changed.listen();
            if shared.is_closed.get() {
                return Err(ClientError::Closed { what: "producer" });
            }
            if shared.batches.borrow().has_room(bytes) {
                break;
            }
            changed.await;
        }
        if let Some(transactional) = &shared.transactional {
            transactional.transaction.borrow().check_open()?;
        }
        let target = Target { topic: record.topic.clone(), partition };
        let timestamp = record.timestamp.unwrap_or_else(wall_clock_ms);
        let (delivery, is_news) = shared.batches.borrow_mut().push(&target, &record, timestamp, now());
        if is_news {
            shared.changed.notify_all();
        }
        Ok(delivery)
    }

    fn place(&self, topic: &TopicInfo, record: &ProducerRecord, bytes: usize) -> Result<i32, ClientError> {
        if let Some(partition) = record.partition {
            return topic.require(partition).map(|partition| partition.index);
        }
        if let Some(key) = &record.key {
            return Ok(partition_for_key(key, topic.partitions.len()));
        }
        let with_leader = topic.partitions.iter().filter(|partition| partition.leader.is_some());
        let mut candidates: Vec<i32> = with_leader.map(|partition| partition.index).collect();
        if candidates.is_empty() {
            candidates = topic.partitions.iter().map(|partition| partition.index).collect();
        }
        let batch_bytes = self.shared.options.batch_bytes;
        let sticky = &mut self.shared.batches.borrow_mut().sticky;
        Ok(sticky.partition(&record.topic, &candidates, bytes, batch_bytes, random_u64))
    }

    /// Sends all batches now and waits until each record is acknowledged or has failed. Failures are told by the deliveries; the
    /// first one since the last flush is returned here too.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let shared = &self.shared;
        let last_id = {
            let mut batches = shared.batches.borrow_mut();
            batches.begin_flush();
            batches.last_id()
        };
        shared.changed.notify_all();
        loop {
            let changed = shared.changed.listen();
            if shared.batches.borrow().is_settled(last_id) {
                break;
            }
            changed.await;
        }
        match shared.batches.borrow_mut().end_flush() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Takes no more records, and flushes.
    pub async fn close(self) -> Result<(), ClientError> {
        self.shared.is_closed.set(true);
        self.flush().await
    }
}

fn record_bytes(record: &ProducerRecord) -> usize {
    let headers = record.headers.iter().map(|(key, value)| 10 + key.len() + value.as_ref().map_or(0, |v| v.len()));
    let key = record.key.as_ref().map_or(0, |key| key.len());
    let value = record.value.as_ref().map_or(0, |value| value.len());
    RECORD_OVERHEAD_BYTES + key + value + headers.sum::<usize>()
}
