//! Producer (skeleton).
use crate::{Client, ClientError};
use bytes::Bytes;
use ringlane_protocol::records::Compression;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
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
    /// A record that had to be sent twice is stored once (KIP-98). Needs `Acks::All`.
    pub idempotence: bool,
    pub compression: Compression,
    /// How long a batch that is not full waits for more.
    pub linger: Duration,
    /// A batch is sent when it has this many bytes, before compression.
    pub batch_bytes: usize,
    /// Largest request, and with it the largest record.
    pub max_request_bytes: usize,
    /// Records that are not acknowledged yet; `send` waits while there are more.
    pub buffer_bytes: usize,
    /// A record that is not acknowledged after this has failed.
    pub delivery_timeout: Duration,
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
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProducerRecord {
    pub topic: Rc<str>,
    /// `None`: by the key's hash as Kafka's own clients do, or, without a key, one partition per batch.
    pub partition: Option<i32>,
    /// Milliseconds since 1970; `None`: now.
    pub timestamp: Option<i64>,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl ProducerRecord {
    pub fn to(topic: impl Into<Rc<str>>) -> ProducerRecord {
        ProducerRecord { topic: topic.into(), ..Default::default() }
    }
    pub fn partition(mut self, partition: i32) -> ProducerRecord {
        self.partition = Some(partition);
        self
    }
    pub fn timestamp(mut self, timestamp: i64) -> ProducerRecord {
        self.timestamp = Some(timestamp);
        self
    }
    pub fn key(mut self, key: impl Into<Bytes>) -> ProducerRecord {
        self.key = Some(key.into());
        self
    }
    pub fn value(mut self, value: impl Into<Bytes>) -> ProducerRecord {
        self.value = Some(value.into());
        self
    }
    pub fn header(mut self, key: &str, value: impl Into<Bytes>) -> ProducerRecord {
        self.headers.push((key.to_string(), Some(value.into())));
        self
    }
}

/// Where a record was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMetadata {
    pub partition: i32,
    /// -1 when the broker does not tell (acks=0, or a duplicate of a batch that it has forgotten).
    pub offset: i64,
    /// Milliseconds since 1970: the record's, or the broker's if the topic stamps by LogAppendTime.
    pub timestamp: i64,
}

/// Resolves when the record is acknowledged or has failed. Dropping it does not take the record back.
pub struct Delivery {
    _inner: (),
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ClientError>;
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}

/// Sends records in batches, in the order of the calls within each partition. Clones share it.
#[derive(Clone)]
pub struct Producer {
    _inner: (),
}

impl Producer {
    pub fn new(client: &Client, options: ProducerOptions) -> Producer {
        let _ = (client, options);
        todo!()
    }

    /// Puts a record into its batch; waits while the buffer is full. The delivery resolves when the record is stored.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ClientError> {
        let _ = record;
        todo!()
    }

    /// Sends all batches now and waits until each record is acknowledged or has failed. Failures are told by the deliveries; the first
    /// one since the last flush is returned here too.
    pub async fn flush(&self) -> Result<(), ClientError> {
        todo!()
    }

    /// Flushes and takes no more records.
    pub async fn close(self) -> Result<(), ClientError> {
        todo!()
    }
}

/// The partition that Kafka's clients give a key: murmur2.
pub fn partition_for_key(key: &[u8], partitions: usize) -> i32 {
    let _ = (key, partitions);
    todo!()
}
