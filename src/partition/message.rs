//! What travels over the mesh to a partition's home shard, and back.
//!
//! Every request covers all partitions that one client request has on one home shard; results stand in the order of the entries. All types
//! are `Send`, own their bytes and hold no reference to either shard.

use bytes::Bytes;
use ringlane_log::ReadData;
use ringlane_protocol::records::BatchHeader;
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::Buffer;
use std::path::PathBuf;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicPartition {
    pub topic_id: TopicId,
    pub partition: i32,
}

/// Who leads a partition now; clients that asked the wrong broker save a metadata request (KIP-951).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaderHint {
    pub leader_id: i32,
    pub leader_epoch: i32,
}

/// When a produce request wants its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acks {
    /// Never. The home shard still replies, when the batches are stable: until then they take memory.
    None,
    /// Stable on the leader.
    Leader,
    /// Below the high watermark.
    All,
}

impl Acks {
    /// `None` for any number but 0, 1 and -1 (INVALID_REQUIRED_ACKS).
    pub fn from_wire(acks: i16) -> Option<Acks> {
        match acks {
            0 => Some(Acks::None),
            1 => Some(Acks::Leader),
            -1 => Some(Acks::All),
            _ => None,
        }
    }
}

pub struct AppendRequest {
    pub acks: Acks,
    pub timeout_ms: i32,
    pub entries: Vec<AppendEntry>,
}

/// `batch` is what [`crate::prepare_batch`] said on the connection shard. Its error is answered only after the leadership checks, which come
/// first in Kafka's order.
pub struct AppendEntry {
    pub at: TopicPartition,
    pub batch: Result<PreparedBatch, AppendFailure>,
}

/// A batch that passed every check that needs no partition state.
pub struct PreparedBatch {
    pub bytes: Buffer,
    pub header: BatchHeader,
}

pub struct AppendReply {
    pub results: Vec<AppendResult>,
}

/// The answer for one partition of a produce request. Offsets and times are -1 when there is an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppendResult {
    pub base_offset: i64,
    /// -1 unless the topic uses LogAppendTime.
    pub log_append_time_ms: i64,
    pub log_start_offset: i64,
    pub failure: Option<AppendFailure>,
    /// Set with NOT_LEADER_OR_FOLLOWER.
    pub current_leader: Option<LeaderHint>,
}

impl AppendResult {
    pub(crate) fn failed(failure: impl Into<AppendFailure>) -> AppendResult {
        AppendResult {
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            failure: Some(failure.into()),
            current_leader: None,
        }
    }

    pub fn error(&self) -> ErrorCode {
        self.failure.as_ref().map_or(ErrorCode::None, |failure| failure.error)
    }
}

/// Why a batch was not appended, as the response says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppendFailure {
    pub error: ErrorCode,
    pub message: Option<String>,
    /// The records at fault (produce v8 and later).
    pub record_errors: Vec<RecordFault>,
}

impl AppendFailure {
    pub(crate) fn new(error: ErrorCode, message: impl ToString) -> AppendFailure {
        AppendFailure { error, message: Some(message.to_string()), record_errors: Vec::new() }
    }
}

/// A failure that its code explains.
impl From<ErrorCode> for AppendFailure {
    fn from(error: ErrorCode) -> AppendFailure {
        AppendFailure { error, message: None, record_errors: Vec::new() }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordFault {
    /// Index of the record in its batch.
    pub index: i32,
    pub message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Isolation {
    #[default]
    ReadUncommitted,
    ReadCommitted,
}

impl Isolation {
    /// `None` for any other number: INVALID_REQUEST.
    pub fn from_wire(level: i8) -> Option<Isolation> {
        match level {
            0 => Some(Isolation::ReadUncommitted),
            1 => Some(Isolation::ReadCommitted),
            _ => None,
        }
    }
}

pub struct ReadRequest {
    /// Names this read for [`crate::HomeShard::hurry`]; unique per connection shard. `None` when nobody will hurry it.
    pub ticket: Option<ReadTicket>,
    /// How long to wait for `min_bytes`; 0 answers at once.
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    /// False when an earlier shard of the same fetch already has a first batch: then `max_bytes` binds the first one too (KIP-74).
    pub at_least_one: bool,
    pub isolation: Isolation,
    pub entries: Vec<ReadEntry>,
}

/// `(connection shard, number)`: unique while the read runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadTicket {
    pub shard: u16,
    pub number: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct ReadEntry {
    pub at: TopicPartition,
    pub fetch_offset: i64,
    pub max_bytes: i32,
    /// -1: the client does not know.
    pub current_leader_epoch: i32,
    /// -1: the client does not know.
    pub last_fetched_epoch: i32,
}

pub struct ReadReply {
    pub results: Vec<ReadResult>,
    /// What could be read when the wait was over, as the wait for `min_bytes` counts it: may be more than the results hold, which are
    /// whole batches within the limits. Whoever asks again must compare this, or it is answered at once, for ever.
    pub readable_bytes: usize,
}

/// The answer for one partition of a fetch request. High watermark and the like are -1 when there is an error.
#[derive(Clone, Debug)]
pub struct ReadResult {
    pub error: ErrorCode,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    pub diverging_epoch: Option<EpochEnd>,
    /// Set with NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH.
    pub current_leader: Option<LeaderHint>,
    /// `None` for read_uncommitted (null on the wire).
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// Together whole batches, in order; the first may begin before the offset that was asked for. One may lie in several slices:
    /// [`ReadResult::joined`] is for who parses them.
    pub slices: Vec<Bytes>,
    /// Bytes in `slices`.
    pub bytes: usize,
}

impl ReadResult {
    /// The same in slices of whole batches each.
    pub fn joined(self) -> ReadResult {
        let slices = ReadData { slices: self.slices, bytes: self.bytes }.joined().slices;
        ReadResult { slices, ..self }
    }

    pub(crate) fn failed(error: ErrorCode) -> ReadResult {
        ReadResult {
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            aborted_transactions: None,
            slices: Vec::new(),
            bytes: 0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    pub epoch: i32,
    pub end_offset: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

pub struct OffsetsRequest {
    pub isolation: Isolation,
    pub entries: Vec<OffsetsEntry>,
}

#[derive(Clone, Copy, Debug)]
pub struct OffsetsEntry {
    pub at: TopicPartition,
    /// -1: the client does not know.
    pub current_leader_epoch: i32,
    pub wanted: OffsetSpec,
}

/// Which offset ListOffsets asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetSpec {
    Latest,
    Earliest,
    MaxTimestamp,
    EarliestLocal,
    LatestTiered,
    EarliestPendingUpload,
    /// First record at or after this time.
    Timestamp(i64),
}

impl OffsetSpec {
    /// `None` for numbers that the request's version does not know (UNSUPPORTED_VERSION for that partition).
    pub fn from_wire(timestamp: i64, version: i16) -> Option<OffsetSpec> {
        match timestamp {
            0.. => Some(OffsetSpec::Timestamp(timestamp)),
            -1 => Some(OffsetSpec::Latest),
            -2 => Some(OffsetSpec::Earliest),
            -3 if version >= 7 => Some(OffsetSpec::MaxTimestamp),
            -4 if version >= 8 => Some(OffsetSpec::EarliestLocal),
            -5 if version >= 9 => Some(OffsetSpec::LatestTiered),
            -6 if version >= 11 => Some(OffsetSpec::EarliestPendingUpload),
            _ => None,
        }
    }
}

pub struct OffsetsReply {
    pub results: Vec<OffsetsResult>,
}

/// -1 everywhere: no such record, or an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetsResult {
    pub error: ErrorCode,
    pub timestamp: i64,
    pub offset: i64,
    pub leader_epoch: i32,
}

impl OffsetsResult {
    pub(crate) fn failed(error: ErrorCode) -> OffsetsResult {
        OffsetsResult { error, timestamp: -1, offset: -1, leader_epoch: -1 }
    }
}

pub struct DeleteRecordsRequest {
    pub timeout_ms: i32,
    pub entries: Vec<DeleteRecordsEntry>,
}

#[derive(Clone, Copy, Debug)]
pub struct DeleteRecordsEntry {
    pub at: TopicPartition,
    /// The first offset to keep; -1: delete all that is committed.
    pub offset: i64,
}

pub struct DeleteRecordsReply {
    pub results: Vec<DeleteRecordsResult>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeleteRecordsResult {
    pub error: ErrorCode,
    /// Where the log begins now on all replicas; -1 when there is an error.
    pub low_watermark: i64,
}

impl DeleteRecordsResult {
    pub(crate) fn failed(error: ErrorCode) -> DeleteRecordsResult {
        DeleteRecordsResult { error, low_watermark: -1 }
    }
}

pub struct LogSizesReply {
    pub sizes: Vec<LogSize>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSize {
    pub at: TopicPartition,
    pub data_dir: PathBuf,
    pub bytes: u64,
}

pub struct EpochEndRequest {
    pub entries: Vec<EpochEndEntry>,
}

#[derive(Clone, Copy, Debug)]
pub struct EpochEndEntry {
    pub at: TopicPartition,
    /// -1: the client does not know.
    pub current_leader_epoch: i32,
    /// The epoch whose end is asked for.
    pub leader_epoch: i32,
}

pub struct EpochEndReply {
    pub results: Vec<EpochEndResult>,
}

/// `(-1, -1)`: the epoch is not known, or an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEndResult {
    pub error: ErrorCode,
    pub leader_epoch: i32,
    pub end_offset: i64,
}
