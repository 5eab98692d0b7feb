//! The states of a transactional id, by Kafka's numbers and names.

use std::fmt;

/// Where a transactional id stands. Two of Kafka's numbers are not here: 6 (Dead) is a missing record, and 7 (PrepareEpochFence) is never
/// written: a fence and the abort that follows it are one step here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TransactionState {
    Empty = 0,
    Ongoing = 1,
    PrepareCommit = 2,
    PrepareAbort = 3,
    CompleteCommit = 4,
    CompleteAbort = 5,
}

/// States that Kafka's tools may ask for and that no transactional id is ever seen in.
const NEVER_SEEN: [&str; 2] = ["Dead", "PrepareEpochFence"];

impl TransactionState {
    pub const ALL: [TransactionState; 6] = [
        TransactionState::Empty,
        TransactionState::Ongoing,
        TransactionState::PrepareCommit,
        TransactionState::PrepareAbort,
        TransactionState::CompleteCommit,
        TransactionState::CompleteAbort,
    ];

    pub fn number(self) -> i8 {
        self as i8
    }

    pub fn of_number(number: i8) -> Option<TransactionState> {
        TransactionState::ALL.into_iter().find(|state| state.number() == number)
    }

    /// As DescribeTransactions and ListTransactions say it.
    pub fn name(self) -> &'static str {
        match self {
            TransactionState::Empty => "Empty",
            TransactionState::Ongoing => "Ongoing",
            TransactionState::PrepareCommit => "PrepareCommit",
            TransactionState::PrepareAbort => "PrepareAbort",
            TransactionState::CompleteCommit => "CompleteCommit",
            TransactionState::CompleteAbort => "CompleteAbort",
        }
    }

    /// Whether a filter may name this state. One that it may not is told back to whoever asked.
    pub fn is_known_name(name: &str) -> bool {
        TransactionState::ALL.iter().any(|state| state.name() == name) || NEVER_SEEN.contains(&name)
    }

    /// Markers are under way: the outcome is decided and nothing else may happen before they are written.
    pub fn is_ending(self) -> bool {
        matches!(self, TransactionState::PrepareCommit | TransactionState::PrepareAbort)
    }

    /// Nothing is open: a new transaction may begin, and the id may expire.
    pub fn is_at_rest(self) -> bool {
        matches!(self, TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort)
    }
}

impl fmt::Display for TransactionState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Commit or abort.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    Abort,
    Commit,
}

impl Outcome {
    pub fn of(committed: bool) -> Outcome {
        if committed { Outcome::Commit } else { Outcome::Abort }
    }

    pub(super) fn preparing(self) -> TransactionState {
        match self {
            Outcome::Commit => TransactionState::PrepareCommit,
            Outcome::Abort => TransactionState::PrepareAbort,
        }
    }

    pub(super) fn complete(self) -> TransactionState {
        match self {
            Outcome::Commit => TransactionState::CompleteCommit,
            Outcome::Abort => TransactionState::CompleteAbort,
        }
    }
}

/// Kafka's feature `transaction.version`: which protocol a client speaks, or the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum TransactionVersion {
    #[default]
    Zero = 0,
    /// Records with tagged fields; the protocol of 0.
    One = 1,
    /// Every end of a transaction bumps the producer's epoch, and partitions are added by the broker that is written to (KIP-890).
    Two = 2,
}

impl TransactionVersion {
    /// Levels of later releases are those of the newest that we know.
    pub fn of_level(level: i16) -> TransactionVersion {
        match level {
            ..=0 => TransactionVersion::Zero,
            1 => TransactionVersion::One,
            2.. => TransactionVersion::Two,
        }
    }

    pub fn level(self) -> i16 {
        self as i16
    }

    pub fn bumps_epoch(self) -> bool {
        self >= TransactionVersion::Two
    }

    /// The version of the records that a cluster of this level writes.
    pub(super) fn record_version(self) -> i16 {
        if self >= TransactionVersion::One { 1 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are in every log; a state read as another commits what was aborted.
    #[test]
    fn numbers_and_names_are_kafkas() {
        let names = ["Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"];
        for (number, name) in (0..).zip(names) {
            let state = TransactionState::of_number(number).unwrap();
            assert_eq!((state.number(), state.name()), (number, name));
        }
        assert_eq!(TransactionState::of_number(6), None);
        assert!(TransactionState::is_known_name("Dead") && !TransactionState::is_known_name("ongoing"));
        assert_eq!(TransactionVersion::of_level(-1), TransactionVersion::Zero);
        assert_eq!(TransactionVersion::of_level(7), TransactionVersion::Two);
    }
}
