//! Consumer (skeleton).
use crate::{Client, ClientError};
use bytes::Bytes;
use ringlane_protocol::records::TimestampType;
use std::rc::Rc;
use std::time::Duration;

/// Where a partition is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    Earliest,
    /// Behind the last record.
    Latest,
    Offset(i64),
    /// The first record with this timestamp or a later one (milliseconds since 1970); behind the last record if there is none.
    Timestamp(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IsolationLevel {
    #[default]
    ReadUncommitted,
    ReadCommitted,
}

#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// The broker answers when it has this much, or after `max_wait`.
    pub min_bytes: i32,
    pub max_wait: Duration,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
    pub isolation: IsolationLevel,
    /// What to do when an offset is no longer (or not yet) in the log; `None`: an error.
    pub reset: Option<StartAt>,
    pub check_crcs: bool,
    /// Most records that one `poll` gives.
    pub max_poll_records: usize,
}

impl Default for ConsumerOptions {
    fn default() -> ConsumerOptions {
        ConsumerOptions {
            min_bytes: 1,
            max_wait: Duration::from_millis(500),
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            isolation: IsolationLevel::ReadUncommitted,
            reset: Some(StartAt::Latest),
            check_crcs: true,
            max_poll_records: 500,
        }
    }
}

/// A record; its bytes are slices of the answer that brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    pub topic: Rc<str>,
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    pub timestamp_type: TimestampType,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// Header keys are text by convention only.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Reads assigned partitions.
pub struct Consumer {
    _inner: (),
}

impl Consumer {
    pub fn new(client: &Client, options: ConsumerOptions) -> Consumer {
        let _ = (client, options);
        todo!()
    }

    /// Adds a partition, or moves one that is assigned already.
    pub async fn assign(&self, topic: &str, partition: i32, start: StartAt) -> Result<(), ClientError> {
        let _ = (topic, partition, start);
        todo!()
    }

    pub fn unassign(&self, topic: &str, partition: i32) {
        let _ = (topic, partition);
        todo!()
    }

    /// The next records, in offset order within each partition; empty when there were none within `timeout`.
    pub async fn poll(&self, timeout: Duration) -> Result<Vec<ConsumerRecord>, ClientError> {
        let _ = timeout;
        todo!()
    }

    /// Offset of the next record that `poll` gives.
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        let _ = (topic, partition);
        todo!()
    }

    /// The end that the last answer told: high watermark, or last stable offset when reading committed. `None` before the first answer.
    pub fn end_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        let _ = (topic, partition);
        todo!()
    }

    /// Asks the leader where `at` is now.
    pub async fn offset_of(&self, topic: &str, partition: i32, at: StartAt) -> Result<i64, ClientError> {
        let _ = (topic, partition, at);
        todo!()
    }
}
