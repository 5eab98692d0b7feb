//! What goes in, and what comes back for it.

use crate::ClientError;
use bytes::Bytes;
use ringlane_protocol::records::RecordHeader;
use ringlane_runtime::Event;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProducerRecord {
    pub topic: Rc<str>,
    /// `None`: by the key's hash as Kafka's own clients do, or, without a key, one partition until a batch is full.
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

    /// Headers as the batch builder takes them. Allocates only if there are any.
    pub(super) fn header_views(&self) -> Vec<RecordHeader<'_>> {
        self.headers.iter().map(|(key, value)| RecordHeader { key: key.as_bytes(), value: value.as_deref() }).collect()
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

/// What became of a batch; one for all its records.
#[derive(Default)]
pub(super) struct Outcome {
    result: RefCell<Option<Result<Stored, ClientError>>>,
    done: Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    /// -1 when unknown.
    pub(super) base_offset: i64,
    /// -1 when the records keep their own timestamps.
    pub(super) log_append_time_ms: i64,
}

impl Outcome {
    pub(super) fn set(&self, result: Result<Stored, ClientError>) {
        *self.result.borrow_mut() = Some(result);
        self.done.notify_all();
    }
}

/// Resolves when the record is acknowledged or has failed. Dropping it does not take the record back.
#[must_use = "whether the record was stored is only known here (or by Producer::flush)"]
pub struct Delivery {
    outcome: Rc<Outcome>,
    waiting: Option<Pin<Box<dyn Future<Output = ()>>>>,
    partition: i32,
    /// Of the record in its batch.
    index: i64,
    timestamp: i64,
}

impl Delivery {
    pub(super) fn new(outcome: Rc<Outcome>, partition: i32, index: i64, timestamp: i64) -> Delivery {
        Delivery { outcome, waiting: None, partition, index, timestamp }
    }

    fn result(&self) -> Option<Result<RecordMetadata, ClientError>> {
        let result = self.outcome.result.borrow();
        result.as_ref().map(|result| {
            result.clone().map(|stored| RecordMetadata {
                partition: self.partition,
                offset: if stored.base_offset < 0 { -1 } else { stored.base_offset + self.index },
                timestamp: if stored.log_append_time_ms < 0 { self.timestamp } else { stored.log_append_time_ms },
            })
        })
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ClientError>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Some(result) = self.result() {
                return Poll::Ready(result);
            }
            let waiting = match &mut self.waiting {
                Some(waiting) => waiting,
                None => {
                    let listening = Box::pin(self.outcome.done.listen());
                    self.waiting.insert(listening)
                }
            };
            match waiting.as_mut().poll(cx) {
                Poll::Ready(()) => self.waiting = None,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
