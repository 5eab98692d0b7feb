//! Record batches of format 2, the only one that Ringlane stores or serves: header, checks, patches, records, builder.
//!
//! Pure functions over bytes; used on every shard, by broker and client alike. Nothing here copies a record, trusts a length field, or
//! panics on bytes that came from outside. What one batch is:
//!
//! ```text
//! byte  0 base offset i64          8 batch length i32 (of all that follows)      12 partition leader epoch i32
//!      16 magic i8 = 2            17 CRC32C u32 of byte 21 to the end            21 attributes i16
//!      23 last offset delta i32   27 base timestamp i64                          35 max timestamp i64
//!      43 producer id i64         51 producer epoch i16                          53 base sequence i32
//!      57 records count i32       61 records, compressed together when the attributes say so
//! ```
//!
//! The CRC does not cover base offset and leader epoch, so a broker sets both in place without reading the records.

mod builder;
mod control;
mod error;
mod header;
mod record;
mod retain;
mod varint;

pub use builder::{BatchBuilder, ProducerStamp, recompress};
pub use control::{ControlType, marker_batch, marker_coordinator_epoch};
pub use error::{BatchError, RecordError};
pub use header::{
    Attributes, BatchHeader, HEADER_BYTES, LENGTH_PREFIX_BYTES, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE,
    NO_TIMESTAMP, TimestampType, check_batch, check_crc, patch_base_offset, patch_leader_epoch, patch_max_timestamp,
    patch_producer, sequence_after,
};
pub use record::{Batch, Batches, Record, RecordHeader, RecordHeaders, Records, batches};
pub use retain::RetainedBatch;

pub use crate::compression::{Compression, CompressionError};
