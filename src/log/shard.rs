//! All logs of one shard: opens, deletes and closes them, and tells which offsets became stable.
//!
//! One per shard, for as long as the shard. Called by `partition::HomeShard`. What the logs of a shard share lives here: the memory of
//! their tails, the right to write, sync and read, open files of sealed segments.

use crate::cache::TailCache;
use crate::handles::Handles;
use crate::journal::{self, Covered, JournalOptions, kept};
use crate::log::LogInner;
use crate::pace::Pace;
use crate::read::ReadAhead;
use crate::recovery::io_error;
use crate::retention::Reason;
use crate::state::Eviction;
use crate::tail::{self, Sequence};
use crate::visitor::Visitor;
use crate::volume::{Volume, Volumes};
use crate::{
    DataDirState, Log, LogFailed, LogId, LogKey, LogName, LogOptions, OpenError, ShardLogsOptions, VolumeOptions,
    checkpoint, close, deleted, files, flusher, writer,
};
use bytes::Bytes;
use ringlane_metrics::ShardMetrics;
use ringlane_protocol::storage::producer_snapshot::ProducerEntry;
use ringlane_runtime::{Budget, Event, Task, fs, shard, sleep, spawn};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Syncs in flight: the kernel does each on a helper thread.
const SYNCS_IN_FLIGHT: usize = 8;
/// However small the tails' memory is, so much may wait to be flushed.
const FLUSHABLE_BYTES_MIN: u64 = 4 << 20;
const SPACE_CHECK: Duration = Duration::from_secs(5);
const SPACE_CHECK_WHEN_FULL: Duration = Duration::from_secs(1);

/// The logs whose home this shard is. Cheap to clone.
#[derive(Clone)]
pub struct ShardLogs {
    shard: Rc<Shard>,
    _table: Rc<OpenLogs>,
}

/// Empties the table of open logs with the last handle on it: logs and table know each other, and would keep each other for ever where
/// nobody closes them (a process that is killed in the simulator).
struct OpenLogs(Rc<Shard>);

impl Drop for OpenLogs {
    fn drop(&mut self) {
        drop(self.0.stop_tasks());
        drop(self.0.logs.take());
    }
}

/// News of one log, since the last news of it.
#[derive(Clone, Debug)]
pub struct StableEvent {
    pub log: LogKey,
    pub outcome: StableOutcome,
}

#[derive(Clone, Debug)]
pub enum StableOutcome {
    /// Every offset below this one is stable.
    Stable(i64),
    /// Nothing more becomes stable; appends fail, reads go on.
    Failed(Arc<LogFailed>),
}

/// What a partition keeps beside its log, as a checkpoint stores it: at the log's end of that moment. `None` when the log is not the
/// partition's yet, or is being truncated and the partition does not know yet what is left.
pub type StateOf = Rc<dyn Fn(LogKey) -> Option<Bytes>>;

/// The producers of a partition as they are now, for Kafka's snapshot of the log's end. `None` as above.
pub type ProducersOf = Rc<dyn Fn(LogKey) -> Option<Vec<ProducerEntry>>>;

pub(crate) struct Shard {
    pub options: ShardLogsOptions,
    pub metrics: Rc<ShardMetrics>,
    pub volumes: Volumes,
    pub news: News,
    pub write_slots: Budget,
    pub flush_slots: Budget,
    pub sync_slots: Budget,
    pub read_ahead: ReadAhead,
    /// Deleted files are removed one at a time.
    pub unlink_slot: Budget,
    pub pace: RefCell<Pace>,
    pub handles: RefCell<Handles>,
    cache: RefCell<TailCache>,
    logs: RefCell<BTreeMap<LogKey, Rc<LogInner>>>,
    next_key: Cell<u64>,
    state_of: RefCell<Option<StateOf>>,
    producers_of: RefCell<Option<ProducersOf>>,
    /// Stable bytes that are in no segment, all logs together.
    flushable_bytes: Cell<u64>,
    flushed: Event,
    /// Of each volume: its journal's writer and its checkpoints, which end when they have nothing left to do.
    tasks: RefCell<Vec<Task<()>>>,
    /// Those that may end at any time.
    watchers: RefCell<Vec<Task<()>>>,
}

/// What became stable or failed and was not yet told. At most one entry per log.
#[derive(Default)]
pub(crate) struct News {
    waiting: RefCell<BTreeMap<LogKey, (Option<i64>, Option<Arc<LogFailed>>)>>,
    arrived: Event,
}

impl News {
    pub fn stable(&self, log: LogKey, offset: i64) {
        self.waiting.borrow_mut().entry(log).or_default().0 = Some(offset);
        self.arrived.notify_all();
    }

    /// The log was truncated: what was stable behind its new end is no news any more.
    pub fn lower(&self, log: LogKey, end_offset: i64) {
        if let Some((stable, _)) = self.waiting.borrow_mut().get_mut(&log) {
            *stable = stable.map(|offset| offset.min(end_offset));
        }
    }

    fn failed(&self, log: LogKey, failed: Arc<LogFailed>) {
        self.waiting.borrow_mut().entry(log).or_default().1 = Some(failed);
        self.arrived.notify_all();
    }

    fn take(&self) -> Vec<StableEvent> {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        let mut events = Vec::with_capacity(waiting.len());
        for (log, (stable, failed)) in waiting {
            let outcomes = [stable.map(StableOutcome::Stable), failed.map(StableOutcome::Failed)];
            events.extend(outcomes.into_iter().flatten().map(|outcome| StableEvent { log, outcome }));
        }
        events
    }
}

impl ShardLogs {
    /// Logs open from now on; what is appended becomes stable after [`ShardLogs::begin`].
    pub fn start(options: ShardLogsOptions) -> ShardLogs {
        let journal = |volume: &VolumeOptions| JournalOptions {
            directory_id: volume.directory_id,
            file_bytes: options.journal_file_bytes,
            files_max: options.journal_files_max,
        };
        let volumes: Volumes =
            options.volumes.iter().map(|volume| Rc::new(Volume::new(volume, journal(volume)))).collect();
        for volume in &volumes {
            if let Some(reason) = options.recovered.broken(&volume.path) {
                volume.note_failure(LogFailed {
                    path: volume.path.clone(),
                    doing: "reading the journals",
                    position: 0,
                    bytes: 0,
                    source: io::Error::other(reason.to_owned()),
                });
            }
        }
        let shard = Shard {
            metrics: options.metrics.clone(),
            volumes,
            news: News::default(),
            write_slots: Budget::new("log writes", options.writes_in_flight),
            flush_slots: Budget::new("log flushes", options.flushes_in_flight),
            sync_slots: Budget::new("log syncs", SYNCS_IN_FLIGHT),
            read_ahead: ReadAhead::new(
                options.read_memory_bytes,
                options.read_bytes_in_flight,
                options.read_bytes_first,
            ),
            unlink_slot: Budget::new("file removals", 1),
            pace: RefCell::default(),
            handles: RefCell::default(),
            cache: RefCell::new(TailCache::new(options.tail_cache_bytes)),
            logs: RefCell::default(),
            next_key: Cell::new(0),
            state_of: RefCell::default(),
            producers_of: RefCell::default(),
            flushable_bytes: Cell::new(0),
            flushed: Event::default(),
            tasks: RefCell::default(),
            watchers: RefCell::default(),
            options,
        };
        let shard = Rc::new(shard);
        ShardLogs { _table: Rc::new(OpenLogs(shard.clone())), shard }
    }

    /// What checkpoints store of a partition. Without it every open visits all batches of the log.
    pub fn keep_states(&self, state_of: StateOf) {
        self.shard.state_of.replace(Some(state_of));
    }

    /// What snapshots say of a partition. Without it none are written.
    pub fn keep_producers(&self, producers_of: ProducersOf) {
        self.shard.producers_of.replace(Some(producers_of));
    }

    /// Another shard cannot do without what the journals in these directories have: they stay as they are. To be called before
    /// [`ShardLogs::begin`], which makes them void.
    pub fn give_up(&self, directories: &[PathBuf]) {
        let shard = &self.shard;
        let given_up = |volume: &&Rc<Volume>| volume.failure().is_none() && directories.contains(&volume.path);
        for volume in shard.volumes.iter().filter(given_up) {
            let source = io::Error::other("it failed on another shard");
            let doing = "keeping its journals for the next start";
            shard.volume_failed(volume, LogFailed { path: volume.path.clone(), doing, position: 0, bytes: 0, source });
        }
    }

    /// Everything that the journals had for logs of this shard is in their segments: call it when all logs that are known at the start have
    /// been opened, on all shards. The old journals are void from here on, and this one begins.
    pub async fn begin(&self) -> Result<(), LogFailed> {
        let shard = &self.shard;
        for volume in shard.volumes.iter().filter(|volume| volume.failure().is_none()) {
            let begun = begin(shard, volume).await;
            if let Err(failed) = begun {
                shard.volume_failed(volume, failed);
            }
        }
        let healthy = shard.volumes.iter().any(|volume| volume.failure().is_none());
        match shard.volumes.first().and_then(|volume| volume.failure()).filter(|_| !healthy) {
            Some(failed) => Err(LogFailed::again(&failed)),
            None => Ok(()),
        }
    }

    /// Every shard has begun: journals and records of shards that there are no more can go.
    pub async fn end_recovery(&self, shards: usize) {
        for volume in self.shard.volumes.iter().filter(|volume| volume.failure().is_none()) {
            volume.checkpoints.forget_carried();
            let gone = self.shard.options.recovered.shards(&volume.path).iter();
            let own = shard().0;
            for other in gone.filter(|other| usize::from(**other) >= shards && **other % shards as u16 == own) {
                let folder = volume.path.join(journal::FOLDER).join(other.to_string());
                if let Err(error) = journal::remove_folder(&folder).await {
                    tracing::warn!(%error, folder = %folder.display(), "old journal not removed");
                }
            }
        }
    }

    /// Opens the log, or creates it. Verifies what is there from the last checkpoint on, cuts a write that a crash cut short, adds what the
    /// journals have beyond that, and tells `visitor` about it. `is_new`: the partition was created just now, so a folder that is missing
    /// cannot be in a data directory that is out of service. Opens of different logs may run side by side.
    pub async fn open(
        &self,
        id: LogId,
        options: LogOptions,
        is_new: bool,
        visitor: &mut dyn Visitor,
    ) -> Result<Log, OpenError> {
        let shard = &self.shard;
        let name = id.folder();
        let is_same = |log: &Rc<LogInner>| log.id.partition == id.partition && log.id.topic == id.topic;
        if shard.logs.borrow().values().any(is_same) {
            let path = PathBuf::from(name);
            return Err(OpenError::Unreadable { path, found: "the log is open already".to_owned() });
        }
        let hold = |error| shard.hold_journals_of(&id, error);
        let (volume, listing) = shard.volume_of(&name, is_new).await.map_err(hold)?;
        let folder = volume.path.join(name);
        let mut entries = match &listing {
            Some(listing) if listing.has(kept::FILE) => kept::read(&folder, volume.directory_id).await.map_err(hold)?,
            _ => Vec::new(),
        };
        entries.extend_from_slice(shard.options.recovered.entries(&volume.path, id.name()));
        let inner = match shard.open_with(&volume, &id, listing, options, &entries, visitor).await {
            Ok(inner) => inner,
            Err(error) => {
                shard.keep_unopened(&volume, &id, &folder, &entries).await;
                return Err(error);
            }
        };
        if !entries.is_empty() {
            kept::remove(&folder).await?;
        }
        inner.allow_written_mode();
        Ok(Log { inner })
    }

    /// Takes the log out of service and its folder out of sight (renamed to `.deleted`, durable when this returns); its space is freed in
    /// the background. Appends fail from now on; reads under way finish or fail.
    pub async fn delete(&self, log: &Log) -> Result<(), OpenError> {
        let inner = &log.inner;
        {
            let mut state = inner.state.borrow_mut();
            (state.closing, state.on_hold) = (true, true);
        }
        inner.changed.notify_all();
        inner.until_quiet().await;
        self.shard.forget(inner);

        let data_dir = &inner.volume.path;
        let name = format!("{}-{}{}", inner.id.topic_id, inner.id.partition, files::DELETED_SUFFIX);
        let deleted = data_dir.join(name);
        fs::rename(&inner.folder, &deleted).await.map_err(io_error(&inner.folder, "renaming the deleted log"))?;
        fs::sync_dir(data_dir).await.map_err(io_error(data_dir, "syncing the data directory"))?;
        deleted::remove_folder_later(&self.shard, deleted);
        Ok(())
    }

    /// The data directories, and which of them can no longer be used.
    pub fn data_dirs(&self) -> Vec<DataDirState> {
        let state = |volume: &Rc<Volume>| DataDirState {
            path: volume.path.clone(),
            failure: volume.failure().map(|failed| failed.to_string()),
        };
        self.shard.volumes.iter().map(state).collect()
    }

    pub(crate) fn shard(&self) -> Rc<Shard> {
        self.shard.clone()
    }

    /// Waits for news: each log appears at most once, or twice when it failed after some of it became stable. One task per shard calls
    /// this in a loop.
    pub async fn next_stable(&self) -> Vec<StableEvent> {
        loop {
            let arrived = self.shard.news.arrived.listen();
            let events = self.shard.news.take();
            if !events.is_empty() {
                return events;
            }
            arrived.await;
        }
    }

    /// Orderly stop: everything appended is in its segment and durable, files are cut to their true size. Appends fail from now on. Logs
    /// that had failed before are an error too: the next start must look at them.
    pub async fn close(&self) -> Result<(), OpenError> {
        close::close(&self.shard).await
    }
}

/// The first checkpoint of this process in the volume, then its journal.
async fn begin(shard: &Rc<Shard>, volume: &Rc<Volume>) -> Result<(), LogFailed> {
    let folder = &volume.journal.folder;
    let failure = |doing, source| LogFailed { path: folder.clone(), doing, position: 0, bytes: 0, source };
    fs::create_dir_all(folder).await.map_err(|source| failure("creating the journal's folder", source))?;
    let opened: BTreeSet<LogName> = shard.logs_in(volume).iter().map(|log| log.id.name()).collect();
    let others = shard.options.recovered.records(&volume.path).filter(|record| !opened.contains(&record.log));
    volume.checkpoints.carry(others.cloned().collect());
    let (free_bytes, total_bytes) =
        fs::space(&volume.path).await.map_err(|source| failure("asking for free space", source))?;
    volume.guard.saw(free_bytes, total_bytes);
    // The journal does not write yet: what was appended meanwhile must not wait for it.
    shard.bypass_journal(volume);
    checkpoint::checkpoint(shard, volume).await?;
    if let Some(all) = folder.parent() {
        fs::sync_dir(all).await.map_err(|source| failure("syncing the folder of all journals", source))?;
        fs::sync_dir(&volume.path).await.map_err(|source| failure("syncing the data directory", source))?;
    }
    volume.journal.prepare(free_bytes).await?;
    let mut tasks = shard.tasks.borrow_mut();
    tasks.push(spawn("journal", journal::writer::run(shard.clone(), volume.clone())));
    volume.checkpoints.begin();
    tasks.push(spawn("checkpoint", checkpoint::run(shard.clone(), volume.clone())));
    let mut watchers = shard.watchers.borrow_mut();
    watchers.push(spawn("flusher", flusher::run(shard.clone(), volume.clone())));
    watchers.push(spawn("disk space", watch_space(volume.clone())));
    Ok(())
}

/// Asks how much room there is, more often when there is little.
async fn watch_space(volume: Rc<Volume>) {
    loop {
        sleep(if volume.guard.is_full() { SPACE_CHECK_WHEN_FULL } else { SPACE_CHECK }).await;
        match fs::space(&volume.path).await {
            Ok((free_bytes, total_bytes)) => {
                if volume.guard.saw(free_bytes, total_bytes) {
                    let directory = volume.path.display();
                    match volume.guard.is_full() {
                        true => tracing::error!(%directory, free_bytes, "disk nearly full: appends are refused"),
                        false => tracing::info!(%directory, free_bytes, "disk has space again: appends go on"),
                    }
                }
            }
            Err(error) => tracing::warn!(%error, directory = %volume.path.display(), "free space not known"),
        }
    }
}

impl Shard {
    pub fn new_key(&self) -> LogKey {
        LogKey(self.next_key.replace(self.next_key.get() + 1))
    }

    pub fn take_in(&self, log: Rc<LogInner>) {
        self.logs.borrow_mut().insert(log.key, log);
    }

    pub fn log(&self, key: LogKey) -> Option<Rc<LogInner>> {
        self.logs.borrow().get(&key).cloned()
    }

    pub fn all_logs(&self) -> Vec<Rc<LogInner>> {
        self.logs.borrow().values().cloned().collect()
    }

    /// The open logs whose folders lie in `volume`.
    pub fn logs_in(&self, volume: &Rc<Volume>) -> Vec<Rc<LogInner>> {
        self.logs.borrow().values().filter(|log| Rc::ptr_eq(&log.volume, volume)).cloned().collect()
    }

    /// What the partition keeps beside the log. `None`: it has not taken the log yet.
    pub fn state_of(&self, log: LogKey) -> Option<Option<Bytes>> {
        match &*self.state_of.borrow() {
            Some(state_of) => state_of(log).map(Some),
            None => Some(None),
        }
    }

    /// The partition's producers. `None`: nobody keeps them, or not yet.
    pub fn producers_of(&self, log: LogKey) -> Option<Vec<ProducerEntry>> {
        self.producers_of.borrow().as_ref().and_then(|producers_of| producers_of(log))
    }

    /// A batch is in the journal.
    pub fn journaled(&self, covered: &Covered) {
        if let Some(log) = self.log(covered.log) {
            log.journaled(covered);
        }
    }

    /// The journal of `volume` is full: what waits for it goes straight to its segment, so that nothing waits for the checkpoint that makes
    /// room, and the checkpoint for nothing.
    pub fn bypass_journal(&self, volume: &Rc<Volume>) {
        for log in self.logs_in(volume) {
            log.change(|state| state.direct |= state.failed.is_none() && state.stable_offset < state.end_offset);
            writer::kick(&log);
        }
    }

    pub fn flushable_changed(&self, before: u64, after: u64) {
        self.flushable_bytes.set(self.flushable_bytes.get() + after - before);
        self.metrics.log_flushable_bytes.set(self.flushable_bytes.get() as i64);
        if after < before {
            self.flushed.notify_all();
        }
    }

    /// Waits while more than half of the tails' memory is stable and in no segment yet.
    pub async fn tail_has_room(&self, volume: &Rc<Volume>) {
        let limit = (self.options.tail_cache_bytes as u64 / 2).max(FLUSHABLE_BYTES_MIN);
        loop {
            let flushed = self.flushed.listen();
            if self.flushable_bytes.get() <= limit || volume.failure().is_some() {
                return;
            }
            self.metrics.log_tail_full.increment();
            self.volumes.iter().for_each(|volume| flusher::flush(self, volume, Duration::ZERO));
            if self.flushable_bytes.get() <= limit {
                return;
            }
            flushed.await;
        }
    }

    /// Takes the volume out of service, and every log in it.
    pub fn volume_failed(&self, volume: &Rc<Volume>, failed: LogFailed) {
        let failed = volume.note_failure(failed);
        let logs = self.logs_in(volume);
        let directory = volume.path.display();
        tracing::error!(error = %failed, %directory, logs = logs.len(), "data directory failed on this shard");
        logs.iter().for_each(|log| log.fail_with(failed.clone()));
        self.flushed.notify_all();
    }

    pub fn segment_dropped(&self, bytes: u64, reason: Reason) {
        self.metrics.log_deleted_bytes.add(bytes);
        let counter = match reason {
            Reason::BelowStart => &self.metrics.log_segments_deleted_below_start,
            Reason::Size => &self.metrics.log_segments_deleted_by_size,
            Reason::Time => &self.metrics.log_segments_deleted_by_time,
        };
        counter.increment();
    }

    /// A batch went into a tail.
    pub fn appended(&self, log: LogKey, sequence: Sequence, batch_bytes: usize) {
        self.cache.borrow_mut().admit(log, sequence, tail::memory_bytes(batch_bytes));
        self.metrics.log_appended_bytes.add(batch_bytes as u64);
        self.metrics.log_pending_bytes.add(batch_bytes as i64);
        self.trim_cache();
    }

    /// Keeps the tails within their budget.
    pub fn trim_cache(&self) {
        let logs = self.logs.borrow();
        let mut cache = self.cache.borrow_mut();
        let in_the_way = cache.trim(|log, sequence| match logs.get(&log) {
            Some(log) => log.state.borrow_mut().evict(sequence),
            None => Eviction::Gone,
        });
        self.metrics.log_tail_bytes.set(cache.used_bytes() as i64);
        // Its segment is written or synced with the next checkpoint: time for one.
        if let Some(log) = in_the_way.and_then(|log| logs.get(&log)) {
            log.volume.want_checkpoint();
        }
    }

    /// Memory that a tail gave up other than by eviction.
    pub fn tail_freed(&self, bytes: usize) {
        self.cache.borrow_mut().freed(bytes);
    }

    pub fn log_failed(&self, log: LogKey, failed: Arc<LogFailed>, freed_bytes: usize) {
        self.tail_freed(freed_bytes);
        self.metrics.log_writes_failed.increment();
        self.news.failed(log, failed);
    }

    /// The log is no longer this shard's.
    pub fn forget(&self, log: &LogInner) {
        let freed = log.change(|state| {
            (state.unflushed_bytes, state.flushable_bytes) = (0, 0);
            state.generation += 1;
            state.cuts += 1;
            state.tail.truncate(i64::MIN)
        });
        self.tail_freed(freed);
        log.volume.logs_count.set(log.volume.logs_count.get() - 1);
        self.logs.borrow_mut().remove(&log.key);
        self.handles.borrow_mut().forget(log.key);
        self.read_ahead.forget(log.key);
        self.news.waiting.borrow_mut().remove(&log.key);
    }

    /// Ends the shard's own tasks; those that are returned still finish what they have begun.
    pub fn stop_tasks(&self) -> Vec<Task<()>> {
        drop(self.watchers.take());
        for volume in &self.volumes {
            volume.journal.close();
            volume.checkpoints.close();
        }
        self.tasks.take()
    }
}
