//! Owns the memory budget of all tails of a shard: the batch that is oldest in the shard goes first, whichever log it is in.
//!
//! Oldest first, because batches that came in one request lie in one buffer, spread over logs: they must go at about the same time, or a
//! slow log's batch would keep a whole buffer alive. Called by `log` after an append and by `writer` after a write.

use crate::LogKey;
use crate::chunks::Chunks;
use crate::state::Eviction;
use crate::tail::Sequence;

pub(crate) struct TailCache {
    /// Every batch in any tail, in the order of arrival; also some that are gone, until their turn comes.
    queue: Chunks<(LogKey, Sequence)>,
    used_bytes: usize,
    limit_bytes: usize,
}

impl TailCache {
    pub fn new(limit_bytes: usize) -> TailCache {
        TailCache { queue: Chunks::default(), used_bytes: 0, limit_bytes }
    }

    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    pub fn admit(&mut self, log: LogKey, sequence: Sequence, bytes: usize) {
        self.queue.push_back((log, sequence));
        self.used_bytes += bytes;
    }

    /// Memory that a tail gave up by itself.
    pub fn freed(&mut self, bytes: usize) {
        self.used_bytes -= bytes;
    }

    /// Evicts until the budget holds, or the oldest batch is not durable in its segment yet: then the answer is its log.
    pub fn trim(&mut self, mut evict: impl FnMut(LogKey, Sequence) -> Eviction) -> Option<LogKey> {
        while self.used_bytes > self.limit_bytes {
            let (log, sequence) = self.queue.front().copied()?;
            match evict(log, sequence) {
                Eviction::Freed(bytes) => self.used_bytes -= bytes,
                Eviction::Gone => {}
                Eviction::NotDurable => return Some(log),
            }
            self.queue.pop_front();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache over its budget ends in an out-of-memory kill; one that gives up at a gone entry never shrinks again.
    #[test]
    fn the_oldest_batches_go_until_the_budget_holds() {
        let mut cache = TailCache::new(250);
        for (log, sequence) in [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2)] {
            cache.admit(LogKey(log), sequence, 100);
        }
        cache.freed(100);
        let mut asked = Vec::new();
        cache.trim(|log, sequence| {
            asked.push((log.0, sequence));
            match (log.0, sequence) {
                (1, 0) => Eviction::Gone,
                (2, 1) => Eviction::NotDurable,
                _ => Eviction::Freed(100),
            }
        });
        assert_eq!(asked, [(1, 0), (2, 0), (1, 1)]);
        assert_eq!(cache.used_bytes(), 200);

        cache.admit(LogKey(1), 3, 100);
        cache.trim(|_, _| Eviction::NotDurable);
        assert_eq!(cache.used_bytes(), 300, "what is not on disk stays, whatever the budget");
    }
}
