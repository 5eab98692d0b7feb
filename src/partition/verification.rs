//! First appends of transactions that wait for their coordinator's word (KIP-890).
//!
//! Pure; one per partition, on its home shard. The guard given when the verification began must still be there when the batch comes: any
//! marker of the producer in between takes it away, so that a late batch cannot open a transaction that is over. Guards are few, because
//! each is the connection's only request meanwhile; bounded, because a client may name any producer.

use std::collections::BTreeMap;

/// Beyond it the oldest verification is forgotten: its batch is refused and sent again.
const VERIFICATIONS_MAX: usize = 1_000;

/// Proof that a verification began at this partition and was not overtaken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VerificationGuard(u64);

#[derive(Default)]
pub(crate) struct Verifications {
    by_producer: BTreeMap<i64, Verification>,
    next_guard: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Verification {
    pub guard: VerificationGuard,
    pub epoch: i16,
    /// No batch behind this one may come first: a later one that is quicker would make the earlier out of order for ever.
    pub lowest_sequence: i32,
    /// The client's epoch is bumped with every transaction.
    pub bumps_epoch: bool,
}

impl Verifications {
    /// Begins a verification, or joins the one under way.
    pub fn begin(&mut self, producer_id: i64, epoch: i16, sequence: i32, bumps_epoch: bool) -> VerificationGuard {
        if self.by_producer.len() >= VERIFICATIONS_MAX && !self.by_producer.contains_key(&producer_id) {
            self.forget_oldest();
        }
        let guard = VerificationGuard(self.next_guard);
        self.next_guard += 1;
        let begun = Verification { guard, epoch, lowest_sequence: sequence, bumps_epoch };
        let known = self.by_producer.entry(producer_id).or_insert(begun);
        if epoch > known.epoch {
            (known.epoch, known.lowest_sequence) = (epoch, sequence);
        } else if epoch == known.epoch {
            known.lowest_sequence = known.lowest_sequence.min(sequence);
        }
        known.guard
    }

    pub fn of(&self, producer_id: i64) -> Option<Verification> {
        self.by_producer.get(&producer_id).copied()
    }

    /// The producer's batch was appended.
    pub fn opened(&mut self, producer_id: i64) {
        self.by_producer.remove(&producer_id);
    }

    /// The producer's marker was appended, with that epoch.
    pub fn ended(&mut self, producer_id: i64, marker_epoch: i16) {
        // With bumps, the marker's epoch is that of the next transaction, which may have begun to ask already.
        let is_of_next = |known: &Verification| known.bumps_epoch && known.epoch == marker_epoch;
        if !self.by_producer.get(&producer_id).is_some_and(is_of_next) {
            self.by_producer.remove(&producer_id);
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.by_producer.iter().min_by_key(|(_, known)| known.guard).map(|(producer_id, _)| *producer_id);
        if let Some(producer_id) = oldest {
            self.by_producer.remove(&producer_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verified, then aborted, then the batch arrives: it would open a transaction that nobody ends.
    #[test]
    fn a_marker_takes_the_guard_away_and_the_next_one_is_another() {
        let mut verifications = Verifications::default();
        let guard = verifications.begin(7, 0, 0, false);
        assert_eq!(verifications.begin(7, 0, 5, false), guard, "joined");
        verifications.ended(7, 0);
        assert!(verifications.of(7).is_none());
        assert_ne!(verifications.begin(7, 0, 0, false), guard);
        verifications.opened(7);
        assert!(verifications.of(7).is_none());
    }

    /// With bumps a producer goes on while its last markers are written: they must not throw its first batch out again.
    #[test]
    fn the_marker_of_the_last_transaction_leaves_the_next_ones_guard() {
        let mut verifications = Verifications::default();
        let guard = verifications.begin(7, 1, 0, true);
        verifications.ended(7, 1);
        assert_eq!(verifications.of(7).unwrap().guard, guard);
        verifications.ended(7, 2);
        assert!(verifications.of(7).is_none());
    }

    /// A later batch that is verified first would shut the earlier one out.
    #[test]
    fn the_lowest_sequence_of_the_latest_epoch_is_remembered() {
        let mut verifications = Verifications::default();
        verifications.begin(7, 0, 5, false);
        verifications.begin(7, 0, 3, false);
        verifications.begin(7, 0, 9, false);
        assert_eq!(verifications.of(7).unwrap().lowest_sequence, 3);
        verifications.begin(7, 1, 8, false);
        assert_eq!(verifications.of(7).unwrap().lowest_sequence, 8);
    }

    /// Anyone may send batches of invented producers.
    #[test]
    fn invented_producers_take_no_memory() {
        let mut verifications = Verifications::default();
        for producer_id in 0..3_000 {
            verifications.begin(producer_id, 0, 0, true);
        }
        assert_eq!(verifications.by_producer.len(), VERIFICATIONS_MAX);
        assert!(verifications.of(1_999).is_none() && verifications.of(2_000).is_some());
    }
}
