//! What can be wrong with a batch or a record. Mapped to Kafka's error codes in `partition::prepare`, and nowhere else.

/// Why bytes are not one sound record batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("{have} bytes hold no record batch, {need} are needed")]
    TooShort { have: usize, need: usize },
    #[error("batch length {0} is below the {min} bytes that a batch header needs", min = super::HEADER_BYTES - super::LENGTH_PREFIX_BYTES)]
    BadLength(i32),
    #[error("magic {0}: only record batches of format 2 are accepted")]
    UnsupportedMagic(i8),
    #[error("CRC32C is {computed:#010x}, the header says {stored:#010x}: the batch was damaged on its way")]
    BadCrc { stored: u32, computed: u32 },
}

/// Why the records inside a batch cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record {index}: {what}")]
    Malformed { index: usize, what: &'static str },
    #[error("{left} bytes follow the last of {count} records")]
    TrailingBytes { count: usize, left: usize },
}
