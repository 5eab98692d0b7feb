//! Walking batches and their records without copying them.

use super::varint::{take_varint, take_varlong};
use super::{BatchError, BatchHeader, CompressionError, HEADER_BYTES, RecordError, TimestampType};
use crate::compression;
use std::borrow::Cow;
use std::iter::FusedIterator;

/// Bytes of the smallest record behind its length: attributes, two deltas, two lengths, header count.
const RECORD_BODY_BYTES_MIN: usize = 6;

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
        &self.bytes[HEADER_BYTES..]
    }

    /// The records ready for [`Records::new`]; borrowed when they are not compressed. More than `limit` unpacked bytes are an error.
    pub fn uncompressed_body(&self, limit: usize) -> Result<Cow<'a, [u8]>, CompressionError> {
        match self.header.attributes.compression().ok_or(CompressionError::UnknownCodec)? {
            compression::Compression::None => Ok(Cow::Borrowed(self.body())),
            codec => compression::decompress(codec, self.body(), limit).map(Cow::Owned),
        }
    }
}

/// All whole batches in `bytes`; a cut batch at the end (fetch responses may end in one) is left out, a broken one is an error, after
/// which the iterator ends.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes }
}

pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        match Batch::parse(rest) {
            Ok(batch) => {
                self.rest = &rest[batch.bytes.len()..];
                Some(Ok(batch))
            }
            Err(BatchError::TooShort { .. }) => None,
            Err(broken) => Some(Err(broken)),
        }
    }
}

impl FusedIterator for Batches<'_> {}

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
        match batch.attributes.timestamp_type() {
            TimestampType::LogAppendTime => batch.max_timestamp,
            TimestampType::CreateTime => batch.base_timestamp.saturating_add(self.timestamp_delta),
        }
    }
}

/// The records of an uncompressed body, in order. Yields exactly as many as the header counts, or ends with an error: too few bytes, a
/// record whose parts do not add up, bytes behind the last one.
pub struct Records<'a> {
    rest: &'a [u8],
    next: usize,
    count: usize,
}

impl<'a> Records<'a> {
    /// `body`: what [`Batch::uncompressed_body`] gave.
    pub fn new(header: &BatchHeader, body: &'a [u8]) -> Records<'a> {
        Records { rest: body, next: 0, count: header.records_count.max(0) as usize }
    }

    /// Like `next`, with the bytes that the record takes in the body, its length in front.
    pub fn next_with_bytes(&mut self) -> Option<Result<(Record<'a>, &'a [u8]), RecordError>> {
        let before = self.rest;
        let record = self.next()?;
        Some(record.map(|record| (record, &before[..before.len() - self.rest.len()])))
    }

    fn end(&mut self) -> Option<Result<Record<'a>, RecordError>> {
        let left = std::mem::take(&mut self.rest).len();
        (left > 0).then_some(Err(RecordError::TrailingBytes { count: self.count, left }))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.count {
            return self.end();
        }
        let index = self.next;
        match take_record(&mut self.rest) {
            Ok(record) => {
                self.next += 1;
                Some(Ok(record))
            }
            Err(what) => {
                self.next = self.count;
                self.rest = &[];
                Some(Err(RecordError::Malformed { index, what }))
            }
        }
    }
}

impl FusedIterator for Records<'_> {}

#[inline]
fn take_record<'a>(rest: &mut &'a [u8]) -> Result<Record<'a>, &'static str> {
    let length = take_varint(rest).ok_or("its length is cut or too long")?;
    let length = usize::try_from(length).map_err(|_| "its length is negative")?;
    if length < RECORD_BODY_BYTES_MIN {
        return Err("its length is below that of an empty record");
    }
    let Some((mut body, behind)) = rest.split_at_checked(length) else {
        return Err("its length reaches past the end of the batch");
    };
    *rest = behind;
    let attributes = body[0] as i8;
    body = &body[1..];
    let timestamp_delta = take_varlong(&mut body).ok_or("its timestamp delta is cut or too long")?;
    let offset_delta = take_varint(&mut body).ok_or("its offset delta is cut or too long")?;
    let key = take_bytes(&mut body).ok_or("its key reaches past its end")?;
    let value = take_bytes(&mut body).ok_or("its value reaches past its end")?;
    let headers = take_headers(&mut body)?;
    Ok(Record { attributes, timestamp_delta, offset_delta, key, value, headers })
}

/// Nullable bytes behind their length. The outer `None`: they do not fit.
#[inline]
fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = take_varint(rest)?;
    let Ok(length) = usize::try_from(length) else {
        return Some(None);
    };
    let (bytes, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(Some(bytes))
}

/// The headers are the last part of a record and fill it to its end.
#[inline]
fn take_headers<'a>(body: &mut &'a [u8]) -> Result<RecordHeaders<'a>, &'static str> {
    let count = take_varint(body).ok_or("its header count is cut or too long")?;
    let count = u32::try_from(count).map_err(|_| "its header count is negative")?;
    let headers = RecordHeaders { count, bytes: body };
    for _ in 0..count {
        match take_bytes(body) {
            Some(Some(_)) => {}
            Some(None) => return Err("a header has no key"),
            None => return Err("a header's key reaches past its end"),
        }
        take_bytes(body).ok_or("a header's value reaches past its end")?;
    }
    match body.is_empty() {
        true => Ok(headers),
        false => Err("its length is more than its parts need"),
    }
}

/// The headers of one record, checked when the record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeaders<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl RecordHeaders<'_> {
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
        self.count = self.count.checked_sub(1)?;
        Some(RecordHeader { key: take_bytes(&mut self.bytes)??, value: take_bytes(&mut self.bytes)? })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{BatchBuilder, Compression, check_batch, patch_base_offset};

    fn batch_of(count: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        for i in 0..count {
            let headers = [RecordHeader { key: b"trace", value: Some(b"abc") }, RecordHeader { key: b"", value: None }];
            builder.push(1_000 + i as i64, (i % 2 == 0).then_some(b"key"), Some(&vec![7; i * 50]), &headers[..i % 3]);
        }
        builder.finish().unwrap()
    }

    /// The whole point: what a producer put in is what a consumer takes out, key, value, headers, offset and time.
    #[test]
    fn records_read_back_as_they_were_pushed() {
        let mut bytes = batch_of(20);
        patch_base_offset(&mut bytes, 5_000);
        let header = check_batch(&bytes).unwrap();
        let batch = Batch::parse(&bytes).unwrap();
        let records: Vec<_> = Records::new(&header, batch.body()).map(Result::unwrap).collect();

        assert_eq!(records.len(), 20);
        for (i, record) in records.iter().enumerate() {
            assert_eq!(record.offset(&header), 5_000 + i as i64);
            assert_eq!(record.timestamp(&header), 1_000 + i as i64);
            assert_eq!(record.key, (i % 2 == 0).then_some(&b"key"[..]));
            assert_eq!(record.value.unwrap(), vec![7; i * 50]);
            assert_eq!(record.headers.len(), i % 3);
            let headers: Vec<_> = record.headers.collect();
            assert_eq!(headers.first().map(|header| header.value), (i % 3 > 0).then_some(Some(&b"abc"[..])));
            assert_eq!(headers.get(1).map(|header| header.value), (i % 3 > 1).then_some(None));
        }
    }

    /// A walker that trusts one wrong length reads another record's bytes as its own, or past the end.
    #[test]
    fn every_damaged_byte_ends_in_an_error_or_in_the_same_number_of_records() {
        let bytes = batch_of(12);
        let header = check_batch(&bytes).unwrap();
        for at in HEADER_BYTES..bytes.len() {
            for damage in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= damage;
                let walked: Vec<_> = Records::new(&header, &damaged[HEADER_BYTES..]).collect();
                assert!(walked.last().unwrap().is_err() || walked.len() == 12, "byte {at} ^ {damage:#x}");
            }
        }
        for cut in HEADER_BYTES..bytes.len() {
            assert!(Records::new(&header, &bytes[HEADER_BYTES..cut]).any(|record| record.is_err()), "cut at {cut}");
        }
    }

    /// A count that says less than there is would hide records from validation that a consumer then sees.
    #[test]
    fn bytes_behind_the_last_record_are_an_error() {
        let bytes = batch_of(3);
        let mut header = check_batch(&bytes).unwrap();
        header.records_count = 2;
        let last = Records::new(&header, &bytes[HEADER_BYTES..]).last().unwrap();
        assert!(matches!(last, Err(RecordError::TrailingBytes { count: 2, .. })), "{last:?}");
        header.records_count = -5;
        assert!(Records::new(&header, &bytes[HEADER_BYTES..]).next().unwrap().is_err());
    }

    /// Fetch responses may end in the middle of a batch; reading it as an error would fail every such fetch.
    #[test]
    fn a_cut_batch_at_the_end_is_left_out() {
        let one = batch_of(2);
        let all = [one.as_slice(), &one, &one[..one.len() - 1]].concat();
        assert_eq!(batches(&all).map(|batch| batch.unwrap().header.records_count).collect::<Vec<_>>(), [2, 2]);

        let mut broken = all.clone();
        broken[one.len() + 16] = 1;
        let seen: Vec<_> = batches(&broken).collect();
        assert!(matches!(seen[..], [Ok(_), Err(BatchError::UnsupportedMagic(1))]));
    }
}
