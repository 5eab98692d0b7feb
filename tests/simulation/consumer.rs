//! Consumers of the workload: one that follows the logs while they grow, and the audit that reads them whole.

use crate::client::{Workload, own_seed, pause};
use crate::history::Place;
use crate::record;
use crate::wire::{Connection, WireError};
use ringlane_protocol::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ringlane_protocol::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use ringlane_protocol::records::{self, Records};
use ringlane_protocol::{ErrorCode, Message, Reader, TopicId};
use ringlane_runtime::sim::Seed;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The version from which Fetch names topics by their ids.
const FETCH_BY_ID: i16 = 13;
const UNPACKED_BYTES_MAX: usize = 16 << 20;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// Reads forward, checks what it reads, remembers how far it is.
struct Reading {
    workload: Rc<Workload>,
    name: u64,
    seed: Seed,
    positions: BTreeMap<Place, i64>,
    /// What was read, if it is kept.
    kept: Option<BTreeMap<Place, Vec<record::RecordId>>>,
}

/// Follows all partitions from their start until the workload is over.
pub async fn follow(workload: Rc<Workload>, name: u64) {
    let positions = workload.places().into_iter().map(|place| (place, 0)).collect();
    let mut reading = Reading { workload, name, seed: own_seed(), positions, kept: None };
    while !reading.workload.is_over.get() {
        let mut connection = reading.workload.connect().await;
        let version = 11 + reading.seed.below(7) as i16;
        while !reading.workload.is_over.get() {
            let min_bytes = 1 + reading.seed.below(2) as i32 * 5_000;
            match reading.fetch(&mut connection, version, 500, min_bytes).await {
                Ok(()) => pause(0..50).await,
                Err(WireError::Lost) => break,
                Err(WireError::Wrong(what)) => {
                    reading.workload.history.violation(format!("consumer {name}: {what}"));
                    return;
                }
            }
        }
    }
}

/// Reads every partition from start to end while nobody writes.
pub async fn audit(workload: Rc<Workload>) {
    loop {
        let mut connection = workload.connect().await;
        match try_audit(&workload, &mut connection).await {
            Ok(()) => break,
            Err(WireError::Lost) => pause(10..100).await,
            Err(WireError::Wrong(what)) => {
                workload.history.violation(format!("audit: {what}"));
                break;
            }
        }
    }
    workload.audits.set(workload.audits.get() + 1);
}

async fn try_audit(workload: &Rc<Workload>, connection: &mut Connection) -> Result<(), WireError> {
    let places = workload.places();
    let mut ends = BTreeMap::new();
    for place in &places {
        let start = list_offset(connection, *place, EARLIEST).await?;
        if start != 0 {
            return Err(WireError::Wrong(format!("{place} starts at {start}")));
        }
        ends.insert(*place, list_offset(connection, *place, LATEST).await?);
    }
    let mut reading = Reading {
        workload: workload.clone(),
        name: u64::MAX - workload.audits.get(),
        seed: own_seed(),
        positions: places.iter().map(|place| (*place, 0)).collect(),
        kept: Some(BTreeMap::new()),
    };
    while reading.positions.iter().any(|(place, position)| *position < ends[place]) {
        reading.fetch(connection, 17, 500, 1).await?;
    }
    let kept = reading.kept.unwrap_or_default();
    for place in places {
        workload.history.audited(place, kept.get(&place).map_or(&[], Vec::as_slice));
    }
    Ok(())
}

impl Reading {
    async fn fetch(
        &mut self,
        connection: &mut Connection,
        version: i16,
        max_wait_ms: i32,
        min_bytes: i32,
    ) -> Result<(), WireError> {
        let mut topics: Vec<FetchTopic<'_>> = Vec::new();
        for (place, position) in &self.positions {
            let partition = FetchPartition {
                partition: place.partition,
                current_leader_epoch: -1,
                fetch_offset: *position,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: 1 + self.seed.below(1 << 18) as i32,
                ..Default::default()
            };
            match topics.iter_mut().find(|topic| topic.topic == place.topic) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(FetchTopic {
                    topic: place.topic,
                    topic_id: self.workload.topic_id(place.topic),
                    partitions: vec![partition],
                }),
            }
        }
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms,
            min_bytes,
            max_bytes: 1 << 20,
            session_id: 0,
            session_epoch: -1,
            topics,
            ..Default::default()
        };
        let body = connection.call(version, &request).await?;
        let answer = FetchResponse::decode(&mut Reader::new(&body), version)
            .map_err(|error| WireError::Wrong(format!("Fetch v{version}: {error}")))?;
        if answer.error_code != ErrorCode::None {
            return Err(WireError::Wrong(format!("Fetch v{version}: {}", answer.error_code.name())));
        }
        for topic in &answer.responses {
            let name = self.topic_name(version, topic.topic, topic.topic_id)?;
            for partition in &topic.partitions {
                let at = Place { topic: name, partition: partition.partition_index };
                match partition.error_code {
                    ErrorCode::None => {
                        self.workload.history.high_watermark(self.name, at, partition.high_watermark);
                        self.take_records(at, partition.high_watermark, partition.records.unwrap_or_default())?;
                    }
                    ErrorCode::UnknownTopicOrPartition
                    | ErrorCode::UnknownTopicId
                    | ErrorCode::KafkaStorageError
                    | ErrorCode::NotLeaderOrFollower => pause(10..50).await,
                    other => return Err(WireError::Wrong(format!("Fetch v{version}, {at}: {}", other.name()))),
                }
            }
        }
        Ok(())
    }

    fn topic_name(&self, version: i16, name: &str, id: TopicId) -> Result<&'static str, WireError> {
        let found = match version {
            ..FETCH_BY_ID => self.workload.topics.iter().map(|topic| topic.name).find(|own| *own == name),
            _ => self.workload.topic_named(id),
        };
        found.ok_or_else(|| WireError::Wrong(format!("Fetch v{version}: an answer for topic {name:?} {id}")))
    }

    /// Every batch whole and right, every offset in its turn, nothing at or above the high watermark.
    fn take_records(&mut self, at: Place, high_watermark: i64, bytes: &[u8]) -> Result<(), WireError> {
        let wrong = |what: String| WireError::Wrong(format!("{at}: {what}"));
        let position = self.positions.get_mut(&at).ok_or_else(|| wrong("was not asked for".to_owned()))?;
        let mut walked_bytes = 0;
        for batch in records::batches(bytes) {
            let batch = batch.map_err(|error| wrong(format!("behind offset {position}: {error}")))?;
            walked_bytes += batch.bytes().len();
            batch.check_crc().map_err(|error| wrong(format!("behind offset {position}: {error}")))?;
            let header = &batch.header;
            let body = batch
                .uncompressed_body(UNPACKED_BYTES_MAX)
                .map_err(|error| wrong(format!("batch at {}: {error}", header.base_offset)))?;
            for record in Records::new(header, &body) {
                let record = record.map_err(|error| wrong(format!("batch at {}: {error}", header.base_offset)))?;
                let offset = record.offset(header);
                if offset < *position {
                    continue;
                }
                if offset != *position || offset >= high_watermark {
                    let expected = *position;
                    return Err(wrong(format!(
                        "offset {offset} where {expected} was due, high watermark {high_watermark}"
                    )));
                }
                *position += 1;
                let id =
                    record::identify(&record, header).map_err(|error| wrong(format!("offset {offset}: {error}")))?;
                self.workload.history.read(at, offset, id);
                if let Some(kept) = &mut self.kept {
                    kept.entry(at).or_default().push(id);
                }
            }
        }
        if walked_bytes < bytes.len() {
            return Err(wrong(format!(
                "behind offset {position}: {} bytes of a cut batch",
                bytes.len() - walked_bytes
            )));
        }
        Ok(())
    }
}

async fn list_offset(connection: &mut Connection, at: Place, timestamp: i64) -> Result<i64, WireError> {
    const VERSION: i16 = 7;
    loop {
        let partition = ListOffsetsPartition { partition_index: at.partition, current_leader_epoch: -1, timestamp };
        let topic = ListOffsetsTopic { name: at.topic, partitions: vec![partition] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let body = connection.call(VERSION, &request).await?;
        let answer = ListOffsetsResponse::decode(&mut Reader::new(&body), VERSION)
            .map_err(|error| WireError::Wrong(format!("ListOffsets: {error}")))?;
        let found = answer.topics.first().and_then(|topic| topic.partitions.first());
        let found = found.ok_or_else(|| WireError::Wrong(format!("ListOffsets: nothing for {at}")))?;
        match found.error_code {
            ErrorCode::None => return Ok(found.offset),
            ErrorCode::UnknownTopicOrPartition
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::KafkaStorageError => {
                pause(10..50).await;
            }
            other => return Err(WireError::Wrong(format!("ListOffsets {at}: {}", other.name()))),
        }
    }
}
