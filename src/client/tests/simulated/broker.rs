//! A broker of one node, in memory, with just enough rules to catch a client that breaks them: five remembered batches a producer,
//! sequences without gaps, answers in order; and with faults to provoke it.

use ringlane_protocol::api_versions::{ApiVersion, ApiVersionsResponse};
use ringlane_protocol::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use ringlane_protocol::init_producer_id::InitProducerIdResponse;
use ringlane_protocol::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use ringlane_protocol::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ringlane_protocol::produce::{PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse};
use ringlane_protocol::records::{BatchHeader, check_batch, patch_base_offset};
use ringlane_protocol::{ApiKey, ErrorCode, Message, Reader, RequestHeader, TopicId, Writer, encode_response_frame};
use ringlane_runtime::{Buffer, Listener, Stream, random_u64, sleep, spawn};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

pub const PORT: u16 = 9092;
pub const TOPIC: &str = "orders";
const ID: TopicId = TopicId([1; 16]);

/// Newest versions that this broker serves; it is old or new as the test wants.
#[derive(Debug, Clone, Copy)]
pub struct Versions {
    pub api_versions: i16,
    pub produce: i16,
    pub fetch: i16,
}

pub struct Broker {
    versions: Versions,
    /// One request in so many fails somehow; 0: none.
    fault_one_in: u64,
    next_producer_id: i64,
    partitions: Vec<Partition>,
    pub faults: usize,
    pub duplicates: usize,
}

#[derive(Default)]
struct Partition {
    end_offset: i64,
    batches: Vec<(BatchHeader, Vec<u8>)>,
    producers: BTreeMap<i64, VecDeque<(BatchHeader, i64)>>,
}

/// What one answer is instead of being right.
#[derive(PartialEq)]
enum Fault {
    None,
    CloseBefore,
    CloseAfter,
    Refuse(ErrorCode),
}

impl Broker {
    pub fn new(versions: Versions, partitions: usize, fault_one_in: u64) -> Rc<RefCell<Broker>> {
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        let (next_producer_id, faults, duplicates) = (100, 0, 0);
        Rc::new(RefCell::new(Broker { versions, fault_one_in, next_producer_id, partitions, faults, duplicates }))
    }

    fn fault(&mut self) -> Fault {
        if self.fault_one_in == 0 || !random_u64().is_multiple_of(self.fault_one_in) {
            return Fault::None;
        }
        self.faults += 1;
        match random_u64() % 4 {
            0 => Fault::CloseBefore,
            1 => Fault::CloseAfter,
            2 => Fault::Refuse(ErrorCode::NotLeaderOrFollower),
            _ => Fault::Refuse(ErrorCode::NotEnoughReplicas),
        }
    }

    fn append(&mut self, index: i32, bytes: &[u8]) -> Result<i64, ErrorCode> {
        let header = check_batch(bytes).map_err(|_| ErrorCode::CorruptMessage)?;
        let partition = self.partitions.get_mut(index as usize).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if header.has_producer() {
            let known = partition.producers.entry(header.producer_id).or_default();
            if let Some((_, offset)) = known.iter().find(|(stored, _)| stored.base_sequence == header.base_sequence) {
                self.duplicates += 1;
                return Ok(*offset);
            }
            let expected = known.back().map_or(0, |(stored, _)| stored.last_sequence() + 1);
            if header.base_sequence != expected {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
            known.push_back((header, partition.end_offset));
            if known.len() > 5 {
                known.pop_front();
            }
        }
        let mut bytes = bytes.to_vec();
        let base_offset = partition.end_offset;
        patch_base_offset(&mut bytes, base_offset);
        let header = BatchHeader { base_offset, ..header };
        partition.end_offset = header.next_offset();
        partition.batches.push((header, bytes));
        Ok(base_offset)
    }

    /// From the batch that holds `offset` on.
    fn read(&self, index: i32, offset: i64, max_bytes: usize) -> Vec<u8> {
        let mut records = Vec::new();
        for (_, bytes) in self.partitions[index as usize].batches.iter().filter(|(h, _)| h.next_offset() > offset) {
            if !records.is_empty() && records.len() + bytes.len() > max_bytes {
                break;
            }
            records.extend_from_slice(bytes);
        }
        records
    }
}

pub async fn run(broker: Rc<RefCell<Broker>>) {
    let listener = Listener::bind(([0, 0, 0, 0], PORT).into()).await.expect("the port is free");
    loop {
        let Ok(socket) = listener.accept().await else { continue };
        spawn("connection", serve(broker.clone(), socket.into_stream())).detach();
    }
}

async fn serve(broker: Rc<RefCell<Broker>>, stream: Stream) {
    while let Some(frame) = receive(&stream).await {
        let Some(answer) = answer(&broker, &frame).await else { break };
        if !answer.is_empty() && stream.send_all(vec![answer.into()]).await.is_err() {
            break;
        }
    }
    stream.shutdown();
}

async fn receive(stream: &Stream) -> Option<Buffer> {
    let (received, length) = stream.recv_exact(Buffer::take(4), 0).await;
    received.ok()?;
    let length = u32::from_be_bytes(*length.first_chunk().expect("four bytes"));
    let (received, frame) = stream.recv_exact(Buffer::take(length as usize), 0).await;
    received.ok().map(|()| frame)
}

/// The answer's frame; empty for none, `None` to close.
async fn answer(broker: &Rc<RefCell<Broker>>, frame: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(frame);
    let header = RequestHeader::decode(&mut reader).expect("a request header");
    let key = ApiKey::from_i16(header.key).expect("a known key");
    let (version, correlation_id) = (header.version, header.correlation_id);
    let mut writer = Writer::new();
    match key {
        ApiKey::ApiVersions => {
            let response = versions(&broker.borrow(), version);
            let newest = broker.borrow().versions.api_versions;
            encode_response_frame(&mut writer, if version > newest { 0 } else { version }, correlation_id, &response);
        }
        ApiKey::Metadata => {
            let request = MetadataRequest::decode(&mut reader, version).expect("a metadata request");
            let response = metadata(&broker.borrow(), &request);
            encode_response_frame(&mut writer, version, correlation_id, &response);
        }
        ApiKey::InitProducerId => {
            let mut broker = broker.borrow_mut();
            broker.next_producer_id += 1;
            let response = InitProducerIdResponse { producer_id: broker.next_producer_id, ..Default::default() };
            encode_response_frame(&mut writer, version, correlation_id, &response);
        }
        ApiKey::Produce => {
            let request = ProduceRequest::decode(&mut reader, version).expect("a produce request");
            let response = produce(&mut broker.borrow_mut(), &request)?;
            if request.acks == 0 {
                return Some(Vec::new());
            }
            encode_response_frame(&mut writer, version, correlation_id, &response);
        }
        ApiKey::ListOffsets => {
            let request = ListOffsetsRequest::decode(&mut reader, version).expect("an offsets request");
            let response = list_offsets(&broker.borrow(), &request);
            encode_response_frame(&mut writer, version, correlation_id, &response);
        }
        ApiKey::Fetch => {
            let request = FetchRequest::decode(&mut reader, version).expect("a fetch request");
            fetch(broker, &request, version, correlation_id, &mut writer).await;
        }
        key => panic!("{key} was not expected"),
    }
    Some(writer.into_bytes())
}

fn versions(broker: &Broker, asked: i16) -> ApiVersionsResponse<'static> {
    let Versions { api_versions, produce, fetch } = broker.versions;
    let api =
        |key: ApiKey, max_version| ApiVersion { api_key: key.code(), min_version: key.versions().min, max_version };
    let newest = |key: ApiKey| api(key, key.versions().max);
    if asked > api_versions {
        return ApiVersionsResponse {
            error_code: ErrorCode::UnsupportedVersion,
            api_keys: vec![api(ApiKey::ApiVersions, api_versions)],
            ..Default::default()
        };
    }
    let others = [ApiKey::Metadata, ApiKey::InitProducerId, ApiKey::ListOffsets].map(newest);
    let capped = [api(ApiKey::ApiVersions, api_versions), api(ApiKey::Produce, produce), api(ApiKey::Fetch, fetch)];
    ApiVersionsResponse { api_keys: [&others[..], &capped].concat(), ..Default::default() }
}

fn metadata<'a>(broker: &Broker, request: &MetadataRequest<'a>) -> MetadataResponse<'a> {
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: 1,
        leader_epoch: 0,
        replica_nodes: vec![1],
        isr_nodes: vec![1],
        ..Default::default()
    };
    let topic = |name| MetadataResponseTopic {
        error_code: if name == Some(TOPIC) { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition },
        name,
        topic_id: ID,
        partitions: (0..broker.partitions.len() as i32).map(partition).collect(),
        ..Default::default()
    };
    let named = request.topics.as_ref().map(|topics| topics.iter().map(|t| topic(t.name)).collect());
    MetadataResponse {
        brokers: vec![MetadataResponseBroker { node_id: 1, host: "node-1", port: PORT.into(), rack: None }],
        cluster_id: Some("test"),
        controller_id: 1,
        topics: named.unwrap_or_else(|| vec![topic(Some(TOPIC))]),
        ..Default::default()
    }
}

/// `None` to close the connection instead of an answer.
fn produce<'a>(broker: &mut Broker, request: &ProduceRequest<'a>) -> Option<ProduceResponse<'a>> {
    let fault = broker.fault();
    if fault == Fault::CloseBefore {
        return None;
    }
    let mut responses = Vec::new();
    for topic in &request.topic_data {
        assert!(topic.name == TOPIC || topic.topic_id == ID, "another topic");
        let partitions = topic.partition_data.iter().map(|data| {
            let stored = match fault {
                Fault::Refuse(code) => Err(code),
                _ => broker.append(data.index, data.records.expect("records")),
            };
            PartitionProduceResponse {
                index: data.index,
                error_code: stored.err().unwrap_or_default(),
                base_offset: stored.unwrap_or(-1),
                ..Default::default()
            }
        });
        let partition_responses = partitions.collect();
        responses.push(TopicProduceResponse { name: topic.name, topic_id: topic.topic_id, partition_responses });
    }
    (fault != Fault::CloseAfter).then(|| ProduceResponse { responses, ..Default::default() })
}

fn list_offsets<'a>(broker: &Broker, request: &ListOffsetsRequest<'a>) -> ListOffsetsResponse<'a> {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let partition = &broker.partitions[asked.partition_index as usize];
            let late = partition.batches.iter().find(|(header, _)| header.max_timestamp >= asked.timestamp);
            let offset = match asked.timestamp {
                -2 => 0,
                -1 => partition.end_offset,
                _ => late.map_or(-1, |(header, _)| header.base_offset),
            };
            ListOffsetsPartitionResponse { partition_index: asked.partition_index, offset, ..Default::default() }
        });
        ListOffsetsTopicResponse { name: topic.name, partitions: partitions.collect() }
    });
    ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
}

async fn fetch(
    broker: &Rc<RefCell<Broker>>,
    request: &FetchRequest<'_>,
    version: i16,
    correlation_id: i32,
    writer: &mut Writer,
) {
    let read = || {
        let broker = broker.borrow();
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        let read = |p: &ringlane_protocol::fetch::FetchPartition| {
            (p.partition, broker.read(p.partition, p.fetch_offset, p.partition_max_bytes as usize))
        };
        partitions.map(read).collect::<Vec<(i32, Vec<u8>)>>()
    };
    let mut found = read();
    if found.iter().all(|(_, records)| records.is_empty()) {
        sleep(Duration::from_millis(request.max_wait_ms as u64)).await;
        found = read();
    }
    let partitions = found.iter().map(|(index, records)| PartitionData {
        partition_index: *index,
        high_watermark: broker.borrow().partitions[*index as usize].end_offset,
        records: Some(records),
        aborted_transactions: None,
        ..Default::default()
    });
    let topic = FetchableTopicResponse { topic: TOPIC, topic_id: ID, partitions: partitions.collect() };
    let response = FetchResponse { responses: vec![topic], ..Default::default() };
    encode_response_frame(writer, version, correlation_id, &response);
}
