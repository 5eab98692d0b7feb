//! The Metadata response, written straight from the cluster image: replica lists are slices of the image, not vectors of the response.

use super::view::Expected;
use crate::metadata::MetadataResponseBroker;
use crate::wire::Wire;
use crate::{ApiKey, ErrorCode, TopicId, Version, Writer};

/// What a response says of a topic before its partitions.
#[derive(Debug, Clone, Copy)]
pub struct MetadataTopic<'a> {
    pub error_code: ErrorCode,
    /// `None` only for an unknown id, from version 12 on.
    pub name: Option<&'a str>,
    pub topic_id: TopicId,
    pub is_internal: bool,
    /// Bit set of the operations that the client may do; `i32::MIN` when it did not ask.
    pub authorized_operations: i32,
}

#[derive(Debug, Clone, Copy)]
pub struct MetadataPartition<'a> {
    pub error_code: ErrorCode,
    pub index: i32,
    /// -1 for none.
    pub leader_id: i32,
    pub leader_epoch: i32,
    /// The preferred leader first.
    pub replicas: &'a [i32],
    pub isr: &'a [i32],
    pub offline: &'a [i32],
}

/// Writes a metadata response's body: topics and partitions in the order of the calls.
#[derive(Debug)]
pub struct MetadataResponseWriter<'w> {
    writer: &'w mut Writer,
    version: Version,
    expected: Expected,
    authorized_operations: i32,
}

impl<'w> MetadataResponseWriter<'w> {
    pub fn begin(
        writer: &'w mut Writer,
        version: i16,
        brokers: &[MetadataResponseBroker<'_>],
        cluster_id: Option<&str>,
        controller_id: i32,
        topics: usize,
    ) -> MetadataResponseWriter<'w> {
        let form = Version::of(ApiKey::Metadata, version);
        if version >= 3 {
            writer.i32(0); // No throttling yet.
        }
        writer.length(Some(brokers.len()), form.flexible);
        brokers.iter().for_each(|broker| broker.write(writer, form));
        if version >= 2 {
            writer.string(cluster_id, form.flexible);
        }
        if version >= 1 {
            writer.i32(controller_id);
        }
        writer.length(Some(topics), form.flexible);
        let expected = Expected::topics(topics);
        MetadataResponseWriter { writer, version: form, expected, authorized_operations: i32::MIN }
    }

    pub fn topic(&mut self, topic: MetadataTopic<'_>, partitions: usize) {
        let (writer, version) = (&mut *self.writer, self.version);
        writer.i16(topic.error_code.code());
        let name = if version.number >= 12 { topic.name } else { topic.name.or(Some("")) };
        writer.string(name, version.flexible);
        if version.number >= 10 {
            writer.topic_id(topic.topic_id);
        }
        if version.number >= 1 {
            writer.bool(topic.is_internal);
        }
        writer.length(Some(partitions), version.flexible);
        self.authorized_operations = topic.authorized_operations;
        if self.expected.topic(partitions) {
            self.end_topic();
        }
    }

    pub fn partition(&mut self, partition: MetadataPartition<'_>) {
        let (writer, version) = (&mut *self.writer, self.version);
        writer.i16(partition.error_code.code());
        writer.i32(partition.index);
        writer.i32(partition.leader_id);
        if version.number >= 7 {
            writer.i32(partition.leader_epoch);
        }
        write_ids(writer, version, partition.replicas);
        write_ids(writer, version, partition.isr);
        if version.number >= 5 {
            write_ids(writer, version, partition.offline);
        }
        if version.flexible {
            writer.no_tags();
        }
        if self.expected.partition() {
            self.end_topic();
        }
    }

    pub fn finish(self, cluster_authorized_operations: i32, error_code: ErrorCode) {
        self.expected.end();
        if (8..=10).contains(&self.version.number) {
            self.writer.i32(cluster_authorized_operations);
        }
        if self.version.number >= 13 {
            self.writer.i16(error_code.code());
        }
        if self.version.flexible {
            self.writer.no_tags();
        }
    }

    fn end_topic(&mut self) {
        if self.version.number >= 8 {
            self.writer.i32(self.authorized_operations);
        }
        if self.version.flexible {
            self.writer.no_tags();
        }
    }
}

fn write_ids(writer: &mut Writer, version: Version, ids: &[i32]) {
    writer.length(Some(ids.len()), version.flexible);
    ids.iter().for_each(|&id| writer.i32(id));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;
    use crate::metadata::*;

    /// Metadata is every client's first answer; a byte off in one of fourteen versions locks that client out.
    #[test]
    fn the_writer_writes_what_the_generated_codec_writes() {
        let partition = MetadataResponsePartition {
            error_code: ErrorCode::LeaderNotAvailable,
            partition_index: 3,
            leader_id: -1,
            leader_epoch: 6,
            replica_nodes: vec![2, 1],
            isr_nodes: vec![2],
            offline_replicas: vec![1],
        };
        let topic = |name, partitions| MetadataResponseTopic {
            error_code: ErrorCode::None,
            name,
            topic_id: TopicId([9; 16]),
            is_internal: true,
            partitions,
            topic_authorized_operations: 0xff,
        };
        let response = MetadataResponse {
            throttle_time_ms: 0,
            brokers: vec![MetadataResponseBroker { node_id: 1, host: "h", port: 9092, rack: Some("r") }],
            cluster_id: Some("id"),
            controller_id: 1,
            topics: vec![topic(Some("t"), vec![partition.clone(), partition]), topic(None, vec![])],
            cluster_authorized_operations: 0x0f,
            error_code: ErrorCode::RebootstrapRequired,
        };
        for version in ApiKey::Metadata.versions().min..=ApiKey::Metadata.versions().max {
            let mut expected = Writer::new();
            response.encode(&mut expected, version);

            let mut written = Writer::new();
            let topics = &response.topics;
            let mut writer =
                MetadataResponseWriter::begin(&mut written, version, &response.brokers, Some("id"), 1, topics.len());
            for t in topics {
                let head = MetadataTopic {
                    error_code: t.error_code,
                    name: t.name,
                    topic_id: t.topic_id,
                    is_internal: t.is_internal,
                    authorized_operations: t.topic_authorized_operations,
                };
                writer.topic(head, t.partitions.len());
                for p in &t.partitions {
                    writer.partition(MetadataPartition {
                        error_code: p.error_code,
                        index: p.partition_index,
                        leader_id: p.leader_id,
                        leader_epoch: p.leader_epoch,
                        replicas: &p.replica_nodes,
                        isr: &p.isr_nodes,
                        offline: &p.offline_replicas,
                    });
                }
            }
            writer.finish(response.cluster_authorized_operations, response.error_code);
            assert_eq!(written.as_slice(), expected.as_slice(), "version {version}");
        }
    }
}
