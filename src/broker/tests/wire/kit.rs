//! One simulated broker and one simulated client machine, and a connection that sends what it is told, right or wrong.

use bytes::Bytes;
use ringlane_broker::shard_mains;
use ringlane_config::Config;
use ringlane_protocol::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
use ringlane_protocol::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use ringlane_protocol::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};
use ringlane_protocol::records::{BatchBuilder, Compression};
use ringlane_protocol::{
    ErrorCode, Message, Reader, Request, RequestHeader, TopicId, Writer, decode_response_header, encode_request_frame,
};
use ringlane_runtime::sim::{IoFault, IoKind, LocalMain, NetworkOptions, NodeId, Sim, SimOptions};
use ringlane_runtime::{Buffer, Stream, resolve, sleep, timeout};
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const PORT: u16 = 9092;
/// Virtual time after which an answer that has not come never will.
const PATIENCE: Duration = Duration::from_secs(100);

/// Starts a broker of `shards` shards with `settings` and runs `client` beside it, to its end.
pub fn with_broker<F>(shards: usize, settings: &[(&str, &str)], client: impl FnOnce() -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let mut machines = Machines::new(shards, settings);
    machines.start_broker();
    machines.run(client);
    machines.stop_broker();
}

/// Runs `before`, cuts the broker's power, and runs `after` on what its disk has kept.
pub fn with_power_cut<F, G>(
    shards: usize,
    settings: &[(&str, &str)],
    before: impl FnOnce() -> F + 'static,
    after: impl FnOnce() -> G + 'static,
) where
    F: Future<Output = ()> + 'static,
    G: Future<Output = ()> + 'static,
{
    let mut machines = Machines::new(shards, settings);
    machines.start_broker();
    machines.run(before);
    machines.sim.crash(machines.broker);
    machines.start_broker();
    machines.run(after);
    machines.stop_broker();
}

/// Runs `before`, makes every write to the broker's journals fail, and runs `after`.
pub fn with_failing_journal<F, G>(
    shards: usize,
    settings: &[(&str, &str)],
    before: impl FnOnce() -> F + 'static,
    after: impl FnOnce() -> G + 'static,
) where
    F: Future<Output = ()> + 'static,
    G: Future<Output = ()> + 'static,
{
    let mut machines = Machines::new(shards, settings);
    machines.start_broker();
    machines.run(before);
    let fault = IoFault { kind: IoKind::Write, path_contains: "journal".to_owned(), probability: 1.0 };
    machines.sim.add_io_fault(machines.broker, fault);
    machines.run(after);
    machines.sim.crash(machines.broker);
}

/// The broker's and the client's.
struct Machines {
    sim: Sim,
    broker: NodeId,
    client: NodeId,
    config: Arc<Config>,
    shards: usize,
}

impl Machines {
    fn new(shards: usize, settings: &[(&str, &str)]) -> Machines {
        let mut builder = Config::builder().set("listeners", "PLAINTEXT://node-1:9092").set("log.dirs", "/data");
        for (key, value) in settings {
            builder = builder.set(key, value);
        }
        let (config, _) = builder.build().expect("settings of a test are valid");
        let network = NetworkOptions { window_bytes: 64 << 10..256 << 10, ..NetworkOptions::default() };
        let mut sim = Sim::new(shards as u64, SimOptions { network, ..SimOptions::default() });
        let (broker, client) = (sim.add_node(), sim.add_node());
        Machines { sim, broker, client, config: Arc::new(config), shards }
    }

    fn start_broker(&mut self) {
        let ready = |started: Result<_, ringlane_broker::StartError>| drop(started.expect("the broker starts"));
        self.sim.start(self.broker, shard_mains(self.config.clone(), self.shards, ready));
    }

    fn run<F: Future<Output = ()> + 'static>(&mut self, client: impl FnOnce() -> F + 'static) {
        let is_done = Rc::new(Cell::new(false));
        let done = is_done.clone();
        let main: LocalMain = Box::new(move || {
            Box::pin(async move {
                client().await;
                done.set(true);
            })
        });
        self.sim.start_local(self.client, vec![main]);
        let ended = self.sim.run_until(Duration::from_secs(3600), |_| is_done.get());
        assert!(ended, "the client waits for something that never comes");
        let client = self.client;
        self.sim.run_until(Duration::from_secs(60), |sim| !sim.is_running(client));
    }

    fn stop_broker(&mut self) {
        let broker = self.broker;
        self.sim.stop(broker);
        let stopped = self.sim.run_until(Duration::from_secs(60), |sim| !sim.is_running(broker));
        assert!(stopped, "the broker does not stop");
    }
}

/// One connection.
pub struct Wire {
    stream: Stream,
    next_correlation_id: i32,
}

impl Wire {
    /// Waits until the broker listens.
    pub async fn connect() -> Wire {
        let address = resolve("node-1", PORT).await.expect("the broker's host has an address")[0];
        for _ in 0..1000 {
            if let Ok(stream) = Stream::connect(address).await {
                return Wire { stream, next_correlation_id: 1 };
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the broker does not listen");
    }

    /// Bytes as they are. `false`: the connection is gone.
    pub async fn send(&self, bytes: &[u8]) -> bool {
        self.stream.send_all(vec![Bytes::copy_from_slice(bytes)]).await.is_ok()
    }

    /// A frame around `body`, whatever it is.
    pub async fn send_frame(&self, key: i16, version: i16, correlation_id: i32, body: &[u8]) -> bool {
        self.send(&frame(key, version, correlation_id, body)).await
    }

    /// The next answer without its size; `None` when the broker closes instead.
    pub async fn receive(&self) -> Option<Vec<u8>> {
        timeout(PATIENCE, self.receive_now()).await.expect("neither an answer nor a close")
    }

    async fn receive_now(&self) -> Option<Vec<u8>> {
        let (received, size) = self.stream.recv_exact(Buffer::take(4), 0).await;
        received.ok()?;
        let size = i32::from_be_bytes(size[..].try_into().expect("four bytes"));
        let (received, answer) = self.stream.recv_exact(Buffer::take(size as usize), 0).await;
        received.ok()?;
        Some(answer.to_vec())
    }

    /// Whether nothing comes for `time`.
    pub async fn is_silent_for(&self, time: Duration) -> bool {
        timeout(time, self.receive_now()).await.is_err()
    }

    pub async fn is_closed(&self) -> bool {
        self.receive().await.is_none()
    }

    pub async fn request<'a, Q: Request<'a>>(&mut self, version: i16, request: &Q) -> i32 {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let mut writer = Writer::new();
        encode_request_frame(&mut writer, version, correlation_id, "test", request);
        assert!(self.send(writer.as_slice()).await, "the broker closed the connection");
        correlation_id
    }

    /// The body of the next answer, which must be the one to `correlation_id`.
    pub async fn answer<'a, Q: Request<'a>>(&mut self, version: i16, correlation_id: i32) -> Vec<u8> {
        let answer = self.receive().await.expect("an answer, not a close");
        let mut reader = Reader::new(&answer);
        let answered = decode_response_header(&mut reader, Q::KEY, version).expect("a response header");
        assert_eq!(answered, correlation_id, "answers come in order");
        answer[answer.len() - reader.remaining()..].to_vec()
    }

    pub async fn call<'a, Q: Request<'a>>(&mut self, version: i16, request: &Q) -> Vec<u8> {
        let correlation_id = self.request(version, request).await;
        self.answer::<Q>(version, correlation_id).await
    }

    /// Proof that the broker still serves this connection.
    pub async fn assert_served(&mut self) {
        let body = self.call(9, &MetadataRequest { topics: Some(Vec::new()), ..Default::default() }).await;
        let metadata = decode::<MetadataResponse>(&body, 9);
        assert_eq!(metadata.brokers.len(), 1);
    }

    pub async fn create_topic(&mut self, name: &str, partitions: i32) -> TopicId {
        let topic = CreatableTopic { name, num_partitions: partitions, replication_factor: -1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
        let body = self.call(7, &request).await;
        let response = decode::<CreateTopicsResponse>(&body, 7);
        assert_eq!(response.topics[0].error_code, ErrorCode::None, "{:?}", response.topics[0].error_message);
        response.topics[0].topic_id
    }

    pub async fn metadata(&mut self, version: i16, names: &[&str]) -> Vec<u8> {
        let topics = names.iter().map(|name| MetadataRequestTopic { name: Some(name), ..Default::default() });
        let topics = Some(topics.collect());
        self.call(version, &MetadataRequest { topics, allow_auto_topic_creation: true, ..Default::default() }).await
    }

    /// Produces `records` to one partition by name; gives the partition's error and base offset.
    pub async fn produce(&mut self, topic: &str, partition: i32, acks: i16, records: &[u8]) -> (ErrorCode, i64) {
        let request = produce_request(topic, partition, acks, records);
        let body = self.call(9, &request).await;
        let response = decode::<ProduceResponse>(&body, 9);
        let PartitionProduceResponse { error_code, base_offset, .. } = response.responses[0].partition_responses[0];
        (error_code, base_offset)
    }
}

pub fn produce_request<'a>(topic: &'a str, index: i32, acks: i16, records: &'a [u8]) -> ProduceRequest<'a> {
    let partition_data = vec![PartitionProduceData { index, records: Some(records) }];
    let topic_data = vec![TopicProduceData { name: topic, partition_data, ..Default::default() }];
    ProduceRequest { transactional_id: None, acks, timeout_ms: 30_000, topic_data }
}

pub fn decode<'a, M: Message<'a>>(body: &'a [u8], version: i16) -> M {
    let mut reader = Reader::new(body);
    let message = M::decode(&mut reader, version).expect("an answer that decodes");
    assert_eq!(reader.remaining(), 0, "bytes behind the answer");
    message
}

/// Header version 1 or 2 as the key and version ask for, `body` behind it.
pub fn frame(key: i16, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    let mark = writer.begin_frame();
    RequestHeader { key, version, correlation_id, client_id: b"test" }.encode(&mut writer);
    writer.raw(body);
    writer.end_frame(mark);
    writer.into_bytes()
}

/// One batch of `count` records with values of `value_bytes` bytes.
pub fn batch(count: usize, value_bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    for index in 0..count {
        builder.push(1_767_225_600_000, Some(format!("key-{index}").as_bytes()), Some(&vec![7; value_bytes]), &[]);
    }
    builder.finish().expect("a batch")
}
