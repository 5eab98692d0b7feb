//! Which partition a record goes to when its sender does not say.

use std::collections::BTreeMap;
use std::rc::Rc;

/// The partition that Kafka's own clients give a key, so that producers in all languages agree.
pub fn partition_for_key(key: &[u8], partitions: usize) -> i32 {
    // The sign is cleared, not the absolute value taken: i32::MIN has none.
    let positive = murmur2(key) & 0x7fff_ffff;
    (positive as usize % partitions.max(1)) as i32
}

/// MurmurHash2, 32 bits, with Kafka's seed.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        let last = tail.iter().rev().fold(0, |bits, &byte| bits << 8 | u32::from(byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

/// Records without a key stay with one partition until about a batch has gone there, then another is drawn (KIP-794): large batches,
/// and an even spread over time.
#[derive(Debug, Default)]
pub(super) struct Sticky {
    topics: BTreeMap<Rc<str>, Current>,
}

#[derive(Debug)]
struct Current {
    partition: i32,
    left_bytes: usize,
}

impl Sticky {
    /// `candidates`: partitions that have a leader, or all if none has. `draw` gives any number.
    pub(super) fn partition(
        &mut self,
        topic: &Rc<str>,
        candidates: &[i32],
        record_bytes: usize,
        batch_bytes: usize,
        draw: impl FnOnce() -> u64,
    ) -> i32 {
        match self.topics.get_mut(topic) {
            Some(current) if current.left_bytes >= record_bytes && candidates.contains(&current.partition) => {
                current.left_bytes -= record_bytes;
                current.partition
            }
            _ => {
                let drawn = draw() as usize % candidates.len().max(1);
                let partition = candidates.get(drawn).copied().unwrap_or_default();
                let left_bytes = batch_bytes.saturating_sub(record_bytes);
                self.topics.insert(topic.clone(), Current { partition, left_bytes });
                partition
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another hash would send a key's next record to another partition than a Java producer's, and order per key would be lost. The
    /// values are those that Kafka's clients are tested with.
    #[test]
    fn murmur2_is_kafkas() {
        let known: [(&str, i32); 6] = [
            ("21", -973932308),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ];
        for (text, hash) in known {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
            assert!((0..7).contains(&partition_for_key(text.as_bytes(), 7)));
        }
    }

    /// Without stickiness every record would open a batch of its own.
    #[test]
    fn keyless_records_stay_until_a_batch_is_full() {
        let mut sticky = Sticky::default();
        let topic: Rc<str> = "t".into();
        let mut next = 0;
        let mut draw = || {
            next += 1;
            next
        };
        let mut place = |bytes, candidates: &[i32]| sticky.partition(&topic, candidates, bytes, 100, &mut draw);
        assert_eq!([place(40, &[5, 6, 7]), place(40, &[5, 6, 7])], [6, 6]);
        assert_eq!(place(40, &[5, 6, 7]), 7, "the batch is full");
        assert_eq!(place(10, &[5, 6]), 6, "its leader is gone");
    }
}
