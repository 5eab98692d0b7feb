//! A simulated machine with one shard and one partition, and what a broker would do with them.

mod story;

pub use story::{Story, random_life};

use bytes::Bytes;
use ringlane_log::{LogOptions, Recovered, ShardLogs, ShardLogsOptions, VolumeOptions};
use ringlane_metrics::ShardMetrics;
use ringlane_partition::{
    Acks, AppendEntry, AppendReply, AppendRequest, AppendResult, EpochEndEntry, EpochEndRequest, HomeShard,
    HomeShardOptions, Isolation, OffsetsEntry, OffsetsRequest, OffsetsResult, PartitionSpec, ReadEntry, ReadRequest,
    ReadResult, ReadTicket, TopicConfig, TopicPartition, prepare_batch,
};
use ringlane_protocol::records::{BatchBuilder, BatchHeader, Compression, ProducerStamp, batches};
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::sim::{DiskOptions, IoFault, LocalMain, NodeId, Sim, SimOptions};
use ringlane_runtime::{Buffer, fs, oneshot, spawn, wall_clock_ms};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Both shorter than Kafka's, so that a story has the time.
pub const PRODUCER_EXPIRATION: Duration = Duration::from_secs(10);
pub const PRODUCER_EXPIRY_INTERVAL: Duration = Duration::from_secs(2);
pub const BROKER: i32 = 1;
pub const AT: TopicPartition = TopicPartition { topic_id: TopicId([7; 16]), partition: 0 };
pub const UNSTABLE_BYTES_MAX: usize = 8 << 20;
const LIMIT: Duration = Duration::from_secs(600);
const PRODUCE_VERSION: i16 = 13;

/// What a story asks of its machine.
enum Command {
    Disk(DiskOptions),
    Fault(IoFault),
}

type Commands = Rc<RefCell<Vec<Command>>>;

pub struct Machine {
    sim: Sim,
    node: NodeId,
    commands: Commands,
}

/// Runs `story` to its end on a fresh machine.
pub fn on_one_shard<F: Future<Output = ()> + 'static>(seed: u64, story: impl FnOnce(Home) -> F + 'static) {
    Machine::new(seed).run(story);
}

impl Machine {
    pub fn new(seed: u64) -> Machine {
        let mut sim = Sim::new(seed, SimOptions::default());
        let node = sim.add_node();
        Machine { sim, node, commands: Commands::default() }
    }

    pub fn run<F: Future<Output = ()> + 'static>(&mut self, story: impl FnOnce(Home) -> F + 'static) {
        self.start(story);
        self.drive(LIMIT);
        assert!(!self.sim.is_running(self.node), "the story did not end\n{}", self.sim.trace_tail());
        assert!(self.sim.panics().is_empty(), "{:?}", self.sim.panics());
    }

    /// Runs `story` for a while, which the seed decides, then takes the power away, or kills the process.
    pub fn run_until_crash<F: Future<Output = ()> + 'static>(&mut self, story: impl FnOnce(Home) -> F + 'static) {
        self.start(story);
        let while_ms = self.sim.random().within(20..600);
        self.drive(Duration::from_millis(while_ms));
        match self.sim.random().chance(0.5) {
            true => self.sim.crash(self.node),
            false => self.sim.kill(self.node),
        }
    }

    pub fn crash(&mut self) {
        self.sim.crash(self.node);
    }

    fn start<F: Future<Output = ()> + 'static>(&mut self, story: impl FnOnce(Home) -> F + 'static) {
        let commands = self.commands.clone();
        let main: LocalMain = Box::new(|| {
            Box::pin(async move {
                let home = Home::start(commands).await;
                let shard = home.shard.clone();
                let _run = spawn("home shard", async move { shard.run().await });
                story(home).await;
            })
        });
        self.sim.start_local(self.node, vec![main]);
    }

    fn drive(&mut self, limit: Duration) {
        let until = self.sim.now() + limit;
        while self.sim.is_running(self.node) && self.sim.now() < until {
            let (node, commands) = (self.node, self.commands.clone());
            self.sim
                .run_until(until.since(self.sim.now()), |sim| !sim.is_running(node) || !commands.borrow().is_empty());
            for command in self.commands.take() {
                match command {
                    Command::Disk(options) => self.sim.set_disk(node, options),
                    Command::Fault(fault) => self.sim.add_io_fault(node, fault),
                }
            }
        }
    }
}

/// The shard's partition, as a broker sees it.
#[derive(Clone)]
pub struct Home {
    pub shard: HomeShard,
    metrics: Rc<ShardMetrics>,
    commands: Commands,
    spec: Rc<RefCell<PartitionSpec>>,
    model_end: Rc<Cell<i64>>,
}

impl Home {
    async fn start(commands: Commands) -> Home {
        let data_dir = Path::new("/data");
        fs::create_dir_all(data_dir).await.unwrap();
        let metrics = Rc::new(ShardMetrics::default());
        let volume = VolumeOptions::new(data_dir.into(), [5; 16], false);
        let recovered = Recovered::scan(std::slice::from_ref(&volume), |_| true).await;
        let logs = ShardLogs::start(ShardLogsOptions {
            journal_file_bytes: 1 << 20,
            ..ShardLogsOptions::new(vec![volume], recovered.into())
        });
        let options = HomeShardOptions {
            unstable_bytes_max: UNSTABLE_BYTES_MAX,
            producer_id_expiration_ms: PRODUCER_EXPIRATION.as_millis() as i64,
            producer_expiry_interval: PRODUCER_EXPIRY_INTERVAL,
            ..HomeShardOptions::new(BROKER, logs.clone(), metrics.clone())
        };
        let spec = PartitionSpec {
            at: AT,
            topic: "orders".into(),
            leader_id: BROKER,
            leader_epoch: 0,
            replicas_count: 1,
            isr_count: 1,
            config: Arc::new(TopicConfig::default()),
            log: LogOptions::default(),
            is_new: false,
        };
        let shard = HomeShard::new(options);
        shard.apply(spec.clone()).await.unwrap();
        logs.begin().await.unwrap();
        Home { shard, metrics, commands, spec: Rc::new(RefCell::new(spec)), model_end: Rc::default() }
    }

    pub fn disk(&self, options: DiskOptions) {
        self.commands.borrow_mut().push(Command::Disk(options));
    }

    pub fn fault(&self, fault: IoFault) {
        self.commands.borrow_mut().push(Command::Fault(fault));
    }

    #[track_caller]
    pub fn metrics_must(&self, hold: impl FnOnce(&ShardMetrics) -> bool) {
        assert!(hold(&self.metrics), "{:?}", self.metrics);
    }

    pub async fn change(&self, change: impl FnOnce(&mut PartitionSpec)) {
        let mut spec = self.spec.borrow().clone();
        change(&mut spec);
        self.spec.replace(spec.clone());
        self.shard.apply(spec).await.unwrap();
    }

    pub async fn configure(&self, config: TopicConfig) {
        self.change(|spec| spec.config = Arc::new(config)).await;
    }

    // ── produce ──

    pub fn append_request(&self, acks: Acks, timeout_ms: i32, batch: Vec<u8>) -> AppendRequest {
        let config = self.spec.borrow().config.clone();
        let batch = prepare_batch(Buffer::copy_from(&batch), PRODUCE_VERSION, &config, wall_clock_ms());
        AppendRequest { acks, timeout_ms, entries: vec![AppendEntry { at: AT, guard: None, batch }] }
    }

    /// Sequenced at the call; the future is the reply.
    pub fn send(&self, request: AppendRequest) -> impl Future<Output = AppendReply> + use<> {
        let (sender, reply) = oneshot();
        self.shard.append(request, move |reply| drop(sender.send(reply)));
        async { reply.await.expect("every append is answered") }
    }

    pub fn start_append(
        &self,
        acks: Acks,
        timeout_ms: i32,
        batch: Vec<u8>,
    ) -> impl Future<Output = AppendResult> + use<> {
        let reply = self.send(self.append_request(acks, timeout_ms, batch));
        async { reply.await.results.remove(0) }
    }

    /// The base offset, when all replicas have it.
    pub async fn append(&self, batch: Vec<u8>) -> i64 {
        appended(self.start_append(Acks::All, 30_000, batch).await)
    }

    pub fn model_end(&self) -> i64 {
        self.model_end.get()
    }

    pub fn grow_model(&self, records: usize) {
        self.model_end.set(self.model_end() + records as i64);
    }

    // ── fetch ──

    pub fn read_request(&self, from: i64, max_wait_ms: i32, min_bytes: i32) -> ReadRequest {
        let entry = ReadEntry {
            at: AT,
            fetch_offset: from,
            max_bytes: 1 << 20,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        };
        ReadRequest {
            ticket: None,
            max_wait_ms,
            min_bytes,
            max_bytes: 10 << 20,
            at_least_one: true,
            isolation: Isolation::ReadUncommitted,
            entries: vec![entry],
        }
    }

    /// Waits from the call on.
    pub fn read_waiting(
        &self,
        from: i64,
        max_wait_ms: i32,
        min_bytes: i32,
        ticket: Option<ReadTicket>,
    ) -> impl Future<Output = ReadResult> + use<> {
        let request = ReadRequest { ticket, ..self.read_request(from, max_wait_ms, min_bytes) };
        let reply = self.shard.read(request);
        async { reply.await.results.remove(0) }
    }

    pub async fn read_from(&self, from: i64) -> ReadResult {
        self.read_waiting(from, 0, 1, None).await
    }

    // ── offsets ──

    pub async fn offset(&self, entry: OffsetsEntry) -> OffsetsResult {
        let request = OffsetsRequest { isolation: Isolation::ReadUncommitted, entries: vec![entry] };
        self.shard.offsets(request).await.results[0]
    }

    /// (epoch, its end)
    pub fn epoch_end(&self, leader_epoch: i32) -> (i32, i64) {
        let entry = EpochEndEntry { at: AT, current_leader_epoch: -1, leader_epoch };
        let result = self.shard.epoch_ends(EpochEndRequest { entries: vec![entry] }).results[0];
        assert_eq!(result.error, ErrorCode::None);
        (result.leader_epoch, result.end_offset)
    }
}

#[track_caller]
pub fn appended(result: AppendResult) -> i64 {
    assert_eq!(result.failure, None);
    result.base_offset
}

pub fn headers(slices: &[Bytes]) -> Vec<BatchHeader> {
    let all = slices.concat();
    batches(&all).map(|batch| batch.expect("stored batches are sound").header).collect()
}

// ── batches ──

fn batch(records: usize, value: &[u8], timestamp: i64, producer: Option<(ProducerStamp, bool)>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..records {
        builder.push(timestamp, Some(b"key"), Some(value), &[]);
    }
    if let Some((stamp, transactional)) = producer {
        builder.set_producer(stamp, transactional);
    }
    builder.finish().unwrap()
}

pub fn batch_of(records: usize) -> Vec<u8> {
    batch(records, b"value", 1_000, None)
}

pub fn batch_at(timestamp: i64) -> Vec<u8> {
    batch(1, b"value", timestamp, None)
}

pub fn large_batch(bytes: usize) -> Vec<u8> {
    batch(1, &vec![b'x'; bytes - 100], 1_000, None)
}

/// One record of an idempotent producer, which says who wrote it.
pub fn stamped(id: i64, epoch: i16, base_sequence: i32) -> Vec<u8> {
    let value = format!("{id} {base_sequence}");
    batch(1, value.as_bytes(), 1_000, Some((ProducerStamp { id, epoch, base_sequence }, false)))
}

pub fn transactional(id: i64) -> Vec<u8> {
    transactional_at(id, 0, 0)
}

pub fn transactional_at(id: i64, epoch: i16, base_sequence: i32) -> Vec<u8> {
    batch(1, b"value", 1_000, Some((ProducerStamp { id, epoch, base_sequence }, true)))
}
