//! Writing a batch, record by record: what the producer, the coordinators and tests send.

use super::header::seal;
use super::varint::{put_varlong, varlong_len};
use super::{
    Attributes, BatchHeader, Compression, CompressionError, HEADER_BYTES, LENGTH_PREFIX_BYTES, NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID, NO_SEQUENCE, RecordHeader, TimestampType,
};
use crate::compression;

/// Who writes a batch, for idempotence and transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    pub id: i64,
    pub epoch: i16,
    pub base_sequence: i32,
}

impl ProducerStamp {
    pub const NONE: ProducerStamp =
        ProducerStamp { id: NO_PRODUCER_ID, epoch: NO_PRODUCER_EPOCH, base_sequence: NO_SEQUENCE };
}

/// Collects records of one batch; `finish` writes the header in front of them.
pub struct BatchBuilder {
    compression: Compression,
    /// Room for the header, then the records, uncompressed.
    buffer: Vec<u8>,
    records_count: i32,
    base_offset: i64,
    leader_epoch: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    timestamps: TimestampType,
    producer: ProducerStamp,
    transactional: bool,
    control: bool,
}

impl BatchBuilder {
    pub fn new(compression: Compression) -> BatchBuilder {
        BatchBuilder {
            compression,
            buffer: vec![0; HEADER_BYTES],
            records_count: 0,
            base_offset: 0,
            leader_epoch: -1,
            base_timestamp: super::NO_TIMESTAMP,
            max_timestamp: super::NO_TIMESTAMP,
            timestamps: TimestampType::CreateTime,
            producer: ProducerStamp::NONE,
            transactional: false,
            control: false,
        }
    }

    /// Offset of the first record: 0 for what a producer sends (the default).
    pub fn base_offset(mut self, offset: i64) -> BatchBuilder {
        self.base_offset = offset;
        self
    }

    pub fn leader_epoch(mut self, epoch: i32) -> BatchBuilder {
        self.leader_epoch = epoch;
        self
    }

    pub fn timestamp_type(mut self, timestamps: TimestampType) -> BatchBuilder {
        self.timestamps = timestamps;
        self
    }

    /// May also be called when all records are in: a producer knows its sequence when it sends.
    pub fn set_producer(&mut self, producer: ProducerStamp, transactional: bool) {
        self.producer = producer;
        self.transactional = transactional;
    }

    pub(super) fn set_control(&mut self) {
        self.control = true;
    }

    /// Appends a record at the next offset.
    pub fn push(&mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[RecordHeader<'_>]) {
        if self.records_count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let record = Fields { timestamp_delta: self.timestamp_delta(timestamp), key, value, headers };
        record.write(i64::from(self.records_count), &mut self.buffer);
        self.records_count += 1;
    }

    pub fn records_count(&self) -> usize {
        self.records_count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.records_count == 0
    }

    /// Size of the batch if it were finished now without compression.
    pub fn uncompressed_size(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes that such a record would add now.
    pub fn record_size(
        &self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader<'_>],
    ) -> usize {
        let body = Fields { timestamp_delta: self.timestamp_delta(timestamp), key, value, headers }
            .body_len(i64::from(self.records_count));
        varlong_len(body as i64) + body
    }

    /// The batch. Panics when it holds no record: an empty batch has neither timestamps nor a last offset.
    pub fn finish(self) -> Result<Vec<u8>, CompressionError> {
        assert!(self.records_count > 0, "a batch needs a record");
        let mut batch = match self.compression {
            Compression::None => self.buffer,
            codec => {
                let mut packed = vec![0; HEADER_BYTES];
                compression::compress(codec, &self.buffer[HEADER_BYTES..], &mut packed)?;
                packed
            }
        };
        let attributes = Attributes::new(self.compression, self.timestamps, self.transactional, self.control);
        let head = Head {
            base_offset: self.base_offset,
            leader_epoch: self.leader_epoch,
            attributes,
            last_offset_delta: self.records_count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer: self.producer,
            records_count: self.records_count,
        };
        head.write(&mut batch);
        Ok(batch)
    }

    fn timestamp_delta(&self, timestamp: i64) -> i64 {
        if self.records_count == 0 { 0 } else { timestamp.wrapping_sub(self.base_timestamp) }
    }
}

/// The batch that `header` describes, with its records compressed by another codec. `plain`: the records, uncompressed.
pub fn recompress(header: &BatchHeader, plain: &[u8], codec: Compression) -> Result<Vec<u8>, CompressionError> {
    let mut batch = vec![0; HEADER_BYTES];
    compression::compress(codec, plain, &mut batch)?;
    let head = Head {
        base_offset: header.base_offset,
        leader_epoch: header.leader_epoch,
        attributes: header.attributes.with_compression(codec),
        last_offset_delta: header.last_offset_delta,
        base_timestamp: header.base_timestamp,
        max_timestamp: header.max_timestamp,
        producer: ProducerStamp {
            id: header.producer_id,
            epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        },
        records_count: header.records_count,
    };
    head.write(&mut batch);
    Ok(batch)
}

pub(super) struct Head {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer: ProducerStamp,
    pub records_count: i32,
}

impl Head {
    /// Fills the first [`HEADER_BYTES`] of `batch`, whose records are complete.
    pub fn write(&self, batch: &mut [u8]) {
        let length = i32::try_from(batch.len() - LENGTH_PREFIX_BYTES).expect("a batch stays below 2 GiB");
        batch[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        batch[16] = 2;
        batch[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        batch[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        batch[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        batch[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        batch[43..51].copy_from_slice(&self.producer.id.to_be_bytes());
        batch[51..53].copy_from_slice(&self.producer.epoch.to_be_bytes());
        batch[53..57].copy_from_slice(&self.producer.base_sequence.to_be_bytes());
        batch[57..61].copy_from_slice(&self.records_count.to_be_bytes());
        seal(batch);
    }
}

struct Fields<'a> {
    timestamp_delta: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [RecordHeader<'a>],
}

impl Fields<'_> {
    fn write(&self, offset_delta: i64, out: &mut Vec<u8>) {
        put_varlong(out, self.body_len(offset_delta) as i64);
        out.push(0); // record attributes: none are defined
        put_varlong(out, self.timestamp_delta);
        put_varlong(out, offset_delta);
        put_bytes(out, self.key);
        put_bytes(out, self.value);
        put_varlong(out, self.headers.len() as i64);
        for header in self.headers {
            put_bytes(out, Some(header.key));
            put_bytes(out, header.value);
        }
    }

    fn body_len(&self, offset_delta: i64) -> usize {
        let headers: usize =
            self.headers.iter().map(|header| bytes_len(Some(header.key)) + bytes_len(header.value)).sum();
        1 + varlong_len(self.timestamp_delta)
            + varlong_len(offset_delta)
            + bytes_len(self.key)
            + bytes_len(self.value)
            + varlong_len(self.headers.len() as i64)
            + headers
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varlong(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn bytes_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varlong_len(bytes.len() as i64) + bytes.len())
}
