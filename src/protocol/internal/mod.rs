//! Records that brokers keep in topics of their own, byte-compatible with Kafka: tools read `__consumer_offsets`, and a data directory may
//! come from Kafka.
//!
//! A key begins with an `i16` that says what it is; a value with an `i16` version. A missing value (tombstone) deletes its key. Read and
//! written on the home shard of the coordinator's partition.

pub mod consumer_group;
pub mod consumer_offsets;
pub mod share_group;
pub mod share_state;
pub mod transaction_state;

use crate::wire::Wire;
use crate::{DecodeError, Reader, Version, Writer};

/// Why an internal record cannot be read. The log it lies in is then not ours to coordinate from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InternalRecordError {
    #[error("{what} has versions 0 to {known}, not {found}: it was written by a later broker")]
    UnknownVersion { what: &'static str, known: i16, found: i16 },
    #[error("{what} is {found}, which no release known here writes")]
    UnknownValue { what: &'static str, found: i8 },
    #[error("{what}: {source}")]
    Damaged { what: &'static str, source: DecodeError },
}

/// The body of a key behind its type. Keys have one version and are not flexible.
const KEY_VERSION: Version = Version { number: 0, flexible: false };

/// A value with its versions.
trait Value<'a>: Wire<'a> {
    const WHAT: &'static str;
    const VERSION_MAX: i16;
    const FLEXIBLE_FROM: i16;

    fn version(number: i16) -> Version {
        Version { number, flexible: number >= Self::FLEXIBLE_FROM }
    }

    fn decode_value(bytes: &'a [u8]) -> Result<Self, InternalRecordError> {
        let damaged = |source| InternalRecordError::Damaged { what: Self::WHAT, source };
        let mut reader = Reader::new(bytes);
        let found = reader.i16().map_err(damaged)?;
        if !(0..=Self::VERSION_MAX).contains(&found) {
            return Err(InternalRecordError::UnknownVersion { what: Self::WHAT, known: Self::VERSION_MAX, found });
        }
        Self::read(&mut reader, Self::version(found)).map_err(damaged)
    }

    /// Fields that `number` lacks are left out.
    fn encode_value(&self, number: i16) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.i16(number);
        self.write(&mut writer, Self::version(number));
        writer.into_bytes()
    }
}

#[cfg(test)]
fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
