//! Every check of a produced batch that needs no partition state, in Kafka's order: structure, size, CRC, counts, records, timestamps,
//! codec. Pure, except for the buffer that a recompressed batch needs.
//!
//! Runs on the connection shard, which has the bytes in its cache; the home shard's sequencing step then looks at headers only.
//!
//! Uncompressed records are walked (about 10 ns each). Compressed ones are taken by header and CRC, which the producer's own consumers rely
//! on anyway, unless something depends on what is inside (see [`must_look_inside`]).

use crate::config::TopicConfig;
use crate::message::{AppendFailure, PreparedBatch, RecordFault};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::{
    Batch, BatchError, BatchHeader, Compression, CompressionError, LENGTH_PREFIX_BYTES, NO_TIMESTAMP, Records,
    TimestampType, check_crc, patch_max_timestamp, recompress,
};
use ringlane_runtime::Buffer;
use std::borrow::Cow;

/// Unpacked bytes of one batch that we are ready to look at: far above what fits the default `max.message.bytes` at any sensible ratio,
/// and little enough to hold for a moment on one shard.
const UNPACKED_BYTES_MAX: usize = 128 << 20;
/// Records at fault that a response names. A batch may have a hundred thousand, each with a message.
const RECORD_FAULTS_MAX: usize = 200;
/// First version of Produce whose clients know zstd (KIP-110).
const ZSTD_PRODUCE_VERSION_MIN: i16 = 7;

/// Checks the records of one partition of a produce request and makes them what the topic stores. `records`: the partition's field of
/// the request, split off without copying; its memory is kept unless the topic wants another codec.
pub fn prepare_batch(
    mut records: Buffer,
    produce_version: i16,
    topic: &TopicConfig,
    now_ms: i64,
) -> Result<PreparedBatch, AppendFailure> {
    let header = only_batch(&records)?;
    records.truncate(header.size());
    let codec = known_codec(&header, produce_version)?;
    check_header(&header, &records, topic)?;
    let batch = match what_to_do(&header, codec, &records, topic, now_ms)? {
        Outcome::Keep => PreparedBatch { bytes: records, header },
        Outcome::SetMaxTimestamp(max) => {
            let header = patch_max_timestamp(&mut records, max, TimestampType::CreateTime);
            PreparedBatch { bytes: records, header }
        }
        Outcome::Replace(bytes) => replaced(&bytes, topic)?,
    };
    match batch.header.size() > topic.segment_bytes {
        true => Err(failure(
            ErrorCode::RecordListTooLarge,
            format!("the batch has {} bytes, a segment of this topic {}", batch.header.size(), topic.segment_bytes),
        )),
        false => Ok(batch),
    }
}

/// The header of the one batch that a produce request may carry per partition. A cut batch behind it is ignored, as Kafka does.
fn only_batch(records: &[u8]) -> Result<BatchHeader, AppendFailure> {
    let header = BatchHeader::parse(records).map_err(|error| match error {
        BatchError::TooShort { .. } => invalid("there is no whole record batch"),
        error @ BatchError::UnsupportedMagic(0..2) => invalid(error),
        error => failure(ErrorCode::CorruptMessage, error),
    })?;
    if records.len() < header.size() {
        return Err(invalid(format!("the batch claims {} bytes, {} are there", header.size(), records.len())));
    }
    let behind = &records[header.size()..];
    match behind.len() >= LENGTH_PREFIX_BYTES && Batch::parse(behind).is_ok() {
        true => Err(invalid("there is more than one record batch")),
        false => Ok(header),
    }
}

fn known_codec(header: &BatchHeader, produce_version: i16) -> Result<Compression, AppendFailure> {
    match header.attributes.compression() {
        Some(Compression::Zstd) if produce_version < ZSTD_PRODUCE_VERSION_MIN => Err(failure(
            ErrorCode::UnsupportedCompressionType,
            format!("zstd needs Produce version {ZSTD_PRODUCE_VERSION_MIN} or later, this is {produce_version}"),
        )),
        Some(codec) => Ok(codec),
        None => Err(failure(ErrorCode::UnsupportedCompressionType, CompressionError::UnknownCodec)),
    }
}

fn check_header(header: &BatchHeader, batch: &[u8], topic: &TopicConfig) -> Result<(), AppendFailure> {
    if header.base_offset != 0 {
        return Err(invalid(format!("the base offset of a produced batch is 0, not {}", header.base_offset)));
    }
    check_size(header, topic)?;
    check_crc(header, batch).map_err(|error| failure(ErrorCode::CorruptMessage, error))?;
    if header.records_count <= 0 || i64::from(header.last_offset_delta) + 1 != i64::from(header.records_count) {
        return Err(invalid(format!(
            "the batch counts {} records and its last offset delta is {}",
            header.records_count, header.last_offset_delta
        )));
    }
    if header.is_control() {
        return Err(invalid("clients may not write control batches"));
    }
    if header.has_producer() && header.base_sequence < 0 {
        return Err(invalid(format!("producer {} sent sequence {}", header.producer_id, header.base_sequence)));
    }
    Ok(())
}

fn check_size(header: &BatchHeader, topic: &TopicConfig) -> Result<(), AppendFailure> {
    match header.size() > topic.max_message_bytes {
        true => Err(failure(
            ErrorCode::MessageTooLarge,
            format!("the batch has {} bytes, max.message.bytes is {}", header.size(), topic.max_message_bytes),
        )),
        false => Ok(()),
    }
}

enum Outcome {
    Keep,
    /// The producer's maximal timestamp is not that of its records.
    SetMaxTimestamp(i64),
    /// The topic wants another codec.
    Replace(Vec<u8>),
}

fn what_to_do(
    header: &BatchHeader,
    codec: Compression,
    batch: &[u8],
    topic: &TopicConfig,
    now_ms: i64,
) -> Result<Outcome, AppendFailure> {
    let target = topic.compression.unwrap_or(codec);
    if codec != Compression::None && target == codec && !must_look_inside(header, topic, now_ms) {
        return Ok(Outcome::Keep);
    }
    let batch = Batch::parse(batch).map_err(|error| failure(ErrorCode::CorruptMessage, error))?;
    let body = batch.uncompressed_body(UNPACKED_BYTES_MAX).map_err(unreadable_body)?;
    let max_timestamp = check_records(header, &body, topic, now_ms)?;
    // LogAppendTime sets it anyway, when the home shard knows the time.
    let wrong_max = topic.timestamp_type == TimestampType::CreateTime && max_timestamp != header.max_timestamp;
    if target != codec {
        return recompressed(header, body, target, wrong_max.then_some(max_timestamp)).map(Outcome::Replace);
    }
    Ok(if wrong_max { Outcome::SetMaxTimestamp(max_timestamp) } else { Outcome::Keep })
}

/// Whether records must be unpacked: every record needs a key; times may be too early; the latest is too late or not known; or the topic
/// asks for Kafka's own strictness.
fn must_look_inside(header: &BatchHeader, topic: &TopicConfig, now_ms: i64) -> bool {
    let times_matter = topic.timestamp_type == TimestampType::CreateTime
        && (topic.timestamp_before_max_ms != i64::MAX
            || header.max_timestamp == NO_TIMESTAMP
            || is_out_of_window(header.max_timestamp, topic, now_ms));
    topic.strict_validation
        || topic.compacted
        || times_matter
        || header.attributes.timestamp_type() == TimestampType::LogAppendTime
}

/// Walks all records. The largest timestamp, or every fault.
fn check_records(header: &BatchHeader, body: &[u8], topic: &TopicConfig, now_ms: i64) -> Result<i64, AppendFailure> {
    let mut faults = Faults::default();
    let mut max_timestamp = NO_TIMESTAMP;
    for (index, record) in Records::new(header, body).enumerate() {
        let record = record.map_err(invalid)?;
        if record.offset_delta as usize != index {
            return Err(invalid(format!("record {index} has offset delta {}", record.offset_delta)));
        }
        let timestamp = record.timestamp(header);
        max_timestamp = max_timestamp.max(timestamp);
        if topic.compacted && record.key.is_none() {
            faults.add(index, ErrorCode::InvalidRecord, || "a record of a compacted topic needs a key".into());
        } else if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
            faults.add(index, ErrorCode::InvalidTimestamp, || "a producer may not set LogAppendTime".into());
        } else if topic.timestamp_type == TimestampType::CreateTime
            && timestamp != NO_TIMESTAMP
            && is_out_of_window(timestamp, topic, now_ms)
        {
            faults.add(index, ErrorCode::InvalidTimestamp, || {
                let from = now_ms.saturating_sub(topic.timestamp_before_max_ms);
                let to = now_ms.saturating_add(topic.timestamp_after_max_ms);
                format!("timestamp {timestamp} is not within {from} to {to}")
            });
        }
    }
    faults.into_failure().map_or(Ok(max_timestamp), Err)
}

/// Records at fault. A batch with a bad timestamp is refused for that, whatever else is wrong (Kafka's order).
#[derive(Default)]
struct Faults {
    count: usize,
    any_timestamp: bool,
    listed: Vec<RecordFault>,
}

impl Faults {
    #[cold]
    fn add(&mut self, index: usize, error: ErrorCode, message: impl FnOnce() -> String) {
        self.count += 1;
        self.any_timestamp |= error == ErrorCode::InvalidTimestamp;
        if self.listed.len() < RECORD_FAULTS_MAX {
            self.listed.push(RecordFault { index: index as i32, message: message() });
        }
    }

    fn into_failure(self) -> Option<AppendFailure> {
        let first = self.listed.first()?;
        let error = if self.any_timestamp { ErrorCode::InvalidTimestamp } else { ErrorCode::InvalidRecord };
        let message = format!("{} records were refused; record {}: {}", self.count, first.index, first.message);
        Some(AppendFailure { error, message: Some(message), record_errors: self.listed })
    }
}

fn is_out_of_window(timestamp: i64, topic: &TopicConfig, now_ms: i64) -> bool {
    let age_ms = now_ms.saturating_sub(timestamp);
    age_ms > topic.timestamp_before_max_ms || age_ms.saturating_neg() > topic.timestamp_after_max_ms
}

fn recompressed(
    header: &BatchHeader,
    body: Cow<'_, [u8]>,
    target: Compression,
    max_timestamp: Option<i64>,
) -> Result<Vec<u8>, AppendFailure> {
    let header = BatchHeader { max_timestamp: max_timestamp.unwrap_or(header.max_timestamp), ..*header };
    recompress(&header, &body, target).map_err(|error| failure(ErrorCode::UnknownServerError, error))
}

/// Recompression may have made the batch larger than the topic allows.
fn replaced(bytes: &[u8], topic: &TopicConfig) -> Result<PreparedBatch, AppendFailure> {
    let header = BatchHeader::parse(bytes).map_err(|error| failure(ErrorCode::UnknownServerError, error))?;
    check_size(&header, topic)?;
    Ok(PreparedBatch { bytes: Buffer::copy_from(bytes), header })
}

fn unreadable_body(error: CompressionError) -> AppendFailure {
    match error {
        CompressionError::Damaged { .. } => failure(ErrorCode::CorruptMessage, error),
        error => invalid(error),
    }
}

fn invalid(message: impl ToString) -> AppendFailure {
    failure(ErrorCode::InvalidRecord, message)
}

#[cold]
fn failure(error: ErrorCode, message: impl ToString) -> AppendFailure {
    AppendFailure { error, message: Some(message.to_string()), record_errors: Vec::new() }
}
