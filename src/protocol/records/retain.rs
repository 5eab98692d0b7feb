//! Writing a stored batch again with some of its records left out, as compaction does.
//!
//! What names a batch stays: base offset, last offset, leader epoch, producer and sequence, codec. Records keep their offsets, so there are
//! gaps between them. Called by the log's cleaner.

use super::builder::{Head, ProducerStamp};
use super::header::Attributes;
use super::varint::{put_varlong, take_varlong, varlong_len};
use super::{BatchHeader, Compression, CompressionError, HEADER_BYTES, NO_TIMESTAMP, Record, TimestampType};
use crate::compression;

/// Collects the records of one batch that stay.
pub struct RetainedBatch {
    header: BatchHeader,
    /// The time from which tombstones and markers of the batch may go, if it is to be noted now (KIP-534).
    horizon_ms: Option<i64>,
    /// Room for the header, then the records, uncompressed.
    buffer: Vec<u8>,
    records_count: i32,
    max_timestamp: i64,
}

impl RetainedBatch {
    /// `horizon_ms`: a delete horizon for a batch that has none yet; one that it has stays.
    pub fn new(header: &BatchHeader, horizon_ms: Option<i64>) -> RetainedBatch {
        RetainedBatch {
            header: *header,
            horizon_ms,
            buffer: vec![0; HEADER_BYTES],
            records_count: 0,
            max_timestamp: NO_TIMESTAMP,
        }
    }

    /// `record` of the batch stays; `bytes` is what [`super::Records::next_with_bytes`] gave with it.
    pub fn push(&mut self, record: &Record<'_>, bytes: &[u8]) {
        let timestamp = record.timestamp(&self.header);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.records_count += 1;
        match self.horizon_ms {
            None => self.buffer.extend_from_slice(bytes),
            // The horizon takes the place of the base timestamp.
            Some(horizon_ms) => put_with_delta(&mut self.buffer, bytes, timestamp.wrapping_sub(horizon_ms)),
        }
    }

    /// Of the records, before they are compressed.
    pub fn plain_bytes(&self) -> usize {
        self.buffer.len() - HEADER_BYTES
    }

    pub fn codec(&self) -> Option<Compression> {
        self.header.attributes.compression()
    }

    /// The batch. Without records it is a bare header, which keeps the producer's sequence and the last offset.
    pub fn finish(self) -> Result<Vec<u8>, CompressionError> {
        let header = &self.header;
        let codec = header.attributes.compression().ok_or(CompressionError::UnknownCodec)?;
        let is_empty = self.records_count == 0;
        let mut batch = match codec {
            _ if is_empty => self.buffer,
            Compression::None => self.buffer,
            codec => {
                let mut packed = vec![0; HEADER_BYTES];
                compression::compress(codec, &self.buffer[HEADER_BYTES..], &mut packed)?;
                packed
            }
        };
        let keeps_max = is_empty || header.attributes.timestamp_type() == TimestampType::LogAppendTime;
        let attributes = match self.horizon_ms {
            _ if is_empty => header.attributes.with_compression(Compression::None).without_delete_horizon(),
            Some(_) => header.attributes.with_delete_horizon(),
            None => header.attributes,
        };
        let head = Head {
            attributes,
            base_timestamp: if is_empty { NO_TIMESTAMP } else { self.horizon_ms.unwrap_or(header.base_timestamp) },
            max_timestamp: if keeps_max { header.max_timestamp } else { self.max_timestamp },
            records_count: self.records_count,
            ..Head::of(header)
        };
        head.write(&mut batch);
        Ok(batch)
    }
}

/// Writes the record `bytes` with another timestamp delta.
fn put_with_delta(out: &mut Vec<u8>, bytes: &[u8], delta: i64) {
    let mut body = bytes;
    take_varlong(&mut body).expect("the record was read from these bytes");
    let (attributes, mut rest) = body.split_first().expect("the record was read from these bytes");
    take_varlong(&mut rest).expect("the record was read from these bytes");
    put_varlong(out, (1 + varlong_len(delta) + rest.len()) as i64);
    out.push(*attributes);
    put_varlong(out, delta);
    out.extend_from_slice(rest);
}

impl Head {
    fn of(header: &BatchHeader) -> Head {
        Head {
            base_offset: header.base_offset,
            leader_epoch: header.leader_epoch,
            attributes: header.attributes,
            last_offset_delta: header.last_offset_delta,
            base_timestamp: header.base_timestamp,
            max_timestamp: header.max_timestamp,
            producer: ProducerStamp {
                id: header.producer_id,
                epoch: header.producer_epoch,
                base_sequence: header.base_sequence,
            },
            records_count: header.records_count,
        }
    }
}

impl Attributes {
    fn with_delete_horizon(self) -> Attributes {
        Attributes(self.0 | Self::DELETE_HORIZON)
    }

    fn without_delete_horizon(self) -> Attributes {
        Attributes(self.0 & !Self::DELETE_HORIZON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Batch, BatchBuilder, RecordHeader, Records, check_batch};

    fn batch(codec: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec).base_offset(500).leader_epoch(7);
        builder.set_producer(ProducerStamp { id: 9, epoch: 2, base_sequence: 40 }, true);
        for n in 0..10i64 {
            let headers = [RecordHeader { key: b"h", value: Some(b"v") }];
            builder.push(1_000 + n, Some(&[n as u8]), (n % 3 > 0).then_some(b"value"), &headers);
        }
        builder.finish().unwrap()
    }

    type Seen = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, usize);

    fn records(bytes: &[u8]) -> Vec<Seen> {
        let header = check_batch(bytes).unwrap();
        let body = Batch::parse(bytes).unwrap().uncompressed_body(1 << 20).unwrap().into_owned();
        let seen = |record: Record<'_>| {
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            (record.offset(&header), record.timestamp(&header), key, value, record.headers.len())
        };
        Records::new(&header, &body).map(|record| seen(record.unwrap())).collect()
    }

    fn retain(bytes: &[u8], horizon_ms: Option<i64>, keep: impl Fn(i64) -> bool) -> Vec<u8> {
        let batch = Batch::parse(bytes).unwrap();
        let body = batch.uncompressed_body(1 << 20).unwrap();
        let mut retained = RetainedBatch::new(&batch.header, horizon_ms);
        let mut all = Records::new(&batch.header, &body);
        while let Some(record) = all.next_with_bytes() {
            let (record, bytes) = record.unwrap();
            if keep(record.offset(&batch.header)) {
                retained.push(&record, bytes);
            }
        }
        retained.finish().unwrap()
    }

    /// A record whose offset or time moved when its neighbour went would be another record to every consumer.
    #[test]
    fn what_stays_keeps_offset_time_and_bytes() {
        for codec in Compression::ALL {
            let bytes = batch(codec);
            let before = check_batch(&bytes).unwrap();
            for horizon_ms in [None, Some(1_700_000_000_000)] {
                let after = retain(&bytes, horizon_ms, |offset| offset % 2 == 1);
                let expected: Vec<Seen> = records(&bytes).into_iter().filter(|record| record.0 % 2 == 1).collect();
                assert_eq!(records(&after), expected, "{codec:?} {horizon_ms:?}");

                let header = check_batch(&after).unwrap();
                assert_eq!((header.base_offset, header.last_offset()), (500, 509));
                assert_eq!((header.leader_epoch, header.records_count, header.max_timestamp), (7, 5, 1_009));
                assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (9, 2, 40));
                assert_eq!(header.last_sequence(), before.last_sequence());
                assert_eq!(header.attributes.compression(), Some(codec));
                assert_eq!(header.attributes.has_delete_horizon(), horizon_ms.is_some());
                assert!(horizon_ms.is_none_or(|horizon| header.base_timestamp == horizon));
            }
        }
    }

    /// A second round must not move the horizon: a tombstone would never go.
    #[test]
    fn a_horizon_that_is_there_stays() {
        let stamped = retain(&batch(Compression::Lz4), Some(77_000), |_| true);
        let again = retain(&stamped, None, |offset| offset > 504);
        let header = check_batch(&again).unwrap();
        assert!(header.attributes.has_delete_horizon());
        assert_eq!(header.base_timestamp, 77_000);
        assert_eq!(records(&again), records(&batch(Compression::None))[5..]);
    }

    /// The last sequence of a producer is known after a restart from its last batch only, even if that has no record left.
    #[test]
    fn a_batch_without_records_keeps_sequence_and_last_offset() {
        let stamped = retain(&batch(Compression::Zstd), Some(77_000), |_| true);
        let empty = retain(&stamped, None, |_| false);
        let header = check_batch(&empty).unwrap();
        assert_eq!((empty.len(), header.records_count), (HEADER_BYTES, 0));
        assert_eq!((header.base_offset, header.last_offset(), header.last_sequence()), (500, 509, 49));
        assert_eq!((header.base_timestamp, header.max_timestamp), (NO_TIMESTAMP, 1_009));
        assert!(header.is_transactional() && !header.attributes.has_delete_horizon());
        assert_eq!(header.attributes.compression(), Some(Compression::None));
        assert!(records(&empty).is_empty());
    }
}
