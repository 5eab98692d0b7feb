//! The client crate as one more client of the workload: its idempotent producer and its consumer, through crashes and cuts.

use crate::client::{BROKER_HOST, BROKER_PORT, Workload, own_seed, pause};
use crate::history::{Place, Promise};
use crate::record::{RecordId, identify_received, to_send};
use ringlane_client::{Client, ClientOptions, Consumer, ConsumerOptions, Delivery, Producer, ProducerOptions, StartAt};
use ringlane_protocol::records::Compression;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Records sent and not yet seen to be delivered.
const DELIVERIES_MAX: usize = 50;

/// Sends `records` records, as many at once as the crate likes.
pub async fn produce(workload: Rc<Workload>, id: u16, records: u32) {
    workload.history.producer(id, Promise::ExactlyOnceInOrder);
    workload.producing.set(workload.producing.get() + 1);
    let client = connect(&workload).await;
    let options = ProducerOptions {
        compression: Compression::Lz4,
        linger: Duration::from_millis(own_seed().below(20)),
        // Longer than any fault: a record that is given up may be there all the same.
        delivery_timeout: Duration::from_secs(3_600),
        ..ProducerOptions::default()
    };
    let producer = Producer::new(&client, options);
    let places = workload.places();
    let mut deliveries = VecDeque::new();
    for number in 0..records {
        let at = places[own_seed().below(places.len() as u64) as usize];
        let record = to_send(RecordId { producer: id, number }, at.topic, at.partition);
        match producer.send(record).await {
            Ok(delivery) => deliveries.push_back((at, number, delivery)),
            Err(error) if error.is_retriable() => pause(10..100).await,
            Err(error) => workload.history.violation(format!("library producer: {error}")),
        }
        if deliveries.len() == DELIVERIES_MAX {
            settle(&workload, id, deliveries.pop_front()).await;
        }
    }
    while !deliveries.is_empty() {
        settle(&workload, id, deliveries.pop_front()).await;
    }
    workload.producing.set(workload.producing.get() - 1);
}

async fn settle(workload: &Workload, producer: u16, sent: Option<(Place, u32, Delivery)>) {
    let Some((at, number, delivery)) = sent else { return };
    let numbers = number..number + 1;
    match delivery.await {
        Ok(stored) if stored.offset >= 0 => workload.history.acknowledged(at, stored.offset, producer, numbers),
        Ok(_) => workload.history.acknowledged_somewhere(at, producer, numbers),
        Err(error) => workload.history.violation(format!("library producer, {at}, record {number}: {error}")),
    }
}

/// Reads all partitions from their start until the workload is over.
pub async fn consume(workload: Rc<Workload>) {
    let client = connect(&workload).await;
    let consumer = Consumer::new(&client, ConsumerOptions { reset: None, ..ConsumerOptions::default() });
    let mut positions: BTreeMap<Place, i64> = BTreeMap::new();
    while !workload.is_over.get() {
        for at in workload.places() {
            if !positions.contains_key(&at) && consumer.assign(at.topic, at.partition, StartAt::Earliest).await.is_ok()
            {
                positions.insert(at, 0);
            }
        }
        let records = match consumer.poll(Duration::from_millis(500)).await {
            Ok(records) => records,
            Err(error) => {
                workload.history.violation(format!("library consumer: {error}"));
                return;
            }
        };
        for record in records {
            let at =
                workload.places().into_iter().find(|at| *at.topic == *record.topic && at.partition == record.partition);
            let position = at.and_then(|at| positions.get_mut(&at));
            let (Some(at), Some(position)) = (at, position) else {
                workload.history.violation(format!("library consumer: a record of {}", record.topic));
                continue;
            };
            if record.offset != *position {
                let what = format!("library consumer, {at}: offset {} where {position} was due", record.offset);
                workload.history.violation(what);
            }
            *position = record.offset + 1;
            match identify_received(&record) {
                Ok(id) => workload.history.read(at, record.offset, id),
                Err(what) => workload.history.violation(format!("library consumer, {at} {}: {what}", record.offset)),
            }
        }
    }
}

async fn connect(workload: &Workload) -> Client {
    // Whoever comes first makes the topics.
    drop(workload.connect().await);
    loop {
        match Client::connect(ClientOptions::to(&format!("{BROKER_HOST}:{BROKER_PORT}"))).await {
            Ok(client) => return client,
            Err(_) => pause(50..400).await,
        }
    }
}
