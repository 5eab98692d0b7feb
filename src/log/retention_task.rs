//! Retention of one log: gathers the facts, has `retention` decide, raises the log start, drops what lies below it.
//!
//! On the home shard, called through [`crate::Log::enforce_retention`] for one log after the other. Nothing here waits for a writer that
//! is at work: a log is rolled for retention's sake only while it is idle.

use crate::log::LogInner;
use crate::log_start::{self, LogStartError};
use crate::retention::{Bounds, Decision, Plan, Reason, SegmentFacts, decide};
use crate::segment::Segment;
use crate::{files, space, timestamps, writer};
use ringlane_runtime::fs;
use std::rc::Rc;

/// Deletes what the log's options no longer keep. `now_ms` is `None` while the clock is not believed: then age counts for nothing.
pub(crate) async fn enforce(log: &Rc<LogInner>, high_watermark: i64, now_ms: Option<i64>) -> Result<(), LogStartError> {
    let _busy = log.busy();
    if let Err(error) = timestamps::learn(log).await {
        tracing::warn!(%error, %log.id, "nothing deleted: the age of its segments is not known");
        return Ok(());
    }
    let Some(mut plan) = plan(log, high_watermark, now_ms).await else { return Ok(()) };
    if plan.roll_first {
        match roll_idle(log).await {
            // The new segment is among the facts now, empty, and stays.
            true => match self::plan(log, high_watermark, now_ms).await {
                Some(again) => plan = again,
                None => return Ok(()),
            },
            false => plan.spare_last(),
        }
    }
    if plan.count() == 0 {
        return Ok(());
    }
    let Some(start) = log.state.borrow().segments.get(plan.count()).map(|segment| segment.base_offset) else {
        return Ok(());
    };
    log_start::raise(log, start).await?;
    log_start::drop_below(log, &plan).await;
    Ok(())
}

impl Plan {
    /// The last segment is in use.
    fn spare_last(&mut self) {
        for count in [&mut self.by_time, &mut self.by_size, &mut self.below_start] {
            if *count > 0 {
                *count -= 1;
                break;
            }
        }
        self.roll_first = false;
    }

    /// Why the `at`-th oldest segment goes.
    pub(crate) fn reason(&self, at: usize) -> Option<Reason> {
        let reasons =
            [(self.below_start, Reason::BelowStart), (self.by_size, Reason::Size), (self.by_time, Reason::Time)];
        let mut end = 0;
        reasons.into_iter().find_map(|(count, reason)| {
            end += count;
            (at < end).then_some(reason)
        })
    }
}

/// `None`: the log is not in a state in which anything may be deleted.
async fn plan(log: &LogInner, high_watermark: i64, now_ms: Option<i64>) -> Option<Plan> {
    let mut written_ms = Vec::new();
    loop {
        let ask = {
            let state = log.state.borrow();
            if state.failed.is_some() || state.closing || state.on_hold {
                return None;
            }
            let mut options = state.options.retention;
            if now_ms.is_none() {
                options.retention_ms = -1;
            }
            let bounds = Bounds {
                log_start: state.start_offset(),
                high_watermark: high_watermark.min(state.stable_offset),
                now_ms: now_ms.unwrap_or_default(),
            };
            let next_offsets = state.segments.iter().skip(1).map(|next| next.base_offset).chain([state.end_offset]);
            let mut facts: Vec<SegmentFacts> = state.segments.iter().zip(next_offsets).map(facts).collect();
            for (base_offset, ms) in &written_ms {
                let known = facts.iter_mut().find(|facts| facts.base_offset == *base_offset);
                known.into_iter().for_each(|facts| facts.written_ms = Some(*ms));
            }
            match decide(&facts, &options, &bounds) {
                Decision::Delete(plan) => return Some(plan),
                Decision::AskWritten(at) => facts[at].base_offset,
            }
        };
        let path = files::segment_path(&log.folder, ask);
        match fs::modified_ms(&path).await {
            Ok(ms) => written_ms.push((ask, ms)),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "age of a segment without timestamps not known: it stays");
                written_ms.push((ask, i64::MAX));
            }
        }
    }
}

fn facts((segment, next_offset): (&Segment, i64)) -> SegmentFacts {
    SegmentFacts {
        base_offset: segment.base_offset,
        next_offset,
        bytes: segment.bytes,
        largest_timestamp: segment.max_timestamp.map(|(timestamp, _)| timestamp),
        written_ms: None,
    }
}

/// Begins a new segment if the log has nothing to write just now, and waits until the one before is sealed. Says whether it did. Appends
/// that come meanwhile wait in the tail.
async fn roll_idle(log: &Rc<LogInner>) -> bool {
    // As of the log's end: nothing is appended between here and the roll.
    let producers = log.shard.producers_of(log.key);
    let old_base = {
        let mut state = log.state.borrow_mut();
        let is_busy = state.writer_running || state.on_hold || state.closing || state.failed.is_some();
        if is_busy || state.unflushed_bytes > 0 || state.active().bytes == 0 {
            return false;
        }
        state.on_hold = true;
        let (old_base, end_offset) = (state.active().base_offset, state.end_offset);
        state.segments.push_back(Segment { producers, ..Segment::new(end_offset) });
        old_base
    };
    space::reserved(log).await;
    if let Err(failed) = space::roll(log).await {
        log.fail(failed);
    }
    log.until(|state| {
        state.failed.is_some() || state.segments.iter().any(|s| s.base_offset == old_base && s.is_sealed)
    })
    .await;
    log.state.borrow_mut().on_hold = false;
    writer::kick(log);
    log.state.borrow().failed.is_none()
}
