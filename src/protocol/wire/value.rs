//! One trait for everything that has one encoding per version form, so that generated code is a list of fields and no more.

use crate::{DecodeError, ErrorCode, Reader, TopicId, Version, Writer};

/// A value with a wire encoding. `Option` is the nullable form of strings, bytes and arrays (optional structs have a form of their own:
/// `read_optional_struct`).
pub trait Wire<'a>: Sized {
    /// Fewest bytes that any version needs: what bounds a count.
    const MIN_BYTES: usize;
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError>;
    fn write(&self, writer: &mut Writer, version: Version);
}

/// A generated struct: a list of fields.
pub trait Struct<'a>: Wire<'a> {}

macro_rules! fixed {
    ($($type:ty: $bytes:literal $method:ident),*) => {$(
        impl<'a> Wire<'a> for $type {
            const MIN_BYTES: usize = $bytes;
            #[inline]
            fn read(reader: &mut Reader<'a>, _: Version) -> Result<Self, DecodeError> {
                reader.$method()
            }
            #[inline]
            fn write(&self, writer: &mut Writer, _: Version) {
                writer.$method(*self)
            }
        }
    )*};
}

fixed!(bool: 1 bool, i8: 1 i8, i16: 2 i16, u16: 2 u16, i32: 4 i32, u32: 4 u32, i64: 8 i64, f64: 8 f64, TopicId: 16 topic_id);

impl<'a> Wire<'a> for ErrorCode {
    const MIN_BYTES: usize = 2;
    #[inline]
    fn read(reader: &mut Reader<'a>, _: Version) -> Result<Self, DecodeError> {
        reader.i16().map(ErrorCode::from_i16)
    }
    #[inline]
    fn write(&self, writer: &mut Writer, _: Version) {
        writer.i16(self.code())
    }
}

impl<'a> Wire<'a> for Option<&'a str> {
    const MIN_BYTES: usize = 1;
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        reader.string(version.flexible)
    }
    fn write(&self, writer: &mut Writer, version: Version) {
        writer.string(*self, version.flexible)
    }
}

impl<'a> Wire<'a> for &'a str {
    const MIN_BYTES: usize = 1;
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        reader.string(version.flexible)?.ok_or_else(|| reader.null())
    }
    fn write(&self, writer: &mut Writer, version: Version) {
        writer.string(Some(self), version.flexible)
    }
}

impl<'a> Wire<'a> for Option<&'a [u8]> {
    const MIN_BYTES: usize = 1;
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        reader.bytes(version.flexible)
    }
    fn write(&self, writer: &mut Writer, version: Version) {
        writer.bytes(*self, version.flexible)
    }
}

impl<'a> Wire<'a> for &'a [u8] {
    const MIN_BYTES: usize = 1;
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        reader.bytes(version.flexible)?.ok_or_else(|| reader.null())
    }
    fn write(&self, writer: &mut Writer, version: Version) {
        writer.bytes(Some(self), version.flexible)
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Option<Vec<T>> {
    const MIN_BYTES: usize = 1;
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let Some(count) = reader.count(version.flexible, T::MIN_BYTES)? else {
            return Ok(None);
        };
        // No more memory at once than the bytes received: a count may be true to the frame and its elements still be many times
        // larger in memory than on the wire.
        let mut items = Vec::with_capacity(count.min(reader.remaining() / size_of::<T>().max(1)));
        for _ in 0..count {
            items.push(T::read(reader, version)?);
        }
        Ok(Some(items))
    }
    fn write(&self, writer: &mut Writer, version: Version) {
        match self {
            Some(items) => items.write(writer, version),
            None => writer.length(None, version.flexible),
        }
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Vec<T> {
    const MIN_BYTES: usize = 1;
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        Option::read(reader, version)?.ok_or_else(|| reader.null())
    }
    fn write(&self, writer: &mut Writer, version: Version) {
        writer.length(Some(self.len()), version.flexible);
        self.iter().for_each(|item| item.write(writer, version));
    }
}

/// A struct that may be absent: one byte says so before it.
pub fn read_optional_struct<'a, T: Struct<'a>>(
    reader: &mut Reader<'a>,
    version: Version,
) -> Result<Option<T>, DecodeError> {
    if reader.is_present()? { T::read(reader, version).map(Some) } else { Ok(None) }
}

pub fn write_optional_struct<'a, T: Struct<'a>>(value: &Option<T>, writer: &mut Writer, version: Version) {
    writer.i8(if value.is_some() { 1 } else { -1 });
    if let Some(value) = value {
        value.write(writer, version);
    }
}

/// Writes a value that this version does not let be null; an absent one as its type's empty value.
pub fn write_required<'a, T: Wire<'a> + Default>(value: &Option<T>, writer: &mut Writer, version: Version) {
    match value {
        Some(value) => value.write(writer, version),
        None => T::default().write(writer, version),
    }
}
