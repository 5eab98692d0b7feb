//! Everything one shard may ask of another. Typed enums, no closures: what travels can be read here.

use crate::coordinator::{
    GroupCall, GroupResult, ShareStateCall, ShareStateResult, TransactionCall, TransactionResult,
};
use crate::net::Accepted;
use crate::quorum::Publication;
use crate::shard::Opening;
use crate::share::{SessionAsked, SessionTold, ShareCall, ShareWorked};
use ringlane_log::{Recovered, VolumeOptions};
use ringlane_metadata::{ControllerReply, ControllerRequest};
use ringlane_metrics::Snapshot;
use ringlane_partition::{
    AppendReply, AppendRequest, DeleteRecordsReply, DeleteRecordsRequest, EpochEndReply, EpochEndRequest,
    LogSizesReply, MarkersRequest, OffsetsReply, OffsetsRequest, ProducersReply, ReadReply, ReadRequest, ReadTicket,
    TopicPartition, VerifyReply, VerifyRequest,
};
use std::path::PathBuf;

pub enum ShardRequest {
    /// Shard 0 to all, once, before `Open`: read your part of what the journals hold.
    Scan(Vec<VolumeOptions>),
    /// Shard 0 to all, once, before anything else: start your logs.
    Open(Opening),
    /// Shard 0 to all: the metadata moved on.
    Publish(Publication),
    /// Shard 0 to all, once, when all have opened what the metadata has: which data directories can you not use?
    FailedDirectories,
    /// Then: the old journals are void, yours begins; but not in these directories, which a shard cannot use.
    Begin(Vec<PathBuf>),
    /// Shard 0 to all, once, when all have begun.
    EndRecovery,
    /// Shard 0 to the shard that will serve it.
    Connection(Accepted),
    /// To a home shard, from the APIs that touch records.
    Append(AppendRequest),
    /// To a home shard: may these transactional batches be appended?
    Verify(VerifyRequest),
    /// From a transaction coordinator: answered by an `Append`.
    Markers(MarkersRequest),
    /// Who writes to these partitions?
    Producers(Vec<TopicPartition>),
    Read(ReadRequest),
    /// Let that read answer with what there is.
    Hurry(ReadTicket),
    Offsets(OffsetsRequest),
    EpochEnds(EpochEndRequest),
    DeleteRecords(DeleteRecordsRequest),
    /// To the home shard of a partition of `__consumer_offsets`.
    Group(GroupCall),
    /// To the home shard of a partition of `__transaction_state`.
    Transaction(TransactionCall),
    /// To the home shard of a partition of `__share_group_state`.
    ShareState(ShareStateCall),
    /// To the home shard of what a share group reads.
    Share(ShareCall),
    /// To the shard that keeps the sessions of a share group.
    ShareSession(SessionAsked),
    /// A wait for share partitions is over: to the shard that waits.
    ShareWake(u64),
    /// The answer to a group request that waits by ticket: to the shard that waits.
    GroupAnswer(u64, GroupResult),
    /// To all: how large your partitions are.
    LogSizes,
    /// To shard 0.
    Controller(ControllerRequest),
    /// Shard 0 to all: your counters.
    Report,
    /// Shard 0 to all: finish what you owe, close your logs, end.
    Stop,
}

pub enum ShardReply {
    Done,
    Scanned(Recovered),
    /// The shard cannot go on; the message stands alone.
    Failed(String),
    Append(AppendReply),
    Read(ReadReply),
    Offsets(OffsetsReply),
    EpochEnds(EpochEndReply),
    DeleteRecords(DeleteRecordsReply),
    Group(GroupResult),
    Transaction(TransactionResult),
    ShareState(ShareStateResult),
    Share(ShareWorked),
    ShareSession(SessionTold),
    Verify(VerifyReply),
    Producers(ProducersReply),
    LogSizes(LogSizesReply),
    Controller(ControllerReply),
    Directories(Vec<PathBuf>),
    Report(Box<Snapshot>),
}
