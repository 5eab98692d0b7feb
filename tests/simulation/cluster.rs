//! One run: a broker node, client nodes, and the driver that crashes, cuts and restarts as the seed says.

use crate::client::{BROKER_PORT, Topic, Workload};
use crate::consumer::{audit, follow};
use crate::library;
use crate::producer::{Kind, Producer};
use ringlane_broker::shard_mains;
use ringlane_config::Config;
use ringlane_runtime::sim::{DiskOptions, IoFault, IoKind, LocalMain, NetworkOptions, NodeId, Sim, SimOptions};
use ringlane_runtime::spawn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

const SHARDS: usize = 4;
const NOT_STARTED: &str = "the broker did not start on its own data";
/// Virtual time within which a workload must be done when no more faults are added.
const PATIENCE: Duration = Duration::from_secs(120);
/// Few beside what a workload takes (some 30,000), so that most faults hit a busy broker.
const EVENTS_BETWEEN_FAULTS_MAX: u64 = 6_000;
const IO_KINDS: [IoKind; 9] = [
    IoKind::Read,
    IoKind::Write,
    IoKind::Sync,
    IoKind::Open,
    IoKind::Create,
    IoKind::Rename,
    IoKind::Remove,
    IoKind::SyncDir,
    IoKind::List,
];
const LIBRARY_PRODUCER: u16 = 100;
const TOPICS: [Topic; 2] = [
    Topic { name: "orders", partitions: 5, configs: &[] },
    Topic { name: "clicks", partitions: 3, configs: &[("segment.bytes", "1048576")] },
];

/// What is broken in a run, besides what the seed decides.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// The broker's disk says "durable" and does nothing.
    pub lying_disk: bool,
    /// The broker's disk answers some operations with an error, for a while.
    pub failing_disk: bool,
}

pub struct Outcome {
    pub seed: u64,
    pub violations: Vec<String>,
    pub acknowledged: u64,
    pub read: u64,
    pub crashes: u64,
    pub trace_hash: u64,
    pub trace_events: u64,
    pub story: Vec<String>,
    pub trace_tail: String,
}

pub fn run(seed: u64, faults: Faults) -> Outcome {
    let mut cluster = Cluster::new(seed, faults);
    cluster.start_clients();
    cluster.suffer();
    // Why it gave up is among the violations.
    let _ = cluster.finish();
    cluster.outcome()
}

struct Cluster {
    sim: Sim,
    broker: NodeId,
    clients: Vec<NodeId>,
    workload: Rc<Workload>,
    start: Arc<AtomicU8>,
    faults: Faults,
    crashes: u64,
    /// What the driver did, and when.
    story: Vec<String>,
}

struct GaveUp;

/// What the broker said about its start.
mod start {
    pub const SILENT: u8 = 0;
    pub const SERVES: u8 = 1;
    pub const FAILED: u8 = 2;
}

impl Cluster {
    fn new(seed: u64, faults: Faults) -> Cluster {
        let mut sim = Sim::new(seed, SimOptions { fail_on_panic: false, ..SimOptions::default() });
        let random = sim.random();
        let network = NetworkOptions {
            cut_probability: [0.0, 0.0002, 0.002][random.below(3) as usize],
            ..NetworkOptions::default()
        };
        let slowest_ms = [1, 5, 40][random.below(3) as usize];
        let disk = DiskOptions {
            latency: Duration::from_micros(10)..Duration::from_millis(slowest_ms),
            lies_about_durability: faults.lying_disk,
            ..DiskOptions::default()
        };
        sim.set_network(network);
        let broker = sim.add_node();
        sim.set_disk(broker, disk);
        let clients = vec![sim.add_node(), sim.add_node()];
        let workload = Workload::new(TOPICS.to_vec());
        Cluster { sim, broker, clients, workload, start: Arc::default(), faults, crashes: 0, story: Vec::new() }
    }

    fn start_broker(&mut self) {
        self.tell("the broker starts");
        let (config, _) = Config::builder()
            .set("log.dirs", "/data/broker")
            .set("listeners", &format!("PLAINTEXT://0.0.0.0:{BROKER_PORT}"))
            .set("advertised.listeners", &format!("PLAINTEXT://node-1:{BROKER_PORT}"))
            .build()
            .expect("a valid configuration");
        let start = self.start.clone();
        if start.swap(start::SILENT, Ordering::Relaxed) == start::FAILED && !self.faults.failing_disk {
            self.workload.history.violation(NOT_STARTED.to_owned());
        }
        let ready = move |outcome: Result<_, ringlane_broker::StartError>| match outcome {
            Ok(_) => start.store(start::SERVES, Ordering::Relaxed),
            Err(error) => {
                println!("the broker did not start: {error}");
                start.store(start::FAILED, Ordering::Relaxed);
            }
        };
        self.sim.start(self.broker, shard_mains(Arc::new(config), SHARDS, ready));
    }

    fn tell(&mut self, what: &str) {
        let seconds = self.sim.now().as_nanos() as f64 / 1e9;
        let (acknowledged, _) = self.workload.history.counts();
        let events = self.sim.trace_events();
        self.story.push(format!("{seconds:.6} s, event {events}, {acknowledged} acknowledged: {what}"));
    }

    fn start_clients(&mut self) {
        self.start_broker();
        let kinds = [Kind::Idempotent, Kind::Plain(-1), Kind::Idempotent, Kind::Plain(1), Kind::Plain(0)];
        for index in 0..self.clients.len() {
            let workload = self.workload.clone();
            let batches = 20 + self.sim.random().below(60) as u32;
            let kinds: Vec<_> = (0_u16..).zip(kinds).skip(index).step_by(self.clients.len()).collect();
            let main: LocalMain = Box::new(move || {
                Box::pin(async move {
                    for (id, kind) in kinds {
                        let producer = Producer::new(workload.clone(), id, kind, batches);
                        spawn("producer", producer.run()).detach();
                    }
                    if index == 1 {
                        spawn("library producer", library::produce(workload.clone(), LIBRARY_PRODUCER, batches * 5))
                            .detach();
                        spawn("library consumer", library::consume(workload.clone())).detach();
                    }
                    follow(workload, index as u64).await;
                })
            });
            self.sim.start_local(self.clients[index], vec![main]);
        }
        self.sim.run_for(Duration::from_millis(1));
    }

    /// Crashes, kills, stops and cuts the broker a few times.
    fn suffer(&mut self) {
        for _ in 0..1 + self.sim.random().below(8) {
            self.run_under_load();
            if self.faults.failing_disk {
                self.disk_errors();
            }
            match self.sim.random().below(10) {
                0..=4 => self.power_loss(),
                5..=6 => self.kill(),
                7 => self.stop(),
                8 => self.cut_off(),
                _ => {
                    let client = self.clients[0];
                    self.sim.reset_connections(self.broker, client);
                }
            }
            if !self.sim.is_running(self.broker) {
                let down_ms = self.sim.random().below(3_000);
                self.sim.run_for(Duration::from_millis(down_ms));
                self.start_broker();
            }
        }
    }

    /// A little while, to the event: what breaks, breaks in the middle of work.
    fn run_under_load(&mut self) {
        let events = self.sim.random().below(EVENTS_BETWEEN_FAULTS_MAX);
        let last_event = self.sim.trace_events() + events;
        self.sim.run_until(Duration::from_secs(10), |sim| sim.trace_events() >= last_event);
    }

    fn power_loss(&mut self) {
        self.tell("power loss");
        self.sim.crash(self.broker);
        self.crashes += 1;
    }

    fn kill(&mut self) {
        self.tell("kill -9");
        self.sim.kill(self.broker);
        self.crashes += 1;
    }

    fn stop(&mut self) {
        if !self.sim.is_running(self.broker) {
            return;
        }
        self.tell("asked to stop");
        self.sim.stop(self.broker);
        let broker = self.broker;
        if !self.sim.run_until(Duration::from_secs(120), |sim| !sim.is_running(broker)) {
            self.workload.history.violation("the broker did not stop within two minutes".to_owned());
            self.sim.kill(broker);
        }
    }

    fn cut_off(&mut self) {
        self.tell("cut off from a client");
        let client = self.clients[1];
        self.sim.partition(self.broker, client);
        // Mostly shorter than TCP's patience, or the others are done before it ends.
        let longest_ms = if self.sim.random().chance(0.2) { 20_000 } else { 300 };
        let cut_ms = self.sim.random().below(longest_ms);
        self.sim.run_for(Duration::from_millis(cut_ms));
        self.sim.heal_partition(self.broker, client);
    }

    /// What failed stays failed until a restart; the disk itself is well again before.
    fn disk_errors(&mut self) {
        let random = self.sim.random();
        let kind = IO_KINDS[random.below(IO_KINDS.len() as u64) as usize];
        let probability = [0.01, 0.1, 1.0][random.below(3) as usize];
        let errors_ms = random.below(2_000);
        self.tell(&format!("for {errors_ms} ms, {probability} of all operations {kind:?} fail"));
        self.sim.add_io_fault(self.broker, IoFault { kind, path_contains: String::new(), probability });
        self.sim.run_for(Duration::from_millis(errors_ms));
        self.sim.clear_io_faults(self.broker);
        match self.sim.random().chance(0.5) {
            true => self.power_loss(),
            false => self.kill(),
        }
    }

    /// Lets the producers finish, then reads everything, crashes once more without load, and reads everything again.
    fn finish(&mut self) -> Result<(), GaveUp> {
        self.sim.set_network(NetworkOptions::default());
        let workload = self.workload.clone();
        self.expect("the producers to finish", |_| workload.producing.get() == 0)?;
        self.workload.is_over.set(true);
        let clients = self.clients.clone();
        self.expect("the clients to end", |sim| clients.iter().all(|client| !sim.is_running(*client)))?;
        self.audit()?;
        self.power_loss();
        self.start_broker();
        self.audit()
    }

    fn audit(&mut self) -> Result<(), GaveUp> {
        self.tell("audit");
        let workload = self.workload.clone();
        let main: LocalMain = Box::new(move || Box::pin(audit(workload)));
        let auditor = self.clients[0];
        self.sim.start_local(auditor, vec![main]);
        self.expect("the audit to end", |sim| !sim.is_running(auditor))
    }

    /// Runs until `is_done`. Gives up, with a violation, when that takes too long or the broker refuses to serve; after a violation there
    /// is nothing to wait for.
    fn expect(&mut self, what: &str, is_done: impl Fn(&Sim) -> bool) -> Result<(), GaveUp> {
        let (workload, start) = (self.workload.clone(), self.start.clone());
        let has_failed = || start.load(Ordering::Relaxed) == start::FAILED;
        let gives_up = |sim: &Sim| has_failed() || workload.history.is_violated() || !sim.panics().is_empty();
        self.sim.run_until(PATIENCE, |sim| gives_up(sim) || is_done(sim));
        for panic in self.sim.panics() {
            workload.history.violation(format!("{} panicked in {}: {}", panic.task, panic.node, panic.message));
        }
        if has_failed() {
            workload.history.violation(NOT_STARTED.to_owned());
        } else if !is_done(&self.sim) && !workload.history.is_violated() {
            let trouble = workload.last_trouble.borrow();
            workload.history.violation(format!("waited {PATIENCE:?} for {what}; last retry: {trouble}"));
        }
        if workload.history.is_violated() { Err(GaveUp) } else { Ok(()) }
    }

    fn outcome(self) -> Outcome {
        let (acknowledged, read) = self.workload.history.counts();
        Outcome {
            seed: self.sim.seed(),
            violations: self.workload.history.violations(),
            acknowledged,
            read,
            crashes: self.crashes,
            trace_hash: self.sim.trace_hash(),
            trace_events: self.sim.trace_events(),
            story: self.story,
            trace_tail: self.sim.trace_tail(),
        }
    }
}
