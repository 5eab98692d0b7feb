//! Walking the records of a batch without copying them.

use super::{BatchError, BatchHeader, CompressionError, RecordError};
use std::borrow::Cow;

/// One batch of a fetch response or a segment: header and bytes.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The batch at the start of `bytes`, which must hold it whole. The CRC is not looked at.
    pub fn parse(bytes: &'a [u8]) -> Result<Batch<'a>, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        match bytes.get(..header.size()) {
            Some(bytes) => Ok(Batch { header, bytes }),
            None => Err(BatchError::TooShort { have: bytes.len(), need: header.size() }),
        }
    }
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
    pub fn check_crc(&self) -> Result<(), BatchError> {
        super::check_crc(&self.header, self.bytes)
    }
    /// The records as stored, compressed or not.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[super::HEADER_BYTES..]
    }
    /// The records ready for [`Records::new`]; borrowed when they are not compressed. More than `limit` bytes are an error.
    pub fn uncompressed_body(&self, limit: usize) -> Result<Cow<'a, [u8]>, CompressionError> {
        let _ = limit;
        todo!()
    }
}

/// All whole batches in `bytes`; a cut batch at the end (fetch responses may end in one) is left out, a broken one is an error.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes }
}

pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;
    fn next(&mut self) -> Option<Self::Item> {
        let _ = self.rest;
        todo!()
    }
}

/// One record. Absolute offset and timestamp: [`Record::offset`], [`Record::timestamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub attributes: i8,
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: RecordHeaders<'a>,
}

impl Record<'_> {
    pub fn offset(&self, batch: &BatchHeader) -> i64 {
        batch.base_offset.saturating_add(i64::from(self.offset_delta))
    }
    /// The batch's maximal timestamp for LogAppendTime, else base timestamp and delta.
    pub fn timestamp(&self, batch: &BatchHeader) -> i64 {
        let _ = batch;
        todo!()
    }
}

/// The headers of one record, checked when the record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeaders<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> RecordHeaders<'a> {
    pub fn len(&self) -> usize {
        self.count as usize
    }
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = RecordHeader<'a>;
    fn next(&mut self) -> Option<RecordHeader<'a>> {
        let _ = self.bytes;
        todo!()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// The records of an uncompressed body, in order. Ends after the first error.
pub struct Records<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Records<'a> {
    /// `body`: what [`Batch::uncompressed_body`] gave.
    pub fn new(header: &BatchHeader, body: &'a [u8]) -> Records<'a> {
        Records { rest: body, left: header.records_count.max(0) as usize }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;
    fn next(&mut self) -> Option<Self::Item> {
        let _ = (self.rest, self.left);
        todo!()
    }
}
