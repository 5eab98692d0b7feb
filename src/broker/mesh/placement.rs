//! Which shard is home to a partition.

use ringlane_protocol::TopicId;
use ringlane_runtime::ShardId;

/// `(hash(topic id) + partition) mod shards`: neighbours of one topic land on different shards, first partitions of different topics too, and
/// every shard computes the same without asking. Nothing on disk depends on it, so the number of shards may change between starts.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    shards: u64,
}

impl Placement {
    pub fn new(shards: usize) -> Placement {
        assert!(shards > 0, "a broker has at least one shard");
        Placement { shards: shards as u64 }
    }

    pub fn home(&self, topic: TopicId, partition: i32) -> ShardId {
        let spot = (hash(topic) % self.shards + partition as u32 as u64) % self.shards;
        ShardId(spot as u16)
    }
}

/// Fixed for all builds and seeds (std's hasher is neither). Topic ids are random but for six bits, so folding and one multiplication mix well.
fn hash(topic: TopicId) -> u64 {
    let number = u128::from_be_bytes(topic.0);
    let folded = (number >> 64) as u64 ^ number as u64;
    folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard that got twice its share of partitions would cap the broker at half its speed.
    #[test]
    fn partitions_spread_evenly() {
        let placement = Placement::new(8);
        let mut first_partitions = [0usize; 8];
        for number in 0..8000u128 {
            let topic = TopicId((number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_0c7d_1f5d_3a61)).to_be_bytes());
            first_partitions[placement.home(topic, 0).0 as usize] += 1;
            let homes: std::collections::BTreeSet<_> =
                (0..8).map(|partition| placement.home(topic, partition)).collect();
            assert_eq!(homes.len(), 8, "eight partitions in a row have eight homes");
        }
        assert!(first_partitions.iter().all(|&count| (800..1200).contains(&count)), "{first_partitions:?}");
    }
}
