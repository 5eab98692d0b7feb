//! The encodings of single values, and how they make up arrays, optional values and tagged fields.

mod reader;
mod value;
mod writer;

pub use reader::{DecodeError, Reader};
pub use value::{Struct, Wire, read_optional_struct, write_optional_struct};
pub use writer::{FrameMark, TagWriter, Writer};

/// What generated modules use.
pub(crate) mod prelude {
    pub use super::value::{Struct, Wire, read_optional_struct, write_optional_struct, write_required};
    pub use crate::{ApiKey, DecodeError, ErrorCode, Message, Reader, Request, TopicId, Version, Writer};
}
