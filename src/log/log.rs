//! One log: the public face of a partition's bytes. Lives on the partition's home shard. Called by `partition`.

use crate::{LogFailed, LogId, LogKey, LogOptions, ReadError, ReadPlan};
use bytes::Bytes;
use ringlane_protocol::records::BatchHeader;
use std::rc::Rc;
use std::sync::Arc;

/// One batch, ready to be stored: offsets and leader epoch are in its bytes already.
#[derive(Clone, Debug)]
pub struct AppendBatch {
    pub bytes: Bytes,
    pub base_offset: i64,
    pub last_offset: i64,
    /// -1 when the batch has no timestamps.
    pub max_timestamp: i64,
}

impl AppendBatch {
    /// `header` is that of `bytes` as they will be stored.
    pub fn new(header: &BatchHeader, bytes: Bytes) -> AppendBatch {
        AppendBatch {
            bytes,
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
        }
    }
}

/// An open log. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    _inner: Rc<()>,
}

impl Log {
    pub fn key(&self) -> LogKey {
        todo!()
    }
    pub fn id(&self) -> &LogId {
        todo!()
    }
    /// Puts the batch at the log's end, in memory, and sees to it that it gets written; `ShardLogs::next_stable` tells when it is. Never
    /// waits. The batch's offsets must follow on [`Log::end_offset`] (gaps are allowed).
    pub fn append(&self, batch: AppendBatch) -> Result<(), Arc<LogFailed>> {
        let _ = batch;
        todo!()
    }
    /// Why the log takes no more appends, if so.
    pub fn failure(&self) -> Option<Arc<LogFailed>> {
        todo!()
    }
    /// First offset in the log.
    pub fn start_offset(&self) -> i64 {
        todo!()
    }
    /// Offset of the next append (Kafka's log end offset).
    pub fn end_offset(&self) -> i64 {
        todo!()
    }
    /// Every offset below this one is stable.
    pub fn stable_offset(&self) -> i64 {
        todo!()
    }
    /// Bytes of all segments, what is not yet written included.
    pub fn size_bytes(&self) -> u64 {
        todo!()
    }
    /// Decides a read of whole batches from the one that contains `from` (it may begin before), ending at or before `below` (exclusive)
    /// and within `max_bytes`; `at_least_one`: the first batch may exceed that. `from` must not be below the start offset.
    pub fn plan_read(&self, from: i64, below: i64, max_bytes: usize, at_least_one: bool) -> ReadPlan {
        let _ = (from, below, max_bytes, at_least_one);
        todo!()
    }
    /// Plan and run; plans again when the log moved meanwhile.
    pub async fn read(
        &self,
        from: i64,
        below: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<crate::ReadData, ReadError> {
        let _ = (from, below, max_bytes, at_least_one);
        todo!()
    }
    /// About how many bytes lie in `from..below`, counted up to `cap`. Exact in the tail, without I/O everywhere.
    pub fn readable_bytes(&self, from: i64, below: i64, cap: usize) -> usize {
        let _ = (from, below, cap);
        todo!()
    }
    /// First record in offset order below `below` whose timestamp is at least `timestamp`: (offset, timestamp).
    pub async fn offset_for_timestamp(&self, timestamp: i64, below: i64) -> Result<Option<(i64, i64)>, ReadError> {
        let _ = (timestamp, below);
        todo!()
    }
    /// First record below `below` with the largest timestamp: (offset, timestamp).
    pub async fn max_timestamp(&self, below: i64) -> Result<Option<(i64, i64)>, ReadError> {
        let _ = below;
        todo!()
    }
    pub fn options(&self) -> LogOptions {
        todo!()
    }
    pub fn set_options(&self, options: LogOptions) {
        let _ = options;
        todo!()
    }
    /// Removes every batch whose last offset is `offset` or more; durable when it returns. The caller appends nothing meanwhile.
    pub async fn truncate_to(&self, offset: i64) -> Result<(), Arc<LogFailed>> {
        let _ = offset;
        todo!()
    }
    /// A small file in the partition's folder (`leader-epoch-checkpoint`, ...); `None` when missing.
    pub async fn read_checkpoint(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        let _ = name;
        todo!()
    }
    /// Replaces it atomically and durably.
    pub async fn write_checkpoint(&self, name: &str, content: &[u8]) -> std::io::Result<()> {
        let _ = (name, content);
        todo!()
    }
}
