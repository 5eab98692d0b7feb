//! Finds records by timestamp, as ListOffsets asks for them.
//!
//! On the home shard. The time index of a segment says where to begin, then batches are read as a consumer would read them; only the batch
//! that has the answer is opened, decompressed if need be.

use crate::index::SegmentIndex;
use crate::log::LogInner;
use crate::{Log, ReadError, files, handles};
use bytes::Bytes;
use ringlane_protocol::records::{Batch, BatchHeader, Record, Records};
use ringlane_runtime::{BLOCK_BYTES, Buffer, File, give_way};

/// One read of a search.
const SEARCH_BYTES: usize = 128 << 10;
/// A batch is opened up to this size: larger ones were never accepted.
const UNCOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// First record below `below` with `timestamp` or later.
pub(crate) async fn first_at_or_after(log: &Log, timestamp: i64, below: i64) -> Result<Option<(i64, i64)>, ReadError> {
    learn(&log.inner).await?;
    let segments = segments_with(log, |largest| largest >= timestamp);
    let Some((base_offset, _)) = segments.first().copied() else { return Ok(None) };
    let start = with_index(&log.inner, base_offset, |index| index.offset_before_timestamp(timestamp)).await?;
    let log_start = log.start_offset();
    let mut answer = None;
    walk(log, (base_offset + i64::from(start)).max(log_start), below, |batch| {
        if batch.header.max_timestamp >= timestamp {
            answer = first_record(batch, |at, offset| at >= timestamp && (log_start..below).contains(&offset))?;
        }
        Ok(answer.is_none())
    })
    .await?;
    Ok(answer)
}

/// First record below `below` with the largest timestamp there.
pub(crate) async fn largest(log: &Log, below: i64) -> Result<Option<(i64, i64)>, ReadError> {
    // A segment whose largest timestamp lies within the bounds is known; of the others, a part has to be looked at.
    learn(&log.inner).await?;
    let log_start = log.start_offset();
    let mut best: Option<(i64, i64)> = None;
    for (base_offset, (timestamp, offset)) in segments_with(log, |_| true) {
        if base_offset >= below || best.is_some_and(|(known, _)| timestamp <= known) {
            continue;
        }
        if offset < below && base_offset >= log_start {
            best = Some((timestamp, offset));
            continue;
        }
        let relative_below = u32::try_from(below - base_offset).unwrap_or(u32::MAX);
        let start = with_index(&log.inner, base_offset, |index| index.offset_of_largest_before(relative_below)).await?;
        walk(log, (base_offset + i64::from(start)).max(log_start), below, |batch| {
            let max_timestamp = match batch.header.base_offset < log_start {
                true => largest_from(batch, log_start)?,
                false => batch.header.max_timestamp,
            };
            let has_records = batch.header.records_count > 0;
            if has_records && max_timestamp >= 0 && best.is_none_or(|(known, _)| max_timestamp > known) {
                best = Some((max_timestamp, batch.header.last_offset()));
            }
            Ok(true)
        })
        .await?;
    }
    let Some((timestamp, in_batch_with)) = best else { return Ok(None) };
    let mut answer = None;
    walk(log, in_batch_with, below, |batch| {
        answer = first_record(batch, |at, offset| at == timestamp && offset >= log_start)?;
        Ok(false)
    })
    .await?;
    Ok(answer)
}

/// Reads the first and largest timestamps of segments that were sealed before the start, where that was not done yet.
pub(crate) async fn learn(log: &LogInner) -> Result<(), ReadError> {
    loop {
        let unknown = {
            let state = log.state.borrow();
            state.segments.iter().find(|segment| !segment.timestamps_known).map(|segment| segment.base_offset)
        };
        let Some(base_offset) = unknown else { return Ok(()) };
        let handle = handles::handle(log, base_offset).await?;
        let largest = handle.index.largest_timestamp();
        let first = first_timestamp(log, &handle.file, base_offset).await?;
        let mut state = log.state.borrow_mut();
        if let Some(segment) = state.segments.iter_mut().find(|segment| segment.base_offset == base_offset) {
            segment.max_timestamp = largest.map(|(timestamp, offset)| (timestamp, base_offset + i64::from(offset)));
            segment.first_timestamp = first;
            segment.timestamps_known = true;
        }
    }
}

/// Largest timestamp of a segment's first batch.
async fn first_timestamp(log: &LogInner, file: &File, base_offset: i64) -> Result<Option<i64>, ReadError> {
    let (read, block) = file.read_at(Buffer::take(BLOCK_BYTES), 0).await;
    let read = read.map_err(|source| {
        let path = files::segment_path(&log.folder, base_offset);
        ReadError::Io { path, position: 0, bytes: BLOCK_BYTES, source }
    })?;
    let header = BatchHeader::parse(&block[..read]).ok();
    Ok(header.map(|header| header.max_timestamp).filter(|timestamp| *timestamp >= 0))
}

/// Base offset and largest timestamp (with its batch's last offset) of the segments that have one which `wanted` accepts.
fn segments_with(log: &Log, wanted: impl Fn(i64) -> bool) -> Vec<(i64, (i64, i64))> {
    let state = log.inner.state.borrow();
    let segments = state.segments.iter().filter_map(|segment| Some((segment.base_offset, segment.max_timestamp?)));
    segments.filter(|(_, (timestamp, _))| wanted(*timestamp)).collect()
}

/// Asks the index of a segment, in memory or from its files.
async fn with_index<T>(log: &LogInner, base_offset: i64, ask: impl Fn(&SegmentIndex) -> T) -> Result<T, ReadError> {
    let in_memory = {
        let state = log.state.borrow();
        let segment = state.segments.iter().find(|segment| segment.base_offset == base_offset);
        segment.ok_or(ReadError::Moved)?.index.as_ref().map(&ask)
    };
    match in_memory {
        Some(answer) => Ok(answer),
        None => Ok(ask(&handles::handle(log, base_offset).await?.index)),
    }
}

/// Calls `visit` with the batches from the one that contains `from`, while it answers true.
async fn walk(
    log: &Log,
    from: i64,
    below: i64,
    mut visit: impl FnMut(&Batch<'_>) -> Result<bool, String>,
) -> Result<(), ReadError> {
    let mut from = from;
    loop {
        let data = log.read(from, below, SEARCH_BYTES, true).await?;
        if data.slices.is_empty() {
            return Ok(());
        }
        for slice in data.slices {
            match visit_batches(&slice, &mut visit) {
                Ok((header, true)) => from = header.next_offset(),
                Ok((_, false)) => return Ok(()),
                Err(found) => {
                    let path = files::segment_path(&log.inner.folder, log.start_offset());
                    return Err(ReadError::Corrupt { path, position: 0, found: format!("offset {from}: {found}") });
                }
            }
        }
        give_way().await;
    }
}

/// The last batch visited, and whether to go on.
fn visit_batches(
    slice: &Bytes,
    visit: &mut impl FnMut(&Batch<'_>) -> Result<bool, String>,
) -> Result<(BatchHeader, bool), String> {
    let mut rest: &[u8] = slice;
    loop {
        let batch = Batch::parse(rest).map_err(|error| error.to_string())?;
        let go_on = visit(&batch)?;
        rest = &rest[batch.header.size()..];
        if !go_on || rest.is_empty() {
            return Ok((batch.header, go_on));
        }
    }
}

/// Largest timestamp of the records from `offset` on; -1 without any.
fn largest_from(batch: &Batch<'_>, offset: i64) -> Result<i64, String> {
    let mut largest = -1;
    first_record(batch, |at, record_offset| {
        if record_offset >= offset {
            largest = at.max(largest);
        }
        false
    })?;
    Ok(largest)
}

/// Offset and timestamp of the first record that `wanted(timestamp, offset)` accepts.
fn first_record(batch: &Batch<'_>, mut wanted: impl FnMut(i64, i64) -> bool) -> Result<Option<(i64, i64)>, String> {
    let body = batch.uncompressed_body(UNCOMPRESSED_BYTES_MAX).map_err(|error| error.to_string())?;
    for record in Records::new(&batch.header, &body) {
        let record: Record<'_> = record.map_err(|error| error.to_string())?;
        let (offset, timestamp) = (record.offset(&batch.header), record.timestamp(&batch.header));
        if wanted(timestamp, offset) {
            return Ok(Some((offset, timestamp)));
        }
    }
    Ok(None)
}
