//! What a record of the workload contains: all of it follows from who sent it and its number, so that a reader can tell which record it
//! holds and whether a single bit of it is wrong.

use bytes::Bytes;
use ringlane_client::{ConsumerRecord, ProducerRecord};
use ringlane_protocol::records::{BatchBuilder, BatchHeader, Compression, ProducerStamp, Record, RecordHeader};
use ringlane_runtime::sim::Seed;
use std::ops::Range;

/// Timestamps lie a little before the simulation's wall clock begins (2026-01-01T00:00:00Z).
const FIRST_TIMESTAMP_MS: i64 = 1_767_225_600_000 - 3_600_000;

/// The `number`-th record that the workload's producer `producer` made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RecordId {
    pub producer: u16,
    pub number: u32,
}

#[derive(PartialEq, Eq)]
struct Content {
    timestamp: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Content {
    fn of(id: RecordId) -> Content {
        let mut seed = Seed::new(u64::from(id.producer) << 32 | u64::from(id.number));
        let value_bytes = match seed.below(60) {
            0 => None,
            1 => Some(seed.within(20_000..150_000)),
            2..=10 => Some(seed.within(1_000..8_000)),
            _ => Some(seed.below(300)),
        };
        let headers = (0..seed.below(6).saturating_sub(3)).map(|_| {
            let key = format!("{:08x}", seed.number() as u32).into_bytes();
            (key, seed.chance(0.7).then(|| bytes(&mut seed, 20)))
        });
        let headers = headers.collect();
        Content {
            timestamp: FIRST_TIMESTAMP_MS + i64::from(id.number),
            key: format!("{}-{}", id.producer, id.number).into_bytes(),
            value: value_bytes.map(|count| bytes(&mut seed, count as usize)),
            headers,
        }
    }
}

/// Half noise, half repetition: something for every codec.
fn bytes(seed: &mut Seed, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count + 16);
    while bytes.len() < count {
        bytes.extend_from_slice(&seed.number().to_le_bytes());
        bytes.extend_from_slice(b"ringlane");
    }
    bytes.truncate(count);
    bytes
}

/// One batch of the producer's records with these numbers.
pub fn batch(producer: u16, numbers: Range<u32>, codec: Compression, stamp: Option<ProducerStamp>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    for number in numbers {
        let content = Content::of(RecordId { producer, number });
        let headers: Vec<RecordHeader<'_>> =
            content.headers.iter().map(|(key, value)| RecordHeader { key, value: value.as_deref() }).collect();
        builder.push(content.timestamp, Some(&content.key), content.value.as_deref(), &headers);
    }
    if let Some(stamp) = stamp {
        builder.set_producer(stamp, false);
    }
    builder.finish().expect("codecs take any bytes")
}

/// The record as the client crate sends it.
pub fn to_send(id: RecordId, topic: &str, partition: i32) -> ProducerRecord {
    let Content { timestamp, key, value, headers } = Content::of(id);
    let text = |key| String::from_utf8(key).expect("header keys are text");
    ProducerRecord {
        topic: topic.into(),
        partition: Some(partition),
        timestamp: Some(timestamp),
        key: Some(key.into()),
        value: value.map(Bytes::from),
        headers: headers.into_iter().map(|(key, value)| (text(key), value.map(Bytes::from))).collect(),
    }
}

/// Which record this is. An error when it is none of ours or differs from what was sent in any byte.
pub fn identify(record: &Record<'_>, batch: &BatchHeader) -> Result<RecordId, String> {
    identify_content(Content {
        timestamp: record.timestamp(batch),
        key: record.key.unwrap_or_default().to_vec(),
        value: record.value.map(<[u8]>::to_vec),
        headers: record.headers.map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec))).collect(),
    })
}

/// The same for what the client crate received.
pub fn identify_received(record: &ConsumerRecord) -> Result<RecordId, String> {
    let header = |(key, value): &(Bytes, Option<Bytes>)| (key.to_vec(), value.as_ref().map(|value| value.to_vec()));
    identify_content(Content {
        timestamp: record.timestamp,
        key: record.key.as_deref().unwrap_or_default().to_vec(),
        value: record.value.as_ref().map(|value| value.to_vec()),
        headers: record.headers.iter().map(header).collect(),
    })
}

fn identify_content(found: Content) -> Result<RecordId, String> {
    let key = String::from_utf8_lossy(&found.key);
    let id = key.split_once('-').and_then(|(producer, number)| {
        Some(RecordId { producer: producer.parse().ok()?, number: number.parse().ok()? })
    });
    let Some(id) = id else { return Err(format!("its key {key:?} was never sent")) };
    if found == Content::of(id) { Ok(id) } else { Err(format!("it claims to be {id:?} but its bytes differ")) }
}
