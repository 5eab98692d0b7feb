//! What Kafka keeps beside the segments of a partition, and at the top of a data directory: byte for byte its files, so that its tools read
//! ours and its directories open here.
//!
//! Pure functions over whole files, all of them small; whoever calls them has the file. No length or count is believed before the bytes for
//! it are there. Record batches are in [`crate::records`]; the two indexes, which are searched in place, are the log's.
//!
//! * [`producer_snapshot`]: `OFFSET.snapshot`, the idempotent producers as of an offset.
//! * [`txn_index`]: `OFFSET.txnindex`, the aborted transactions of a segment.
//! * [`checkpoint`]: the text files with a version, a count and that many lines.
//! * [`meta_properties`]: which Kafka node a data directory belongs to.

pub mod checkpoint;
pub mod meta_properties;
pub mod producer_snapshot;
pub mod txn_index;

use crate::DecodeError;

/// Why a file is not what its name says. The caller knows the path and puts it in front.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("it is cut or damaged: {0}")]
    Cut(#[from] DecodeError),
    #[error(
        "it has format version {found}, this release reads version {known}: it was written by another Kafka version, or is damaged"
    )]
    Version { known: i16, found: i16 },
    #[error("its CRC32C is {computed:#010x}, its header says {stored:#010x}: it was damaged after it was written")]
    Crc { stored: u32, computed: u32 },
    #[error("{left} bytes follow its last entry, which ends at byte {at}")]
    Trailing { at: usize, left: usize },
    #[error("byte {at}: {what}")]
    Entry { at: usize, what: &'static str },
    #[error("line {line}: {what}")]
    Line { line: usize, what: &'static str },
    #[error("its second line announces {announced} entries, {found} follow")]
    Count { announced: usize, found: usize },
}

#[cfg(test)]
fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}
