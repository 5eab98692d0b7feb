//! Which leader epoch wrote which offsets (KIP-101): how a client or follower finds where its log parted from the leader's.
//!
//! Pure; one per partition, on its home shard. Read from Kafka's `leader-epoch-checkpoint` and from the batch headers at open, written when a
//! new epoch begins.
//!
//! ```text
//! 0                 version
//! 2                 entries
//! 0 0               epoch, its first offset
//! 3 1500
//! ```

use crate::message::EpochEnd;
use ringlane_protocol::storage::checkpoint::{self, EpochStart};

pub(crate) const CHECKPOINT_FILE: &str = checkpoint::LEADER_EPOCHS;
const NO_EPOCH: i32 = -1;

/// Ascending in both epoch and first offset.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct LeaderEpochs {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    epoch: i32,
    start_offset: i64,
}

impl LeaderEpochs {
    /// Notes that `epoch` begins at `start_offset`, unless it or a later one has begun already. Says whether anything changed.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || self.entries.last().is_some_and(|last| epoch <= last.epoch) {
            return false;
        }
        // An epoch without records leaves no trace: who led without writing cannot have diverged.
        self.truncate_to(start_offset);
        self.entries.push(Entry { epoch, start_offset });
        true
    }

    /// Where `epoch` ends: the largest epoch known that is not above it, and where the next one begins. `None` when it is above all that is
    /// known.
    pub fn end_of(&self, epoch: i32, log_end_offset: i64) -> Option<EpochEnd> {
        let latest = self.entries.last()?;
        if epoch == latest.epoch {
            return Some(EpochEnd { epoch, end_offset: log_end_offset });
        }
        let next = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let end_offset = self.entries.get(next)?.start_offset;
        // Below the first one known: all that we know is that it ended where that one began.
        let epoch = next.checked_sub(1).map_or(epoch, |at| self.entries[at].epoch);
        (epoch != NO_EPOCH).then_some(EpochEnd { epoch, end_offset })
    }

    /// The epoch that wrote `offset`.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        let behind = self.entries.partition_point(|entry| entry.start_offset <= offset);
        behind.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// Each epoch with its first offset.
    pub fn iter(&self) -> impl Iterator<Item = (i32, i64)> {
        self.entries.iter().map(|entry| (entry.epoch, entry.start_offset))
    }

    /// Where the latest epoch began.
    pub fn latest_start(&self) -> Option<i64> {
        self.entries.last().map(|latest| latest.start_offset)
    }

    /// Forgets epochs that began at `end_offset` or later.
    pub fn truncate_to(&mut self, end_offset: i64) {
        self.entries.retain(|entry| entry.start_offset < end_offset);
    }

    /// The log begins at `start_offset` now: forgets epochs that ended before; the one that wrote there begins there.
    pub fn truncate_from_start(&mut self, start_offset: i64) {
        let begun = self.entries.partition_point(|entry| entry.start_offset <= start_offset);
        self.entries.drain(..begun.saturating_sub(1));
        if let Some(first) = self.entries.first_mut() {
            first.start_offset = first.start_offset.max(start_offset);
        }
    }

    /// What the checkpoint says, corrected by what the log holds: the checkpoint knows epochs without records, the log knows what was
    /// written after the last checkpoint.
    pub fn merged(checkpoint: Option<LeaderEpochs>, scanned: LeaderEpochs, log_end_offset: i64) -> LeaderEpochs {
        let Some(mut merged) = checkpoint else {
            return scanned;
        };
        merged.truncate_to(log_end_offset);
        for entry in &scanned.entries {
            let known = merged.entries.iter().find(|known| known.epoch == entry.epoch).copied();
            let agrees = known.map_or_else(
                || merged.assign(entry.epoch, entry.start_offset),
                |known| known.start_offset <= entry.start_offset,
            );
            // Where they contradict each other only the log is left to believe.
            if !agrees {
                return scanned;
            }
        }
        merged
    }

    pub fn to_checkpoint(&self) -> String {
        let lines = self.entries.iter();
        let lines = lines.map(|entry| EpochStart { epoch: entry.epoch, start_offset: entry.start_offset });
        checkpoint::encode_leader_epochs(&lines.collect::<Vec<_>>())
    }

    /// `None` when this is not such a file, whole and in order.
    pub fn from_checkpoint(content: &[u8]) -> Option<LeaderEpochs> {
        let lines = checkpoint::decode_leader_epochs(content).ok()?;
        let entries = lines.into_iter().map(|line| Entry { epoch: line.epoch, start_offset: line.start_offset });
        Some(LeaderEpochs { entries: entries.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_kit::Random;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for (epoch, start_offset) in entries {
            assert!(epochs.assign(*epoch, *start_offset));
        }
        epochs
    }

    fn end(epoch: i32, end_offset: i64) -> Option<EpochEnd> {
        Some(EpochEnd { epoch, end_offset })
    }

    /// A consumer asks where the epoch of its last record ended; a wrong answer makes it skip records or fail without cause.
    #[test]
    fn ends_of_epochs_are_kafkas() {
        let epochs = epochs(&[(2, 0), (4, 100), (7, 250)]);
        assert_eq!(epochs.end_of(7, 300), end(7, 300), "the current one ends at the log's end");
        assert_eq!(epochs.end_of(4, 300), end(4, 250));
        assert_eq!(epochs.end_of(5, 300), end(4, 250), "unknown in between: the one before it");
        assert_eq!(epochs.end_of(1, 300), end(1, 0), "before the first: that one's start");
        assert_eq!(epochs.end_of(8, 300), None);
        assert_eq!(LeaderEpochs::default().end_of(0, 0), None);
        assert_eq!((epochs.epoch_at(99), epochs.epoch_at(100), epochs.epoch_at(9_999)), (Some(2), Some(4), Some(7)));
    }

    /// A leader that wrote nothing leaves no offsets behind that could be asked for.
    #[test]
    fn an_epoch_without_records_is_replaced_by_the_next() {
        let mut epochs = epochs(&[(1, 0), (2, 50)]);
        assert!(epochs.assign(3, 50));
        assert_eq!(epochs.to_checkpoint(), "0\n2\n1 0\n3 50\n");
        assert!(!epochs.assign(3, 60) && !epochs.assign(2, 60) && !epochs.assign(-1, 60));
    }

    /// Epochs of deleted records would send a client to offsets that are gone; the epoch in which the log now begins must stay.
    #[test]
    fn epochs_of_deleted_records_are_forgotten() {
        for (start, expected) in [
            (0, "0\n3\n2 0\n4 100\n7 250\n"),
            (50, "0\n3\n2 50\n4 100\n7 250\n"),
            (100, "0\n2\n4 100\n7 250\n"),
            (249, "0\n2\n4 249\n7 250\n"),
            (300, "0\n1\n7 300\n"),
        ] {
            let mut epochs = epochs(&[(2, 0), (4, 100), (7, 250)]);
            epochs.truncate_from_start(start);
            assert_eq!(epochs.to_checkpoint(), expected, "start {start}");
        }
        let mut none = LeaderEpochs::default();
        none.truncate_from_start(10);
        assert_eq!(none, LeaderEpochs::default());
    }

    /// Kafka's own tools read this file, and its directories are opened here.
    #[test]
    fn the_checkpoint_reads_back_and_damage_is_told() {
        let written = epochs(&[(0, 0), (3, 1_500)]);
        assert_eq!(written.to_checkpoint(), "0\n2\n0 0\n3 1500\n");
        assert_eq!(LeaderEpochs::from_checkpoint(written.to_checkpoint().as_bytes()), Some(written));
        for damaged in
            ["", "0\n", "1\n0\n", "0\n2\n0 0\n", "0\n1\n0\n", "0\n1\nx 0\n", "0\n2\n3 0\n1 5\n", "0\n2\n1 9\n2 5\n"]
        {
            assert_eq!(LeaderEpochs::from_checkpoint(damaged.as_bytes()), None, "{damaged:?}");
        }
        assert_eq!(LeaderEpochs::from_checkpoint(&[0xff, 0xfe]), None);
    }

    /// After a crash the checkpoint may be older than the log, or newer, or gone; what the log holds is the truth in every case.
    #[test]
    fn the_log_corrects_the_checkpoint() {
        let scanned = epochs(&[(1, 0), (3, 40)]);
        assert_eq!(LeaderEpochs::merged(None, scanned.clone(), 60), scanned);
        assert_eq!(LeaderEpochs::merged(Some(epochs(&[(1, 0)])), scanned.clone(), 60), scanned, "older");
        let newer = Some(epochs(&[(1, 0), (3, 40), (5, 80)]));
        assert_eq!(LeaderEpochs::merged(newer, scanned.clone(), 60), scanned, "its records were lost");
        let wrong = Some(epochs(&[(1, 0), (3, 50)]));
        assert_eq!(LeaderEpochs::merged(wrong, scanned.clone(), 60), scanned, "contradiction");
        let empty_log = LeaderEpochs::merged(Some(epochs(&[(1, 0)])), LeaderEpochs::default(), 0);
        assert_eq!(empty_log, LeaderEpochs::default());
    }

    /// The same questions, asked of a list with one entry per offset.
    #[test]
    fn agrees_with_a_list_of_offsets() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut epochs = LeaderEpochs::default();
            let mut by_offset: Vec<i32> = Vec::new();
            let mut epoch = 0;
            for _ in 0..60 {
                match random.below(6) {
                    0 => epoch += 1 + random.below(2) as i32,
                    1 => {
                        by_offset.truncate(by_offset.len().saturating_sub(random.below(4)));
                        epochs.truncate_to(by_offset.len() as i64);
                        epoch += 1;
                    }
                    _ => {
                        epochs.assign(epoch, by_offset.len() as i64);
                        by_offset.push(epoch);
                    }
                }
                for asked in 0..epoch + 2 {
                    let last = by_offset.last().copied().unwrap_or(NO_EPOCH);
                    let below = by_offset.iter().filter(|epoch| **epoch <= asked).count();
                    let expected = (asked <= last).then(|| EpochEnd {
                        epoch: by_offset[..below].last().copied().unwrap_or(asked),
                        end_offset: below as i64,
                    });
                    assert_eq!(epochs.end_of(asked, by_offset.len() as i64), expected, "seed {seed}, epoch {asked}");
                }
            }
        }
    }
}
