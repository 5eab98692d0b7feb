//! The aborted transactions of a partition: what a reader of committed records is told to leave out, and what the cleaner removes.
//!
//! Pure; one per partition, on its home shard. In memory, 32 bytes each, for as long as the log has their records; a checkpoint stores it.

use crate::message::AbortedTransaction as Told;
use ringlane_protocol::storage::txn_index::AbortedTransaction;
use std::collections::VecDeque;

/// In the order of their markers, which is that of `last_offset`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct AbortedIndex {
    transactions: VecDeque<AbortedTransaction>,
}

impl AbortedIndex {
    pub fn push(&mut self, aborted: AbortedTransaction) {
        debug_assert!(self.transactions.back().is_none_or(|last| last.last_offset < aborted.last_offset));
        self.transactions.push_back(aborted);
    }

    /// Whether a reader from `from` on may have to leave anything out.
    pub fn concerns(&self, from: i64) -> bool {
        self.transactions.back().is_some_and(|last| last.last_offset >= from)
    }

    /// Those with records at or behind `from` and below `below`.
    pub fn overlapping(&self, from: i64, below: i64) -> Vec<Told> {
        let first = self.transactions.partition_point(|aborted| aborted.last_offset < from);
        let mut found = Vec::new();
        for aborted in self.transactions.range(first..) {
            if aborted.first_offset < below {
                found.push(Told { producer_id: aborted.producer_id, first_offset: aborted.first_offset });
            }
            // Whatever ended later began at its last stable offset or behind it.
            if aborted.last_stable_offset >= below {
                break;
            }
        }
        found
    }

    /// The log begins there now.
    pub fn forget_below(&mut self, log_start_offset: i64) {
        while self.transactions.pop_front_if(|first| first.last_offset < log_start_offset).is_some() {}
    }

    pub fn iter(&self) -> impl Iterator<Item = &AbortedTransaction> {
        self.transactions.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> AbortedIndex {
        let mut index = AbortedIndex::default();
        // Producers 1 and 2 overlap; 3 comes behind them.
        for (producer_id, first_offset, last_offset, last_stable_offset) in
            [(1, 10, 20, 15), (2, 15, 30, 31), (3, 40, 45, 46)]
        {
            index.push(AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset });
        }
        index
    }

    /// A reader that is not told of one shows what was taken back.
    #[test]
    fn a_reader_is_told_of_every_one_that_its_records_may_belong_to() {
        let index = index();
        let found =
            |from, below| index.overlapping(from, below).iter().map(|told| told.producer_id).collect::<Vec<_>>();
        assert_eq!(found(0, 100), [1, 2, 3]);
        assert_eq!(found(0, 12), [1]);
        assert_eq!(found(0, 16), [1, 2]);
        assert_eq!(found(21, 100), [2, 3]);
        assert_eq!(found(31, 40), [0; 0]);
        assert_eq!(found(46, 100), [0; 0]);
        assert!(index.concerns(45) && !index.concerns(46));
    }

    /// The plain rule, over everything: the early end of the search must not lose one.
    #[test]
    fn agrees_with_a_search_of_all() {
        let mut random = crate::test_kit::Random::new(3);
        for _ in 0..200 {
            let (mut open, mut offset) = (crate::open_transactions::OpenTransactions::default(), 0);
            let (mut index, mut all) = (AbortedIndex::default(), Vec::new());
            for _ in 0..60 {
                let producer = random.below(5) as i64;
                let open_now = crate::open_transactions::Open { first_offset: offset, epoch: 0 };
                if !open.is_open(producer) {
                    open.open(producer, open_now);
                } else if let Some(ended) = open.end(producer, offset)
                    && random.below(2) == 0
                {
                    index.push(ended);
                    all.push(ended);
                }
                offset += 1;
            }
            for _ in 0..50 {
                let from = random.below(60) as i64;
                let below = from + random.below(20) as i64;
                // Kafka's bound for readers: nothing at or above it is shown.
                let expected = all.iter().filter(|one| one.last_offset >= from && one.first_offset < below);
                let expected: Vec<_> = expected.map(|one| (one.producer_id, one.first_offset)).collect();
                let found = index.overlapping(from, below);
                let found: Vec<_> = found.iter().map(|told| (told.producer_id, told.first_offset)).collect();
                assert_eq!(found, expected, "{from}..{below} in {all:?}");
            }
        }
    }

    /// What retention removed stays in memory for ever.
    #[test]
    fn what_the_log_has_lost_is_forgotten() {
        let mut index = index();
        index.forget_below(31);
        assert_eq!(index.iter().map(|aborted| aborted.producer_id).collect::<Vec<_>>(), [3]);
    }
}
