//! Reads assigned partitions: fetches ahead, checks, unpacks, hands out records in offset order.
//!
//! Data for a partition is fetched when the last of it was handed out, while the application works on it; one fetch is under way for each
//! broker. `partition` turns bytes into records and knows no socket; `fetcher` performs.

mod fetcher;
mod partition;

use crate::{Client, ClientError};
use bytes::Bytes;
use fetcher::Shared;
use futures::future::select;
use partition::Partition;
use ringlane_protocol::records::TimestampType;
use ringlane_runtime::{Event, now, sleep_until};
use std::pin::pin;
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
    /// Leaves out aborted transactions, and stops before open ones.
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
    /// Where to go on when an offset is no longer (or not yet) in the log; `None`: that is an error.
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

/// Reads assigned partitions. Fetches only while somebody polls, and once ahead.
pub struct Consumer {
    shared: Rc<Shared>,
}

impl Consumer {
    pub fn new(client: &Client, options: ConsumerOptions) -> Consumer {
        Consumer { shared: Rc::new(Shared::new(client, options)) }
    }

    /// Adds a partition, or moves one that is assigned already.
    pub async fn assign(&self, topic: &str, partition: i32, start: StartAt) -> Result<(), ClientError> {
        let topic = self.shared.client.topic(topic).await?;
        topic.require(partition)?;
        self.assign_now(topic.name.as_str().into(), partition, start);
        Ok(())
    }

    /// The same for a partition that is known to be there.
    pub(crate) fn assign_now(&self, name: Rc<str>, partition: i32, start: StartAt) {
        let generation = self.shared.generation.get() + 1;
        self.shared.generation.set(generation);
        let assigned = Partition::new(name.clone(), partition, start, generation);
        self.shared.partitions.borrow_mut().insert((name, partition), assigned);
        self.shared.changed.notify_all();
    }

    pub fn unassign(&self, topic: &str, partition: i32) {
        self.shared.partitions.borrow_mut().remove(&(topic.into(), partition));
    }

    /// The next records, in offset order within each partition; empty when there were none within `timeout`.
    pub async fn poll(&self, timeout: Duration) -> Result<Vec<ConsumerRecord>, ClientError> {
        let deadline = now() + timeout;
        loop {
            let changed = self.shared.changed.listen();
            let records = self.poll_now()?;
            if !records.is_empty() || now() >= deadline {
                return Ok(records);
            }
            select(pin!(changed), pin!(sleep_until(deadline))).await;
        }
    }

    /// What is there now. Starts to fetch what is not.
    pub(crate) fn poll_now(&self) -> Result<Vec<ConsumerRecord>, ClientError> {
        if let Some(error) = self.shared.error.take() {
            return Err(error);
        }
        let records = self.take()?;
        // Also with records in hand: the next ones travel while these are worked on.
        self.shared.start();
        Ok(records)
    }

    /// What a poll waits for has come, or may have.
    pub(crate) fn changed(&self) -> &Event {
        &self.shared.changed
    }

    /// Records from each partition in turn, so that a full one does not keep the others waiting.
    fn take(&self) -> Result<Vec<ConsumerRecord>, ClientError> {
        let mut partitions = self.shared.partitions.borrow_mut();
        let max = self.shared.options.max_poll_records;
        let share = max.div_ceil(partitions.len().max(1));
        let mut records = Vec::new();
        for partition in partitions.values_mut() {
            let left = max - records.len();
            partition.take(&self.shared.options, share.min(left), &mut records)?;
        }
        Ok(records)
    }

    /// Offset of the next record that `poll` gives; `None` while it is being found out.
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        self.with(topic, partition, |partition| partition.start.is_none().then_some(partition.position))
    }

    /// The end that the last answer told: high watermark, or last stable offset when reading committed.
    pub fn end_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.with(topic, partition, |partition| partition.end_offset)
    }

    fn with(&self, topic: &str, partition: i32, read: impl Fn(&Partition) -> Option<i64>) -> Option<i64> {
        self.shared.partitions.borrow().get(&(Rc::from(topic), partition)).and_then(read)
    }

    /// Asks the leader which offset `at` is now.
    pub async fn offset_of(&self, topic: &str, partition: i32, at: StartAt) -> Result<i64, ClientError> {
        self.shared.offset_of(&Rc::from(topic), partition, at).await
    }
}
