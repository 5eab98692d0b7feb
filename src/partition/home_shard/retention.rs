//! Where a log begins: retention drops old segments, DeleteRecords moves the start, DescribeLogDirs asks how much is left.

use super::{HomeShard, Inner};
use crate::message::{
    DeleteRecordsEntry, DeleteRecordsReply, DeleteRecordsRequest, DeleteRecordsResult, LogSize, LogSizesReply,
    TopicPartition,
};
use ringlane_log::{Log, LogStartError, RetentionClock, RetentionTime};
use ringlane_protocol::ErrorCode;
use ringlane_runtime::{give_way, now, sleep, timeout, wall_clock_ms};
use std::time::Duration;

/// What DeleteRecords says instead of an offset: everything that is committed.
const HIGH_WATERMARK: i64 = -1;
/// The first check after a start waits no longer than this (Kafka's `log.initial.task.delay.ms`).
const FIRST_CHECK_AFTER: Duration = Duration::from_secs(30);
/// A client that gives no time to wait still gets an answer from a disk that works: with one replica Kafka has it at once.
const TIMEOUT_MS_MIN: i32 = 1_000;

impl HomeShard {
    /// Raises log start offsets; answers when all are durable, or when the time is up. The work goes on even then.
    pub async fn delete_records(&self, request: DeleteRecordsRequest) -> DeleteRecordsReply {
        let deadline = now() + Duration::from_millis(request.timeout_ms.max(TIMEOUT_MS_MIN) as u64);
        // All begin before the first one is waited for.
        let begun: Vec<_> = request.entries.iter().map(|entry| self.inner.begin_delete(entry)).collect();
        let mut results = Vec::with_capacity(begun.len());
        for (entry, begun) in request.entries.iter().zip(begun) {
            results.push(match begun {
                Err(error) => DeleteRecordsResult::failed(error),
                Ok((log, raising)) => {
                    let error = match timeout(deadline.since(now()), raising).await {
                        Ok(Ok(())) => ErrorCode::None,
                        Ok(Err(error)) => code_of(&log, &error),
                        Err(_) => ErrorCode::RequestTimedOut,
                    };
                    self.inner.start_has_moved(entry.at);
                    match error {
                        // On timeout Kafka tells how far it is.
                        ErrorCode::None | ErrorCode::RequestTimedOut => {
                            DeleteRecordsResult { error, low_watermark: log.start_offset() }
                        }
                        error => DeleteRecordsResult::failed(error),
                    }
                }
            });
        }
        DeleteRecordsReply { results }
    }

    /// Every partition's size on disk, what is not yet written included.
    pub fn log_sizes(&self) -> LogSizesReply {
        let state = self.inner.state.borrow();
        let size = |(at, log): (&TopicPartition, &Log)| LogSize {
            at: *at,
            data_dir: log.data_dir().to_owned(),
            bytes: log.size_bytes(),
        };
        LogSizesReply { sizes: state.partitions.iter().map(|(at, partition)| size((at, &partition.log))).collect() }
    }
}

impl Inner {
    /// Kafka's checks in its order, then the start moves.
    fn begin_delete(
        &self,
        entry: &DeleteRecordsEntry,
    ) -> Result<(Log, impl Future<Output = Result<(), LogStartError>> + use<>), ErrorCode> {
        let state = self.state.borrow();
        let partition = state.partitions.get(&entry.at).filter(|_| !state.is_closed);
        let partition = partition.ok_or(ErrorCode::NotLeaderOrFollower)?;
        if partition.log.failure().is_some() {
            return Err(ErrorCode::KafkaStorageError);
        }
        if !partition.is_led_by(self.broker_id) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        // A topic with an empty policy keeps everything until somebody says otherwise, and that is here (KIP-1161).
        if partition.spec.config.compacted && !partition.spec.log.retention.delete {
            return Err(ErrorCode::PolicyViolation);
        }
        let high_watermark = partition.high.offset();
        let offset = if entry.offset == HIGH_WATERMARK { high_watermark } else { entry.offset };
        if offset < 0 || offset > high_watermark {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        Ok((partition.log.clone(), partition.log.raise_log_start(offset)))
    }

    /// Leader epochs that ended before the log's start are nobody's any more. Their checkpoint is written with the next epoch; until then
    /// the start of the log corrects it at every open.
    fn start_has_moved(&self, at: TopicPartition) {
        if let Some(partition) = self.state.borrow_mut().partitions.get_mut(&at) {
            partition.epochs.truncate_from_start(partition.log.start_offset());
        }
    }

    /// Goes through all partitions again and again. What one of them needs is done before the next one is looked at, so that however many
    /// segments go at once, they go one after the other.
    pub(super) async fn enforce_retention(&self) {
        let mut clock = RetentionClock::default();
        sleep(self.retention_check_interval.min(FIRST_CHECK_AFTER)).await;
        loop {
            let time = clock.check(now(), wall_clock_ms());
            if let RetentionTime::Leapt { ahead_ms } = time {
                tracing::error!(
                    ahead_ms,
                    "the clock has leapt ahead: no record is deleted for its age for an hour. Put the clock right if it is wrong"
                );
            }
            let partitions: Vec<TopicPartition> = self.state.borrow().partitions.keys().copied().collect();
            for at in partitions {
                self.enforce_retention_of(at, time.now_ms()).await;
                give_way().await;
            }
            sleep(self.retention_check_interval).await;
        }
    }

    async fn enforce_retention_of(&self, at: TopicPartition, now_ms: Option<i64>) {
        let found = self.state.borrow().partitions.get(&at).map(|found| (found.log.clone(), found.high.offset()));
        let Some((log, high_watermark)) = found else { return };
        let start = log.start_offset();
        if let Err(error) = log.enforce_retention(high_watermark, now_ms).await {
            tracing::warn!("{}: old segments stay: {error}", log.id());
        }
        if log.start_offset() != start {
            self.start_has_moved(at);
        }
    }
}

fn code_of(log: &Log, error: &LogStartError) -> ErrorCode {
    tracing::warn!("{}: records not deleted: {error}", log.id());
    match error {
        LogStartError::Io { .. } | LogStartError::Unavailable(_) => ErrorCode::KafkaStorageError,
        LogStartError::PastStable { .. } => ErrorCode::OffsetOutOfRange,
    }
}
