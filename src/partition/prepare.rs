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
        true => Err(AppendFailure::new(
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
        error => AppendFailure::new(ErrorCode::CorruptMessage, error),
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
        Some(Compression::Zstd) if produce_version < ZSTD_PRODUCE_VERSION_MIN => Err(AppendFailure::new(
            ErrorCode::UnsupportedCompressionType,
            format!("zstd needs Produce version {ZSTD_PRODUCE_VERSION_MIN} or later, this is {produce_version}"),
        )),
        Some(codec) => Ok(codec),
        None => Err(AppendFailure::new(ErrorCode::UnsupportedCompressionType, CompressionError::UnknownCodec)),
    }
}

fn check_header(header: &BatchHeader, batch: &[u8], topic: &TopicConfig) -> Result<(), AppendFailure> {
    if header.base_offset != 0 {
        return Err(invalid(format!("the base offset of a produced batch is 0, not {}", header.base_offset)));
    }
    check_size(header, topic)?;
    check_crc(header, batch).map_err(|error| AppendFailure::new(ErrorCode::CorruptMessage, error))?;
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
        true => Err(AppendFailure::new(
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
    let batch = Batch::parse(batch).map_err(|error| AppendFailure::new(ErrorCode::CorruptMessage, error))?;
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
    recompress(&header, &body, target).map_err(|error| AppendFailure::new(ErrorCode::UnknownServerError, error))
}

/// Recompression may have made the batch larger than the topic allows.
fn replaced(bytes: &[u8], topic: &TopicConfig) -> Result<PreparedBatch, AppendFailure> {
    let header = BatchHeader::parse(bytes).map_err(|error| AppendFailure::new(ErrorCode::UnknownServerError, error))?;
    check_size(&header, topic)?;
    Ok(PreparedBatch { bytes: Buffer::copy_from(bytes), header })
}

fn unreadable_body(error: CompressionError) -> AppendFailure {
    match error {
        CompressionError::Damaged { .. } => AppendFailure::new(ErrorCode::CorruptMessage, error),
        error => invalid(error),
    }
}

fn invalid(message: impl ToString) -> AppendFailure {
    AppendFailure::new(ErrorCode::InvalidRecord, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_protocol::records::{BatchBuilder, ProducerStamp, check_batch, patch_base_offset};

    const NOW_MS: i64 = 1_700_000_000_000;
    const LATEST_VERSION: i16 = 13;

    fn builder(codec: Compression) -> BatchBuilder {
        let mut builder = BatchBuilder::new(codec);
        for i in 0..5 {
            builder.push(NOW_MS - 100 + i, Some(b"key"), Some(b"value value value"), &[]);
        }
        builder
    }

    fn built(codec: Compression) -> Vec<u8> {
        builder(codec).finish().unwrap()
    }

    /// `change` alters the batch; the CRC is set right afterwards.
    fn changed(codec: Compression, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = built(codec);
        change(&mut bytes);
        let crc = crc_of(&bytes);
        bytes[17..21].copy_from_slice(&crc);
        bytes
    }

    /// By way of the patch function, which seals what it patches: set the maximal timestamp to what it is.
    fn crc_of(bytes: &[u8]) -> [u8; 4] {
        let mut copy = bytes.to_vec();
        let max_timestamp = i64::from_be_bytes(copy[35..43].try_into().unwrap());
        let attributes = i16::from_be_bytes([copy[21], copy[22]]);
        let kind = if attributes & 8 != 0 { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
        patch_max_timestamp(&mut copy, max_timestamp, kind);
        copy[17..21].try_into().unwrap()
    }

    fn prepare(bytes: &[u8], topic: &TopicConfig) -> Result<PreparedBatch, AppendFailure> {
        prepare_batch(Buffer::copy_from(bytes), LATEST_VERSION, topic, NOW_MS)
    }

    #[track_caller]
    fn refused(bytes: &[u8], topic: &TopicConfig) -> ErrorCode {
        prepare(bytes, topic).err().expect("the batch was accepted").error
    }

    fn topic() -> TopicConfig {
        TopicConfig::default()
    }

    /// The hot path: nothing is copied or changed when nothing has to be.
    #[test]
    fn a_sound_batch_passes_unchanged_in_every_codec() {
        for codec in Compression::ALL {
            let bytes = built(codec);
            let prepared = prepare(&bytes, &topic()).unwrap();
            assert_eq!(*prepared.bytes, bytes, "{codec:?}");
            assert_eq!(prepared.header, check_batch(&bytes).unwrap());
        }
    }

    /// Each of these reached consumers of some broker once. Codes are Kafka's.
    #[test]
    fn what_is_not_exactly_one_sound_batch_is_refused() {
        let good = built(Compression::None);
        assert_eq!(refused(&[], &topic()), ErrorCode::InvalidRecord);
        assert_eq!(refused(&good[..good.len() - 1], &topic()), ErrorCode::InvalidRecord);
        assert_eq!(refused(&[good.clone(), good.clone()].concat(), &topic()), ErrorCode::InvalidRecord);
        assert!(prepare(&[&good[..], &good[..30]].concat(), &topic()).is_ok(), "a cut one behind it is ignored");

        let mut old_magic = good.clone();
        old_magic[16] = 1;
        assert_eq!(refused(&old_magic, &topic()), ErrorCode::InvalidRecord);
        let mut damaged = good.clone();
        damaged[70] ^= 1;
        assert_eq!(refused(&damaged, &topic()), ErrorCode::CorruptMessage);
        let mut with_offset = good.clone();
        patch_base_offset(&mut with_offset, 1);
        assert_eq!(refused(&with_offset, &topic()), ErrorCode::InvalidRecord);
    }

    /// Counts decide how many offsets are given away: a batch that lies about them leaves holes or overlaps.
    #[test]
    fn counts_that_do_not_agree_are_refused() {
        for (at, value) in [(57, 4i32), (57, 6), (57, 0), (57, -5), (23, 3), (23, i32::MAX), (23, -1)] {
            for codec in [Compression::None, Compression::Lz4] {
                let bytes = changed(codec, |bytes| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes()));
                assert_eq!(refused(&bytes, &topic()), ErrorCode::InvalidRecord, "{value} at {at}");
            }
        }
        let both = changed(Compression::None, |bytes| {
            bytes[57..61].copy_from_slice(&4i32.to_be_bytes());
            bytes[23..27].copy_from_slice(&3i32.to_be_bytes());
        });
        assert_eq!(refused(&both, &topic()), ErrorCode::InvalidRecord, "a record more than counted");
    }

    /// Control batches end transactions: a client that could write them could commit anybody's.
    #[test]
    fn control_batches_and_producers_without_sequence_are_refused() {
        let control = changed(Compression::None, |bytes| bytes[22] |= 0x20);
        assert_eq!(refused(&control, &topic()), ErrorCode::InvalidRecord);
        let mut no_sequence = builder(Compression::None);
        no_sequence.set_producer(ProducerStamp { id: 7, epoch: 0, base_sequence: -1 }, false);
        assert_eq!(refused(&no_sequence.finish().unwrap(), &topic()), ErrorCode::InvalidRecord);
    }

    #[test]
    fn limits_of_size_are_the_topics() {
        let bytes = built(Compression::None);
        let fits = |max_message_bytes, segment_bytes| TopicConfig { max_message_bytes, segment_bytes, ..topic() };
        assert!(prepare(&bytes, &fits(bytes.len(), bytes.len())).is_ok());
        assert_eq!(refused(&bytes, &fits(bytes.len() - 1, 1 << 20)), ErrorCode::MessageTooLarge);
        assert_eq!(refused(&bytes, &fits(1 << 20, bytes.len() - 1)), ErrorCode::RecordListTooLarge);
    }

    /// A client that does not know zstd would store what its own consumers cannot read (KIP-110).
    #[test]
    fn codecs_depend_on_the_version() {
        let zstd = Buffer::copy_from(&built(Compression::Zstd));
        let failure = prepare_batch(zstd, 6, &topic(), NOW_MS).err().unwrap();
        assert_eq!(failure.error, ErrorCode::UnsupportedCompressionType);
        let unknown = changed(Compression::None, |bytes| bytes[22] |= 5);
        assert_eq!(refused(&unknown, &topic()), ErrorCode::UnsupportedCompressionType);
    }

    /// Compaction keeps the last record of each key; one without would be kept for ever or lost. Found inside compressed batches too.
    #[test]
    fn compacted_topics_need_keys_and_say_which_records_have_none() {
        let compacted = TopicConfig { compacted: true, ..topic() };
        for codec in [Compression::None, Compression::Zstd] {
            let mut builder = BatchBuilder::new(codec);
            for i in 0..400 {
                builder.push(NOW_MS, (i % 2 == 0).then_some(b"key"), None, &[]);
            }
            let bytes = builder.finish().unwrap();
            assert!(prepare(&bytes, &topic()).is_ok());
            let failure = prepare(&bytes, &compacted).err().unwrap();
            assert_eq!(failure.error, ErrorCode::InvalidRecord);
            assert_eq!(failure.record_errors.len(), RECORD_FAULTS_MAX);
            assert_eq!(failure.record_errors.iter().map(|fault| fault.index).take(3).collect::<Vec<_>>(), [1, 3, 5]);
        }
    }

    /// A record from the year 3000 would keep its segment from ever being deleted.
    #[test]
    fn timestamps_out_of_the_window_are_refused() {
        for codec in [Compression::None, Compression::Gzip] {
            let stamped = |timestamp| {
                let mut builder = builder(codec);
                builder.push(timestamp, Some(b"key"), None, &[]);
                builder.finish().unwrap()
            };
            let hour_ms = 3_600_000;
            assert!(prepare(&stamped(NOW_MS + hour_ms), &topic()).is_ok());
            let failure = prepare(&stamped(NOW_MS + hour_ms + 1), &topic()).err().unwrap();
            assert_eq!((failure.error, failure.record_errors[0].index), (ErrorCode::InvalidTimestamp, 5));
            assert!(prepare(&stamped(0), &topic()).is_ok(), "any age by default");
            assert!(prepare(&stamped(NO_TIMESTAMP), &topic()).is_ok());
            let recent = TopicConfig { timestamp_before_max_ms: 1_000, ..topic() };
            assert_eq!(refused(&stamped(NOW_MS - 1_001), &recent), ErrorCode::InvalidTimestamp);
            let log_append = TopicConfig { timestamp_type: TimestampType::LogAppendTime, ..recent };
            assert!(prepare(&stamped(0), &log_append).is_ok(), "the broker sets the time");
        }
        let pretended = changed(Compression::Lz4, |bytes| bytes[22] |= 8);
        assert_eq!(refused(&pretended, &topic()), ErrorCode::InvalidTimestamp);
    }

    /// Reads by time trust the maximal timestamp of each batch.
    #[test]
    fn a_wrong_maximal_timestamp_is_set_right() {
        let wrong = changed(Compression::None, |bytes| bytes[35..43].copy_from_slice(&(NOW_MS - 9_000).to_be_bytes()));
        let prepared = prepare(&wrong, &topic()).unwrap();
        assert_eq!(prepared.header.max_timestamp, NOW_MS - 96);
        assert_eq!(check_batch(&prepared.bytes), Ok(prepared.header));
        let unset = changed(Compression::Snappy, |bytes| bytes[35..43].copy_from_slice(&NO_TIMESTAMP.to_be_bytes()));
        assert_eq!(prepare(&unset, &topic()).unwrap().header.max_timestamp, NOW_MS - 96);
    }

    /// `compression.type` of the topic wins over the producer's, both ways.
    #[test]
    fn the_topics_codec_is_applied() {
        for from in Compression::ALL {
            for to in Compression::ALL {
                let wants = TopicConfig { compression: Some(to), ..topic() };
                let prepared = prepare(&built(from), &wants).unwrap();
                let header = check_batch(&prepared.bytes).unwrap();
                assert_eq!((header, header.attributes.compression()), (prepared.header, Some(to)));
                let body = Batch::parse(&prepared.bytes).unwrap().uncompressed_body(1 << 20).unwrap().into_owned();
                assert_eq!(Records::new(&header, &body).filter_map(Result::ok).count(), 5, "{from:?} to {to:?}");
            }
        }
        let tight = TopicConfig { compression: Some(Compression::None), max_message_bytes: 150, ..topic() };
        let repetitive = {
            let mut builder = BatchBuilder::new(Compression::Zstd);
            builder.push(NOW_MS, None, Some(&[7; 5_000]), &[]);
            builder.finish().unwrap()
        };
        assert!(repetitive.len() <= 150);
        assert_eq!(refused(&repetitive, &tight), ErrorCode::MessageTooLarge, "too large as the topic stores it");
    }

    /// Damage behind a right CRC comes from the client itself: it may only cost the client.
    #[test]
    fn damaged_compressed_records_are_refused_where_they_are_looked_at() {
        let strict = TopicConfig { strict_validation: true, ..topic() };
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let cut = changed(codec, |bytes| bytes[62..].fill(0x5a));
            assert!(prepare(&cut, &topic()).is_ok(), "kept as it is, for its own consumers to judge");
            assert_eq!(refused(&cut, &strict), ErrorCode::CorruptMessage, "{codec:?}");
        }
    }

    /// Whatever a client sends behind a right CRC: an answer, never a panic.
    #[test]
    fn no_bytes_bring_it_down() {
        let strict = TopicConfig { strict_validation: true, compacted: true, timestamp_before_max_ms: 500, ..topic() };
        for seed in 0..4_000 {
            let mut random = crate::test_kit::Random::new(seed);
            let codec = Compression::ALL[random.below(5)];
            let bytes = changed(codec, |bytes| {
                for _ in 0..1 + random.below(6) {
                    // Length and magic stay: they are looked at before the CRC.
                    let at = 21 + random.below(bytes.len() - 21);
                    bytes[at] = [0, 0x7f, 0x80, 0xff, bytes[at] ^ 1][random.below(5)];
                }
            });
            if let Ok(prepared) = prepare(&bytes, &strict) {
                assert_eq!(check_batch(&prepared.bytes), Ok(prepared.header), "seed {seed}");
            }
        }
    }
}
