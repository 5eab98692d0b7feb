//! One log: the public face of a partition's bytes.
//!
//! Lives on the partition's home shard, from `ShardLogs::open` until it is deleted or the shard's logs close. Called by `partition`.
//! Appending and planning a read touch memory only; what waits for the disk is a future.

use crate::read::{DiskRead, ReadData, ReadPlan, ReadRange, Readers};
use crate::shard::Shard;
use crate::state::LogState;
use crate::{LogFailed, LogId, LogKey, LogOptions, ReadError, files, timestamps, truncate, writer};
use bytes::Bytes;
use ringlane_protocol::records::BatchHeader;
use ringlane_runtime::{Event, Instant, fs, spawn};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::path::PathBuf;
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
    pub(crate) inner: Rc<LogInner>,
}

pub(crate) struct LogInner {
    pub key: LogKey,
    pub id: LogId,
    pub folder: PathBuf,
    pub shard: Rc<Shard>,
    pub state: RefCell<LogState>,
    /// Notified when a task of this log got something done that another may wait for.
    pub changed: Event,
    pub readers: RefCell<Readers>,
    /// Size of the log and time when the recovery point was last noted.
    pub checkpointed: Cell<(u64, Instant)>,
    /// Tasks in the background that use the log's files.
    background_tasks: Cell<usize>,
}

impl Log {
    pub fn key(&self) -> LogKey {
        self.inner.key
    }

    pub fn id(&self) -> &LogId {
        &self.inner.id
    }

    /// Puts the batch at the log's end, in memory, and sees to it that it gets written; `ShardLogs::next_stable` tells when it is. Never
    /// waits. The batch's offsets must follow on [`Log::end_offset`] (gaps are allowed).
    pub fn append(&self, batch: AppendBatch) -> Result<(), Arc<LogFailed>> {
        let inner = &self.inner;
        let batch_bytes = batch.bytes.len();
        let sequence = {
            let mut state = inner.state.borrow_mut();
            if let Some(failed) = &state.failed {
                return Err(failed.clone());
            }
            if state.closing {
                return Err(Arc::new(inner.closing()));
            }
            state.append(batch)
        };
        inner.shard.appended(inner.key, sequence, batch_bytes);
        writer::kick(inner);
        Ok(())
    }

    /// Why the log takes no more appends, if so.
    pub fn failure(&self) -> Option<Arc<LogFailed>> {
        self.inner.state.borrow().failed.clone()
    }

    /// First offset in the log.
    pub fn start_offset(&self) -> i64 {
        self.inner.state.borrow().segments.front().map_or(0, |segment| segment.base_offset)
    }

    /// Offset of the next append (Kafka's log end offset).
    pub fn end_offset(&self) -> i64 {
        self.inner.state.borrow().end_offset
    }

    /// Every offset below this one is stable.
    pub fn stable_offset(&self) -> i64 {
        self.inner.state.borrow().stable_offset
    }

    /// Bytes of all segments, what is not yet written included.
    pub fn size_bytes(&self) -> u64 {
        self.inner.state.borrow().size_bytes()
    }

    /// Decides a read of whole batches from the one that contains `from` (it may begin before), ending at or before `below` (exclusive)
    /// and within `max_bytes`; `at_least_one`: the first batch may exceed that. `from` must not be below the start offset.
    pub fn plan_read(&self, from: i64, below: i64, max_bytes: usize, at_least_one: bool) -> ReadPlan {
        let range = ReadRange { from, below, max_bytes, at_least_one };
        let state = self.inner.state.borrow();
        match state.read_tail(&range) {
            Some(data) => ReadPlan::Ready(data),
            None => ReadPlan::Disk(DiskRead { log: self.inner.clone(), range, generation: state.generation }),
        }
    }

    /// Plan and run; plans again when the log was truncated meanwhile.
    pub async fn read(
        &self,
        from: i64,
        below: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<ReadData, ReadError> {
        loop {
            match self.plan_read(from, below, max_bytes, at_least_one) {
                ReadPlan::Ready(data) => return Ok(data),
                ReadPlan::Disk(disk) => match disk.run().await {
                    Err(ReadError::Moved) if !self.inner.state.borrow().closing => {}
                    outcome => return outcome,
                },
            }
        }
    }

    /// About how many bytes lie in `from..below`, counted up to `cap`. Exact in the tail, without I/O everywhere; on disk it may be too
    /// high by what `below` leaves out.
    pub fn readable_bytes(&self, from: i64, below: i64, cap: usize) -> usize {
        let state = self.inner.state.borrow();
        if from >= below.min(state.end_offset) {
            return 0;
        }
        let on_disk = match from < state.tail.start_offset() {
            true => state.disk_bytes_from(from, cap).max(1),
            false => 0,
        };
        (on_disk + state.tail.readable_bytes(from, below, cap)).min(cap)
    }

    /// First record in offset order below `below` whose timestamp is at least `timestamp`: (offset, timestamp).
    pub async fn offset_for_timestamp(&self, timestamp: i64, below: i64) -> Result<Option<(i64, i64)>, ReadError> {
        loop {
            match timestamps::first_at_or_after(self, timestamp, below).await {
                Err(ReadError::Moved) if !self.inner.state.borrow().closing => {}
                outcome => return outcome,
            }
        }
    }

    /// First record below `below` with the largest timestamp: (offset, timestamp).
    pub async fn max_timestamp(&self, below: i64) -> Result<Option<(i64, i64)>, ReadError> {
        loop {
            match timestamps::largest(self, below).await {
                Err(ReadError::Moved) if !self.inner.state.borrow().closing => {}
                outcome => return outcome,
            }
        }
    }

    pub fn options(&self) -> LogOptions {
        self.inner.state.borrow().options
    }

    pub fn set_options(&self, options: LogOptions) {
        self.inner.state.borrow_mut().options = options;
        writer::allow_written_mode(&self.inner);
    }

    /// Removes every batch whose last offset is `offset` or more; durable when it returns. The caller appends nothing meanwhile.
    pub async fn truncate_to(&self, offset: i64) -> Result<(), Arc<LogFailed>> {
        truncate::truncate_to(&self.inner, offset).await
    }

    /// A small file in the partition's folder (`leader-epoch-checkpoint`, ...); `None` when missing.
    pub async fn read_checkpoint(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(&self.inner.folder.join(name)).await {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces it atomically and durably.
    pub async fn write_checkpoint(&self, name: &str, content: &[u8]) -> io::Result<()> {
        fs::write_atomic(&self.inner.folder.join(name), content).await
    }
}

impl LogInner {
    pub fn new(key: LogKey, id: LogId, folder: PathBuf, shard: Rc<Shard>, state: LogState) -> Rc<LogInner> {
        Rc::new(LogInner {
            key,
            id,
            folder,
            shard,
            checkpointed: Cell::new((state.size_bytes(), Instant::default())),
            state: RefCell::new(state),
            changed: Event::default(),
            readers: RefCell::default(),
            background_tasks: Cell::new(0),
        })
    }

    /// Runs `work` beside the writer. Truncation, deletion and close wait for it.
    pub fn background(self: &Rc<LogInner>, name: &'static str, work: impl Future<Output = ()> + 'static) {
        self.background_tasks.set(self.background_tasks.get() + 1);
        let done = BackgroundDone(self.clone());
        spawn(name, async move {
            work.await;
            drop(done);
        })
        .detach();
    }

    /// Waits until `ready` holds; whoever makes it hold notifies `changed`.
    pub async fn until(&self, ready: impl Fn(&LogState) -> bool) {
        loop {
            let changed = self.changed.listen();
            if ready(&self.state.borrow()) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until no task uses the log's files, except readers.
    pub async fn until_quiet(&self) {
        self.until(|state| !state.writer_running && self.background_tasks.get() == 0).await;
    }

    /// Ends the log: appends fail from now on, reads of what is on disk go on.
    pub fn fail(&self, failed: LogFailed) {
        let failed = Arc::new(failed);
        let (unwritten_bytes, freed_bytes) = {
            let mut state = self.state.borrow_mut();
            if state.failed.is_some() {
                return;
            }
            (state.unwritten_bytes(), state.fail(failed.clone()))
        };
        tracing::error!(%self.id, error = %failed, "log failed");
        self.shard.log_failed(self.key, failed, unwritten_bytes, freed_bytes);
        self.changed.notify_all();
    }

    /// An error at the file being written.
    pub fn failure_of(&self, doing: &'static str, position: u64, bytes: usize, source: io::Error) -> LogFailed {
        let base_offset = self.state.borrow_mut().writing().base_offset;
        LogFailed { path: files::segment_path(&self.folder, base_offset), doing, position, bytes, source }
    }

    fn closing(&self) -> LogFailed {
        let source = io::Error::other("the log is being closed or deleted");
        LogFailed { path: self.folder.clone(), doing: "append", position: 0, bytes: 0, source }
    }
}

/// Counts a background task out, also when it panicked.
struct BackgroundDone(Rc<LogInner>);

impl Drop for BackgroundDone {
    fn drop(&mut self) {
        self.0.background_tasks.set(self.0.background_tasks.get() - 1);
        self.0.changed.notify_all();
    }
}
