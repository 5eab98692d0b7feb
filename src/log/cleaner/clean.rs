//! One round of cleaning of one log: maps the keys of the dirty part, then writes the log anew, group by group.
//!
//! Runs in the cleaner's task on the home shard, called by `scheduler`. Works on copies of what it needs to know; looks before each I/O
//! whether the log is still the one it planned for. Holds no borrow across an await and gives way between batches.

use super::CleanError;
use super::CleanerOptions;
use super::exchange::{self, exchange};
use super::filter::{Round, Verdict};
use super::key_map::KeyMap;
use super::plan::{Cleanable, SegmentFacts, SegmentLimits, groups};
use super::scheduler::{Compaction, ProducerFacts};
use super::sift;
use super::sink::Sink;
use super::source::Source;
use super::throttle::Throttle;
use super::transactions::{Outcomes, Transactions};
use super::transactions_walk::outcomes_from;
use crate::files;
use crate::log::LogInner;
use crate::state::LogState;
use ringlane_protocol::records::BatchHeader;
use ringlane_protocol::storage::txn_index::AbortedTransaction;
use ringlane_runtime::{give_way, now, sleep, wall_clock_ms};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What a round is to do.
pub(super) struct Job {
    pub log: Rc<LogInner>,
    /// Of the log when the round was planned.
    pub generation: u64,
    pub compaction: Compaction,
    pub cleanable: Cleanable,
    pub producers: ProducerFacts,
}

/// What it has done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cleaned {
    /// The log is clean up to here.
    pub cleaned_offset: i64,
    pub map_used_percent: usize,
    pub segments_before: usize,
    pub segments_after: usize,
}

pub(super) async fn clean(job: &Job, options: &CleanerOptions, pace: &Pace) -> Result<Cleaned, CleanError> {
    let Cleanable { first_dirty, end, .. } = job.cleanable;
    exchange::remove_cleaned(&job.log.folder).await?;
    let mut segments = sealed_segments(&job.log.state.borrow(), end);
    let keys_max = (end - first_dirty) as u64;
    let mut newest = KeyMap::new(options.map_bytes, options.map_load, keys_max);
    let Mapped { covered, end, aborted } = map_dirty(job, &segments, &mut newest, pace).await?;
    segments.retain(|segment| segment.base_offset < end);

    let now_ms = wall_clock_ms();
    let round = Round {
        newest: &newest,
        covered,
        end,
        now_ms,
        delete_retention_ms: job.compaction.options.delete_retention_ms,
        producers: &job.producers.last,
    };
    let mut transactions = Transactions::new(&aborted);
    let mut done = Cleaned {
        cleaned_offset: covered,
        map_used_percent: newest.used_percent(),
        segments_before: 0,
        segments_after: 0,
    };
    let limits = limits(&job.log.state.borrow());
    for group in groups(&segments, covered, end, &limits) {
        let members: Vec<SegmentFacts> =
            segments.iter().filter(|segment| group.contains(&segment.base_offset)).copied().collect();
        rewrite(job, &members, &round, &mut transactions, pace).await?;
        done.segments_before += members.len();
        done.segments_after += 1;
    }
    Ok(done)
}

/// What the dirty part was found to hold.
struct Mapped {
    /// Up to here its keys fitted.
    covered: i64,
    /// Up to here the round may go.
    end: i64,
    /// Transactions whose records count for nothing.
    aborted: Vec<AbortedTransaction>,
}

/// Puts the keys from the first dirty offset on into `newest`.
async fn map_dirty(
    job: &Job,
    segments: &[SegmentFacts],
    newest: &mut KeyMap,
    pace: &Pace,
) -> Result<Mapped, CleanError> {
    let Cleanable { first_dirty, mut end, .. } = job.cleanable;
    let mut outcomes: Option<Outcomes> = None;
    let mut transactions = Transactions::default();
    let first = segments.partition_point(|segment| segment.base_offset <= first_dirty).saturating_sub(1);
    for (at, segment) in segments.iter().enumerate().skip(first) {
        let mut source = job.open(segment, pace).await?;
        while segment.base_offset < end && source.advance(pace).await? {
            let batch = source.batch()?;
            if batch.header.is_transactional() && outcomes.is_none() {
                // The first one of the dirty part: most logs have none, and are read once less.
                let found = outcomes_from(job, &segments[at..], pace).await?;
                transactions = Transactions::new(found.aborted());
                end = found.end();
                outcomes = Some(found);
                if end <= first_dirty.max(segment.base_offset) {
                    break;
                }
            }
            let full_at = sift::map_batch(newest, &mut transactions, &batch, first_dirty).await;
            if let Some(offset) = full_at.map_err(|error| source.corrupt(error.to_string()))? {
                let aborted = outcomes.map(Outcomes::into_aborted).unwrap_or_default();
                return Ok(Mapped { covered: offset, end, aborted });
            }
            give_way().await;
        }
    }
    if end <= first_dirty {
        return Err(CleanError::Undecided(end));
    }
    Ok(Mapped { covered: end, end, aborted: outcomes.map(Outcomes::into_aborted).unwrap_or_default() })
}

/// Makes one segment of `members`. When nothing of a single one goes, it stays as it is.
async fn rewrite(
    job: &Job,
    members: &[SegmentFacts],
    round: &Round<'_>,
    transactions: &mut Transactions,
    pace: &Pace,
) -> Result<(), CleanError> {
    let index_interval_bytes = job.log.state.borrow().options.index_interval_bytes;
    let mut sink = Sink::create(&job.log.folder, members[0].base_offset, index_interval_bytes).await?;
    let mut is_changed = members.len() > 1;
    for segment in members {
        let mut source = job.open(segment, pace).await?;
        while source.advance(pace).await? {
            let batch = source.batch()?;
            let verdict = sift::judge(round, transactions, &batch).await;
            match verdict.map_err(|error| source.corrupt(error.to_string()))? {
                Verdict::Keep => sink.put(&batch.header, batch.bytes(), pace).await?,
                Verdict::Rewrite(bytes) => {
                    let header = BatchHeader::parse(&bytes).map_err(|error| source.corrupt(error.to_string()))?;
                    sink.put(&header, &bytes, pace).await?;
                    is_changed = true;
                }
                Verdict::Drop => is_changed = true,
            }
            give_way().await;
        }
    }
    let aborted = transactions.take_still_there();
    if !is_changed {
        drop(sink);
        return exchange::remove_cleaned(&job.log.folder).await;
    }
    tracing::debug!(
        log = %job.log.id, base_offset = members[0].base_offset, segments = members.len(), bytes = sink.bytes(), "segments cleaned"
    );
    let segment = sink.finish(&aborted, pace).await?;
    let old_bases = members.iter().map(|segment| segment.base_offset).collect();
    exchange(&job.log, &pace.generation, old_bases, segment, job.compaction.options.file_delete_delay_ms).await
}

impl Job {
    pub(super) async fn open(&self, segment: &SegmentFacts, pace: &Pace) -> Result<Source, CleanError> {
        pace.check()?;
        let path = files::segment_path(&self.log.folder, segment.base_offset);
        let opened = Source::open(path, segment.bytes).await;
        // A log that was deleted meanwhile has no such file: that is no error.
        pace.check()?;
        opened
    }
}

/// How fast a round may go, and whether it may go on.
pub(super) struct Pace {
    log: Rc<LogInner>,
    throttle: Rc<RefCell<Throttle>>,
    /// Of the log, as this round knows it.
    pub generation: Cell<u64>,
}

impl Pace {
    pub fn new(job: &Job, throttle: Rc<RefCell<Throttle>>) -> Pace {
        Pace { log: job.log.clone(), throttle, generation: Cell::new(job.generation) }
    }

    pub async fn read(&self, bytes: usize) -> Result<(), CleanError> {
        self.log.shard.metrics.log_cleaner_read_bytes.add(bytes as u64);
        self.spent(bytes).await
    }

    pub async fn wrote(&self, bytes: usize) -> Result<(), CleanError> {
        self.log.shard.metrics.log_cleaner_written_bytes.add(bytes as u64);
        self.spent(bytes).await
    }

    /// Fails when the log is no longer the one that the round was planned for.
    pub fn check(&self) -> Result<(), CleanError> {
        match may_clean(&self.log.state.borrow()) && self.log.state.borrow().generation == self.generation.get() {
            true => Ok(()),
            false => Err(CleanError::Moved),
        }
    }

    async fn spent(&self, bytes: usize) -> Result<(), CleanError> {
        self.throttle.borrow_mut().spent(now(), bytes);
        loop {
            self.check()?;
            let wait = self.throttle.borrow().wait(now());
            match wait {
                Some(wait) => sleep(wait).await,
                None => return Ok(()),
            }
        }
    }
}

/// Whether the log's files may be exchanged now.
pub(super) fn may_clean(state: &LogState) -> bool {
    !state.closing && !state.on_hold && state.failed.is_none()
}

/// Segments below `end`, which are sealed.
fn sealed_segments(state: &LogState, end: i64) -> Vec<SegmentFacts> {
    facts_of(state).into_iter().take_while(|segment| segment.base_offset < end).collect()
}

/// Every segment of the log.
pub(super) fn facts_of(state: &LogState) -> Vec<SegmentFacts> {
    let facts = state.segments.iter().map(|segment| SegmentFacts {
        base_offset: segment.base_offset,
        bytes: segment.bytes,
        first_timestamp: segment.first_timestamp,
        max_timestamp: segment.max_timestamp.map(|(timestamp, _)| timestamp),
    });
    facts.collect()
}

/// Base of the first segment that is not sealed: whole and durable on disk, its index files beside it, no file open for it.
pub(super) fn sealed_below(state: &LogState) -> i64 {
    let open = |segment: &&crate::segment::Segment| segment.file.is_some() || segment.written_bytes < segment.bytes;
    let last = state.segments.back().map(|segment| segment.base_offset);
    state.segments.iter().find(open).map(|segment| segment.base_offset).or(last).unwrap_or(0)
}

fn limits(state: &LogState) -> SegmentLimits {
    SegmentLimits {
        segment_bytes: u64::from(state.options.segment_bytes),
        segment_index_bytes: u64::from(state.options.segment_index_bytes),
        index_interval_bytes: state.options.index_interval_bytes,
    }
}
