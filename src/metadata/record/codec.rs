//! Bodies of the records: Kafka's fields in Kafka's order, flexible encoding, one version each (the newest that 4.3 writes).

use crate::record::batch::BatchError;
use crate::record::{BrokerRegistrationChange, PartitionChange};
use crate::{
    Broker, BrokerId, ConfigResource, Endpoint, FeatureRange, NO_LEADER, Partition, Record, RecoveryState,
    ResourceKind, Uuid,
};
use ringlane_protocol::wire::TagWriter;
use ringlane_protocol::{DecodeError, Reader, Writer};
use std::sync::Arc;

const REGISTER_BROKER: u32 = 0;
const UNREGISTER_BROKER: u32 = 1;
const TOPIC: u32 = 2;
const PARTITION: u32 = 3;
const CONFIG: u32 = 4;
const PARTITION_CHANGE: u32 = 5;
const REMOVE_TOPIC: u32 = 9;
const FEATURE_LEVEL: u32 = 12;
const PRODUCER_IDS: u32 = 15;
const BROKER_REGISTRATION_CHANGE: u32 = 17;
const NO_OP: u32 = 20;

/// "The leader stays": the default of PartitionChange's tag 1.
const NO_LEADER_CHANGE: BrokerId = -2;

pub(super) fn key_and_version(record: &Record) -> (u32, u32) {
    match record {
        Record::RegisterBroker(_) => (REGISTER_BROKER, 3),
        Record::UnregisterBroker { .. } => (UNREGISTER_BROKER, 0),
        Record::Topic { .. } => (TOPIC, 0),
        Record::Partition { .. } => (PARTITION, 2),
        Record::Config { .. } => (CONFIG, 0),
        Record::PartitionChange(_) => (PARTITION_CHANGE, 2),
        Record::RemoveTopic { .. } => (REMOVE_TOPIC, 0),
        Record::FeatureLevel { .. } => (FEATURE_LEVEL, 0),
        Record::ProducerIds { .. } => (PRODUCER_IDS, 0),
        Record::BrokerRegistrationChange(_) => (BROKER_REGISTRATION_CHANGE, 2),
        Record::NoOp => (NO_OP, 0),
    }
}

pub(super) fn write_body(record: &Record, w: &mut Writer) {
    match record {
        Record::RegisterBroker(broker) => write_broker(broker, w),
        Record::UnregisterBroker { broker, epoch } => {
            w.i32(*broker);
            w.i64(*epoch);
            w.no_tags();
        }
        Record::Topic { name, id } => {
            write_string(w, name);
            w.topic_id(*id);
            w.no_tags();
        }
        Record::Partition { topic, partition, state } => write_partition(*topic, *partition, state, w),
        Record::Config { resource, key, value } => {
            w.i8(resource.kind as i8);
            write_string(w, &resource.name);
            write_string(w, key);
            w.string(value.as_deref(), true);
            w.no_tags();
        }
        Record::PartitionChange(change) => write_partition_change(change, w),
        Record::RemoveTopic { id } => {
            w.topic_id(*id);
            w.no_tags();
        }
        Record::FeatureLevel { name, level } => {
            write_string(w, name);
            w.i16(*level);
            w.no_tags();
        }
        Record::ProducerIds { broker, broker_epoch, next } => {
            w.i32(*broker);
            w.i64(*broker_epoch);
            w.i64(*next);
            w.no_tags();
        }
        Record::BrokerRegistrationChange(change) => write_registration_change(change, w),
        Record::NoOp => w.no_tags(),
    }
}

pub(super) fn read_body(key: u32, version: u32, r: &mut Reader<'_>) -> Result<Record, BatchError> {
    let record = match (key, version) {
        (REGISTER_BROKER, 3) => Record::RegisterBroker(read_broker(r)?),
        (UNREGISTER_BROKER, 0) => {
            let record = Record::UnregisterBroker { broker: r.i32()?, epoch: r.i64()? };
            r.skip_tags()?;
            record
        }
        (TOPIC, 0) => {
            let record = Record::Topic { name: read_string(r)?, id: r.topic_id()? };
            r.skip_tags()?;
            record
        }
        (PARTITION, 2) => read_partition(r)?,
        (CONFIG, 0) => {
            let kind = r.i8()?;
            let kind = ResourceKind::from_i8(kind).ok_or(impossible(key, "resource type", kind))?;
            let resource = ConfigResource { kind, name: read_string(r)? };
            let record = Record::Config { resource, key: read_string(r)?, value: r.string(true)?.map(Arc::from) };
            r.skip_tags()?;
            record
        }
        (PARTITION_CHANGE, 2) => Record::PartitionChange(read_partition_change(r)?),
        (REMOVE_TOPIC, 0) => {
            let record = Record::RemoveTopic { id: r.topic_id()? };
            r.skip_tags()?;
            record
        }
        (FEATURE_LEVEL, 0) => {
            let record = Record::FeatureLevel { name: read_string(r)?, level: r.i16()? };
            r.skip_tags()?;
            record
        }
        (PRODUCER_IDS, 0) => {
            let record = Record::ProducerIds { broker: r.i32()?, broker_epoch: r.i64()?, next: r.i64()? };
            r.skip_tags()?;
            record
        }
        (BROKER_REGISTRATION_CHANGE, 2) => Record::BrokerRegistrationChange(read_registration_change(r)?),
        (NO_OP, 0) => {
            r.skip_tags()?;
            Record::NoOp
        }
        _ => return Err(BatchError::Unknown { key, version }),
    };
    Ok(record)
}

fn write_broker(broker: &Broker, w: &mut Writer) {
    w.i32(broker.id);
    // IsMigratingZkBroker
    w.bool(false);
    w.topic_id(broker.incarnation);
    w.i64(broker.epoch);
    w.length(Some(broker.endpoints.len()), true);
    for endpoint in &broker.endpoints {
        write_string(w, &endpoint.listener);
        write_string(w, &endpoint.host);
        w.u16(endpoint.port);
        w.i16(endpoint.security_protocol);
        w.no_tags();
    }
    w.length(Some(broker.features.len()), true);
    for feature in &broker.features {
        write_string(w, &feature.name);
        w.i16(feature.min);
        w.i16(feature.max);
        w.no_tags();
    }
    w.string(broker.rack.as_deref(), true);
    w.bool(broker.fenced);
    w.bool(broker.in_controlled_shutdown);
    let mut tags = w.tags();
    if !broker.directories.is_empty() {
        tags.put(0, |w| write_uuids(w, &broker.directories));
    }
}

fn read_broker(r: &mut Reader<'_>) -> Result<Broker, DecodeError> {
    let id = r.i32()?;
    r.bool()?;
    let mut broker = Broker {
        id,
        incarnation: r.topic_id()?,
        epoch: r.i64()?,
        endpoints: read_list(r, 7, |r| {
            let endpoint = Endpoint {
                listener: read_string(r)?.to_string(),
                host: read_string(r)?.to_string(),
                port: r.u16()?,
                security_protocol: r.i16()?,
            };
            r.skip_tags()?;
            Ok(endpoint)
        })?,
        features: read_list(r, 6, |r| {
            let feature = FeatureRange { name: read_string(r)?.to_string(), min: r.i16()?, max: r.i16()? };
            r.skip_tags()?;
            Ok(feature)
        })?,
        rack: r.string(true)?.map(Arc::from),
        fenced: r.bool()?,
        in_controlled_shutdown: r.bool()?,
        directories: Vec::new(),
    };
    r.tags(|tag, value| {
        if tag == 0 {
            broker.directories = read_list(value, 16, Reader::topic_id)?;
        }
        Ok(())
    })?;
    Ok(broker)
}

fn write_registration_change(change: &BrokerRegistrationChange, w: &mut Writer) {
    // Kafka's three-valued bytes: 1 sets, -1 clears, 0 (left out) keeps.
    let set_or_clear = |set: bool| if set { 1 } else { -1 };
    w.i32(change.broker);
    w.i64(change.epoch);
    let mut tags = w.tags();
    if let Some(fenced) = change.fenced {
        tags.put(0, |w| w.i8(set_or_clear(fenced)));
    }
    if let Some(in_controlled_shutdown) = change.in_controlled_shutdown {
        tags.put(1, |w| w.i8(set_or_clear(in_controlled_shutdown)));
    }
    if let Some(directories) = &change.directories {
        tags.put(2, |w| write_uuids(w, directories));
    }
}

fn read_registration_change(r: &mut Reader<'_>) -> Result<BrokerRegistrationChange, DecodeError> {
    let mut change = BrokerRegistrationChange { broker: r.i32()?, epoch: r.i64()?, ..Default::default() };
    let set_or_clear = |value: i8| (value != 0).then_some(value > 0);
    r.tags(|tag, value| {
        match tag {
            0 => change.fenced = set_or_clear(value.i8()?),
            1 => change.in_controlled_shutdown = set_or_clear(value.i8()?),
            2 => change.directories = Some(read_list(value, 16, Reader::topic_id)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(change)
}

fn write_partition(topic: Uuid, partition: i32, state: &Partition, w: &mut Writer) {
    w.i32(partition);
    w.topic_id(topic);
    write_ids(w, &state.replicas);
    write_ids(w, &state.isr);
    write_ids(w, &state.removing);
    write_ids(w, &state.adding);
    w.i32(state.leader);
    w.i32(state.leader_epoch);
    w.i32(state.partition_epoch);
    write_uuids(w, &state.directories);
    let mut tags = w.tags();
    if state.recovery != RecoveryState::Recovered {
        tags.put(0, |w| w.i8(state.recovery as i8));
    }
    for (tag, ids) in [(1, &state.elr), (2, &state.last_known_elr)] {
        if !ids.is_empty() {
            tags.put(tag, |w| write_ids(w, ids));
        }
    }
}

fn read_partition(r: &mut Reader<'_>) -> Result<Record, BatchError> {
    let (partition, topic) = (r.i32()?, r.topic_id()?);
    let (replicas, isr, removing, adding) = (read_ids(r)?, read_ids(r)?, read_ids(r)?, read_ids(r)?);
    let (leader, leader_epoch, partition_epoch) = (r.i32()?, r.i32()?, r.i32()?);
    let directories = read_list(r, 16, Reader::topic_id)?.into();
    let (mut recovery, mut elr, mut last_known_elr) = (0, Arc::from([]), Arc::from([]));
    r.tags(|tag, value| {
        match tag {
            0 => recovery = value.i8()?,
            1 => elr = read_ids(value)?,
            2 => last_known_elr = read_ids(value)?,
            _ => {}
        }
        Ok(())
    })?;
    let recovery = read_recovery(PARTITION, recovery)?;
    let state = Partition {
        replicas,
        directories,
        isr,
        elr,
        last_known_elr,
        adding,
        removing,
        leader,
        leader_epoch,
        partition_epoch,
        recovery,
    };
    Ok(Record::Partition { topic, partition, state })
}

fn write_partition_change(change: &PartitionChange, w: &mut Writer) {
    w.i32(change.partition);
    w.topic_id(change.topic);
    let mut tags = w.tags();
    put_ids(&mut tags, 0, &change.isr);
    if let Some(leader) = change.leader {
        tags.put(1, |w| w.i32(leader));
    }
    put_ids(&mut tags, 2, &change.replicas);
    put_ids(&mut tags, 3, &change.removing);
    put_ids(&mut tags, 4, &change.adding);
    if let Some(recovery) = change.recovery {
        tags.put(5, |w| w.i8(recovery as i8));
    }
    put_ids(&mut tags, 6, &change.elr);
    put_ids(&mut tags, 7, &change.last_known_elr);
    if let Some(directories) = &change.directories {
        tags.put(8, |w| write_uuids(w, directories));
    }
}

fn put_ids(tags: &mut TagWriter<'_>, tag: u32, ids: &Option<Arc<[BrokerId]>>) {
    if let Some(ids) = ids {
        tags.put(tag, |w| write_ids(w, ids));
    }
}

fn read_partition_change(r: &mut Reader<'_>) -> Result<PartitionChange, BatchError> {
    let mut change = PartitionChange { partition: r.i32()?, topic: r.topic_id()?, ..Default::default() };
    let mut recovery = None;
    r.tags(|tag, value| {
        match tag {
            0 => change.isr = Some(read_ids(value)?),
            1 => change.leader = Some(value.i32()?).filter(|leader| *leader != NO_LEADER_CHANGE),
            2 => change.replicas = Some(read_ids(value)?),
            3 => change.removing = Some(read_ids(value)?),
            4 => change.adding = Some(read_ids(value)?),
            5 => recovery = Some(value.i8()?).filter(|state| *state >= 0),
            6 => change.elr = Some(read_ids(value)?),
            7 => change.last_known_elr = Some(read_ids(value)?),
            8 => change.directories = Some(read_list(value, 16, Reader::topic_id)?.into()),
            _ => {}
        }
        Ok(())
    })?;
    change.recovery = recovery.map(|state| read_recovery(PARTITION_CHANGE, state)).transpose()?;
    if let Some(leader) = change.leader
        && leader < NO_LEADER
    {
        return Err(impossible(PARTITION_CHANGE, "leader", leader));
    }
    Ok(change)
}

fn read_recovery(key: u32, value: i8) -> Result<RecoveryState, BatchError> {
    match value {
        0 => Ok(RecoveryState::Recovered),
        1 => Ok(RecoveryState::Recovering),
        _ => Err(impossible(key, "leader recovery state", value)),
    }
}

fn impossible(key: u32, field: &'static str, value: impl Into<i64>) -> BatchError {
    BatchError::Value { key, field, value: value.into() }
}

fn write_string(w: &mut Writer, value: &str) {
    w.string(Some(value), true);
}

fn read_string(r: &mut Reader<'_>) -> Result<Arc<str>, DecodeError> {
    let at = r.position();
    r.string(true)?.map(Arc::from).ok_or(DecodeError::Null { at })
}

fn write_ids(w: &mut Writer, ids: &[BrokerId]) {
    w.length(Some(ids.len()), true);
    ids.iter().for_each(|id| w.i32(*id));
}

fn read_ids(r: &mut Reader<'_>) -> Result<Arc<[BrokerId]>, DecodeError> {
    Ok(read_list(r, 4, Reader::i32)?.into())
}

fn write_uuids(w: &mut Writer, ids: &[Uuid]) {
    w.length(Some(ids.len()), true);
    ids.iter().for_each(|id| w.topic_id(*id));
}

fn read_list<'a, T>(
    r: &mut Reader<'a>,
    min_bytes: usize,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let at = r.position();
    let count = r.count(true, min_bytes)?.ok_or(DecodeError::Null { at })?;
    (0..count).map(|_| item(r)).collect()
}

#[cfg(test)]
mod tests {
    use crate::record::batch::{BatchError, decode, encode};
    use crate::record::{BrokerRegistrationChange, PartitionChange};
    use crate::*;
    use std::sync::Arc;

    /// One of each, every field away from its default.
    fn all() -> Vec<Record> {
        let ids = |from: i32| -> Arc<[BrokerId]> { Arc::from([from, from + 1]) };
        let state = Partition {
            replicas: ids(1),
            directories: Arc::from([Uuid([1; 16]), Uuid([2; 16])]),
            isr: ids(2),
            elr: ids(3),
            last_known_elr: ids(4),
            adding: ids(5),
            removing: ids(6),
            leader: 7,
            leader_epoch: 8,
            partition_epoch: 9,
            recovery: RecoveryState::Recovering,
        };
        let broker = Broker {
            id: 1,
            epoch: 2,
            incarnation: Uuid([3; 16]),
            endpoints: vec![Endpoint { listener: "A".into(), host: "h".into(), port: 65535, security_protocol: 3 }],
            features: vec![FeatureRange { name: "f".into(), min: 1, max: 2 }],
            rack: Some("r".into()),
            fenced: true,
            in_controlled_shutdown: true,
            directories: vec![Uuid([4; 16])],
        };
        let change = PartitionChange {
            topic: Uuid([5; 16]),
            partition: 6,
            isr: Some(ids(1)),
            leader: Some(NO_LEADER),
            replicas: Some(ids(2)),
            directories: Some(Arc::from([Uuid([6; 16])])),
            removing: Some(ids(3)),
            adding: Some(ids(4)),
            elr: Some(ids(5)),
            last_known_elr: Some(ids(6)),
            recovery: Some(RecoveryState::Recovered),
        };
        let registration = BrokerRegistrationChange {
            broker: 1,
            epoch: 2,
            fenced: Some(false),
            in_controlled_shutdown: Some(true),
            directories: Some(vec![Uuid([7; 16])]),
        };
        let resource = ConfigResource::topic("t");
        vec![
            Record::NoOp,
            Record::RegisterBroker(broker),
            Record::UnregisterBroker { broker: 1, epoch: 2 },
            Record::BrokerRegistrationChange(registration),
            Record::BrokerRegistrationChange(BrokerRegistrationChange::default()),
            Record::Topic { name: "t".into(), id: Uuid([8; 16]) },
            Record::RemoveTopic { id: Uuid([9; 16]) },
            Record::Partition { topic: Uuid([8; 16]), partition: 3, state },
            Record::PartitionChange(change),
            Record::PartitionChange(PartitionChange::default()),
            Record::Config { resource: resource.clone(), key: "k".into(), value: Some("v".into()) },
            Record::Config { resource, key: "k".into(), value: None },
            Record::ProducerIds { broker: 1, broker_epoch: 2, next: 3 },
            Record::FeatureLevel { name: "metadata.version".into(), level: 29 },
        ]
    }

    /// A field lost between two brokers is a difference between two images that nothing would ever report.
    #[test]
    fn every_field_of_every_record_comes_back() {
        let bytes = encode(&all()).unwrap();
        assert_eq!(decode(&bytes).unwrap(), all());
    }

    /// Disks and peers give bytes: none may panic, and none may be half believed.
    #[test]
    fn damaged_batches_are_refused_or_read_whole() {
        for record in all() {
            let bytes = encode(std::slice::from_ref(&record)).unwrap();
            for cut in 1..bytes.len() {
                assert!(decode(&bytes[..cut]).is_err(), "{record:?} cut at {cut}");
            }
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 1 << bit;
                    let _ = decode(&damaged);
                }
            }
        }
    }

    /// A later version may write what this one does not know; guessing would end in another image.
    #[test]
    fn unknown_records_and_versions_are_refused() {
        assert_eq!(decode(&[4, 1, 99, 0, 0]), Err(BatchError::Unknown { key: 99, version: 0 }));
        assert_eq!(decode(&[4, 1, 20, 1, 0]), Err(BatchError::Unknown { key: 20, version: 1 }));
    }

    /// The frame is Kafka's, byte for byte: frame version, key, version, fields, tags.
    #[test]
    fn a_record_has_kafkas_bytes() {
        let record = Record::FeatureLevel { name: "f".into(), level: 29 };
        assert_eq!(encode(&[record]).unwrap(), [8, 1, 12, 0, 2, b'f', 0, 29, 0]);
    }
}
