//! A group of the client crate's consumers, on a broker that crashes and is killed, with members that crash as well: each record is read at least
//! once, what the group has committed never goes back, and in the end it has committed everything.

use crate::client::{BROKER_HOST, BROKER_PORT, own_seed, pause};
use ringlane_broker::shard_mains;
use ringlane_client::{
    Admin, Client, ClientOptions, ConsumerOptions, GroupConsumer, GroupOptions, NewTopic, Producer, ProducerOptions,
    ProducerRecord, StartAt,
};
use ringlane_config::Config;
use ringlane_log::mutants::{self, Mutant};
use ringlane_runtime::sim::{LocalMain, NodeId, Sim, SimOptions};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const SHARDS: usize = 3;
const MEMBERS: usize = 3;
const PARTITIONS: i32 = 7;
const RECORDS: i32 = 350;
const SEEDS: u64 = 10;
const TOPIC: &str = "shared";
const GROUP: &str = "readers";
/// Virtual time within which a group has overcome whatever happened to it.
const LIMIT: Duration = Duration::from_secs(900);

#[derive(Default)]
struct Seen {
    /// Partition and offset.
    read: RefCell<BTreeSet<(i32, i64)>>,
    committed: RefCell<BTreeMap<i32, i64>>,
    is_over: Cell<bool>,
    violations: RefCell<Vec<String>>,
}

/// Offsets are how consumers survive: one that is lost is a batch of payments made twice, one that jumps is one not made at all.
#[test]
fn a_group_reads_everything_and_never_goes_back() {
    for seed in 1..=SEEDS {
        run(seed).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
}

/// If it does not notice a broker that says "committed" before the disk has it, its silence about the real one means nothing.
#[test]
fn a_commit_that_is_acknowledged_too_early_is_caught() {
    mutants::select(Some(Mutant::WriteNotDurable));
    let caught = (1..=SEEDS).find(|seed| run(*seed).is_err());
    mutants::select(None);
    assert!(caught.is_some(), "it went unnoticed for {SEEDS} seeds");
}

/// `Err`: which promise was broken.
fn run(seed: u64) -> Result<(), String> {
    let mut sim = Sim::new(seed, SimOptions::default());
    let seen = Rc::new(Seen::default());
    let broker = sim.add_node();
    start_broker(&mut sim, broker);
    let (writer, observer) = (sim.add_node(), sim.add_node());
    sim.start_local(writer, vec![main(write())]);
    sim.start_local(observer, vec![main(observe(seen.clone()))]);
    let members: Vec<NodeId> = (0..MEMBERS).map(|_| sim.add_node()).collect();
    for &member in &members {
        sim.start_local(member, vec![main(read(seen.clone()))]);
    }
    let mut random = ringlane_runtime::sim::Seed::new(seed);
    for round in 0..6 {
        sim.run_for(Duration::from_millis(random.within(500..12_000)));
        match round % 3 {
            0 => sim.crash(broker),
            1 => sim.kill(broker),
            _ => {
                let member = members[random.below(MEMBERS as u64) as usize];
                sim.crash(member);
                sim.run_for(Duration::from_millis(random.within(10..9_000)));
                sim.start_local(member, vec![main(read(seen.clone()))]);
                continue;
            }
        }
        sim.run_for(Duration::from_millis(random.within(10..3_000)));
        start_broker(&mut sim, broker);
    }
    let is_over = sim.run_until(LIMIT, |_| seen.is_over.get());
    let violations = seen.violations.take();
    let (read, committed) = (seen.read.borrow().len(), seen.committed.borrow().clone());
    match () {
        () if !violations.is_empty() => Err(violations.join("; ")),
        () if !is_over => Err(format!("{read} of {RECORDS} records were read, {committed:?} is committed")),
        () if read != RECORDS as usize => Err(format!("all is committed, and {read} of {RECORDS} records were read")),
        () => Ok(()),
    }
}

fn start_broker(sim: &mut Sim, broker: NodeId) {
    let (config, _) = Config::builder()
        .set("log.dirs", "/data/broker")
        .set("listeners", &format!("PLAINTEXT://0.0.0.0:{BROKER_PORT}"))
        .set("advertised.listeners", &format!("PLAINTEXT://{BROKER_HOST}:{BROKER_PORT}"))
        .set("group.initial.rebalance.delay.ms", "200")
        .build()
        .expect("a valid configuration");
    let ready = |started: Result<_, ringlane_broker::StartError>| drop(started.expect("the broker starts"));
    sim.start(broker, shard_mains(Arc::new(config), SHARDS, ready));
}

fn main(work: impl Future<Output = ()> + 'static) -> LocalMain {
    Box::new(move || Box::pin(work))
}

async fn connect() -> Client {
    let mut options = ClientOptions::to(&format!("{BROKER_HOST}:{BROKER_PORT}"));
    options.request_timeout = Duration::from_secs(5);
    loop {
        match Client::connect(options.clone()).await {
            Ok(client) => return client,
            Err(_) => pause(50..400).await,
        }
    }
}

async fn write() {
    let client = connect().await;
    let topic = NewTopic { partitions: Some(PARTITIONS), ..NewTopic::named(TOPIC) };
    while let Err(error) = Admin::new(&client).create_topic(&topic, false).await {
        if error.code() == Some(ringlane_protocol::ErrorCode::TopicAlreadyExists) {
            break;
        }
        pause(50..400).await;
    }
    let options = ProducerOptions { delivery_timeout: Duration::from_secs(3_600), ..ProducerOptions::default() };
    let producer = Producer::new(&client, options);
    for number in 0..RECORDS {
        let record = || ProducerRecord::to(TOPIC).partition(number % PARTITIONS).value(number.to_string());
        let delivery = loop {
            match producer.send(record()).await {
                Ok(delivery) => break delivery,
                Err(_) => pause(10..100).await,
            }
        };
        delivery.await.expect("its place");
        pause(1..100).await;
    }
}

/// A member, until everything is committed.
async fn read(seen: Rc<Seen>) {
    let client = connect().await;
    let options = GroupOptions {
        auto_commit: None,
        consumer: ConsumerOptions { reset: Some(StartAt::Earliest), ..ConsumerOptions::default() },
        session_timeout: Duration::from_secs(6),
        heartbeat_interval: Duration::from_millis(500),
        max_poll_interval: Duration::from_secs(10),
        ..GroupOptions::of(GROUP)
    };
    let consumer = GroupConsumer::new(&client, options);
    consumer.subscribe(&[TOPIC]);
    while !seen.is_over.get() {
        match consumer.records(Duration::from_millis(own_seed().within(50..700))).await {
            Ok(records) => {
                let places = records.iter().map(|record| (record.partition, record.offset));
                seen.read.borrow_mut().extend(places);
            }
            Err(_) => pause(50..400).await,
        }
        // What was not committed comes again.
        drop(consumer.commit().await);
    }
    drop(consumer.close().await);
}

/// Looks at what is committed, until it is everything.
async fn observe(seen: Rc<Seen>) {
    let admin = Admin::new(&connect().await);
    while !seen.is_over.get() {
        pause(100..1_000).await;
        let Ok(offsets) = admin.group_offsets(GROUP).await else { continue };
        let mut committed = seen.committed.borrow_mut();
        let before = std::mem::take(&mut *committed);
        committed.extend(offsets.into_iter().map(|(at, place)| (at.partition, place.offset)));
        for (partition, was) in before {
            let is = committed.get(&partition).copied().unwrap_or(-1);
            if is < was {
                let what = format!("partition {partition} was committed up to {was} and then up to {is}");
                seen.violations.borrow_mut().push(what);
                seen.is_over.set(true);
            }
        }
        let total: i64 = committed.values().sum();
        if total >= i64::from(RECORDS) {
            seen.is_over.set(true);
        }
    }
}
