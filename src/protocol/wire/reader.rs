//! Reads values off a frame. Every length and count is checked against the bytes that are there before anything is done with it.

use crate::{ApiKey, TopicId};

/// Why bytes are not a message. Whoever sent them gets its connection closed; `at` (byte within what was read) helps its author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("byte {at}: {wanted} more bytes are announced, {left} are left")]
    Truncated { at: usize, wanted: usize, left: usize },
    #[error("byte {at}: a length or count of {length} is not possible here")]
    Length { at: usize, length: i64 },
    #[error("byte {at}: null where a value is required")]
    Null { at: usize },
    #[error("byte {at}: a string is not UTF-8")]
    Utf8 { at: usize },
    #[error("byte {at}: a variable-length number goes on for more than {max_bytes} bytes")]
    Varint { at: usize, max_bytes: u8 },
    #[error("{key} has versions {} to {}, not {version}", key.versions().min, key.versions().max)]
    Version { key: ApiKey, version: i16 },
}

/// Longest string of the protocol: lengths were 16 bits before KIP-482, and Kafka kept the bound for compact strings.
const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// A cursor over received bytes. Never panics, never allocates beyond what [`crate::wire::Wire`] says for arrays.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// Position of the end of `rest`: one check finds both whether bytes are there and where they are.
    end: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes, end: bytes.len() }
    }

    /// Reads `bytes` from `at` on; positions count from the start of `bytes`. `at` beyond the end reads as at the end.
    pub fn starting_at(bytes: &'a [u8], at: usize) -> Reader<'a> {
        Reader { rest: bytes.get(at..).unwrap_or_default(), end: bytes.len() }
    }

    /// Bytes read so far, counted from the start of what the reader was made over.
    #[inline]
    pub fn position(&self) -> usize {
        self.end - self.rest.len()
    }

    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.truncated(len)),
        }
    }

    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((chunk, rest)) => {
                self.rest = rest;
                Ok(*chunk)
            }
            None => Err(self.truncated(N)),
        }
    }

    #[cold]
    fn truncated(&self, wanted: usize) -> DecodeError {
        DecodeError::Truncated { at: self.position(), wanted, left: self.remaining() }
    }

    #[inline]
    pub fn skip(&mut self, len: usize) -> Result<(), DecodeError> {
        self.take(len).map(|_| ())
    }

    #[inline]
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.array()?))
    }
    #[inline]
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.array()?))
    }
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }
    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }
    #[inline]
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        Ok(f64::from_be_bytes(self.array()?))
    }
    /// Any byte but 0 is true, as in Kafka.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }
    #[inline]
    pub fn topic_id(&mut self) -> Result<TopicId, DecodeError> {
        Ok(TopicId(self.array()?))
    }

    /// Unsigned, seven bits a byte, least significant first; at most five bytes.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        // Nearly all lengths and counts are below 128, the others mostly below 16,384.
        match *self.rest {
            [low, ref rest @ ..] if low < 0x80 => {
                self.rest = rest;
                return Ok(low.into());
            }
            [low, high, ref rest @ ..] if high < 0x80 => {
                self.rest = rest;
                return Ok(u32::from(low & 0x7f) | u32::from(high) << 7);
            }
            _ => {}
        }
        let value = self.varint_bits(5)?;
        // Java shifts the surplus bits of a fifth byte out; so do we.
        Ok(value as u32)
    }
    /// Zigzag, as in records.
    #[inline]
    pub fn varint(&mut self) -> Result<i32, DecodeError> {
        let value = self.uvarint()?;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }
    /// Zigzag, at most ten bytes.
    #[inline]
    pub fn varlong(&mut self) -> Result<i64, DecodeError> {
        let value = self.varint_bits(10)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn varint_bits(&mut self, max_bytes: u8) -> Result<u64, DecodeError> {
        let from = self.position();
        let mut value = 0u64;
        for i in 0..max_bytes {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint { at: from, max_bytes })
    }

    /// A length or count: compact (n + 1, 0 for null) in flexible versions, else `i32` (-1 for null).
    #[inline]
    pub fn length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return Ok((self.uvarint()? as usize).checked_sub(1));
        }
        let at = self.position();
        match self.i32()? {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| DecodeError::Length { at, length: length.into() }),
        }
    }

    /// The count of an array whose elements take at least `min_bytes` each.
    #[inline]
    pub fn count(&mut self, flexible: bool, min_bytes: usize) -> Result<Option<usize>, DecodeError> {
        let at = self.position();
        match self.length(flexible)? {
            Some(count) if count > self.remaining() / min_bytes.max(1) => {
                Err(DecodeError::Length { at, length: count as i64 })
            }
            count => Ok(count),
        }
    }

    pub fn bytes(&mut self, flexible: bool) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.length(flexible)? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    pub fn string(&mut self, flexible: bool) -> Result<Option<&'a str>, DecodeError> {
        let at = self.position();
        let bytes = if flexible { self.bytes(true)? } else { self.short_bytes()? };
        match bytes {
            Some(bytes) if bytes.len() > STRING_BYTES_MAX => {
                Err(DecodeError::Length { at, length: bytes.len() as i64 })
            }
            Some(bytes) => std::str::from_utf8(bytes).map(Some).map_err(|_| DecodeError::Utf8 { at }),
            None => Ok(None),
        }
    }

    /// Bytes with an `i16` length, -1 for null: strings before KIP-482, and client ids.
    pub fn short_bytes(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let at = self.position();
        match self.i16()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| DecodeError::Length { at, length: length.into() })?;
                self.take(length).map(Some)
            }
        }
    }

    /// The marker before an optional struct: negative is null.
    #[inline]
    pub fn is_present(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? >= 0)
    }

    /// Reads the tagged fields: `field` is given each tag with a reader over its bytes, and reads what it knows. Unknown tags are
    /// skipped, as KIP-482 asks.
    #[inline]
    pub fn tags(
        &mut self,
        mut field: impl FnMut(u32, &mut Reader<'a>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let length = self.uvarint()? as usize;
            let value = self.take(length)?;
            // Bounded by the field's own length, in positions of the whole frame.
            field(tag, &mut Reader { rest: value, end: self.position() })?;
        }
        Ok(())
    }

    #[inline]
    pub fn skip_tags(&mut self) -> Result<(), DecodeError> {
        match *self.rest {
            [0, ref rest @ ..] => {
                self.rest = rest;
                Ok(())
            }
            _ => self.skip_present_tags(),
        }
    }

    #[cold]
    fn skip_present_tags(&mut self) -> Result<(), DecodeError> {
        self.tags(|_, _| Ok(()))
    }

    pub(crate) fn null(&self) -> DecodeError {
        DecodeError::Null { at: self.position() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A count is a promise of bytes: believed without them, seven bytes would reserve gigabytes (as in crate `kafka-protocol`).
    #[test]
    fn a_count_beyond_the_frame_is_refused() {
        let mut reader = Reader::new(&[0x7f, 0xff, 0xff, 0xff, 1, 2, 3]);
        assert_eq!(reader.count(false, 1), Err(DecodeError::Length { at: 0, length: i32::MAX.into() }));
        let mut reader = Reader::new(&[4, 1, 2, 3]);
        assert_eq!(reader.count(true, 1), Ok(Some(3)));
        let mut reader = Reader::new(&[4, 1, 2, 3]);
        assert_eq!(reader.count(true, 2), Err(DecodeError::Length { at: 0, length: 3 }));
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(reader.count(false, 1), Err(DecodeError::Length { at: 0, length: -2 }));
    }

    /// Ends of the ranges, where a shift or sign goes wrong first. Encodings are those of protocol buffers.
    #[test]
    fn variable_length_numbers_at_their_ends() {
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).uvarint(), Ok(u32::MAX));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).varint(), Ok(i32::MIN));
        assert_eq!(Reader::new(&[0xfe, 0xff, 0xff, 0xff, 0x0f]).varint(), Ok(i32::MAX));
        let longest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Reader::new(&longest).varlong(), Ok(i64::MIN));
        assert_eq!(Reader::new(&[0x80; 6]).uvarint(), Err(DecodeError::Varint { at: 0, max_bytes: 5 }));
        assert_eq!(Reader::new(&[0x80]).uvarint(), Err(DecodeError::Truncated { at: 1, wanted: 1, left: 0 }));
    }

    /// A later client may tag what we do not know; the fields behind must still be found, and a tag cannot read past its length.
    #[test]
    fn unknown_tags_are_stepped_over() {
        let mut reader = Reader::new(&[2, 9, 3, 1, 2, 3, 10, 1, 7, 42]);
        let mut seen = Vec::new();
        reader
            .tags(|tag, value| {
                seen.push(tag);
                if tag == 10 {
                    assert_eq!(value.i8(), Ok(7));
                    assert!(value.i8().is_err());
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, [9, 10]);
        assert_eq!(reader.i8(), Ok(42));
    }
}
