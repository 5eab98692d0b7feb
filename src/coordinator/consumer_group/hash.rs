//! One number for all topics that a group subscribes to: when it changes, the group is assigned anew (KIP-1101).
//!
//! It is kept in the log, and is Kafka's own (XXH3-64 over the same bytes), so that a group that comes from Kafka stays where it is.

use super::Topics;
use std::sync::Arc;
use twox_hash::XxHash3_64;

/// How the bytes of a topic begin: the version of what follows.
const MAGIC: u8 = 0;
/// XXH3 is defined over a seed; Kafka's is this.
const SEED: u64 = 0;

/// Of topics in the order of their names. Those that are not there do not count; 0 when none is.
pub fn metadata_hash<'a>(names: impl Iterator<Item = &'a Arc<str>>, topics: &dyn Topics) -> i64 {
    let mut all = Vec::new();
    for hash in names.filter_map(|name| topic_hash(name, topics)) {
        all.extend_from_slice(&hash.to_le_bytes());
    }
    if all.is_empty() { 0 } else { XxHash3_64::oneshot_with_seed(SEED, &all) as i64 }
}

fn topic_hash(name: &str, topics: &dyn Topics) -> Option<u64> {
    let id = topics.id(name)?;
    let partition_count = topics.partition_count(id)?;
    let mut bytes = vec![MAGIC];
    let (high, low) = id.0.split_at(8);
    // Numbers go in with their least significant byte first; an id is two numbers.
    bytes.extend(high.iter().rev().chain(low.iter().rev()));
    text(&mut bytes, name);
    bytes.extend_from_slice(&partition_count.to_le_bytes());
    for partition in 0..partition_count {
        bytes.extend_from_slice(&partition.to_le_bytes());
        for rack in topics.racks(id, partition) {
            bytes.extend_from_slice(&units(&rack).to_le_bytes());
            text(&mut bytes, &rack);
        }
    }
    Some(XxHash3_64::oneshot_with_seed(SEED, &bytes))
}

/// A string as Java keeps it, its length behind it.
fn text(bytes: &mut Vec<u8>, text: &str) {
    text.encode_utf16().for_each(|unit| bytes.extend_from_slice(&unit.to_le_bytes()));
    bytes.extend_from_slice(&units(text).to_le_bytes());
}

fn units(text: &str) -> i32 {
    text.encode_utf16().count() as i32
}

#[cfg(test)]
mod tests {
    use super::super::{Topic, TopicTable};
    use super::*;
    use ringlane_protocol::TopicId;

    /// Numbers that the hash library of Kafka 4.3.1 gives for these topics: another number would move every group once when its log comes
    /// from Kafka.
    #[test]
    fn the_hash_is_kafkas() {
        let id = TopicId(std::array::from_fn(|i| i as u8 + 1));
        let mut topics = TopicTable::default();
        let racks = vec![vec!["ra".into(), "rb".into()]; 3];
        topics.set("orders-é€", Topic { id, partition_count: 3, racks });
        assert_eq!(topic_hash("orders-é€", &topics), Some(0x70c9_6ac4_6608_a9af));
        topics.set("big", Topic { id, partition_count: 300, racks: Vec::new() });
        assert_eq!(topic_hash("big", &topics), Some(0x0075_c0b2_0d68_669f));
        assert_eq!(topic_hash("none", &topics), None);

        let mut both = TopicTable::default();
        both.set("big", Topic { id, partition_count: 300, racks: Vec::new() });
        assert_eq!(metadata_hash([&"none".into()].into_iter(), &both), 0);
        let one = metadata_hash([&"big".into(), &"none".into()].into_iter(), &both);
        assert_eq!(one, metadata_hash([&"big".into()].into_iter(), &both));
        let bytes: Vec<u8> =
            [0x0075_c0b2_0d68_669f_u64, 0x70c9_6ac4_6608_a9af].iter().flat_map(|hash| hash.to_le_bytes()).collect();
        assert_eq!(XxHash3_64::oneshot_with_seed(SEED, &bytes), 0xee0e_9273_db5c_ac7a);
    }
}
