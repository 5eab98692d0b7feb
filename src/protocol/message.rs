//! What all generated messages have in common.

use crate::{ApiKey, DecodeError, Reader, Writer};

/// A version of an API, together with the form that it implies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    pub number: i16,
    /// Compact lengths and tagged fields (KIP-482).
    pub flexible: bool,
}

impl Version {
    pub const fn of(key: ApiKey, number: i16) -> Version {
        Version { number, flexible: key.is_flexible(number) }
    }
}

/// The body of a request or a response.
///
/// Decoding borrows strings and bytes from the frame. Versions outside [`ApiKey::versions`] give [`DecodeError::Version`]; encoding to one is a
/// fault of the caller and takes the nearest version's form. Encoding to a version that lacks a field leaves the field out.
pub trait Message<'a>: Sized {
    const KEY: ApiKey;
    fn decode(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError>;
    fn encode(&self, writer: &mut Writer, version: i16);
}

/// A request's body, and the body that answers it.
pub trait Request<'a>: Message<'a> {
    type Response<'b>: Message<'b>;
}
