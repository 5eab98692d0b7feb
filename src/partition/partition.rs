//! One partition: who leads it, what its log ends with, who waits for it. Its methods are the synchronous steps of the home shard.
//!
//! Lives in [`crate::HomeShard`]'s table, on the partition's home shard. Called by its append, read, offset and apply rooms under one borrow;
//! nothing here waits, performs I/O or calls back.

use crate::delayed_fetch::Watcher;
use crate::delayed_produce::{RequestId, WaitQueue};
use crate::high_watermark::HighWatermark;
use crate::home_shard::PartitionSpec;
use crate::leader_epochs::LeaderEpochs;
use crate::message::{AppendFailure, Isolation, LeaderHint, PreparedBatch, ReadEntry, ReadResult};
use crate::open_transactions::OpenTransactions;
use crate::producer_state::{PartitionNumber, ProducerTable, Verdict};
use crate::verification::{VerificationGuard, Verifications};
use ringlane_log::{AppendBatch, Log};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::{
    NO_SEQUENCE, NO_TIMESTAMP, TimestampType, patch_base_offset, patch_leader_epoch, patch_max_timestamp,
};
use ringlane_protocol::storage::producer_snapshot::ProducerEntry;
use ringlane_runtime::Instant;
use std::collections::VecDeque;

/// What a request says when it does not know the leader's epoch.
const NO_EPOCH: i32 = -1;

pub(crate) struct Partition {
    pub spec: PartitionSpec,
    pub number: PartitionNumber,
    pub log: Log,
    pub epochs: LeaderEpochs,
    pub high: HighWatermark,
    pub transactions: OpenTransactions,
    pub verifications: Verifications,
    pub for_stable: WaitQueue,
    pub for_high: WaitQueue,
    pub unstable: VecDeque<Unstable>,
    pub watchers: Vec<Watcher>,
    /// The last append request that named this partition: it may do so once.
    pub last_request: Option<RequestId>,
}

/// An appended batch that is not stable yet.
pub(crate) struct Unstable {
    pub next_offset: i64,
    pub bytes: usize,
    pub since: Instant,
}

/// A batch with its place in the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sequenced {
    pub base_offset: i64,
    pub next_offset: i64,
    pub log_append_time_ms: i64,
    /// Bytes appended: 0 for a batch that was appended before.
    pub bytes: usize,
}

/// What a reader may see of the partition now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visible {
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// The reader's bound, exclusive.
    pub below: i64,
}

impl Partition {
    pub fn is_led_by(&self, broker_id: i32) -> bool {
        self.spec.leader_id == broker_id
    }

    pub fn leader_hint(&self) -> LeaderHint {
        LeaderHint { leader_id: self.spec.leader_id, leader_epoch: self.spec.leader_epoch }
    }

    pub fn isr_is_enough(&self) -> bool {
        self.spec.isr_count >= self.spec.config.min_insync_replicas.min(self.spec.replicas_count)
    }

    /// KIP-320: a client with an older epoch has stale metadata, one with a newer epoch knows more than this broker.
    pub fn check_leader(&self, broker_id: i32, client_epoch: i32) -> Result<(), ErrorCode> {
        match client_epoch {
            NO_EPOCH => {}
            older if older < self.spec.leader_epoch => return Err(ErrorCode::FencedLeaderEpoch),
            newer if newer > self.spec.leader_epoch => return Err(ErrorCode::UnknownLeaderEpoch),
            _ => {}
        }
        if self.is_led_by(broker_id) { Ok(()) } else { Err(ErrorCode::NotLeaderOrFollower) }
    }

    /// Gives the batch its offsets and puts it into the log's tail; or finds that it is there already.
    pub fn sequence(
        &mut self,
        batch: PreparedBatch,
        guard: Option<VerificationGuard>,
        producers: &mut ProducerTable,
        now_ms: i64,
    ) -> Result<Sequenced, AppendFailure> {
        let PreparedBatch { mut bytes, mut header } = batch;
        if header.has_producer() {
            let verdict = match header.base_sequence {
                // A coordinator's own batch: nobody sends it again.
                NO_SEQUENCE => Verdict::Append,
                _ => producers.check(self.number, &header),
            };
            match verdict {
                Verdict::Append => self.check_transaction(&header, guard, producers)?,
                Verdict::Duplicate(appended) => {
                    return Ok(Sequenced {
                        base_offset: appended.base_offset,
                        next_offset: appended.last_offset + 1,
                        log_append_time_ms: self.append_time(appended.max_timestamp),
                        bytes: 0,
                    });
                }
                Verdict::Refuse(error, message) => {
                    // A batch of a transaction that is over is told so, not that its sequence is wrong: the client must abort, not resend.
                    if error == ErrorCode::OutOfOrderSequenceNumber && header.is_transactional() {
                        self.check_transaction(&header, guard, producers)?;
                    }
                    return Err(AppendFailure::new(error, message));
                }
            }
        }
        if self.spec.config.timestamp_type == TimestampType::LogAppendTime {
            header = patch_max_timestamp(&mut bytes, now_ms, TimestampType::LogAppendTime);
        }
        header.base_offset = self.log.end_offset();
        header.leader_epoch = self.spec.leader_epoch;
        patch_base_offset(&mut bytes, header.base_offset);
        patch_leader_epoch(&mut bytes, header.leader_epoch);
        let bytes_count = bytes.len();
        self.log
            .append(AppendBatch::new(&header, bytes.freeze()))
            .map_err(|failed| AppendFailure::new(ErrorCode::KafkaStorageError, failed))?;
        if self.log.has_rolled() {
            self.log.note_producers(self.producer_entries(producers));
        }
        if header.has_producer() {
            producers.note(self.number, &header, now_ms);
        }
        if header.is_transactional() {
            self.transactions.note(&header);
            self.verifications.opened(header.producer_id);
        }
        Ok(Sequenced {
            base_offset: header.base_offset,
            next_offset: header.next_offset(),
            log_append_time_ms: self.append_time(header.max_timestamp),
            bytes: bytes_count,
        })
    }

    /// The producers as Kafka's snapshot has them.
    pub fn producer_entries(&self, producers: &ProducerTable) -> Vec<ProducerEntry> {
        producers.entries_of(self.number, self.transactions.iter())
    }

    fn append_time(&self, max_timestamp: i64) -> i64 {
        match self.spec.config.timestamp_type {
            TimestampType::LogAppendTime => max_timestamp,
            TimestampType::CreateTime => NO_TIMESTAMP,
        }
    }

    /// What is stable has moved. Says whether more has become visible.
    pub fn advance_high_watermark(&mut self) -> bool {
        let others = [];
        let moves = self.high.advance(self.log.stable_offset(), others, self.isr_is_enough());
        if moves {
            self.transactions.replicated(self.high.offset());
        }
        moves
    }

    pub fn visible(&self, isolation: Isolation) -> Visible {
        let high_watermark = self.high.offset();
        let log_start_offset = self.log.start_offset();
        // The first records of an open transaction may be deleted.
        let last_stable_offset =
            self.transactions.last_stable_offset(high_watermark).max(log_start_offset).min(high_watermark);
        Visible {
            high_watermark,
            last_stable_offset,
            log_start_offset,
            below: match isolation {
                Isolation::ReadUncommitted => high_watermark,
                Isolation::ReadCommitted => last_stable_offset,
            },
        }
    }

    /// The checks of a fetch, in Kafka's order. `Err`: the whole answer.
    pub fn check_read(&self, broker_id: i32, entry: &ReadEntry, isolation: Isolation) -> Result<Visible, ReadResult> {
        self.check_leader(broker_id, entry.current_leader_epoch)
            .map_err(|error| ReadResult { current_leader: Some(self.leader_hint()), ..ReadResult::failed(error) })?;
        let visible = self.visible(isolation);
        let log_end_offset = self.log.end_offset();
        if entry.fetch_offset < visible.log_start_offset {
            return Err(ReadResult::failed(ErrorCode::OffsetOutOfRange));
        }
        if entry.last_fetched_epoch != NO_EPOCH {
            let Some(end) = self.epochs.end_of(entry.last_fetched_epoch, log_end_offset) else {
                return Err(ReadResult::failed(ErrorCode::OffsetOutOfRange));
            };
            if end.epoch < entry.last_fetched_epoch || end.end_offset < entry.fetch_offset {
                return Err(ReadResult { diverging_epoch: Some(end), ..visible.result() });
            }
        }
        match entry.fetch_offset > log_end_offset {
            true => Err(ReadResult::failed(ErrorCode::OffsetOutOfRange)),
            false => Ok(visible),
        }
    }
}

impl Visible {
    /// An answer without records.
    pub fn result(&self) -> ReadResult {
        ReadResult {
            high_watermark: self.high_watermark,
            last_stable_offset: self.last_stable_offset,
            log_start_offset: self.log_start_offset,
            ..ReadResult::failed(ErrorCode::None)
        }
    }
}
