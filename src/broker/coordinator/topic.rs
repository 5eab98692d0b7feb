//! The internal topics of the coordinators: their names and settings, which partition coordinates what, and how they come into being.

use crate::api::new_topic_id;
use crate::shard::Shard;
use ringlane_config::Config;
use ringlane_metadata::controller::CreateTopic;
use ringlane_metadata::{ControllerReply, ControllerRequest, Image};
use ringlane_protocol::ErrorCode;
use std::rc::Rc;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CoordinatorTopic {
    /// Groups and committed offsets.
    Offsets,
    /// Transactional ids.
    Transactions,
    /// States of share groups.
    ShareStates,
}

impl CoordinatorTopic {
    pub fn name(self) -> &'static str {
        match self {
            CoordinatorTopic::Offsets => "__consumer_offsets",
            CoordinatorTopic::Transactions => "__transaction_state",
            CoordinatorTopic::ShareStates => "__share_group_state",
        }
    }

    /// As Kafka creates it; with no more replicas than there are brokers.
    fn create(self, config: &Config, image: &Image) -> CreateTopic {
        let broker = &config.broker;
        let (partitions, replicas, segment_bytes) = match self {
            CoordinatorTopic::Offsets => (
                broker.offsets_topic_num_partitions,
                broker.offsets_topic_replication_factor,
                broker.offsets_topic_segment_bytes,
            ),
            CoordinatorTopic::Transactions => (
                broker.transaction_state_log_num_partitions,
                broker.transaction_state_log_replication_factor,
                broker.transaction_state_log_segment_bytes,
            ),
            CoordinatorTopic::ShareStates => (
                broker.share_coordinator_state_topic_num_partitions,
                broker.share_coordinator_state_topic_replication_factor,
                broker.share_coordinator_state_topic_segment_bytes,
            ),
        };
        let live = image.live_brokers().count().max(1);
        let mut configs = vec![("segment.bytes", segment_bytes.to_string())];
        match self {
            CoordinatorTopic::Offsets => {
                configs.extend([("cleanup.policy", "compact".to_owned()), ("compression.type", "producer".to_owned())])
            }
            CoordinatorTopic::Transactions => configs.extend([
                ("cleanup.policy", "compact".to_owned()),
                ("compression.type", "uncompressed".to_owned()),
                ("min.insync.replicas", broker.transaction_state_log_min_isr.to_string()),
                ("unclean.leader.election.enable", "false".to_owned()),
            ]),
            // Not compacted: an update says only what has changed. The coordinator deletes what it does not need any more.
            CoordinatorTopic::ShareStates => configs.extend([
                ("cleanup.policy", "delete".to_owned()),
                ("retention.ms", "-1".to_owned()),
                ("compression.type", "uncompressed".to_owned()),
                ("min.insync.replicas", broker.share_coordinator_state_topic_min_isr.to_string()),
            ]),
        }
        CreateTopic {
            name: self.name().to_owned(),
            id: new_topic_id(),
            partitions,
            replication_factor: replicas.min(live as i32) as i16,
            assignments: Vec::new(),
            configs: configs.into_iter().map(|(name, value)| (name.to_owned(), Some(value))).collect(),
        }
    }

    /// Creates the topic unless it is there; when this returns, every shard of this broker knows it.
    pub async fn ensure(self, shard: &Rc<Shard>) -> Result<(), ErrorCode> {
        if shard.image().topic_by_name(self.name()).is_some() {
            return Ok(());
        }
        let topics = vec![self.create(&shard.config, &shard.image())];
        let request = ControllerRequest::CreateTopics { topics, validate_only: false };
        let refused = match shard.ask_controller(request).await {
            ControllerReply::CreateTopics(mut results) => match results.pop() {
                Some(Ok(_)) => return Ok(()),
                Some(Err(refused)) if refused.code == ErrorCode::TopicAlreadyExists => return Ok(()),
                Some(Err(refused)) => refused,
                None => return Err(ErrorCode::CoordinatorNotAvailable),
            },
            ControllerReply::Refused(refused) => refused,
            _ => return Err(ErrorCode::CoordinatorNotAvailable),
        };
        tracing::warn!(topic = self.name(), "the topic cannot be created: {refused} ({})", refused.code);
        Err(ErrorCode::CoordinatorNotAvailable)
    }
}

/// The partition that coordinates `key`: Java's hash of the string, as every Kafka broker computes it.
pub fn partition_of(key: &str, partitions: usize) -> i32 {
    let hash = key.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % partitions.max(1) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data directory of Kafka's must find its groups where Kafka has put them. Hashes as Java 17 gives them.
    #[test]
    fn groups_are_where_kafka_has_them() {
        assert_eq!(partition_of("", 50), 0);
        assert_eq!(partition_of("a", 50), 97 % 50);
        assert_eq!(partition_of("console-consumer-12345", 50), 158_455_506 % 50);
        assert_eq!(partition_of("\u{1F600}", 50), 1_772_899 % 50, "two units of UTF-16");
    }
}
