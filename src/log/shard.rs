//! All logs of one shard: opens, deletes and closes them, and tells which offsets became stable.
//!
//! One per shard, for as long as the shard. Called by `partition::HomeShard`. What the logs of a shard share lives here: the memory of
//! their tails, the right to write, sync and read, open files of sealed segments.

use crate::cache::TailCache;
use crate::handles::Handles;
use crate::log::LogInner;
use crate::pace::Pace;
use crate::recovery::{self, io_error};
use crate::state::{Eviction, LogState, NextSegment};
use crate::tail::{self, Sequence};
use crate::{Log, LogFailed, LogId, LogKey, LogOptions, OpenError, ShardLogsOptions, StableMode, files, writer};
use ringlane_metrics::ShardMetrics;
use ringlane_protocol::records::BatchHeader;
use ringlane_runtime::{Budget, Event, fs, spawn};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Syncs in flight: the kernel does each on a helper thread.
const SYNCS_IN_FLIGHT: usize = 8;

/// The logs whose home this shard is. Cheap to clone.
#[derive(Clone)]
pub struct ShardLogs {
    shard: Rc<Shard>,
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

pub(crate) struct Shard {
    pub options: ShardLogsOptions,
    pub metrics: Rc<ShardMetrics>,
    pub news: News,
    pub write_slots: Budget,
    pub sync_slots: Budget,
    pub read_budget: Budget,
    pub pace: RefCell<Pace>,
    pub handles: RefCell<Handles>,
    cache: RefCell<TailCache>,
    logs: RefCell<BTreeMap<LogKey, Rc<LogInner>>>,
    next_key: Cell<u64>,
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
    pub async fn start(options: ShardLogsOptions) -> Result<ShardLogs, OpenError> {
        let data_dir = &options.data_dir;
        fs::create_dir_all(data_dir).await.map_err(io_error(data_dir, "creating the data directory"))?;
        let shard = Shard {
            metrics: options.metrics.clone(),
            news: News::default(),
            write_slots: Budget::new("log writes", options.writes_in_flight),
            sync_slots: Budget::new("log syncs", SYNCS_IN_FLIGHT),
            read_budget: Budget::new("log reads", options.read_bytes_in_flight),
            pace: RefCell::default(),
            handles: RefCell::default(),
            cache: RefCell::new(TailCache::new(options.tail_cache_bytes)),
            logs: RefCell::default(),
            next_key: Cell::new(0),
            options,
        };
        Ok(ShardLogs { shard: Rc::new(shard) })
    }

    /// Opens the log, or creates it. Reads and verifies what is there, cuts a write that a crash cut short, and calls `visit` with every
    /// batch header in offset order, so that the caller rebuilds what it keeps about producers and leader epochs. Opens of different
    /// logs may run side by side.
    pub async fn open(
        &self,
        id: LogId,
        options: LogOptions,
        visit: &mut dyn FnMut(&BatchHeader),
    ) -> Result<Log, OpenError> {
        let folder = self.shard.options.data_dir.join(id.folder());
        if self.shard.logs.borrow().values().any(|log| log.folder == folder) {
            return Err(OpenError::Unreadable { path: folder, found: "the log is open already".to_owned() });
        }
        let state = self.shard.load(&id, &folder, options, visit).await?;
        let key = LogKey(self.shard.next_key.replace(self.shard.next_key.get() + 1));
        let inner = LogInner::new(key, id, folder, self.shard.clone(), state);
        self.shard.logs.borrow_mut().insert(key, inner.clone());
        writer::allow_written_mode(&inner);
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
        inner.until_quiet().await;
        self.shard.forget(inner);

        let data_dir = &self.shard.options.data_dir;
        let name = format!("{}-{}{}", inner.id.topic_id, inner.id.partition, files::DELETED_SUFFIX);
        let deleted = data_dir.join(name);
        fs::rename(&inner.folder, &deleted).await.map_err(io_error(&inner.folder, "renaming the deleted log"))?;
        fs::sync_dir(data_dir).await.map_err(io_error(data_dir, "syncing the data directory"))?;
        spawn("log-unlink", remove_folder(deleted)).detach();
        Ok(())
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

    /// Orderly stop: everything appended is written and synced, files are cut to their true size. Appends fail from now on. Logs that
    /// had failed before are an error too: the next start must look at them.
    pub async fn close(&self) -> Result<(), OpenError> {
        let logs: Vec<_> = self.shard.logs.borrow().values().cloned().collect();
        let closing: Vec<_> = logs.into_iter().map(|log| spawn("log-close", close(log))).collect();
        let mut outcome = Ok(());
        for task in closing {
            let closed = task.await.unwrap_or_else(|panicked| {
                Err(OpenError::Unreadable { path: self.shard.options.data_dir.clone(), found: panicked.to_string() })
            });
            outcome = outcome.and(closed);
        }
        outcome
    }
}

impl Shard {
    /// The log's state from its folder, which is made when missing.
    async fn load(
        &self,
        id: &LogId,
        folder: &Path,
        options: LogOptions,
        visit: &mut dyn FnMut(&BatchHeader),
    ) -> Result<LogState, OpenError> {
        let metadata_path = folder.join(files::PARTITION_METADATA);
        let exists = fs::exists(folder).await.map_err(io_error(folder, "looking for the folder"))?;
        let metadata = match fs::read(&metadata_path).await {
            Ok(content) => Some(content),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error(&metadata_path, "reading")(error)),
        };
        if let Some(content) = &metadata {
            let found = files::decode_partition_metadata(content)
                .map_err(|found| OpenError::Unreadable { path: metadata_path.clone(), found })?;
            if found != id.topic_id {
                let (found, expected) = (found.to_string(), id.topic_id.to_string());
                return Err(OpenError::OtherTopic { path: folder.to_owned(), found, expected });
            }
        }
        if !exists {
            fs::create_dir_all(folder).await.map_err(io_error(folder, "creating the folder"))?;
        }
        let recovered = match exists {
            true => recovery::recover(folder, options, self.options.stopped_clean, visit).await?,
            false => recovery::Recovered::empty(recovery::create(folder, options).await?),
        };
        if metadata.is_none() {
            // Also makes the first segment's name durable: both are in the folder that it syncs.
            let content = files::encode_partition_metadata(id.topic_id);
            let written = fs::write_atomic(&metadata_path, content.as_bytes()).await;
            written.map_err(io_error(&metadata_path, "writing"))?;
        }
        if !exists {
            let data_dir = &self.options.data_dir;
            fs::sync_dir(data_dir).await.map_err(io_error(data_dir, "syncing the data directory"))?;
        }
        if options.stable_mode == StableMode::Durable {
            // All is durable now, and will be before it is acknowledged: the recovery point of written mode says less than that.
            let checkpoint = folder.join(files::CHECKPOINT);
            match fs::remove_file(&checkpoint).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io_error(&checkpoint, "removing")(error));
                }
                _ => {}
            }
        }
        self.metrics.log_recovered_bytes.add(recovered.read_bytes);
        self.metrics.log_truncated_bytes.add(recovered.cut_bytes);
        Ok(recovered.state)
    }

    pub fn open_logs(&self) -> Vec<Rc<LogInner>> {
        self.logs.borrow().values().cloned().collect()
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
        cache.trim(|log, sequence| match logs.get(&log) {
            Some(log) => log.state.borrow_mut().evict(sequence),
            None => Eviction::Gone,
        });
        self.metrics.log_tail_bytes.set(cache.used_bytes() as i64);
    }

    /// Memory that a tail gave up other than by eviction.
    pub fn tail_freed(&self, bytes: usize) {
        self.cache.borrow_mut().freed(bytes);
    }

    pub fn log_failed(&self, log: LogKey, failed: Arc<LogFailed>, unwritten_bytes: u64, freed_bytes: usize) {
        self.tail_freed(freed_bytes);
        self.metrics.log_pending_bytes.add(-(unwritten_bytes as i64));
        self.metrics.log_writes_failed.increment();
        self.news.failed(log, failed);
    }

    /// The log is no longer this shard's.
    fn forget(&self, log: &LogInner) {
        let freed = {
            let mut state = log.state.borrow_mut();
            self.metrics.log_pending_bytes.add(-(state.unwritten_bytes() as i64));
            state.generation += 1;
            state.tail.truncate(i64::MIN)
        };
        self.tail_freed(freed);
        self.logs.borrow_mut().remove(&log.key);
        self.handles.borrow_mut().forget(log.key);
        self.news.waiting.borrow_mut().remove(&log.key);
    }
}

/// Writes what is pending, cuts the files to size and syncs them.
async fn close(log: Rc<LogInner>) -> Result<(), OpenError> {
    log.state.borrow_mut().closing = true;
    writer::kick(&log);
    log.until_quiet().await;
    let flushed = writer::flush_now(&log).await;
    if let Err(failed) = flushed {
        log.fail(failed);
    }
    if let Some(failed) = &log.state.borrow().failed {
        return Err(OpenError::Unreadable { path: log.folder.clone(), found: failed.to_string() });
    }
    let (file, bytes, base_offset, unused) = {
        let mut state = log.state.borrow_mut();
        let unused = matches!(state.next_segment, NextSegment::Ready { .. } | NextSegment::Failed(_));
        state.next_segment = NextSegment::Missing;
        let writing = state.writing();
        (writing.file.clone(), writing.bytes, writing.base_offset, unused)
    };
    let path = files::segment_path(&log.folder, base_offset);
    if let Some(file) = file {
        let file_bytes = file.len().await.map_err(io_error(&path, "asking for the size"))?;
        if file_bytes != bytes {
            file.set_len(bytes).await.map_err(io_error(&path, "cutting the file to its size"))?;
            file.sync().await.map_err(io_error(&path, "syncing"))?;
        }
    }
    if unused {
        let path = log.folder.join(files::NEXT_SEGMENT);
        match fs::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io_error(&path, "removing the unused segment")(error));
            }
            _ => fs::sync_dir(&log.folder).await.map_err(io_error(&log.folder, "syncing the folder"))?,
        }
    }
    log.shard.forget(&log);
    Ok(())
}

async fn remove_folder(path: PathBuf) {
    if let Err(error) = fs::remove_dir_all(&path).await {
        tracing::warn!(%error, path = %path.display(), "deleted log not removed: the next start tries again");
    }
}
