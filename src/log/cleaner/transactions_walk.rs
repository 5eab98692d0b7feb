//! Learns how the transactions of a log's dirty part ended, before a key of them is mapped.
//!
//! Part of a round of `clean`, which calls it when it meets the first transactional batch: logs without transactions never pay for it.
//! Reads the sealed segments as the round does, then on through the open part of the log, up to the high watermark, until every
//! transaction that has a batch in the range is decided. A range in which one is not is cut before it.

use super::CleanError;
use super::clean::{Job, Pace};
use super::filter::control_kind;
use super::plan::SegmentFacts;
use super::transactions::Outcomes;
use crate::log::Log;
use ringlane_protocol::records::{Batch, batches};
use ringlane_runtime::give_way;

/// One read behind the sealed segments.
const READ_BYTES: usize = 1 << 20;
/// Aborted transactions of one round: 32 bytes each. A round ends early when there are more.
const ABORTED_MAX: usize = 1 << 18;

/// `segments`: those of the range, from the first one with a transaction on.
pub(super) async fn outcomes_from(job: &Job, segments: &[SegmentFacts], pace: &Pace) -> Result<Outcomes, CleanError> {
    let mut outcomes = Outcomes::new(job.cleanable.end);
    for (at, segment) in segments.iter().enumerate() {
        let mut source = job.open(segment, pace).await?;
        while source.advance(pace).await? {
            let batch = source.batch()?;
            note(&mut outcomes, &batch).map_err(|found| source.corrupt(found))?;
            give_way().await;
        }
        let next = segments.get(at + 1);
        if let Some(next) =
            next.filter(|next| outcomes.aborted().len() >= ABORTED_MAX && next.base_offset < outcomes.end())
        {
            outcomes.end_at(next.base_offset);
        }
        if outcomes.end() <= segment.base_offset && outcomes.undecided().is_none() {
            return Ok(outcomes);
        }
    }
    read_on(job, &mut outcomes, pace).await?;
    if let Some(first_offset) = outcomes.undecided() {
        let containing = segments.partition_point(|segment| segment.base_offset <= first_offset).saturating_sub(1);
        outcomes.end_at(segments[containing].base_offset);
    }
    Ok(outcomes)
}

/// From the end of the range on, as a consumer reads.
async fn read_on(job: &Job, outcomes: &mut Outcomes, pace: &Pace) -> Result<(), CleanError> {
    let log = Log { inner: job.log.clone() };
    let (mut from, below) = (job.cleanable.end, job.compaction.high_watermark);
    while outcomes.undecided().is_some() && from < below {
        let data = log.read(from, below, READ_BYTES, true).await;
        pace.check()?;
        let data = data?;
        if data.slices.is_empty() {
            return Ok(());
        }
        for slice in &data.slices {
            for batch in batches(slice) {
                let batch = batch.map_err(|error| behind(job, error.to_string()))?;
                batch.check_crc().map_err(|error| behind(job, error.to_string()))?;
                note(outcomes, &batch).map_err(|found| behind(job, found))?;
                from = batch.header.next_offset();
            }
            give_way().await;
        }
        pace.read(data.bytes).await?;
    }
    Ok(())
}

fn note(outcomes: &mut Outcomes, batch: &Batch<'_>) -> Result<(), String> {
    let kind = match batch.header.is_control() {
        true => control_kind(batch).map_err(|error| error.to_string())?,
        false => None,
    };
    outcomes.note(&batch.header, kind);
    Ok(())
}

/// A batch behind the sealed segments is bad.
fn behind(job: &Job, found: String) -> CleanError {
    CleanError::Corrupt { path: job.log.folder.clone(), position: 0, found }
}
