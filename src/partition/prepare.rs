//! Every check of a produced batch that needs no partition state, in Kafka's order: structure, size, CRC, records, timestamps.
//!
//! Runs on the connection shard, which has the bytes in its cache; the home shard's sequencing step then only looks at headers.

use crate::config::TopicConfig;
use crate::message::{AppendFailure, PreparedBatch};
use ringlane_runtime::Buffer;

/// Checks the records of one partition of a produce request and makes them what the topic stores. `records`: the partition's field of
/// the request, split off without copying; its memory is kept unless the topic wants another codec.
pub fn prepare_batch(
    records: Buffer,
    produce_version: i16,
    topic: &TopicConfig,
    now_ms: i64,
) -> Result<PreparedBatch, AppendFailure> {
    let _ = (records, produce_version, topic, now_ms);
    todo!()
}
