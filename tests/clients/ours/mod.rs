//! Our own client and commands in groups and transactions. `RINGLANE_TEST_KAFKA=HOST:PORT` runs the same stories against an Apache Kafka
//! that runs there, which is how they were judged.

mod commands;
mod members;
#[cfg(feature = "test-transactions")]
mod transactions;

use std::collections::BTreeSet;
use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ringlane_client::{
    Admin, Client, ClientOptions, ConsumerOptions, GroupConsumer, GroupOptions, GroupProtocol, IsolationLevel,
    NewTopic, Polled, Producer, ProducerOptions, ProducerRecord, StartAt, TopicPartition,
};
use ringlane_runtime::ring::{self, RingOptions};
use ringlane_runtime::{ShardMain, now};

use crate::support::Broker;

/// What a story waits for at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// The protocols that the broker speaks.
const PROTOCOLS: &[GroupProtocol] = &[GroupProtocol::Classic, GroupProtocol::Consumer];

/// A broker of the test's own, or the Kafka that it is compared with.
enum Target {
    Own(Broker),
    Kafka(String),
}

impl Target {
    fn start() -> Target {
        match std::env::var("RINGLANE_TEST_KAFKA") {
            Ok(address) => Target::Kafka(address),
            Err(_) => Target::Own(Broker::start(&["-o", "group.initial.rebalance.delay.ms=0"])),
        }
    }

    fn address(&self) -> &str {
        match self {
            Target::Own(broker) => broker.address(),
            Target::Kafka(address) => address,
        }
    }
}

/// A name that no other test, and no earlier run, has used.
fn unique(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", crate::support::now_millis(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Runs a story on a shard.
fn story<F: Future<Output = ()> + 'static>(target: &Target, story: impl FnOnce(Client) -> F + Send + 'static) {
    let address = target.address().to_owned();
    let main: ShardMain = Box::new(move || {
        Box::pin(async move {
            let client = Client::connect(ClientOptions::to(&address)).await.expect("the broker is reached");
            story(client).await;
        })
    });
    let cores = ring::allowed_cores().into_iter().take(1).collect();
    ring::run(RingOptions { cores, pool_bytes_per_shard: 64 << 20, spin_us: 0 }, vec![main]).expect("the story ends");
}

async fn make_topic(client: &Client, name: &str, partitions: i32) {
    let topic = NewTopic { partitions: Some(partitions), replication_factor: Some(1), ..NewTopic::named(name) };
    Admin::new(client).create_topic(&topic, false).await.expect("the topic is made");
}

/// `count` records with their numbers as values, evenly over the partitions.
async fn fill(client: &Client, topic: &str, partitions: i32, numbers: std::ops::Range<i32>) {
    let producer = Producer::new(client, ProducerOptions::default());
    for i in numbers {
        let record = ProducerRecord::to(topic).partition(i % partitions).value(i.to_string());
        // Whether it is stored is told by the flush.
        drop(producer.send(record).await.expect("it is buffered"));
    }
    producer.flush().await.expect("all are stored");
}

/// From the first record, committed data only.
fn options(group: &str) -> GroupOptions {
    let consumer = ConsumerOptions {
        isolation: IsolationLevel::ReadCommitted,
        reset: Some(StartAt::Earliest),
        ..ConsumerOptions::default()
    };
    GroupOptions {
        consumer,
        session_timeout: Duration::from_secs(10),
        heartbeat_interval: Duration::from_millis(500),
        ..GroupOptions::of(group)
    }
}

fn number(value: &Option<bytes::Bytes>) -> i32 {
    let text = std::str::from_utf8(value.as_ref().expect("a value")).expect("text");
    text.parse().expect("a number")
}

/// A member with what it was told and what it has read.
struct Reader {
    member: GroupConsumer,
    reads: BTreeSet<TopicPartition>,
    values: Vec<i32>,
}

impl Reader {
    fn new(client: &Client, options: GroupOptions, topic: &str) -> Reader {
        let member = GroupConsumer::new(client, options);
        member.subscribe(&[topic]);
        Reader { member, reads: BTreeSet::new(), values: Vec::new() }
    }

    /// One poll, checked: records only of what is assigned, changes only of what is known.
    async fn poll(&mut self) {
        match self.member.poll(Duration::from_millis(100)).await.expect("it polls") {
            Polled::Records(records) => {
                for record in &records {
                    let at = TopicPartition { topic: Rc::clone(&record.topic), partition: record.partition };
                    assert!(self.reads.contains(&at), "a record of {at}, which is not assigned");
                }
                self.values.extend(records.iter().map(|record| number(&record.value)));
            }
            Polled::Assigned(partitions) => self.reads.extend(partitions),
            Polled::Revoked(gone) | Polled::Lost(gone) => {
                assert!(gone.iter().all(|at| self.reads.remove(at)), "{gone:?} was never assigned");
            }
        }
    }
}

/// Polls all in turn until `is_done`; no partition may have two readers on the way.
async fn until(readers: &mut [&mut Reader], what: &str, is_done: impl Fn(&[&mut Reader]) -> bool) {
    let began = now();
    while !is_done(readers) {
        assert!(began.elapsed() < PATIENCE, "{what} did not come");
        for reader in readers.iter_mut() {
            reader.poll().await;
        }
        let all: Vec<&TopicPartition> = readers.iter().flat_map(|reader| &reader.reads).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "two readers of one partition: {all:?}");
    }
}
