//! Produce: where each partition's records lie in the frame, and the response.

use super::view::{Expected, Item, Items, read_topic, skip_tags, write_topic};
use crate::produce::{NodeEndpoint, PartitionProduceResponse};
use crate::wire::Wire;
use crate::{ApiKey, DecodeError, Reader, TopicId, Version, Writer};
use std::ops::Range;

/// A produce request as it lies in its frame. 1 topic with 100 partitions: two walks, no allocation.
#[derive(Debug, Clone)]
pub struct ProduceView<'a> {
    pub transactional_id: Option<&'a str>,
    pub acks: i16,
    pub timeout_ms: i32,
    topics: Items<'a, ProduceTopicView<'a>>,
}

#[derive(Debug, Clone)]
pub struct ProduceTopicView<'a> {
    /// Empty from version 13 on.
    pub name: &'a str,
    /// Zero below version 13.
    pub topic_id: TopicId,
    partitions: Items<'a, ProducePartitionView>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePartitionView {
    pub index: i32,
    /// Where in the frame the records lie; `None` for null records, which Kafka refuses as INVALID_RECORD. Ranges ascend through a
    /// request and never overlap, so the frame can be split along them.
    pub records: Option<Range<usize>>,
}

impl<'a> ProduceView<'a> {
    /// Validates the body that begins at `body_at` of `frame`.
    pub fn parse(frame: &'a [u8], body_at: usize, version: i16) -> Result<ProduceView<'a>, DecodeError> {
        if !ApiKey::Produce.versions().contains(version) {
            return Err(DecodeError::Version { key: ApiKey::Produce, version });
        }
        let version = Version::of(ApiKey::Produce, version);
        let mut reader = Reader::starting_at(frame, body_at);
        let transactional_id = reader.string(version.flexible)?;
        let acks = reader.i16()?;
        let timeout_ms = reader.i32()?;
        let topics = Items::validate(&mut reader, version)?;
        skip_tags(&mut reader, version)?;
        Ok(ProduceView { transactional_id, acks, timeout_ms, topics })
    }

    pub fn topics(&self) -> Items<'a, ProduceTopicView<'a>> {
        self.topics.clone()
    }
}

impl<'a> ProduceTopicView<'a> {
    pub fn partitions(&self) -> Items<'a, ProducePartitionView> {
        self.partitions.clone()
    }
}

impl<'a> Item<'a> for ProduceTopicView<'a> {
    const MIN_BYTES: usize = 3;
    #[inline]
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let (name, topic_id) = read_topic(reader, version)?;
        let partitions = Items::validate(reader, version)?;
        skip_tags(reader, version)?;
        Ok(ProduceTopicView { name, topic_id, partitions })
    }
}

impl<'a> Item<'a> for ProducePartitionView {
    const MIN_BYTES: usize = 6;
    #[inline]
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let index = reader.i32()?;
        let records = match reader.length(version.flexible)? {
            Some(length) => {
                let from = reader.position();
                reader.skip(length)?;
                Some(from..from + length)
            }
            None => None,
        };
        skip_tags(reader, version)?;
        Ok(ProducePartitionView { index, records })
    }
}

/// Writes a produce response's body: topics and partitions in the order of the calls.
#[derive(Debug)]
pub struct ProduceResponseWriter<'w> {
    writer: &'w mut Writer,
    version: Version,
    expected: Expected,
}

impl<'w> ProduceResponseWriter<'w> {
    pub fn begin(writer: &'w mut Writer, version: i16, topics: usize) -> ProduceResponseWriter<'w> {
        let version = Version::of(ApiKey::Produce, version);
        writer.length(Some(topics), version.flexible);
        ProduceResponseWriter { writer, version, expected: Expected::topics(topics) }
    }

    /// `name` goes out below version 13, `id` from then on.
    pub fn topic(&mut self, name: &str, id: TopicId, partitions: usize) {
        write_topic(self.writer, self.version, name, id);
        self.writer.length(Some(partitions), self.version.flexible);
        if self.expected.topic(partitions) {
            self.end_topic();
        }
    }

    pub fn partition(&mut self, partition: &PartitionProduceResponse<'_>) {
        partition.write(self.writer, self.version);
        if self.expected.partition() {
            self.end_topic();
        }
    }

    /// `node_endpoints` are where the leaders named by NOT_LEADER_OR_FOLLOWER partitions listen (KIP-951).
    pub fn finish(self, throttle_time_ms: i32, node_endpoints: &Vec<NodeEndpoint<'_>>) {
        self.expected.end();
        self.writer.i32(throttle_time_ms);
        if self.version.flexible {
            let mut tags = self.writer.tags();
            if self.version.number >= 10 && !node_endpoints.is_empty() {
                tags.put(0, |writer| node_endpoints.write(writer, self.version));
            }
        }
    }

    fn end_topic(&mut self) {
        if self.version.flexible {
            self.writer.no_tags();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::produce::*;
    use crate::{ErrorCode, Message};

    fn every_version() -> impl Iterator<Item = i16> {
        ApiKey::Produce.versions().min..=ApiKey::Produce.versions().max
    }

    /// The broker splits the receive buffer along these ranges: one byte off, and a CRC fails or another's records are stored.
    #[test]
    fn the_view_finds_what_the_generated_codec_finds() {
        let id = TopicId([7; 16]);
        fn partition(index: i32, records: Option<&[u8]>) -> PartitionProduceData<'_> {
            PartitionProduceData { index, records }
        }
        for version in every_version() {
            let by_name = version < 13;
            let topic = |name, partition_data| TopicProduceData {
                name: if by_name { name } else { "" },
                topic_id: if by_name { TopicId::ZERO } else { id },
                partition_data,
            };
            let request = ProduceRequest {
                transactional_id: (version % 2 == 0).then_some("t"),
                acks: -1,
                timeout_ms: 30_000,
                topic_data: vec![
                    topic("orders", vec![partition(3, Some(&b"first batch"[..])), partition(0, None)]),
                    topic("none", vec![]),
                    topic("clicks", vec![partition(1, Some(&[9; 300]))]),
                ],
            };
            let mut writer = Writer::new();
            writer.raw(b"header");
            request.encode(&mut writer, version);
            let frame = writer.as_slice();

            let view = ProduceView::parse(frame, 6, version).unwrap();
            let seen = ProduceRequest {
                transactional_id: view.transactional_id,
                acks: view.acks,
                timeout_ms: view.timeout_ms,
                topic_data: view
                    .topics()
                    .map(|topic| TopicProduceData {
                        name: topic.name,
                        topic_id: topic.topic_id,
                        partition_data: topic
                            .partitions()
                            .map(|found| partition(found.index, found.records.map(|range| &frame[range])))
                            .collect(),
                    })
                    .collect(),
            };
            assert_eq!(seen, request, "version {version}");

            for cut in 6..frame.len() {
                assert!(ProduceView::parse(&frame[..cut], 6, version).is_err(), "version {version} cut at {cut}");
            }
        }
    }

    /// Java disconnects on a response that is one byte short or long.
    #[test]
    fn the_writer_writes_what_the_generated_codec_writes() {
        let failed = PartitionProduceResponse {
            index: 1,
            error_code: ErrorCode::NotLeaderOrFollower,
            base_offset: -1,
            record_errors: vec![BatchIndexAndErrorMessage { batch_index: 2, batch_index_error_message: Some("why") }],
            error_message: Some("moved"),
            current_leader: LeaderIdAndEpoch { leader_id: 2, leader_epoch: 5 },
            ..Default::default()
        };
        let stored =
            PartitionProduceResponse { index: 0, base_offset: 1 << 40, log_start_offset: 7, ..Default::default() };
        let endpoint = NodeEndpoint { node_id: 2, host: "b", port: 9092, rack: None };
        let topic =
            |name, partition_responses| TopicProduceResponse { name, topic_id: TopicId([1; 16]), partition_responses };
        let response = ProduceResponse {
            responses: vec![topic("a", vec![stored, failed]), topic("empty", vec![])],
            throttle_time_ms: 5,
            node_endpoints: vec![endpoint],
        };
        for version in every_version() {
            let mut expected = Writer::new();
            response.encode(&mut expected, version);

            let mut written = Writer::new();
            let mut writer = ProduceResponseWriter::begin(&mut written, version, response.responses.len());
            for topic in &response.responses {
                writer.topic(topic.name, topic.topic_id, topic.partition_responses.len());
                topic.partition_responses.iter().for_each(|partition| writer.partition(partition));
            }
            writer.finish(response.throttle_time_ms, &response.node_endpoints);
            assert_eq!(written.as_slice(), expected.as_slice(), "version {version}");
        }
    }
}
