//! Walking an array in the receive buffer without a `Vec`.

use crate::{DecodeError, Reader, Version};

/// An element that is read from where it lies. Not named outside: the views hand out iterators over elements.
pub trait Item<'a>: Sized {
    /// Fewest bytes that an element takes: what bounds a count.
    const MIN_BYTES: usize;
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError>;
}

/// The elements of an array that has been validated.
#[derive(Debug, Clone)]
pub struct Items<'a, T> {
    reader: Reader<'a>,
    version: Version,
    left: usize,
    of: std::marker::PhantomData<T>,
}

impl<'a, T: Item<'a>> Items<'a, T> {
    /// Reads the array at `reader` once, so that walking it later cannot fail, and leaves `reader` behind it.
    #[inline]
    pub(super) fn validate(reader: &mut Reader<'a>, version: Version) -> Result<Items<'a, T>, DecodeError> {
        let count = reader.count(version.flexible, T::MIN_BYTES)?.ok_or_else(|| reader.null())?;
        let items = Items { reader: reader.clone(), version, left: count, of: std::marker::PhantomData };
        for _ in 0..count {
            T::read(reader, version)?;
        }
        Ok(items)
    }

    /// No elements: an array that the version does not have.
    pub(super) fn none(version: Version) -> Items<'a, T> {
        Items { reader: Reader::new(&[]), version, left: 0, of: std::marker::PhantomData }
    }
}

impl<'a, T: Item<'a>> Iterator for Items<'a, T> {
    type Item = T;
    #[inline]
    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        let item = T::read(&mut self.reader, self.version);
        debug_assert!(item.is_ok(), "validated bytes do not read again: {:?}", item.as_ref().err());
        item.ok()
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a, T: Item<'a>> ExactSizeIterator for Items<'a, T> {}

/// Partition indices.
impl<'a> Item<'a> for i32 {
    const MIN_BYTES: usize = 4;
    #[inline]
    fn read(reader: &mut Reader<'a>, _: Version) -> Result<i32, DecodeError> {
        reader.i32()
    }
}

#[inline]
pub(super) fn skip_tags(reader: &mut Reader<'_>, version: Version) -> Result<(), DecodeError> {
    if version.flexible { reader.skip_tags() } else { Ok(()) }
}

/// A topic is named in versions below 13 of Produce and Fetch, and has its id from then on (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;

#[inline]
pub(super) fn read_topic<'a>(
    reader: &mut Reader<'a>,
    version: Version,
) -> Result<(&'a str, crate::TopicId), DecodeError> {
    if version.number >= TOPIC_IDS_FROM {
        Ok(("", reader.topic_id()?))
    } else {
        let name = reader.string(version.flexible)?.ok_or_else(|| reader.null())?;
        Ok((name, crate::TopicId::ZERO))
    }
}

#[inline]
pub(super) fn write_topic(writer: &mut crate::Writer, version: Version, name: &str, id: crate::TopicId) {
    if version.number >= TOPIC_IDS_FROM {
        writer.topic_id(id);
    } else {
        writer.string(Some(name), version.flexible);
    }
}

/// Counts down the elements that a writer was told to expect, so that a struct's end is written behind its last one.
#[derive(Debug, Default)]
pub(super) struct Expected {
    topics: usize,
    partitions: usize,
}

impl Expected {
    pub(super) fn topics(count: usize) -> Expected {
        Expected { topics: count, partitions: 0 }
    }
    /// A topic begins. True if it has no partitions and so ends at once.
    pub(super) fn topic(&mut self, partitions: usize) -> bool {
        debug_assert_eq!(self.partitions, 0, "the topic before still misses partitions");
        debug_assert!(self.topics > 0, "more topics than announced");
        self.topics = self.topics.saturating_sub(1);
        self.partitions = partitions;
        partitions == 0
    }
    /// A partition was written. True if it was its topic's last.
    pub(super) fn partition(&mut self) -> bool {
        debug_assert!(self.partitions > 0, "more partitions than announced");
        self.partitions = self.partitions.saturating_sub(1);
        self.partitions == 0
    }
    pub(super) fn end(&self) {
        debug_assert_eq!((self.topics, self.partitions), (0, 0), "announced topics or partitions are missing");
    }
}
