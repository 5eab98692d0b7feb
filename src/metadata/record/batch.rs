//! The bytes of an atomic batch: what one raft entry holds.
//!
//! ```text
//! batch   = record*                          (no bytes: a new leader's first entry)
//! record  = length (uvarint), frame version (uvarint, 1), key (uvarint), version (uvarint), body (Kafka's flexible encoding)
//! ```
//! Key, version and body are those of Kafka's record of the same name. A batch takes effect whole or not at all, which is what Kafka's
//! BeginTransaction and EndTransaction records are for.

use crate::Record;
use crate::record::codec;
use ringlane_protocol::{DecodeError, Reader, Writer};

/// Largest batch. Ten thousand partitions are about 0.7 MiB; a raft message must carry a whole entry.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

const FRAME_VERSION: u32 = 1;

/// Why bytes are not a batch of records.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchError {
    #[error("a metadata record does not decode: {0}")]
    Decode(#[from] DecodeError),
    #[error(
        "metadata record type {key} version {version} is not known: was it written by a newer version of ringlane?"
    )]
    Unknown { key: u32, version: u32 },
    #[error("metadata record type {key}: {value} is not a possible {field}")]
    Value { key: u32, field: &'static str, value: i64 },
    #[error("a batch of {bytes} bytes of metadata is over the limit of {BATCH_BYTES_MAX}: ask for less at a time")]
    TooLarge { bytes: usize },
}

pub fn encode(records: &[Record]) -> Result<Vec<u8>, BatchError> {
    let mut batch = Writer::new();
    let mut one = Writer::new();
    for record in records {
        write_record(&mut batch, &mut one, record);
    }
    match batch.len() {
        0..=BATCH_BYTES_MAX => Ok(batch.into_bytes()),
        bytes => Err(BatchError::TooLarge { bytes }),
    }
}

pub fn decode(bytes: &[u8]) -> Result<Vec<Record>, BatchError> {
    let mut reader = Reader::new(bytes);
    let mut records = Vec::new();
    while reader.remaining() > 0 {
        records.push(read_record(&mut reader)?);
    }
    Ok(records)
}

/// Appends one framed record; `scratch` is for reuse.
pub(crate) fn write_record(batch: &mut Writer, scratch: &mut Writer, record: &Record) {
    let (key, version) = codec::key_and_version(record);
    scratch.clear();
    scratch.uvarint(FRAME_VERSION);
    scratch.uvarint(key);
    scratch.uvarint(version);
    codec::write_body(record, scratch);
    batch.uvarint(scratch.len() as u32);
    batch.raw(scratch.as_slice());
}

pub(crate) fn read_record(reader: &mut Reader<'_>) -> Result<Record, BatchError> {
    let length = reader.uvarint()? as usize;
    let mut body = Reader::new(reader.take(length)?);
    let frame_version = body.uvarint()?;
    let (key, version) = (body.uvarint()?, body.uvarint()?);
    if frame_version != FRAME_VERSION {
        return Err(BatchError::Unknown { key, version });
    }
    codec::read_body(key, version, &mut body)
}
