//! The client against a broker that loses answers, refuses and closes, in the simulator: what was acknowledged is there once, in order.

mod broker;

use broker::{Broker, PORT, TOPIC, Versions};
use bytes::Bytes;
use ringlane_client::{
    Acks, Client, ClientError, ClientOptions, Consumer, ConsumerOptions, ConsumerRecord, Producer, ProducerOptions,
    ProducerRecord, StartAt,
};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::Compression;
use ringlane_runtime::sim::{Sim, SimOptions};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

const NEWEST: Versions = Versions { api_versions: 5, produce: 13, fetch: 18 };
const OLD: Versions = Versions { api_versions: 2, produce: 7, fetch: 11 };

/// Runs `client` on a node of its own beside the broker, to its end.
fn simulate<F: Future<Output = ()> + 'static>(
    seed: u64,
    broker: &Rc<RefCell<Broker>>,
    client: impl FnOnce() -> F + 'static,
) {
    println!("seed {seed}");
    let mut sim = Sim::new(seed, SimOptions::default());
    let (server, user) = (sim.add_node(), sim.add_node());
    let broker = broker.clone();
    sim.start_local(server, vec![Box::new(move || Box::pin(broker::run(broker)))]);
    sim.start_local(user, vec![Box::new(move || Box::pin(client()))]);
    let is_done = sim.run_until(Duration::from_secs(600), |sim| !sim.is_running(user));
    assert!(is_done, "seed {seed}: the client did not come to its end");
}

async fn connect() -> Client {
    let mut options = ClientOptions::to(&format!("node-1:{PORT}"));
    options.request_timeout = Duration::from_secs(5);
    Client::connect(options).await.expect("the broker is reached")
}

async fn read_all(client: &Client, partitions: i32, count: usize) -> Vec<ConsumerRecord> {
    let consumer = Consumer::new(client, ConsumerOptions::default());
    for partition in 0..partitions {
        consumer.assign(TOPIC, partition, StartAt::Earliest).await.expect("it is assigned");
    }
    let mut records = Vec::new();
    while records.len() < count {
        let more = consumer.poll(Duration::from_secs(20)).await.expect("it polls");
        assert!(!more.is_empty(), "{} of {count} records, then nothing", records.len());
        records.extend(more);
    }
    let more = consumer.poll(Duration::from_secs(2)).await.expect("it polls");
    assert!(more.is_empty(), "more records than were sent: {more:?}");
    records
}

/// The promise of an idempotent producer: whatever answers are lost, each record is stored once, and the records of a key stay in the
/// order in which they were sent.
#[test]
fn each_record_is_stored_once_and_in_order() {
    const RECORDS: usize = 400;
    let (mut faults, mut duplicates) = (0, 0);
    for seed in 1..=20 {
        let versions = if seed % 2 == 0 { NEWEST } else { OLD };
        let broker = Broker::new(versions, 3, 4);
        let compression = Compression::ALL[seed as usize % 4];
        simulate(seed, &broker, move || async move {
            let client = connect().await;
            let options = ProducerOptions { compression, batch_bytes: 150, ..Default::default() };
            let producer = Producer::new(&client, options);
            let mut deliveries = Vec::new();
            for i in 0..RECORDS {
                let record = ProducerRecord::to(TOPIC).key(format!("key {}", i % 7)).value(i.to_string());
                deliveries.push(producer.send(record.timestamp(i as i64)).await.expect("it is buffered"));
            }
            producer.flush().await.expect("all are stored");
            let mut places = BTreeMap::new();
            for (i, delivery) in deliveries.into_iter().enumerate() {
                let stored = delivery.await.expect("it is stored");
                places.insert((stored.partition, stored.offset), i);
            }
            assert_eq!(places.len(), RECORDS, "two records at one offset");

            let mut last: BTreeMap<Bytes, usize> = BTreeMap::new();
            for record in read_all(&client, 3, RECORDS).await {
                let i: usize = std::str::from_utf8(&record.value.expect("a value")).unwrap().parse().unwrap();
                assert_eq!(places.remove(&(record.partition, record.offset)), Some(i), "another offset than was said");
                assert_eq!(record.timestamp, i as i64);
                let before = last.insert(record.key.expect("a key"), i);
                assert!(before.is_none_or(|before| before < i), "record {i} is behind {before:?}");
            }
        });
        let broker = broker.borrow();
        (faults, duplicates) = (faults + broker.faults, duplicates + broker.duplicates);
    }
    assert!(faults > 200 && duplicates > 20, "{faults} faults and {duplicates} duplicates provoke too little");
}

/// Without acks there is no answer to wait for, and none to an earlier request may be taken for one.
#[test]
fn every_kind_of_acks_delivers() {
    for (seed, acks) in [(1, Acks::None), (2, Acks::Leader), (3, Acks::All)] {
        let broker = Broker::new(NEWEST, 1, 0);
        simulate(seed, &broker, move || async move {
            let client = connect().await;
            let producer = Producer::new(&client, ProducerOptions { acks, ..Default::default() });
            for i in 0..10 {
                let delivery = producer.send(ProducerRecord::to(TOPIC).value(i.to_string())).await.expect("buffered");
                let stored = delivery.await.expect("it is stored");
                assert_eq!(stored.offset, if acks == Acks::None { -1 } else { i });
            }
            assert_eq!(read_all(&client, 1, 10).await.len(), 10);
        });
    }
}

/// A place in time or at the ends is found by asking; a null key, a null value and headers must come through as they are.
#[test]
fn a_consumer_begins_where_it_is_told() {
    simulate(7, &Broker::new(NEWEST, 1, 0), || async {
        let client = connect().await;
        let producer = Producer::new(&client, ProducerOptions { linger: Duration::ZERO, ..Default::default() });
        for i in 0..5 {
            let record = ProducerRecord::to(TOPIC).timestamp(1_000 * i).header("trace", "x");
            producer.send(record).await.expect("buffered").await.expect("stored");
        }
        let consumer = Consumer::new(&client, ConsumerOptions::default());
        for (start, first) in [
            (StartAt::Earliest, 0),
            (StartAt::Timestamp(2_500), 3),
            (StartAt::Offset(4), 4),
            (StartAt::Timestamp(1), 1),
        ] {
            consumer.assign(TOPIC, 0, start).await.expect("assigned");
            let records = consumer.poll(Duration::from_secs(5)).await.expect("polls");
            assert_eq!(records[0].offset, first, "{start:?}");
            assert_eq!((&records[0].key, &records[0].value), (&None, &None));
            assert_eq!(records[0].headers, [(Bytes::from("trace"), Some(Bytes::from("x")))]);
            assert_eq!(consumer.position(TOPIC, 0), Some(5));
            assert_eq!(consumer.end_offset(TOPIC, 0), Some(5));
        }
        for late in [StartAt::Latest, StartAt::Timestamp(99_000)] {
            assert_eq!(consumer.offset_of(TOPIC, 0, late).await, Ok(5));
        }
    });
}

/// Whoever mistypes a topic, a partition or an address must be told so at once, not after a minute of retries.
#[test]
fn mistakes_are_told_at_once() {
    simulate(9, &Broker::new(NEWEST, 2, 0), || async {
        let client = connect().await;
        let began = ringlane_runtime::now();
        let producer = Producer::new(&client, ProducerOptions::default());
        let error = producer.send(ProducerRecord::to("ordres").value("x")).await.err().expect("no such topic");
        assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
        let error = producer.send(ProducerRecord::to(TOPIC).partition(2).value("x")).await.err().expect("two only");
        assert_eq!(error, ClientError::NoSuchPartition { topic: TOPIC.into(), partition: 2, count: 2 });
        let error = producer.send(ProducerRecord::to(TOPIC).value(vec![0; 2 << 20])).await.err().expect("too large");
        assert!(matches!(error, ClientError::RecordTooLarge { .. }), "{error}");
        let error = Client::connect(ClientOptions::to("node-1:1")).await.err().expect("nothing listens there");
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
    });
}
