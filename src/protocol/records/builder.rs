//! Writing a batch, record by record.

use super::{Compression, CompressionError, RecordHeader, TimestampType};

/// Who writes a batch, for idempotence and transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    pub id: i64,
    pub epoch: i16,
    pub base_sequence: i32,
}

/// Collects records of one batch; `finish` writes the header in front of them.
pub struct BatchBuilder {
    compression: Compression,
    buffer: Vec<u8>,
}

impl BatchBuilder {
    pub fn new(compression: Compression) -> BatchBuilder {
        BatchBuilder { compression, buffer: Vec::new() }
    }
    /// Offset of the first record: 0 for what a producer sends (the default).
    pub fn base_offset(self, offset: i64) -> BatchBuilder {
        let _ = offset;
        todo!()
    }
    pub fn leader_epoch(self, epoch: i32) -> BatchBuilder {
        let _ = epoch;
        todo!()
    }
    pub fn timestamp_type(self, timestamps: TimestampType) -> BatchBuilder {
        let _ = timestamps;
        todo!()
    }
    /// May also be called when all records are in: a producer knows its sequence when it sends.
    pub fn set_producer(&mut self, producer: ProducerStamp, transactional: bool) {
        let _ = (producer, transactional);
        todo!()
    }
    /// Appends a record at the next offset.
    pub fn push(&mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[RecordHeader<'_>]) {
        let _ = (timestamp, key, value, headers);
        todo!()
    }
    pub fn records_count(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        self.records_count() == 0
    }
    /// Size of the batch if it were finished now without compression.
    pub fn uncompressed_size(&self) -> usize {
        self.buffer.len()
    }
    /// The batch. Panics when it holds no record: an empty batch has no maximal timestamp.
    pub fn finish(self) -> Result<Vec<u8>, CompressionError> {
        let _ = self.compression;
        todo!()
    }
}
