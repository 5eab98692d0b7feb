//! What all generated messages have in common.

use crate::wire::Wire;
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
/// Decoding borrows strings and bytes from the frame. Encoding to a version that lacks a field leaves the field out.
pub trait Message<'a>: Wire<'a> {
    const KEY: ApiKey;

    /// Leaves `reader` behind the body. A version that does not exist is [`DecodeError::Version`].
    fn decode(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        if !Self::KEY.versions().contains(version) {
            return Err(DecodeError::Version { key: Self::KEY, version });
        }
        Self::read(reader, Version::of(Self::KEY, version))
    }

    /// `version` must exist: whoever answers has decoded a request of it, whoever asks has negotiated it.
    fn encode(&self, writer: &mut Writer, version: i16) {
        debug_assert!(Self::KEY.versions().contains(version), "{} has no version {version}", Self::KEY);
        self.write(writer, Version::of(Self::KEY, version));
    }
}

/// A request's body, and the body that answers it.
pub trait Request<'a>: Message<'a> {
    type Response<'b>: Message<'b>;
}
