//! What the members of a classic consumer group tell each other through the coordinator: subscriptions and assignments (Kafka's protocol
//! type "consumer"), and what sticky assignors put into a subscription's user data.
//!
//! The coordinator passes these bytes on and reads at most the topics; members of every make read them, so they are Java's byte for byte.
//! Later versions only add fields behind the known ones: a newer one is read as the newest that is known. Called by the client, and by
//! whoever describes a group.

use crate::wire::{Struct, Wire};
use crate::{DecodeError, Reader, Version, Writer};

/// The protocol type of consumer groups.
pub const PROTOCOL_TYPE: &str = "consumer";

const VERSION_MAX: i16 = 3;
/// The user data of sticky assignors bears no version and is not flexible.
const PLAIN: Version = Version { number: 0, flexible: false };

/// What a member wants, and what it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription<'a> {
    pub topics: Vec<&'a str>,
    pub user_data: Option<&'a [u8]>,
    /// From version 1 (KIP-429).
    pub owned: Vec<TopicPartitions<'a>>,
    /// From version 2 (KIP-792): the generation in which it had them; -1 when it had none.
    pub generation: i32,
    /// From version 3 (KIP-881).
    pub rack: Option<&'a str>,
}

impl Default for Subscription<'_> {
    fn default() -> Self {
        Subscription { topics: Vec::new(), user_data: None, owned: Vec::new(), generation: -1, rack: None }
    }
}

/// What a member gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment<'a> {
    pub partitions: Vec<TopicPartitions<'a>>,
    pub user_data: Option<&'a [u8]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicPartitions<'a> {
    pub topic: &'a str,
    pub partitions: Vec<i32>,
}

/// The user data of the assignor "sticky". That of "cooperative-sticky" is the generation alone: the rest stands in the subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyData<'a> {
    pub previous: Vec<TopicPartitions<'a>>,
    /// -1 in the form without one, which is older than KIP-341.
    pub generation: i32,
}

impl<'a> Subscription<'a> {
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
    pub fn decode(bytes: &'a [u8]) -> Result<Subscription<'a>, DecodeError> {
        decode(bytes)
    }
}

impl<'a> Assignment<'a> {
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
    pub fn decode(bytes: &'a [u8]) -> Result<Assignment<'a>, DecodeError> {
        decode(bytes)
    }
}

impl<'a> StickyData<'a> {
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.previous.write(&mut writer, PLAIN);
        writer.i32(self.generation);
        writer.into_bytes()
    }

    pub fn decode(bytes: &'a [u8]) -> Result<StickyData<'a>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let previous = Wire::read(&mut reader, PLAIN)?;
        let generation = if reader.remaining() == 0 { -1 } else { reader.i32()? };
        Ok(StickyData { previous, generation })
    }
}

fn encode<'a>(value: &impl Wire<'a>) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.i16(VERSION_MAX);
    value.write(&mut writer, Version { number: VERSION_MAX, flexible: false });
    writer.into_bytes()
}

/// A negative version is one that never was; it ends as a missing byte would.
fn decode<'a, T: Wire<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let number = reader.i16()?.min(VERSION_MAX);
    if number < 0 {
        return Err(DecodeError::Length { at: 0, length: number.into() });
    }
    T::read(&mut reader, Version { number, flexible: false })
}

impl<'a> Struct<'a> for TopicPartitions<'a> {}

impl<'a> Wire<'a> for TopicPartitions<'a> {
    const MIN_BYTES: usize = 6;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        Ok(TopicPartitions { topic: Wire::read(reader, version)?, partitions: Wire::read(reader, version)? })
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        self.topic.write(writer, version);
        self.partitions.write(writer, version);
    }
}

impl<'a> Wire<'a> for Subscription<'a> {
    const MIN_BYTES: usize = 8;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        Ok(Subscription {
            topics: Wire::read(reader, version)?,
            user_data: Wire::read(reader, version)?,
            owned: if version.number >= 1 { Wire::read(reader, version)? } else { Vec::new() },
            generation: if version.number >= 2 { reader.i32()? } else { -1 },
            rack: if version.number >= 3 { Wire::read(reader, version)? } else { None },
        })
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        self.topics.write(writer, version);
        self.user_data.write(writer, version);
        if version.number >= 1 {
            self.owned.write(writer, version);
        }
        if version.number >= 2 {
            writer.i32(self.generation);
        }
        if version.number >= 3 {
            self.rack.write(writer, version);
        }
    }
}

impl<'a> Wire<'a> for Assignment<'a> {
    const MIN_BYTES: usize = 8;

    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        Ok(Assignment { partitions: Wire::read(reader, version)?, user_data: Wire::read(reader, version)? })
    }

    fn write(&self, writer: &mut Writer, version: Version) {
        self.partitions.write(writer, version);
        self.user_data.write(writer, version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn owned() -> Vec<TopicPartitions<'static>> {
        let of = |topic, partitions: &[i32]| TopicPartitions { topic, partitions: partitions.to_vec() };
        vec![of("a", &[7]), of("b", &[0, 1])]
    }

    /// The bytes of Kafka 4.3's own consumer: a member that writes others makes the leader of a mixed group fail.
    #[test]
    fn subscriptions_are_those_of_java() {
        let newest = "000300000002000161000162ffffffff0000000200016100000001000000070001620000000200000000000000010000000500027231";
        let all =
            Subscription { topics: vec!["a", "b"], user_data: None, owned: owned(), generation: 5, rack: Some("r1") };
        assert_eq!(all.encode(), bytes_of(newest));
        for (hex, read) in [
            (newest, all.clone()),
            (
                "000200000002000161000162ffffffff00000002000161000000010000000700016200000002000000000000000100000005",
                Subscription { rack: None, ..all.clone() },
            ),
            (
                "000100000002000161000162ffffffff000000020001610000000100000007000162000000020000000000000001",
                Subscription { rack: None, generation: -1, ..all.clone() },
            ),
            ("000000000002000161000162ffffffff", Subscription { topics: vec!["a", "b"], ..Subscription::default() }),
            (
                "00030000000100016100000002010200000000ffffffffffff",
                Subscription { topics: vec!["a"], user_data: Some(&[1, 2]), ..Subscription::default() },
            ),
        ] {
            assert_eq!(Subscription::decode(&bytes_of(hex)), Ok(read), "{hex}");
        }
    }

    /// What the leader writes is read by members of every make, and the other way round.
    #[test]
    fn assignments_are_those_of_java() {
        let hex = "0003000000020001620000000200000001000000000001610000000100000007ffffffff";
        let of = |topic, partitions: &[i32]| TopicPartitions { topic, partitions: partitions.to_vec() };
        let assignment = Assignment { partitions: vec![of("b", &[1, 0]), of("a", &[7])], user_data: None };
        assert_eq!(assignment.encode(), bytes_of(hex));
        assert_eq!(Assignment::decode(&bytes_of(hex)), Ok(assignment));
        let older = bytes_of("0001000000000000000109");
        assert_eq!(Assignment::decode(&older).unwrap().user_data, Some(&[9][..]));
    }

    /// A sticky leader that does not read what a member had moves everything at each rebalance.
    #[test]
    fn sticky_data_is_that_of_java() {
        let bytes = bytes_of("0000000200016100000001000000070001620000000200000001000000000000000c");
        let read = StickyData::decode(&bytes).unwrap();
        assert_eq!((read.generation, read.previous.len()), (12, 2));
        assert_eq!(read.encode(), bytes);
        assert_eq!(StickyData::decode(&bytes[..bytes.len() - 4]).unwrap().generation, -1);
    }

    /// A member of a later make must be read, one that sends rubbish must not take the leader down.
    #[test]
    fn later_versions_read_and_rubbish_does_not() {
        let mut later = Subscription { topics: vec!["a"], ..Subscription::default() }.encode();
        later[1] = 9;
        later.extend_from_slice(b"something new");
        assert_eq!(Subscription::decode(&later).unwrap().topics, ["a"]);
        for rubbish in [&b""[..], b"\xff\xff\0\0\0\0", b"\0\x01\x7f\xff\xff\xff", b"\0\0\0\0\0\x01\0\x05ab"] {
            assert!(Subscription::decode(rubbish).is_err(), "{rubbish:?}");
            assert!(Assignment::decode(rubbish).is_err(), "{rubbish:?}");
        }
    }
}
