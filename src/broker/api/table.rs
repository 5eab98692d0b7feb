//! Which APIs are served, in which versions, and what ApiVersions says about it. A key that is not here does not exist for clients, and they
//! fall back or leave the feature off.

use ringlane_protocol::{ApiKey, Versions};

/// Ascending by key. Versions are all of Kafka 4.4.
const SERVED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::EndTxn,
    ApiKey::WriteTxnMarkers,
    ApiKey::TxnOffsetCommit,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::DescribeLogDirs,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::OffsetDelete,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::DescribeTransactions,
    ApiKey::ListTransactions,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::DescribeTopicPartitions,
    ApiKey::ShareGroupHeartbeat,
    ApiKey::ShareGroupDescribe,
    ApiKey::ShareFetch,
    ApiKey::ShareAcknowledge,
    ApiKey::InitializeShareGroupState,
    ApiKey::ReadShareGroupState,
    ApiKey::WriteShareGroupState,
    ApiKey::DeleteShareGroupState,
    ApiKey::ReadShareGroupStateSummary,
    ApiKey::DescribeShareGroupOffsets,
    ApiKey::AlterShareGroupOffsets,
    ApiKey::DeleteShareGroupOffsets,
];

/// The versions that we serve.
pub fn served(key: ApiKey) -> Option<Versions> {
    SERVED.contains(&key).then(|| key.versions())
}

/// Key and versions as ApiVersions lists them.
pub fn advertised() -> impl Iterator<Item = (ApiKey, Versions)> {
    SERVED.iter().map(|&key| {
        let Versions { min, max } = key.versions();
        // librdkafka before 2.9 takes "produce from 3" for a broker without message compression (KAFKA-18659): Kafka says 0 too, and
        // both close the connection when 0 to 2 are really sent.
        let min = if key == ApiKey::Produce { 0 } else { min };
        (key, Versions { min, max })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// kafka-python guesses the broker from the order and librdkafka bisects: the list must ascend, and name only what we serve.
    #[test]
    fn the_list_ascends_and_produce_begins_at_zero() {
        let keys: Vec<_> = advertised().map(|(key, _)| key.code()).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        let produce = advertised().find(|(key, _)| *key == ApiKey::Produce).unwrap().1;
        assert_eq!(produce.min, 0);
        assert!(!served(ApiKey::Produce).unwrap().contains(2));
        assert!(served(ApiKey::SaslHandshake).is_none());
    }
}
