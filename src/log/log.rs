//! One log: the public face of a partition's bytes.
//!
//! Lives on the partition's home shard, from `ShardLogs::open` until it is deleted or the shard's logs close. Called by `partition`.
//! Appending and planning a read touch memory only; what waits for the disk is a future.

use crate::checkpoint::Record;
use crate::journal::format::EntryHead;
use crate::journal::{Covered, Entry};
use crate::read::{DiskRead, ReadData, ReadPlan, ReadRange};
use crate::retention::Plan;
use crate::shard::Shard;
use crate::state::LogState;
use crate::volume::Volume;
use crate::{
    AppendError, LogFailed, LogId, LogKey, LogOptions, LogStartError, ReadError, StableMode, aborted, files, log_start,
    retention_task, timestamps, truncate, writer,
};
use bytes::Bytes;
use ringlane_protocol::records::BatchHeader;
use ringlane_protocol::storage::producer_snapshot::ProducerEntry;
use ringlane_protocol::storage::txn_index::AbortedTransaction;
use ringlane_runtime::{Budget, Event, fs, oneshot, spawn};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
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
    /// One at a time writes the index files of an open segment.
    pub index_files: Budget,
    /// Where its folder lies.
    pub volume: Rc<Volume>,
    /// What the last checkpoint says of it, for the next one when nothing has changed.
    pub last_record: RefCell<Option<Record>>,
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

    /// Puts the batch at the log's end, in memory, and sees to it that it becomes stable; `ShardLogs::next_stable` tells when it is. Never
    /// waits. The batch's offsets must follow on [`Log::end_offset`] (gaps are allowed).
    pub fn append(&self, batch: AppendBatch) -> Result<(), AppendError> {
        let inner = &self.inner;
        let batch_bytes = batch.bytes.len();
        let (sequence, entry) = {
            let mut state = inner.state.borrow_mut();
            if let Some(failed) = &state.failed {
                return Err(AppendError::Failed(failed.clone()));
            }
            if state.closing {
                return Err(AppendError::Failed(Arc::new(inner.closing())));
            }
            if !state.options.uses_reserve {
                inner.volume.guard.check(&inner.volume.path).map_err(AppendError::Full)?;
            }
            let bytes_max = inner.volume.journal.entry_bytes_max();
            let takes_journal = state.takes_journal(batch_bytes, bytes_max, inner.shard.options.direct_bytes);
            let entry = takes_journal.then(|| inner.entry(&state, state.end_offset, &batch));
            let segments = state.segments.len();
            let sequence = state.append(batch);
            state.snapshots.is_due = state.segments.len() > segments;
            (sequence, entry)
        };
        inner.shard.appended(inner.key, sequence, batch_bytes);
        match entry {
            Some(entry) => inner.volume.journal.push(entry),
            None => writer::kick(inner),
        }
        Ok(())
    }

    /// Whether the last append began a segment, for whose snapshot [`Log::note_producers`] is due.
    pub fn has_rolled(&self) -> bool {
        self.inner.state.borrow().snapshots.is_due
    }

    /// The producers as they were before the batch that began the newest segment. Kept in memory until that segment's predecessor is
    /// sealed, then written as Kafka's snapshot.
    pub fn note_producers(&self, producers: Vec<ProducerEntry>) {
        let mut state = self.inner.state.borrow_mut();
        state.snapshots.is_due = false;
        state.active().producers = Some(producers);
    }

    /// A transaction ended by the marker that was appended last, and was aborted. Memory only: its index is written in the background.
    pub fn note_aborted(&self, transaction: AbortedTransaction) {
        let mut state = self.inner.state.borrow_mut();
        let at = state.segment_of(transaction.last_offset);
        state.segments[at].aborted.push(transaction);
    }

    /// The aborted transactions that a reader of committed records in `from..below` has to be told of, in order of their markers. Waits
    /// for the disk only where sealed segments have some.
    pub async fn aborted_transactions(&self, from: i64, below: i64) -> Result<Vec<AbortedTransaction>, ReadError> {
        loop {
            match aborted::of_range(&self.inner, from, below).await {
                Err(ReadError::Moved) if !self.inner.state.borrow().closing => {}
                outcome => return outcome,
            }
        }
    }

    /// Why the log takes no more appends, if so.
    pub fn failure(&self) -> Option<Arc<LogFailed>> {
        self.inner.state.borrow().failed.clone()
    }

    /// First offset in the log.
    pub fn start_offset(&self) -> i64 {
        self.inner.state.borrow().start_offset()
    }

    /// Makes `offset` the first one that can be read; durable when the future is ready, and then segments wholly below it go. Begins at
    /// the call: a dropped future gives up the answer, not the work. The caller has seen to it that `offset` is not past the high watermark.
    pub fn raise_log_start(&self, offset: i64) -> impl Future<Output = Result<(), LogStartError>> + use<> {
        let (inner, (sender, receiver)) = (self.inner.clone(), oneshot());
        let ended = self.inner.clone();
        self.inner.background("log-start", async move {
            let raised = log_start::raise(&inner, offset).await;
            let is_raised = raised.is_ok();
            // Nobody may be waiting any more.
            drop(sender.send(raised));
            if is_raised {
                log_start::drop_below(&inner, &Plan::default()).await;
            }
        });
        async move { receiver.await.unwrap_or_else(|| Err(LogStartError::Unavailable(Arc::new(ended.closing())))) }
    }

    /// Deletes the oldest segments that the log's options no longer keep: by size, by age at `now_ms` (`None`: the clock is not believed,
    /// age counts for nothing), and those below the log start. Never past `high_watermark`.
    pub async fn enforce_retention(&self, high_watermark: i64, now_ms: Option<i64>) -> Result<(), LogStartError> {
        retention_task::enforce(&self.inner, high_watermark, now_ms).await
    }

    /// The data directory that the log lies in.
    pub fn data_dir(&self) -> &Path {
        self.inner.folder.parent().unwrap_or(&self.inner.folder)
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

    /// Plan and run; plans again when the log was truncated meanwhile. Each slice holds whole batches.
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
                    outcome => return outcome.map(ReadData::joined),
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
        self.inner.allow_written_mode();
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
    pub fn new(
        key: LogKey,
        id: LogId,
        folder: PathBuf,
        shard: Rc<Shard>,
        volume: Rc<Volume>,
        state: LogState,
    ) -> Rc<LogInner> {
        volume.logs_count.set(volume.logs_count.get() + 1);
        Rc::new(LogInner {
            key,
            id,
            folder,
            shard,
            volume,
            last_record: RefCell::default(),
            state: RefCell::new(state),
            changed: Event::default(),
            index_files: Budget::new("index files", 1),
            background_tasks: Cell::new(0),
        })
    }

    /// Runs `work` beside the writer. Truncation, deletion and close wait for it.
    pub fn background(self: &Rc<LogInner>, name: &'static str, work: impl Future<Output = ()> + 'static) {
        let busy = self.busy();
        spawn(name, async move {
            work.await;
            drop(busy);
        })
        .detach();
    }

    /// Until it is dropped, truncation, deletion and close wait.
    pub fn busy(self: &Rc<LogInner>) -> Busy {
        self.background_tasks.set(self.background_tasks.get() + 1);
        Busy(self.clone())
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

    /// Changes the state, and keeps the shard's sum of flushable bytes right.
    pub fn change<T>(&self, change: impl FnOnce(&mut LogState) -> T) -> T {
        let mut state = self.state.borrow_mut();
        let before = (state.flushable_bytes, state.unflushed_bytes);
        let result = change(&mut state);
        self.shard.flushable_changed(before.0, state.flushable_bytes);
        self.shard.metrics.log_pending_bytes.add(state.unflushed_bytes as i64 - before.1 as i64);
        result
    }

    /// The journal has a batch of this log.
    pub fn journaled(self: &Rc<LogInner>, covered: &Covered) {
        let is_news =
            self.change(|state| state.cuts == covered.cuts && state.journaled(covered.next_offset, covered.bytes));
        if is_news {
            self.shard.news.stable(self.key, covered.next_offset);
            self.flush_by_and_by();
            writer::kick(self);
        }
    }

    /// Takes a batch back that the journal had.
    pub fn append_replayed(&self, batch: AppendBatch) {
        let (next_offset, batch_bytes) = (batch.last_offset + 1, batch.bytes.len());
        let sequence = self.state.borrow_mut().append(batch);
        self.shard.appended(self.key, sequence, batch_bytes);
        self.change(|state| state.journaled(next_offset, batch_bytes));
    }

    /// Puts the log into the line of those that are flushed by age, once.
    pub fn flush_by_and_by(&self) {
        let mut state = self.state.borrow_mut();
        if state.flushable_bytes > 0 && !std::mem::replace(&mut state.in_flush_line, true) {
            drop(state);
            self.volume.note_flushable(self.key);
        }
    }

    /// Has what is stable but in no segment written into the journal once more.
    pub fn push_unflushed_again(&self) {
        let state = self.state.borrow();
        let mut previous_end = state.synced_offset;
        for batch in state.tail.from(state.tail.find(state.synced_offset)) {
            let bytes = batch.bytes.clone();
            let batch = AppendBatch {
                bytes,
                base_offset: batch.base_offset,
                last_offset: batch.last_offset,
                max_timestamp: -1,
            };
            let entry = self.entry(&state, previous_end, &batch);
            previous_end = batch.last_offset + 1;
            self.volume.journal.push(entry);
        }
    }

    fn entry(&self, state: &LogState, previous_end: i64, batch: &AppendBatch) -> Entry {
        let next_offset = batch.last_offset + 1;
        let covers = Covered { log: self.key, cuts: state.cuts, next_offset, bytes: batch.bytes.len() };
        let head = EntryHead {
            log: self.id.name(),
            bytes: batch.bytes.len() as u32,
            previous_end,
            base_offset: batch.base_offset,
            next_offset,
        };
        let acks_written = state.options.stable_mode == StableMode::Written && state.may_ack_written;
        Entry { covers, head, bytes: batch.bytes.clone(), flush_ms: acks_written.then_some(state.options.flush_ms) }
    }

    /// Written mode begins when a checkpoint says so: without it recovery could not tell what a power cut may take from damage.
    pub fn allow_written_mode(self: &Rc<LogInner>) {
        let state = self.state.borrow();
        if state.options.stable_mode != StableMode::Written || state.may_ack_written {
            return;
        }
        drop(state);
        self.volume.want_checkpoint();
    }

    /// Ends the log: appends fail from now on, reads of what is stable go on.
    pub fn fail(&self, failed: LogFailed) {
        self.fail_with(Arc::new(failed));
    }

    pub fn fail_with(&self, failed: Arc<LogFailed>) {
        if self.state.borrow().failed.is_some() {
            return;
        }
        let released_sequence = self.volume.checkpoints.released_sequence();
        let freed_bytes = self.change(|state| state.fail(failed.clone(), released_sequence));
        tracing::error!(%self.id, error = %failed, "log failed");
        self.shard.log_failed(self.key, failed, freed_bytes);
        self.changed.notify_all();
    }

    /// An error at the file being written.
    pub fn failure_of(&self, doing: &'static str, position: u64, bytes: usize, source: io::Error) -> LogFailed {
        let base_offset = self.state.borrow_mut().writing().base_offset;
        LogFailed { path: files::segment_path(&self.folder, base_offset), doing, position, bytes, source }
    }

    pub fn closing(&self) -> LogFailed {
        let source = io::Error::other("the log is being closed or deleted");
        LogFailed { path: self.folder.clone(), doing: "append", position: 0, bytes: 0, source }
    }
}

/// Counts a background task out, also when it panicked.
pub(crate) struct Busy(Rc<LogInner>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.background_tasks.set(self.0.background_tasks.get() - 1);
        self.0.changed.notify_all();
    }
}
