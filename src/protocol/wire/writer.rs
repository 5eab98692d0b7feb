//! Writes values behind one another into one growing buffer.

use crate::TopicId;

/// Bytes being made. A response's writer is kept per shard and cleared, so that it seldom grows.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

/// Where a frame's length goes when its end is known.
#[derive(Debug)]
#[must_use = "the frame's length is only written by Writer::end_frame"]
pub struct FrameMark {
    at: usize,
}

const FRAME_LENGTH_BYTES: usize = 4;

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }

    pub fn with_capacity(bytes: usize) -> Writer {
        Writer { bytes: Vec::with_capacity(bytes) }
    }

    /// Goes on behind what `bytes` already holds.
    pub fn over(bytes: Vec<u8>) -> Writer {
        Writer { bytes }
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
    #[inline]
    pub fn i8(&mut self, value: i8) {
        self.raw(&value.to_be_bytes());
    }
    #[inline]
    pub fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }
    #[inline]
    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }
    #[inline]
    pub fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }
    #[inline]
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }
    #[inline]
    pub fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }
    #[inline]
    pub fn f64(&mut self, value: f64) {
        self.raw(&value.to_be_bytes());
    }
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.i8(value.into());
    }
    #[inline]
    pub fn topic_id(&mut self, value: TopicId) {
        self.raw(&value.0);
    }

    #[inline]
    pub fn uvarint(&mut self, value: u32) {
        self.varint_bits(value.into());
    }
    /// Zigzag, as in records.
    #[inline]
    pub fn varint(&mut self, value: i32) {
        self.uvarint((value << 1 ^ value >> 31) as u32);
    }
    #[inline]
    pub fn varlong(&mut self, value: i64) {
        self.varint_bits((value << 1 ^ value >> 63) as u64);
    }

    #[inline]
    fn varint_bits(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// A length or count: compact (n + 1, 0 for null) in flexible versions, else `i32` (-1 for null).
    #[inline]
    pub fn length(&mut self, length: Option<usize>, flexible: bool) {
        match (flexible, length) {
            (true, Some(length)) => self.uvarint(length as u32 + 1),
            (true, None) => self.uvarint(0),
            (false, Some(length)) => self.i32(length as i32),
            (false, None) => self.i32(-1),
        }
    }

    pub fn bytes(&mut self, value: Option<&[u8]>, flexible: bool) {
        self.length(value.map(<[u8]>::len), flexible);
        self.raw(value.unwrap_or_default());
    }

    /// Strings longer than the protocol's 32,767 bytes are cut at a character: only error messages get there.
    pub fn string(&mut self, value: Option<&str>, flexible: bool) {
        let value = value.map(|text| &text[..text.floor_char_boundary(i16::MAX as usize)]);
        match value {
            _ if flexible => self.bytes(value.map(str::as_bytes), true),
            Some(text) => self.short_bytes(text.as_bytes()),
            None => self.i16(-1),
        }
    }

    /// Bytes with an `i16` length: strings before KIP-482, and client ids.
    pub fn short_bytes(&mut self, value: &[u8]) {
        let value = &value[..value.len().min(i16::MAX as usize)];
        self.i16(value.len() as i16);
        self.raw(value);
    }

    /// An empty set of tagged fields.
    #[inline]
    pub fn no_tags(&mut self) {
        self.bytes.push(0);
    }

    /// Begins a set of tagged fields; they must be put in ascending order.
    pub fn tags(&mut self) -> TagWriter<'_> {
        let count_at = self.bytes.len();
        self.bytes.push(0);
        TagWriter { writer: self, count_at }
    }

    pub fn begin_frame(&mut self) -> FrameMark {
        let at = self.bytes.len();
        self.raw(&[0; FRAME_LENGTH_BYTES]);
        FrameMark { at }
    }

    pub fn end_frame(&mut self, mark: FrameMark) {
        let length = self.bytes.len() - mark.at - FRAME_LENGTH_BYTES;
        self.patch_i32(mark.at, length as i32);
    }

    /// Overwrites four bytes that were written before.
    pub fn patch_i32(&mut self, at: usize, value: i32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
}

/// Writes the tagged fields of one struct; counts them.
pub struct TagWriter<'w> {
    writer: &'w mut Writer,
    count_at: usize,
}

impl TagWriter<'_> {
    pub fn put(&mut self, tag: u32, value: impl FnOnce(&mut Writer)) {
        let bytes = &mut self.writer.bytes;
        // No struct of the protocol has as many as 128 tags, so the count stays one byte.
        bytes[self.count_at] += 1;
        debug_assert!(bytes[self.count_at] < 0x80);
        self.writer.uvarint(tag);
        let from = self.writer.len();
        value(self.writer);
        // The length stands before the value, and is known after it: written behind, then turned to the front.
        let length = self.writer.len() - from;
        self.writer.uvarint(length as u32);
        let length_bytes = self.writer.len() - from - length;
        self.writer.bytes[from..].rotate_right(length_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reader;

    /// What is written must be what is read, at the ends of every range.
    #[test]
    fn numbers_come_back() {
        let mut writer = Writer::new();
        let ints = [0, 1, -1, 63, -64, 64, 127, 128, i32::MAX, i32::MIN];
        let longs = [0, -1, i64::from(i32::MAX) + 1, i64::MAX, i64::MIN];
        ints.iter().for_each(|&value| writer.varint(value));
        longs.iter().for_each(|&value| writer.varlong(value));
        let mut reader = Reader::new(writer.as_slice());
        ints.iter().for_each(|&value| assert_eq!(reader.varint(), Ok(value)));
        longs.iter().for_each(|&value| assert_eq!(reader.varlong(), Ok(value)));
        assert_eq!(reader.remaining(), 0);
    }

    /// A tagged value of 128 bytes and more has a two-byte length; the value must have made room for both.
    #[test]
    fn long_tagged_values_keep_their_bytes() {
        let value: Vec<u8> = (0..200).collect();
        let mut writer = Writer::new();
        let mut tags = writer.tags();
        tags.put(0, |w| w.i8(5));
        tags.put(3, |w| w.raw(&value));
        let mut found = Vec::new();
        Reader::new(writer.as_slice())
            .tags(|tag, field| {
                found.push((tag, field.take(field.remaining())?.to_vec()));
                Ok(())
            })
            .unwrap();
        assert_eq!(found, [(0, vec![5]), (3, value)]);
    }
}
