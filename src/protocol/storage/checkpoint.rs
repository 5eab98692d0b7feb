//! Kafka's checkpoint files: text with a version, a count, and that many lines.
//!
//! ```text
//! 0                 version                       0
//! 2                 entries                       1
//! orders 3 1500     topic, partition, offset      0 0      leader epoch, its first offset
//! orders 4 0
//! ```
//! At the top of a data directory: one line a partition, see [`OFFSET_CHECKPOINTS`]. In a partition's folder: `leader-epoch-checkpoint`.

use super::FileError;
use std::fmt::Write;

pub const RECOVERY_POINT: &str = "recovery-point-offset-checkpoint";
pub const LOG_START_OFFSET: &str = "log-start-offset-checkpoint";
pub const HIGH_WATERMARK: &str = "replication-offset-checkpoint";
pub const CLEANED_OFFSET: &str = "cleaner-offset-checkpoint";
/// Files with one line a partition.
pub const OFFSET_CHECKPOINTS: [&str; 4] = [RECOVERY_POINT, LOG_START_OFFSET, HIGH_WATERMARK, CLEANED_OFFSET];
/// File in a partition's folder with one line a leader epoch.
pub const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";

const VERSION: i16 = 0;

/// One line of an offset checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionOffset {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// One line of `leader-epoch-checkpoint`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochStart {
    pub epoch: i32,
    pub start_offset: i64,
}

pub fn encode_offsets(entries: &[PartitionOffset]) -> String {
    let lines = entries.iter().map(|entry| format!("{} {} {}", entry.topic, entry.partition, entry.offset));
    encode(entries.len(), lines)
}

/// A partition that stands there twice is damage: which one counts nobody could say.
pub fn decode_offsets(content: &[u8]) -> Result<Vec<PartitionOffset>, FileError> {
    let mut seen = std::collections::BTreeSet::new();
    decode(content, |line, fields| {
        let [topic, partition, offset] = fields[..] else {
            return Err(FileError::Line { line, what: "expected a topic, a partition and an offset" });
        };
        let partition = number(line, partition, "the partition is not a number")?;
        let entry = PartitionOffset {
            topic: topic.to_owned(),
            partition,
            offset: number(line, offset, "the offset is not a number")?,
        };
        if entry.partition < 0 || entry.offset < 0 {
            return Err(FileError::Line { line, what: "partition or offset is negative" });
        }
        if !seen.insert((entry.topic.clone(), entry.partition)) {
            return Err(FileError::Line { line, what: "this partition stands there twice" });
        }
        Ok(entry)
    })
}

pub fn encode_leader_epochs(entries: &[EpochStart]) -> String {
    encode(entries.len(), entries.iter().map(|entry| format!("{} {}", entry.epoch, entry.start_offset)))
}

/// Ascending in both.
pub fn decode_leader_epochs(content: &[u8]) -> Result<Vec<EpochStart>, FileError> {
    let mut before: Option<EpochStart> = None;
    decode(content, |line, fields| {
        let [epoch, start_offset] = fields[..] else {
            return Err(FileError::Line { line, what: "expected a leader epoch and its first offset" });
        };
        let entry = EpochStart {
            epoch: number(line, epoch, "the leader epoch is not a number")?,
            start_offset: number(line, start_offset, "the offset is not a number")?,
        };
        if before.is_some_and(|before| entry.epoch <= before.epoch || entry.start_offset < before.start_offset) {
            return Err(FileError::Line { line, what: "it is not behind the line before it" });
        }
        before = Some(entry);
        Ok(entry)
    })
}

fn encode(count: usize, lines: impl Iterator<Item = String>) -> String {
    let mut text = format!("{VERSION}\n{count}\n");
    for line in lines {
        writeln!(text, "{line}").expect("a string takes all that is written");
    }
    text
}

/// `entry` gets the number and the fields of each line behind the first two. Empty lines count for nothing.
fn decode<T>(
    content: &[u8],
    mut entry: impl FnMut(usize, &[&str]) -> Result<T, FileError>,
) -> Result<Vec<T>, FileError> {
    let text = str::from_utf8(content).map_err(|_| FileError::Line { line: 1, what: "the file is not text" })?;
    let mut lines = (1..).zip(text.lines());
    let mut next = |what| lines.next().ok_or(FileError::Line { line: 1, what });
    let (line, version) = next("the file is empty")?;
    match number(line, version.trim(), "the format version is not a number")? {
        VERSION => {}
        found => return Err(FileError::Version { known: VERSION, found }),
    }
    let (line, count) = next("the count of entries is missing")?;
    let announced: usize = number(line, count.trim(), "the count of entries is not a number")?;
    let mut entries = Vec::new();
    for (line, text) in lines {
        let fields: Vec<&str> = text.split_whitespace().collect();
        if !fields.is_empty() {
            entries.push(entry(line, &fields)?);
        }
    }
    if entries.len() == announced { Ok(entries) } else { Err(FileError::Count { announced, found: entries.len() }) }
}

fn number<T: std::str::FromStr>(line: usize, text: &str, what: &'static str) -> Result<T, FileError> {
    text.parse().map_err(|_| FileError::Line { line, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(topic: &str, partition: i32, offset: i64) -> PartitionOffset {
        PartitionOffset { topic: topic.to_owned(), partition, offset }
    }

    /// Kafka's broker refuses to start over a checkpoint that it cannot read; ours must be its own.
    #[test]
    fn offsets_are_kafkas_text() {
        let entries = [of("__transaction_state", 42, 0), of("orders", 3, 1500)];
        assert_eq!(encode_offsets(&entries), "0\n2\n__transaction_state 42 0\norders 3 1500\n");
        assert_eq!(decode_offsets(encode_offsets(&entries).as_bytes()).unwrap(), entries);
        assert_eq!(decode_offsets(b"0\n0\n"), Ok(vec![]));
        let epochs = [EpochStart { epoch: 0, start_offset: 0 }, EpochStart { epoch: 3, start_offset: 1500 }];
        assert_eq!(encode_leader_epochs(&epochs), "0\n2\n0 0\n3 1500\n");
        assert_eq!(decode_leader_epochs(encode_leader_epochs(&epochs).as_bytes()).unwrap(), epochs);
    }

    /// A file that is read as something else moves a log's start or its recovery point: records vanish.
    #[test]
    fn damage_is_told_with_its_line() {
        for (content, expected) in [
            (&b""[..], "line 1: the file is empty"),
            (b"0\n", "count of entries is missing"),
            (b"x\n0\n", "line 1: the format version"),
            (b"1\n0\n", "format version 1, this release reads version 0"),
            (b"0\n-1\n", "line 2: the count"),
            (b"0\n2\na 0 0\n", "announces 2 entries, 1 follow"),
            (b"0\n0\na 0 0\n", "announces 0 entries, 1 follow"),
            (b"0\n1\na 0\n", "line 3: expected a topic"),
            (b"0\n1\na 0 1 2\n", "line 3: expected a topic"),
            (b"0\n1\na x 0\n", "line 3: the partition"),
            (b"0\n1\na 0 99999999999999999999\n", "line 3: the offset"),
            (b"0\n1\na 0 -5\n", "line 3: partition or offset is negative"),
            (b"0\n2\na 0 1\na 0 2\n", "line 4: this partition stands there twice"),
            (b"\xff\xfe", "not text"),
        ] {
            let error = decode_offsets(content).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        for content in [&b"0\n2\n3 0\n1 5\n"[..], b"0\n2\n1 9\n2 5\n", b"0\n1\nx 0\n", b"0\n1\n0\n"] {
            assert!(decode_leader_epochs(content).is_err(), "{content:?}");
        }
    }
}
