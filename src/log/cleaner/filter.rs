//! Decides what of a batch stays, by Kafka's rules for compacted topics (`protocol.md` 2.10; KIP-534 for the delete horizon).
//!
//! Pure; called by `sift` for every batch, first to map the newest offset of each key, then to write the log anew. Never looks at a
//! clock: the time of the round is handed in. Records are gone through in steps, so that the caller can give way in between: a batch of a
//! megabyte may unpack to millions of them.

use super::key_map::{Full, KeyMap};
use super::transactions::{ControlKind, Transactions};
use ringlane_protocol::records::{
    Batch, BatchHeader, CompressionError, ControlType, Record, RecordError, Records, RetainedBatch,
};
use std::collections::BTreeMap;

/// A control batch is one short record.
const CONTROL_BYTES_MAX: usize = 1 << 20;

/// Where the last thing of a live producer lies: it must be found again after a restart, or its next batch would be refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastOfProducer {
    pub epoch: i16,
    /// Last offset of its last data batch; `None` when only a marker is known.
    pub last_data_offset: Option<i64>,
}

/// One round of cleaning, as the filter needs it.
pub(crate) struct Round<'a> {
    pub newest: &'a KeyMap,
    /// End of the offsets whose keys are in `newest`: from here on everything stays.
    pub covered: i64,
    /// End of the range that may be cleaned: the batch that ends there stays, so that the offset is not forgotten.
    pub end: i64,
    pub now_ms: i64,
    pub delete_retention_ms: i64,
    pub producers: &'a BTreeMap<i64, LastOfProducer>,
}

#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Drop,
    Keep,
    /// A part of it stays, or its delete horizon begins.
    Rewrite(Vec<u8>),
}

/// Why a batch cannot be judged. Its CRC was right, so it was stored like this.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Compression(#[from] CompressionError),
    #[error("the codec panicked: {0}")]
    Panicked(String),
}

/// Whether records of `batch` have keys that count, from offset `from` on.
pub(crate) fn has_keys(transactions: &mut Transactions, batch: &Batch<'_>, from: i64) -> Result<bool, FilterError> {
    let header = &batch.header;
    if header.is_control() {
        let kind = control_kind(batch)?;
        transactions.has_lost_its_data(header, kind);
        return Ok(false);
    }
    Ok(!transactions.is_aborted(header) && header.last_offset() >= from)
}

/// How far [`map_keys`] came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MapStep {
    More,
    All,
    /// The map was full at this offset.
    Full(i64),
}

/// Notes the newest offset of the keys of up to `count` records, from offset `from` on.
pub(crate) fn map_keys(
    newest: &mut KeyMap,
    header: &BatchHeader,
    records: &mut Records<'_>,
    from: i64,
    count: usize,
) -> Result<MapStep, FilterError> {
    for _ in 0..count {
        let Some(record) = records.next().transpose()? else { return Ok(MapStep::All) };
        let offset = record.offset(header);
        let Some(key) = record.key.filter(|_| offset >= from) else { continue };
        if newest.put(key, offset) == Err(Full) {
            return Ok(MapStep::Full(offset));
        }
    }
    Ok(MapStep::More)
}

/// What a batch's header says, and for a marker its record.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Glance {
    Decided(Verdict),
    /// The records must be looked at. `data_is_void`: it is the marker of a transaction of which nothing is left.
    Records {
        data_is_void: bool,
    },
}

/// Decides about one batch as far as that goes without its records. Batches come in offset order.
pub(crate) fn glance(
    round: &Round<'_>,
    transactions: &mut Transactions,
    batch: &Batch<'_>,
) -> Result<Glance, FilterError> {
    let header = &batch.header;
    let kind = if header.is_control() { control_kind(batch)? } else { None };
    let data_is_void = match header.is_control() {
        true => transactions.has_lost_its_data(header, kind),
        false => transactions.is_aborted(header),
    };
    if header.base_offset >= round.covered {
        return Ok(Glance::Decided(Verdict::Keep));
    }
    // A marker goes one horizon after its data, so that a reader that has read the data also sees how it ended.
    let drop_records = data_is_void && (!header.is_control() || is_past(horizon(header), round.now_ms));
    match drop_records || header.records_count == 0 {
        true => Ok(Glance::Decided(without_records(round, header)?)),
        false => Ok(Glance::Records { data_is_void }),
    }
}

/// What of a batch's records stays.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Choice {
    pub kept: usize,
    pub has_tombstone: bool,
}

/// Looks at up to `count` records; says whether there are more.
pub(crate) fn choose(
    round: &Round<'_>,
    header: &BatchHeader,
    records: &mut Records<'_>,
    choice: &mut Choice,
    count: usize,
) -> Result<bool, FilterError> {
    for _ in 0..count {
        let Some(record) = records.next().transpose()? else { return Ok(false) };
        if stays(round, header, &record) {
            // The value of a marker is not a value: its horizon begins when its data is gone.
            choice.has_tombstone |= record.value.is_none() && !header.is_control();
            choice.kept += 1;
        }
    }
    Ok(true)
}

/// What follows from the choice.
pub(crate) enum Settled {
    Verdict(Verdict),
    /// To be filled by [`retain`].
    Rewrite(RetainedBatch),
}

pub(crate) fn settle(
    round: &Round<'_>,
    header: &BatchHeader,
    choice: Choice,
    data_is_void: bool,
) -> Result<Settled, FilterError> {
    if choice.kept == 0 {
        return Ok(Settled::Verdict(without_records(round, header)?));
    }
    let begins = (choice.has_tombstone || (header.is_control() && data_is_void)) && horizon(header).is_none();
    if choice.kept == header.records_count as usize && !begins {
        return Ok(Settled::Verdict(Verdict::Keep));
    }
    let horizon_ms = begins.then(|| round.now_ms.saturating_add(round.delete_retention_ms));
    Ok(Settled::Rewrite(RetainedBatch::new(header, horizon_ms)))
}

/// Puts what stays of up to `count` records into `retained`; says whether there are more.
pub(crate) fn retain(
    round: &Round<'_>,
    header: &BatchHeader,
    records: &mut Records<'_>,
    retained: &mut RetainedBatch,
    count: usize,
) -> Result<bool, FilterError> {
    for _ in 0..count {
        let Some((record, bytes)) = records.next_with_bytes().transpose()? else { return Ok(false) };
        if stays(round, header, &record) {
            retained.push(&record, bytes);
        }
    }
    Ok(true)
}

/// Nothing in the batch stays.
fn without_records(round: &Round<'_>, header: &BatchHeader) -> Result<Verdict, FilterError> {
    match stays_empty(round, header) {
        false => Ok(Verdict::Drop),
        true if header.records_count == 0 => Ok(Verdict::Keep),
        true => Ok(Verdict::Rewrite(RetainedBatch::new(header, None).finish()?)),
    }
}

fn stays(round: &Round<'_>, header: &BatchHeader, record: &Record<'_>) -> bool {
    let offset = record.offset(header);
    if header.is_control() || offset >= round.covered {
        return true;
    }
    // Compaction has no meaning for a record without a key; producers are refused when they send one.
    let Some(key) = record.key else { return false };
    let is_newest = round.newest.newest(key).is_none_or(|newest| offset >= newest);
    is_newest && (record.value.is_some() || !is_past(horizon(header), round.now_ms))
}

/// Whether the batch is needed though nothing in it is.
fn stays_empty(round: &Round<'_>, header: &BatchHeader) -> bool {
    if header.next_offset() == round.end {
        return true;
    }
    let last = round.producers.get(&header.producer_id).filter(|_| header.has_producer());
    last.is_some_and(|last| match last.last_data_offset {
        Some(offset) => header.last_offset() == offset,
        None => header.is_control() && header.producer_epoch == last.epoch,
    })
}

fn horizon(header: &BatchHeader) -> Option<i64> {
    header.attributes.has_delete_horizon().then_some(header.base_timestamp)
}

fn is_past(horizon_ms: Option<i64>, now_ms: i64) -> bool {
    horizon_ms.is_some_and(|horizon_ms| horizon_ms <= now_ms)
}

/// What the record of a control batch says; `None` when it has none.
pub(crate) fn control_kind(batch: &Batch<'_>) -> Result<Option<ControlKind>, FilterError> {
    let body = batch.uncompressed_body(CONTROL_BYTES_MAX)?;
    let first = Records::new(&batch.header, &body).next().transpose()?;
    Ok(first.map(|record| ControlType::of(&record).map_or(ControlKind::Other, ControlKind::Marker)))
}

#[cfg(test)]
mod tests;
