//! Names and small files of a partition's folder, as Kafka has them.
//!
//! Pure. `recovery` reads the folder, `space` names new segments, `log` keeps the checkpoints.

use ringlane_protocol::TopicId;
use std::path::{Path, PathBuf};

pub(crate) const PARTITION_METADATA: &str = "partition.metadata";
/// The next segment's file until it has its offset for a name. A crash may leave data in it: `recovery` looks.
pub(crate) const NEXT_SEGMENT: &str = "next.prepared";
/// Ends the name of a segment's index of aborted transactions.
pub(crate) const TRANSACTION_INDEX: &str = ".txnindex";
/// Ends the name of the producers as of an offset.
pub(crate) const PRODUCER_SNAPSHOT: &str = ".snapshot";
/// Ends the name of a folder whose log was deleted.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";

pub(crate) fn segment_path(folder: &Path, base_offset: i64) -> PathBuf {
    folder.join(format!("{base_offset:020}.log"))
}

pub(crate) fn index_path(folder: &Path, base_offset: i64) -> PathBuf {
    folder.join(format!("{base_offset:020}.index"))
}

pub(crate) fn time_index_path(folder: &Path, base_offset: i64) -> PathBuf {
    folder.join(format!("{base_offset:020}.timeindex"))
}

pub(crate) fn transaction_index_path(folder: &Path, base_offset: i64) -> PathBuf {
    folder.join(format!("{base_offset:020}{TRANSACTION_INDEX}"))
}

pub(crate) fn producer_snapshot_path(folder: &Path, offset: i64) -> PathBuf {
    folder.join(format!("{offset:020}{PRODUCER_SNAPSHOT}"))
}

/// The base offset that a segment's file name gives.
pub(crate) fn segment_base(path: &Path) -> Option<i64> {
    offset_before(path, ".log")
}

/// The offset that the name of a file with this suffix gives.
pub(crate) fn offset_before(path: &Path, suffix: &str) -> Option<i64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(suffix)?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

pub(crate) fn encode_partition_metadata(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {topic_id}\n")
}

pub(crate) fn decode_partition_metadata(content: &[u8]) -> Result<TopicId, String> {
    let text = str::from_utf8(content).map_err(|_| "is not text".to_owned())?;
    let field = |name| text.lines().find_map(|line| line.split_once(':').filter(|(key, _)| *key == name));
    match field("version").map(|(_, version)| version.trim()) {
        Some("0") => {}
        Some(other) => return Err(format!("has version {other}; this release reads version 0")),
        None => return Err("has no line \"version: 0\"".to_owned()),
    }
    let (_, id) = field("topic_id").ok_or("has no line \"topic_id: ...\"")?;
    id.trim().parse().map_err(|error| format!("has a bad topic id: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kafka's tools find a log by these names, and refuse others.
    #[test]
    fn names_are_kafkas() {
        let folder = Path::new("data/orders-3");
        assert_eq!(segment_path(folder, 42), Path::new("data/orders-3/00000000000000000042.log"));
        assert_eq!(segment_base(&segment_path(folder, i64::MAX)), Some(i64::MAX));
        for other in ["00000000000000000042.index", "0042.log", "+0000000000000000042.log", "next.prepared", ".log"] {
            assert_eq!(segment_base(Path::new(other)), None, "{other}");
        }
    }

    /// A folder of a deleted topic of the same name must not be taken for the new topic's.
    #[test]
    fn partition_metadata_round_trips_and_names_what_is_wrong() {
        let id = TopicId([7; 16]);
        assert_eq!(decode_partition_metadata(encode_partition_metadata(id).as_bytes()), Ok(id));
        assert!(decode_partition_metadata(b"version: 1\ntopic_id: x\n").unwrap_err().contains("version 1"));
        assert!(decode_partition_metadata(b"version: 0\ntopic_id: x\n").unwrap_err().contains("topic id"));
        assert!(decode_partition_metadata(b"\xff").is_err());
    }
}
