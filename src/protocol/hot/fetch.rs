//! Fetch: the request as it lies in its frame, and a response whose records are referenced, not copied.

use super::view::{Expected, Item, Items, read_topic, skip_tags, write_topic};
use crate::fetch::{FetchPartition, NodeEndpoint, PartitionData, ReplicaState};
use crate::wire::Wire;
use crate::{ApiKey, DecodeError, ErrorCode, Reader, TopicId, Version, Writer, encode_response_header};
use bytes::Bytes;

/// A fetch request as it lies in its frame.
#[derive(Debug, Clone)]
pub struct FetchView<'a> {
    /// Tagged, for raft clusters.
    pub cluster_id: Option<&'a str>,
    /// -1 for consumers. From its own field or, from version 15 on, from the replica state.
    pub replica_id: i32,
    /// -1 unless a broker of version 15 and up asks.
    pub replica_epoch: i64,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    /// 0 read_uncommitted, 1 read_committed.
    pub isolation_level: i8,
    pub session_id: i32,
    pub session_epoch: i32,
    pub rack_id: &'a str,
    topics: Items<'a, FetchTopicView<'a>>,
    forgotten: Items<'a, ForgottenTopicView<'a>>,
}

#[derive(Debug, Clone)]
pub struct FetchTopicView<'a> {
    /// Empty from version 13 on.
    pub name: &'a str,
    /// Zero below version 13.
    pub topic_id: TopicId,
    partitions: Items<'a, FetchPartition>,
}

/// Partitions that leave the fetch session (KIP-227).
#[derive(Debug, Clone)]
pub struct ForgottenTopicView<'a> {
    pub name: &'a str,
    pub topic_id: TopicId,
    partitions: Items<'a, i32>,
}

impl<'a> FetchView<'a> {
    /// Validates the body that begins at `body_at` of `frame`.
    pub fn parse(frame: &'a [u8], body_at: usize, version: i16) -> Result<FetchView<'a>, DecodeError> {
        if !ApiKey::Fetch.versions().contains(version) {
            return Err(DecodeError::Version { key: ApiKey::Fetch, version });
        }
        let version = Version::of(ApiKey::Fetch, version);
        let mut reader = Reader::starting_at(frame, body_at);
        let mut view = FetchView {
            cluster_id: None,
            replica_id: if version.number < 15 { reader.i32()? } else { -1 },
            replica_epoch: -1,
            max_wait_ms: reader.i32()?,
            min_bytes: reader.i32()?,
            max_bytes: reader.i32()?,
            isolation_level: reader.i8()?,
            session_id: if version.number >= 7 { reader.i32()? } else { 0 },
            session_epoch: if version.number >= 7 { reader.i32()? } else { -1 },
            rack_id: "",
            topics: Items::validate(&mut reader, version)?,
            forgotten: Items::none(version),
        };
        if version.number >= 7 {
            view.forgotten = Items::validate(&mut reader, version)?;
        }
        if version.number >= 11 {
            view.rack_id = reader.string(version.flexible)?.ok_or_else(|| reader.null())?;
        }
        if version.flexible {
            reader.tags(|tag, reader| {
                match tag {
                    0 => view.cluster_id = Wire::read(reader, version)?,
                    1 if version.number >= 15 => {
                        let state = ReplicaState::read(reader, version)?;
                        (view.replica_id, view.replica_epoch) = (state.replica_id, state.replica_epoch);
                    }
                    _ => {}
                }
                Ok(())
            })?;
        }
        Ok(view)
    }

    pub fn topics(&self) -> Items<'a, FetchTopicView<'a>> {
        self.topics.clone()
    }
    pub fn forgotten(&self) -> Items<'a, ForgottenTopicView<'a>> {
        self.forgotten.clone()
    }
}

impl<'a> FetchTopicView<'a> {
    pub fn partitions(&self) -> Items<'a, FetchPartition> {
        self.partitions.clone()
    }
}

impl<'a> ForgottenTopicView<'a> {
    pub fn partitions(&self) -> Items<'a, i32> {
        self.partitions.clone()
    }
}

impl<'a> Item<'a> for FetchTopicView<'a> {
    const MIN_BYTES: usize = 3;
    #[inline]
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let (name, topic_id) = read_topic(reader, version)?;
        let partitions = Items::validate(reader, version)?;
        skip_tags(reader, version)?;
        Ok(FetchTopicView { name, topic_id, partitions })
    }
}

impl<'a> Item<'a> for ForgottenTopicView<'a> {
    const MIN_BYTES: usize = 3;
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let (name, topic_id) = read_topic(reader, version)?;
        let partitions = Items::validate(reader, version)?;
        skip_tags(reader, version)?;
        Ok(ForgottenTopicView { name, topic_id, partitions })
    }
}

impl<'a> Item<'a> for FetchPartition {
    const MIN_BYTES: usize = <FetchPartition as Wire>::MIN_BYTES;
    #[inline]
    fn read(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        Wire::read(reader, version)
    }
}

/// Makes a whole fetch response frame, length and header included, as parts to be sent in order: header bytes and record slices
/// in turn. The slices are the caller's, by reference.
#[derive(Debug)]
pub struct FetchResponseWriter {
    writer: Writer,
    version: Version,
    expected: Expected,
    /// Slices, and the position in `writer` that each stands before.
    slices: Vec<(usize, Bytes)>,
    slices_bytes: usize,
}

const FRAME_LENGTH_BYTES: usize = 4;
/// About what a partition's fields take: the response's first allocation is its last.
const PARTITION_BYTES: usize = 64;

impl FetchResponseWriter {
    /// `partitions` of all topics together, for the capacity; a session's response has `error_code` and `session_id` (version 7 and up).
    pub fn begin(
        version: i16,
        correlation_id: i32,
        throttle_time_ms: i32,
        error_code: ErrorCode,
        session_id: i32,
        topics: usize,
        partitions: usize,
    ) -> FetchResponseWriter {
        let form = Version::of(ApiKey::Fetch, version);
        let mut writer = Writer::with_capacity(PARTITION_BYTES * (partitions + topics + 1));
        writer.raw(&[0; FRAME_LENGTH_BYTES]);
        encode_response_header(&mut writer, ApiKey::Fetch, version, correlation_id);
        writer.i32(throttle_time_ms);
        if version >= 7 {
            writer.i16(error_code.code());
            writer.i32(session_id);
        }
        writer.length(Some(topics), form.flexible);
        let slices = Vec::with_capacity(partitions);
        FetchResponseWriter { writer, version: form, expected: Expected::topics(topics), slices, slices_bytes: 0 }
    }

    /// `name` goes out below version 13, `id` from then on.
    pub fn topic(&mut self, name: &str, id: TopicId, partitions: usize) {
        write_topic(&mut self.writer, self.version, name, id);
        self.writer.length(Some(partitions), self.version.flexible);
        if self.expected.topic(partitions) {
            self.end_topic();
        }
    }

    /// One partition, with `records` in its slices (whole batches, in order) instead of in `partition.records`.
    pub fn partition(&mut self, partition: &PartitionData<'_>, records: impl IntoIterator<Item = Bytes>) {
        debug_assert!(partition.records.is_none(), "records go by reference");
        let (writer, version) = (&mut self.writer, self.version);
        writer.i32(partition.partition_index);
        writer.i16(partition.error_code.code());
        writer.i64(partition.high_watermark);
        writer.i64(partition.last_stable_offset);
        if version.number >= 5 {
            writer.i64(partition.log_start_offset);
        }
        partition.aborted_transactions.write(writer, version);
        if version.number >= 11 {
            writer.i32(partition.preferred_read_replica);
        }
        let first_slice = self.slices.len();
        let mut records_bytes = 0;
        for slice in records {
            records_bytes += slice.len();
            self.slices.push((0, slice));
        }
        // Never null, even when empty: Kafka's clients take null for a protocol fault.
        writer.length(Some(records_bytes), version.flexible);
        let at = writer.len();
        self.slices.iter_mut().skip(first_slice).for_each(|(position, _)| *position = at);
        self.slices_bytes += records_bytes;
        if version.flexible {
            write_partition_tags(writer, version, partition);
        }
        if self.expected.partition() {
            self.end_topic();
        }
    }

    /// The frame's parts. `node_endpoints` are where the leaders named in partitions listen (KIP-951).
    pub fn finish(mut self, node_endpoints: &Vec<NodeEndpoint<'_>>) -> Vec<Bytes> {
        self.expected.end();
        if self.version.flexible {
            let mut tags = self.writer.tags();
            if self.version.number >= 16 && !node_endpoints.is_empty() {
                tags.put(0, |writer| node_endpoints.write(writer, self.version));
            }
        }
        let frame_bytes = self.writer.len() - FRAME_LENGTH_BYTES + self.slices_bytes;
        self.writer.patch_i32(0, frame_bytes as i32);

        let mut rest = Bytes::from(self.writer.into_bytes());
        let mut taken = 0;
        let mut parts = Vec::with_capacity(2 * self.slices.len() + 1);
        for (position, slice) in self.slices {
            if position > taken {
                parts.push(rest.split_to(position - taken));
                taken = position;
            }
            if !slice.is_empty() {
                parts.push(slice);
            }
        }
        if !rest.is_empty() {
            parts.push(rest);
        }
        parts
    }

    fn end_topic(&mut self) {
        if self.version.flexible {
            self.writer.no_tags();
        }
    }
}

fn write_partition_tags(writer: &mut Writer, version: Version, partition: &PartitionData<'_>) {
    let mut tags = writer.tags();
    if partition.diverging_epoch != Default::default() {
        tags.put(0, |writer| partition.diverging_epoch.write(writer, version));
    }
    if partition.current_leader != Default::default() {
        tags.put(1, |writer| partition.current_leader.write(writer, version));
    }
    if partition.snapshot_id != Default::default() {
        tags.put(2, |writer| partition.snapshot_id.write(writer, version));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::*;
    use crate::{Message, encode_response_frame};

    fn every_version() -> impl Iterator<Item = i16> {
        ApiKey::Fetch.versions().min..=ApiKey::Fetch.versions().max
    }

    /// A field read from the wrong place gives a consumer other offsets than it asked for.
    #[test]
    fn the_view_finds_what_the_generated_codec_finds() {
        let partition = |partition| FetchPartition {
            partition,
            current_leader_epoch: 4,
            fetch_offset: 1 << 33,
            last_fetched_epoch: 3,
            log_start_offset: 12,
            partition_max_bytes: 1 << 20,
            replica_directory_id: TopicId([5; 16]),
            high_watermark: 99,
        };
        let request = FetchRequest {
            cluster_id: Some("c"),
            replica_id: 7,
            replica_state: ReplicaState { replica_id: 8, replica_epoch: 9 },
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 50 << 20,
            isolation_level: 1,
            session_id: 77,
            session_epoch: 3,
            topics: vec![
                FetchTopic { topic: "a", topic_id: TopicId([1; 16]), partitions: vec![partition(0), partition(5)] },
                FetchTopic { topic: "b", topic_id: TopicId([2; 16]), partitions: vec![] },
            ],
            forgotten_topics_data: vec![ForgottenTopic {
                topic: "c",
                topic_id: TopicId([3; 16]),
                partitions: vec![1, 2],
            }],
            rack_id: "r",
        };
        for version in every_version() {
            let mut writer = Writer::new();
            request.encode(&mut writer, version);
            let frame = writer.as_slice();
            let expected = FetchRequest::decode(&mut Reader::new(frame), version).unwrap();
            let view = FetchView::parse(frame, 0, version).unwrap();
            let seen = FetchRequest {
                cluster_id: view.cluster_id,
                replica_id: if version < 15 { view.replica_id } else { -1 },
                replica_state: ReplicaState {
                    replica_id: if version < 15 { -1 } else { view.replica_id },
                    replica_epoch: view.replica_epoch,
                },
                max_wait_ms: view.max_wait_ms,
                min_bytes: view.min_bytes,
                max_bytes: view.max_bytes,
                isolation_level: view.isolation_level,
                session_id: view.session_id,
                session_epoch: view.session_epoch,
                topics: view
                    .topics()
                    .map(|t| FetchTopic { topic: t.name, topic_id: t.topic_id, partitions: t.partitions().collect() })
                    .collect(),
                forgotten_topics_data: view
                    .forgotten()
                    .map(|t| ForgottenTopic {
                        topic: t.name,
                        topic_id: t.topic_id,
                        partitions: t.partitions().collect(),
                    })
                    .collect(),
                rack_id: view.rack_id,
            };
            assert_eq!(seen, expected, "version {version}");
            for cut in 0..frame.len() {
                assert!(FetchView::parse(&frame[..cut], 0, version).is_err(), "version {version} cut at {cut}");
            }
        }
    }

    /// The parts, one behind another, must be the frame that a copying encoder would make; and the records must not be copies.
    #[test]
    fn parts_join_to_the_generated_frame() {
        let (first, second) = (Bytes::from(vec![1; 40]), Bytes::from(vec![2; 200]));
        let joined = [&first[..], &second[..]].concat();
        let full = PartitionData {
            partition_index: 1,
            high_watermark: 10,
            last_stable_offset: 9,
            log_start_offset: 2,
            aborted_transactions: Some(vec![AbortedTransaction { producer_id: 4, first_offset: 3 }]),
            preferred_read_replica: 3,
            ..Default::default()
        };
        let moved = PartitionData {
            partition_index: 2,
            error_code: ErrorCode::FencedLeaderEpoch,
            high_watermark: -1,
            diverging_epoch: EpochEndOffset { epoch: 1, end_offset: 2 },
            current_leader: LeaderIdAndEpoch { leader_id: 3, leader_epoch: 4 },
            snapshot_id: SnapshotId { end_offset: 5, epoch: 6 },
            aborted_transactions: None,
            ..Default::default()
        };
        let endpoints = vec![NodeEndpoint { node_id: 3, host: "h", port: 1, rack: Some("r") }];
        for version in every_version() {
            let mut expected = Writer::new();
            let topic = |partitions| FetchableTopicResponse { topic: "t", topic_id: TopicId([1; 16]), partitions };
            let response = FetchResponse {
                throttle_time_ms: 3,
                error_code: ErrorCode::None,
                session_id: 8,
                responses: vec![
                    topic(vec![
                        PartitionData { records: Some(&joined), ..full.clone() },
                        PartitionData { records: Some(&[]), ..moved.clone() },
                    ]),
                    topic(vec![]),
                ],
                node_endpoints: endpoints.clone(),
            };
            encode_response_frame(&mut expected, version, 42, &response);

            let mut writer = FetchResponseWriter::begin(version, 42, 3, ErrorCode::None, 8, 2, 2);
            writer.topic("t", TopicId([1; 16]), 2);
            writer.partition(&full, [first.clone(), second.clone()]);
            writer.partition(&moved, []);
            writer.topic("t", TopicId([1; 16]), 0);
            let parts = writer.finish(&endpoints);

            assert_eq!(parts.concat(), expected.as_slice(), "version {version}");
            assert!(parts.iter().any(|part| part.as_ptr() == second.as_ptr()), "records were copied");
        }
    }
}
