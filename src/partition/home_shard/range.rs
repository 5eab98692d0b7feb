//! What a coordinator must know before it replays its partition: how far the log goes, also where it is not stable yet.

use super::HomeShard;
use crate::message::TopicPartition;
use ringlane_protocol::ErrorCode;

/// A log's offsets, from the first to the one behind the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogRange {
    pub start_offset: i64,
    pub end_offset: i64,
}

impl HomeShard {
    /// Of a partition that this broker leads, and whose disk still takes appends: on another no coordinator could work.
    pub fn log_range(&self, at: TopicPartition) -> Result<LogRange, ErrorCode> {
        let state = self.inner.state.borrow();
        let Some(partition) = state.partitions.get(&at).filter(|_| !state.is_closed) else {
            return Err(state.missing(&at));
        };
        if partition.log.failure().is_some() {
            return Err(ErrorCode::KafkaStorageError);
        }
        match partition.is_led_by(self.inner.broker_id) {
            true => Ok(LogRange { start_offset: partition.log.start_offset(), end_offset: partition.log.end_offset() }),
            false => Err(ErrorCode::NotLeaderOrFollower),
        }
    }
}
