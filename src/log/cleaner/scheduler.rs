//! The cleaner's task of one shard: looks for the dirtiest log that is due, cleans it, sleeps when there is none.
//!
//! Started by `broker` beside the shard's logs and stopped by dropping the task; an exchange of files that is under way then still runs to
//! its end. A log whose cleaning failed is left alone for a while, or for good when it is damaged, with a line in the log: the others go on.

use super::clean::{self, Cleaned, Job, Pace, facts_of, may_clean, sealed_below};
use super::pauses::Pauses;
use super::plan::{Cleanable, LogFacts, dirtiest};
use super::throttle::Throttle;
use super::{CleanError, CleanerOptions, CompactionOptions, LastOfProducer, checkpoint, exchange};
use crate::log::LogInner;
use crate::shard::Shard;
use crate::timestamps;
use crate::{LogKey, ShardLogs};
use ringlane_runtime::{give_way, now, sleep, wall_clock_ms};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What only the owner of a partition knows. Asked synchronously, on the home shard.
pub trait CompactionSource {
    /// `None`: the log is not compacted.
    fn compaction(&self, log: LogKey) -> Option<Compaction>;

    /// Asked once at the beginning of a round.
    fn producers(&self, log: LogKey) -> ProducerFacts;
}

/// How a compacted log is to be cleaned, and how far.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Compaction {
    pub options: CompactionOptions,
    /// Nothing at or behind this offset is cleaned; never more than the high watermark.
    pub last_stable_offset: i64,
    /// Up to here markers count: what lies behind may yet be taken back.
    pub high_watermark: i64,
}

/// What compaction must keep for producers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProducerFacts {
    /// By producer id, of each that is not forgotten yet.
    pub last: BTreeMap<i64, LastOfProducer>,
}

/// Cleans the shard's logs for ever.
pub async fn run(logs: ShardLogs, options: CleanerOptions, source: Rc<dyn CompactionSource>) {
    if !options.enabled {
        return;
    }
    let mut scheduler = Scheduler {
        shard: logs.shard(),
        throttle: Rc::new(RefCell::new(Throttle::new(options.bytes_per_second))),
        pauses: Pauses::new(options.backoff),
        options,
        source,
        cleaned: BTreeMap::new(),
    };
    loop {
        match scheduler.next_job().await {
            Some(job) => scheduler.clean(job).await,
            None => sleep(scheduler.options.backoff).await,
        }
    }
}

struct Scheduler {
    shard: Rc<Shard>,
    options: CleanerOptions,
    source: Rc<dyn CompactionSource>,
    throttle: Rc<RefCell<Throttle>>,
    /// Checkpoints, with the generation of the log at which they were read: a truncation may have lowered one.
    cleaned: BTreeMap<LogKey, (u64, Option<i64>)>,
    pauses: Pauses,
}

impl Scheduler {
    /// The dirtiest log that is due.
    async fn next_job(&mut self) -> Option<Job> {
        let logs = self.shard.all_logs();
        let is_open = |key: &LogKey| logs.iter().any(|log| log.key == *key);
        self.cleaned.retain(|key, _| is_open(key));
        self.pauses.retain(is_open);
        self.shard.metrics.log_cleaner_uncleanable.set(self.pauses.failing() as i64);
        let mut due = Vec::new();
        for log in logs {
            if let Some((generation, compaction, cleanable)) = self.look_at(&log).await {
                due.push(((log, generation, compaction), cleanable));
            }
            give_way().await;
        }
        let ((log, generation, compaction), cleanable) = dirtiest(due.into_iter())?;
        let producers = self.source.producers(log.key);
        Some(Job { log, generation, compaction, cleanable, producers })
    }

    /// What of the log is due.
    async fn look_at(&mut self, log: &Rc<LogInner>) -> Option<(u64, Compaction, Cleanable)> {
        if self.pauses.is_paused(log.key, now()) {
            return None;
        }
        self.source.compaction(log.key)?;
        let cleaned_offset = self.cleaned_offset(log).await?;
        if let Err(error) = timestamps::learn(log).await {
            tracing::warn!(%error, %log.id, "not looked at by the cleaner this time");
            return None;
        }
        // Asked again: the log may have changed while its checkpoint was read.
        let compaction = self.source.compaction(log.key)?;
        let state = log.state.borrow();
        let segments = facts_of(&state);
        let facts = LogFacts {
            start_offset: segments.first()?.base_offset,
            end_offset: state.end_offset,
            last_stable_offset: compaction.last_stable_offset,
            sealed_below: sealed_below(&state),
            segments: &segments,
            cleaned_offset,
            now_ms: wall_clock_ms(),
        };
        let cleanable = Cleanable::of(&facts, &compaction.options);
        (may_clean(&state) && cleanable.is_due(&compaction.options)).then_some((
            state.generation,
            compaction,
            cleanable,
        ))
    }

    /// The outer `None`: the checkpoint cannot be read, which is an error of the log's.
    async fn cleaned_offset(&mut self, log: &Rc<LogInner>) -> Option<Option<i64>> {
        let generation = log.state.borrow().generation;
        if let Some((at_generation, offset)) = self.cleaned.get(&log.key)
            && *at_generation == generation
        {
            return Some(*offset);
        }
        match checkpoint::read(&log.folder).await {
            Ok(offset) => {
                self.cleaned.insert(log.key, (generation, offset));
                Some(offset)
            }
            Err(source) => {
                self.failed(log, &CleanError::io(&log.folder, "reading the cleaner's checkpoint")(source));
                None
            }
        }
    }

    async fn clean(&mut self, job: Job) {
        let started = now();
        let pace = Pace::new(&job, self.throttle.clone());
        let outcome = match clean::clean(&job, &self.options, &pace).await {
            Ok(cleaned) => self.note(&job, &pace, cleaned).await.map(|()| cleaned),
            Err(error) => Err(error),
        };
        let metrics = &self.shard.metrics;
        metrics.log_cleaner_round_us.record(started.elapsed().as_micros() as u64);
        match outcome {
            Ok(cleaned) => {
                self.pauses.succeeded(job.log.key);
                metrics.log_cleaner_rounds.increment();
                metrics.log_cleaner_map_used.set(cleaned.map_used_percent as i64);
                tracing::debug!(
                    log = %job.log.id, cleaned_offset = cleaned.cleaned_offset, before = cleaned.segments_before,
                    after = cleaned.segments_after, map_used_percent = cleaned.map_used_percent, "log cleaned"
                );
            }
            Err(error) => {
                // Whatever went wrong, in a log that is gone or cut it is no fault.
                if pace.check().is_ok() || matches!(error, CleanError::Exchange(_)) {
                    self.failed(&job.log, &error);
                }
                if let Err(error) = exchange::remove_cleaned(&job.log.folder).await {
                    tracing::debug!(%error, log = %job.log.id, "unfinished files stay until the next round or start");
                }
            }
        }
    }

    /// Notes how far the log is clean, unless it was cut meanwhile.
    async fn note(&mut self, job: &Job, pace: &Pace, cleaned: Cleaned) -> Result<(), CleanError> {
        pace.check()?;
        let folder = &job.log.folder;
        let written = checkpoint::write(folder, cleaned.cleaned_offset).await;
        written.map_err(CleanError::io(folder, "writing the cleaner's checkpoint"))?;
        self.cleaned.insert(job.log.key, (pace.generation.get(), Some(cleaned.cleaned_offset)));
        Ok(())
    }

    fn failed(&mut self, log: &LogInner, error: &CleanError) {
        match error {
            CleanError::Undecided(_) => {
                tracing::debug!(%log.id, %error, "not cleaned yet");
                self.pauses.wait(log.key, now());
            }
            CleanError::Io { .. } => {
                let pause_ms = self.pauses.failed(log.key, now()).as_millis() as u64;
                tracing::error!(%log.id, %error, pause_ms, "log not cleaned, and tried again after a pause; nothing of it is lost");
            }
            _ => {
                tracing::error!(%log.id, %error, "log not cleaned, and left alone until the next start; other logs go on");
                self.pauses.give_up(log.key);
            }
        }
        self.shard.metrics.log_cleaner_uncleanable.set(self.pauses.failing() as i64);
    }
}
