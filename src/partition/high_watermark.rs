//! Up to where a partition's records are safe enough for consumers to see. Pure; one per partition, on its home shard.
//!
//! The leader moves it to the smallest end offset of the in-sync replicas. Its own end is what is stable, not what is appended: so an ack
//! and a consumer's read never speak of a record that a crash may take back. Frozen while there are fewer in-sync replicas than
//! `min.insync.replicas` (Kafka 4.x, `maybeIncrementLeaderHW`). Never moves back.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HighWatermark {
    offset: i64,
}

impl HighWatermark {
    pub fn new(offset: i64) -> HighWatermark {
        HighWatermark { offset }
    }

    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// `stable`: the leader's own; `others`: end offsets of the other replicas in the maximal ISR (the ISR and who is being added to it).
    /// Says whether it moved.
    pub fn advance(&mut self, stable: i64, others: impl IntoIterator<Item = i64>, isr_is_enough: bool) -> bool {
        let replicated = others.into_iter().fold(stable, i64::min);
        let moves = isr_is_enough && replicated > self.offset;
        if moves {
            self.offset = replicated;
        }
        moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A consumer that has read an offset must find the same record there after any crash of one replica.
    #[test]
    fn follows_the_slowest_in_sync_replica_and_never_passes_stable() {
        let mut high = HighWatermark::new(10);
        assert!(high.advance(20, [], true));
        assert!(high.advance(50, [40, 30], true));
        assert_eq!(high.offset(), 30);
        assert!(high.advance(35, [60, 60], true), "appended further everywhere, but stable here only to 35");
        assert_eq!(high.offset(), 35);
    }

    /// A new follower behind the high watermark joins the maximal ISR before it has caught up: visible records stay visible.
    #[test]
    fn never_moves_back_and_stands_still_below_min_isr() {
        let mut high = HighWatermark::new(30);
        assert!(!high.advance(50, [10], true));
        assert!(!high.advance(50, [], false));
        assert_eq!(high.offset(), 30);
    }
}
