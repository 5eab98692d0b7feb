//! OffsetCommit and TxnOffsetCommit, after the group has agreed.

use super::{Committed, Offsets};
use crate::group::Turn;
use crate::group::options::RECORD_OVERHEAD_BYTES;
use crate::group::request::{CommitPartition, CommitTopic};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::internal::consumer_offsets::OffsetKey;

type Codes = Vec<Vec<ErrorCode>>;

/// Asks for the records of all that may be committed.
pub fn commit(
    offsets: &mut Offsets,
    group: &str,
    topics: &[CommitTopic],
    retention_ms: Option<i64>,
    turn: &mut Turn<'_>,
) -> Codes {
    let expire_ms = retention_ms.map(|ms| turn.after(ms));
    write(offsets, group, topics, expire_ms, None, turn)
}

/// The same within a transaction: what is committed waits for the marker.
pub fn commit_in_transaction(
    offsets: &mut Offsets,
    group: &str,
    topics: &[CommitTopic],
    producer_id: i64,
    turn: &mut Turn<'_>,
) -> Codes {
    write(offsets, group, topics, None, Some(producer_id), turn)
}

/// One code a partition.
fn write(
    offsets: &mut Offsets,
    group: &str,
    topics: &[CommitTopic],
    expire_ms: Option<i64>,
    producer_id: Option<i64>,
    turn: &mut Turn<'_>,
) -> Codes {
    let mut codes = check_metadata(topics, turn.options.offset_metadata_max);
    let mut records = Vec::new();
    for (topic, codes) in topics.iter().zip(&codes) {
        for (partition, _) in topic.partitions.iter().zip(codes).filter(|(_, code)| **code == ErrorCode::None) {
            let key = OffsetKey { group, topic: &topic.name, partition: partition.partition };
            let committed = committed(topic, partition, expire_ms, turn.now_ms);
            records.push((key, key.encode(), committed.encode(), committed));
        }
    }
    let bytes: usize = records.iter().map(|(_, key, value, _)| key.len() + value.len() + RECORD_OVERHEAD_BYTES).sum();
    if bytes > turn.options.records_bytes_max {
        let too_large = codes.iter_mut().flatten().filter(|code| **code == ErrorCode::None);
        too_large.for_each(|code| *code = ErrorCode::InvalidCommitOffsetSize);
        return codes;
    }
    for (name, key, value, committed) in records {
        turn.effects.append(key, Some(value));
        offsets.put(&name, committed, producer_id);
    }
    codes
}

fn check_metadata(topics: &[CommitTopic], max: usize) -> Codes {
    let check = |partition: &CommitPartition| {
        let metadata = &partition.metadata;
        // A string has no more UTF-16 units than bytes.
        let is_too_long = metadata.len() > max && metadata.encode_utf16().count() > max;
        if is_too_long { ErrorCode::OffsetMetadataTooLarge } else { ErrorCode::None }
    };
    topics.iter().map(|topic| topic.partitions.iter().map(check).collect()).collect()
}

fn committed(topic: &CommitTopic, partition: &CommitPartition, expire_ms: Option<i64>, now_ms: i64) -> Committed {
    Committed {
        offset: partition.offset,
        leader_epoch: partition.leader_epoch,
        metadata: partition.metadata.as_str().into(),
        commit_ms: now_ms,
        expire_ms,
        topic_id: topic.id,
        order: 0,
    }
}
