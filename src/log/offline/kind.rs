//! What a file in a data directory is, by its name alone. Pure.

use crate::journal::kept;
use crate::{cleaner, files, log_start};
use ringlane_protocol::storage::{checkpoint, meta_properties};
use std::path::Path;

/// Ends the names of what `repair` took out of a log and kept.
pub const SAVED_SUFFIX: &str = ".cut";
/// A segment that `repair` writes anew, until it has the segment's name.
pub(crate) const REWRITTEN_SUFFIX: &str = ".repaired";

/// Beginnings and ends of what a broker leaves when it stops in the middle of a deletion, a cleaning or a replacement.
const LEFTOVER_SUFFIXES: [&str; 5] = [files::DELETED_SUFFIX, ".cleaned", ".swap", ".tmp", REWRITTEN_SUFFIX];
/// Files of Kafka's metadata quorum in `__cluster_metadata-0`, and its mark of topics kept elsewhere.
const KAFKA_NAMES: [&str; 2] = ["quorum-state", "remote_log_metadata_snapshot"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// `OFFSET.log`
    Segment,
    /// `OFFSET.index`
    OffsetIndex,
    /// `OFFSET.timeindex`
    TimeIndex,
    /// `OFFSET.txnindex`
    TxnIndex,
    /// `OFFSET.snapshot`
    ProducerSnapshot,
    LeaderEpochs,
    /// One line a partition, at the top of a data directory.
    OffsetCheckpoint,
    PartitionMetadata,
    /// One offset of ours: where the log starts, up to where it is cleaned.
    Offset,
    /// What the journals had of a log that did not open.
    KeptJournal,
    /// `NUMBER.journal` of a shard.
    Journal,
    MetaProperties,
    /// The next segment, not yet part of the log.
    NextSegment,
    /// Kafka's, known but not looked into.
    KafkaOther,
    /// The next start finishes or removes it.
    Leftover,
    /// Kept by a repair; nobody reads it.
    Saved,
    Unknown,
}

impl FileKind {
    pub fn of(path: &Path) -> FileKind {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return FileKind::Unknown };
        if name.ends_with(SAVED_SUFFIX) {
            return FileKind::Saved;
        }
        if LEFTOVER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
            return FileKind::Leftover;
        }
        match name {
            files::PARTITION_METADATA => FileKind::PartitionMetadata,
            files::NEXT_SEGMENT => FileKind::NextSegment,
            kept::FILE => FileKind::KeptJournal,
            log_start::FILE | cleaner::CHECKPOINT_FILE => FileKind::Offset,
            checkpoint::LEADER_EPOCHS => FileKind::LeaderEpochs,
            meta_properties::FILE_NAME => FileKind::MetaProperties,
            name if checkpoint::OFFSET_CHECKPOINTS.contains(&name) => FileKind::OffsetCheckpoint,
            name if KAFKA_NAMES.contains(&name) || name.ends_with(".checkpoint") => FileKind::KafkaOther,
            name => match name.rsplit_once('.') {
                Some((_, "log")) => FileKind::Segment,
                Some((_, "index")) => FileKind::OffsetIndex,
                Some((_, "timeindex")) => FileKind::TimeIndex,
                Some((_, "txnindex")) => FileKind::TxnIndex,
                Some((_, "snapshot")) => FileKind::ProducerSnapshot,
                Some((_, "journal")) => FileKind::Journal,
                _ => FileKind::Unknown,
            },
        }
    }
}

/// The offset that the names of segments, their indexes and snapshots begin with.
pub fn offset_in_name(path: &Path) -> Option<i64> {
    let (digits, _) = path.file_name()?.to_str()?.split_once('.')?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name taken for another kind is read as garbage, or not looked at while the command says that all is well.
    #[test]
    fn names_say_what_a_file_is() {
        let of = |name: &str| FileKind::of(&Path::new("data/orders-0").join(name));
        assert_eq!(of("00000000000000000042.log"), FileKind::Segment);
        assert_eq!(of("00000000000000000042.log.deleted"), FileKind::Leftover);
        assert_eq!(of("00000000000000000042.log.swap"), FileKind::Leftover);
        assert_eq!(of("00000000000000000042.log.1000.cut"), FileKind::Saved);
        assert_eq!(of("00000000000000000042.timeindex"), FileKind::TimeIndex);
        assert_eq!(of("recovery-point-offset-checkpoint"), FileKind::OffsetCheckpoint);
        assert_eq!(of("00000000000000000000-0000000000.checkpoint"), FileKind::KafkaOther);
        assert_eq!(of("log-start-offset"), FileKind::Offset);
        assert_eq!(of("kept.journal"), FileKind::KeptJournal);
        assert_eq!(of("00000001.journal"), FileKind::Journal);
        assert_eq!(of("notes.txt"), FileKind::Unknown);
        assert_eq!(offset_in_name(Path::new("a/00000000000000000042.txnindex")), Some(42));
        assert_eq!(offset_in_name(Path::new("a/42.log")), None);
    }
}
