//! Random histories of an image: what its parts add up to, and that every way to the same position gives the same image.

use crate::controller::{self, ControllerReply, ControllerRequest, CreateTopic, RegisterBroker, TopicRules};
use crate::controller::{AlterConfigs, AlterOp, ConfigChange, CreatePartitions, DeleteTopic, PRODUCER_ID_BLOCK_SIZE};
use crate::image::{Delta, Image, LogPosition};
use crate::record::batch;
use crate::{ConfigResource, Record, Uuid};
use std::collections::{BTreeMap, BTreeSet};

const RULES: TopicRules = TopicRules { default_partitions: 2, default_replication_factor: 2, delete_enabled: true };
const BROKERS: u64 = 4;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

/// What clients were told, kept naively.
#[derive(Default)]
struct Model {
    /// Name to partitions and retention.ms.
    topics: BTreeMap<String, (i32, Option<String>)>,
    producer_ids: i64,
}

fn topic(name: String, id: u64, partitions: i32) -> CreateTopic {
    CreateTopic {
        name,
        id: Uuid(u128::from(id).to_be_bytes()),
        partitions,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: vec![("retention.ms".into(), Some(format!("{id}")))],
    }
}

fn request(random: &mut Random, step: u64, epochs: &BTreeMap<i32, i64>) -> ControllerRequest {
    let name = format!("topic-{}", random.below(12));
    let broker = 1 + random.below(BROKERS) as i32;
    let epoch = epochs.get(&broker).copied().unwrap_or(-1);
    match random.below(12) {
        0..4 => {
            let topics = vec![
                topic(name, step, 1 + random.below(4) as i32),
                topic(format!("other-{}", random.below(20)), step + (1 << 32), -1),
            ];
            ControllerRequest::CreateTopics { topics, validate_only: random.below(8) == 0 }
        }
        4 | 5 => ControllerRequest::DeleteTopics { topics: vec![DeleteTopic { name: Some(name), id: Uuid::ZERO }] },
        6 => {
            let topics = vec![CreatePartitions { name, count: 1 + random.below(6) as i32, assignments: None }];
            ControllerRequest::CreatePartitions { topics, validate_only: false }
        }
        7 => {
            let op = if random.below(2) == 0 { AlterOp::Set } else { AlterOp::Delete };
            let value = Some(random.below(1000).to_string());
            let changes = vec![ConfigChange { key: "retention.ms".into(), op, value }];
            let resources = vec![AlterConfigs { kind: 2, name, changes, replace_all: false }];
            ControllerRequest::AlterConfigs { resources, validate_only: false }
        }
        8 => ControllerRequest::AllocateProducerIds { broker, epoch },
        9 => ControllerRequest::UnfenceBroker { broker, epoch },
        _ => ControllerRequest::RegisterBroker(RegisterBroker {
            broker,
            incarnation: Uuid(u128::from(step + 1).to_be_bytes()),
            endpoints: Vec::new(),
            features: controller::features::supported(),
            rack: None,
            directories: vec![Uuid(u128::from(1000 + broker as u64).to_be_bytes())],
        }),
    }
}

impl Model {
    fn learn(&mut self, seed: u64, request: &ControllerRequest, reply: &ControllerReply) {
        match (request, reply) {
            (ControllerRequest::CreateTopics { topics, validate_only }, ControllerReply::CreateTopics(results)) => {
                for (topic, result) in topics.iter().zip(results) {
                    let existed = self.topics.contains_key(&topic.name);
                    assert!(!existed || result.is_err(), "seed {seed}: {} created twice", topic.name);
                    if let (Ok(created), false) = (result, *validate_only) {
                        let retention = topic.configs[0].1.clone();
                        self.topics.insert(topic.name.clone(), (created.partitions, retention));
                    }
                }
            }
            (ControllerRequest::DeleteTopics { topics }, ControllerReply::DeleteTopics(results)) => {
                let name = topics[0].name.as_ref().unwrap();
                assert_eq!(self.topics.remove(name).is_some(), results[0].is_ok(), "seed {seed}: delete {name}");
            }
            (ControllerRequest::CreatePartitions { topics, .. }, ControllerReply::CreatePartitions(results)) => {
                let known = self.topics.get_mut(&topics[0].name);
                let may_grow = known.as_ref().is_some_and(|(count, _)| topics[0].count > *count);
                assert!(may_grow || results[0].is_err(), "seed {seed}: {topics:?}");
                if let (Some((count, _)), true) = (known, results[0].is_ok()) {
                    *count = topics[0].count;
                }
            }
            (ControllerRequest::AlterConfigs { resources, .. }, ControllerReply::AlterConfigs(results)) => {
                let known = self.topics.get_mut(&resources[0].name);
                assert_eq!(known.is_some(), results[0].1.is_ok(), "seed {seed}: {resources:?}");
                if let Some((_, retention)) = known {
                    let change = &resources[0].changes[0];
                    *retention = change.value.clone().filter(|_| change.op == AlterOp::Set);
                }
            }
            (ControllerRequest::AllocateProducerIds { .. }, ControllerReply::AllocateProducerIds(Ok(block))) => {
                assert_eq!(block.first, self.producer_ids, "seed {seed}: M6: blocks must not overlap");
                self.producer_ids += i64::from(PRODUCER_ID_BLOCK_SIZE);
            }
            _ => {}
        }
    }

    fn check(&self, seed: u64, image: &Image) {
        let names: Vec<_> = image.topics().map(|topic| topic.name.to_string()).collect();
        assert_eq!(names, self.topics.keys().cloned().collect::<Vec<_>>(), "seed {seed}");
        for (name, (partitions, retention)) in &self.topics {
            let topic = image.topic_by_name(name).unwrap();
            assert_eq!(topic.partition_count(), *partitions, "seed {seed}: {name}");
            let set = image.config(&ConfigResource::topic(name), "retention.ms").map(|value| value.to_string());
            assert_eq!(set, *retention, "seed {seed}: {name}");
        }
        assert_eq!(image.configured_resources().count(), self.topics.values().filter(|(_, set)| set.is_some()).count());
        assert_eq!(image.next_producer_id(), self.producer_ids, "seed {seed}");
    }
}

/// The invariants of `quorum.md` that hold for every image (M2, M3, M8).
fn check_partitions(seed: u64, image: &Image) {
    let active = |id: &i32| image.broker(*id).is_some_and(|broker| broker.is_active());
    for topic in image.topics() {
        for (id, partition) in topic.partitions.iter().enumerate() {
            let at = format!("seed {seed}: {}-{id}: {partition:?}", topic.name);
            let replicas: BTreeSet<_> = partition.replicas.iter().collect();
            assert_eq!(replicas.len(), partition.replicas.len(), "{at}");
            assert!(!partition.isr.is_empty() && partition.isr.iter().all(|id| replicas.contains(id)), "{at}");
            if partition.has_leader() {
                assert!(partition.isr.contains(&partition.leader) && active(&partition.leader), "{at}");
            } else {
                assert!(!partition.isr.iter().any(active), "somebody could lead: {at}");
            }
        }
    }
}

/// M1: epochs move by one, and only with what they count.
fn check_epochs(seed: u64, old: &Image, new: &Image, delta: &Delta) {
    for topic in new.topics() {
        let Some(before) = old.topic(topic.id) else { continue };
        for (id, (was, is)) in before.partitions.iter().zip(&topic.partitions).enumerate() {
            let at = format!("seed {seed}: {}-{id}", topic.name);
            assert_eq!(was != is, delta.partitions.contains(&(topic.id, id as i32)), "{at}");
            assert_eq!(is.partition_epoch, was.partition_epoch + i32::from(was != is), "{at}");
            assert_eq!(is.leader_epoch, was.leader_epoch + i32::from(was.leader != is.leader), "{at}");
        }
    }
}

/// A client was told something by the controller: the image must say the same, whether it was reached record by record, from a snapshot
/// in the middle, or through one merged delta. Otherwise nodes of one cluster would disagree about it.
#[test]
fn every_way_to_a_position_gives_the_same_image() {
    for seed in 1..=30 {
        let mut random = Random(seed);
        let (mut image, mut model, mut epochs) = (Image::default(), Model::default(), BTreeMap::new());
        let (mut from_snapshot, mut since) = (None::<Image>, None::<(Image, Delta)>);
        for step in 1..=200 {
            let request = request(&mut random, step, &epochs);
            let decision = controller::decide(&image, &RULES, step, &request);
            let records = batch::decode(&batch::encode(&decision.records).unwrap()).unwrap();
            assert_eq!(records, decision.records, "seed {seed}: records change on their way");
            let position = LogPosition { term: 1, index: step };
            let old = image.clone();
            let mut delta = Delta::since(image.applied());
            image.apply(position, &records, &mut delta).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            model.learn(seed, &request, &decision.answer);
            model.check(seed, &image);
            check_partitions(seed, &image);
            check_epochs(seed, &old, &image, &delta);
            epochs = image.brokers().map(|broker| (broker.id, broker.epoch)).collect();

            if let Some(other) = &mut from_snapshot {
                other.apply(position, &records, &mut Delta::default()).unwrap();
                assert_eq!(*other, image, "seed {seed}");
                assert!(random.below(10) > 0 || other.hash() == image.hash(), "seed {seed}");
            }
            if random.below(20) == 0 {
                let bytes: Vec<u8> = image.snapshot_pieces(100).flatten().collect();
                assert_eq!(bytes, image.to_snapshot());
                from_snapshot = Some(Image::from_snapshot(position, &bytes).unwrap());
            }
            if let Some((start, merged)) = &mut since {
                merged.merge(&delta);
                check_merged(seed, start, &image, merged);
            }
            if random.below(30) == 0 {
                since = Some((image.clone(), Delta::since(position)));
            }
        }
        assert!(image.topic_count() > 0 && image.brokers().count() > 0, "seed {seed}: nothing happened");
    }
}

/// A shard that skipped steps must still be told of everything that is different, and of nothing that never was.
fn check_merged(seed: u64, old: &Image, new: &Image, delta: &Delta) {
    assert_eq!((delta.from, delta.to), (old.applied(), new.applied()));
    let created: BTreeSet<_> = new.topics().map(|t| t.id).filter(|id| old.topic(*id).is_none()).collect();
    assert_eq!(delta.created, created, "seed {seed}");
    let deleted: BTreeSet<_> = old.topics().map(|t| t.id).filter(|id| new.topic(*id).is_none()).collect();
    assert_eq!(delta.deleted.keys().copied().collect::<BTreeSet<_>>(), deleted, "seed {seed}");
    for (topic, partition) in &delta.partitions {
        assert!(new.partition(*topic, *partition).is_some(), "seed {seed}: a partition that is not there");
    }
    let between = Delta::between(old, new);
    assert_eq!(
        (&between.created, between.deleted.keys().collect::<Vec<_>>()),
        (&delta.created, delta.deleted.keys().collect())
    );
    assert!(delta.partitions.is_subset(&between.partitions), "seed {seed}");
    assert!(delta.configs.iter().filter(|c| old.configs(c).ne(new.configs(c))).all(|c| between.configs.contains(c)));
}

/// A record on top of the wrong image must stop the node: applied anyway, nodes would drift apart in silence.
#[test]
fn records_that_do_not_fit_are_refused() {
    let at = |index| LogPosition { term: 1, index };
    let created = Record::Topic { name: "a".into(), id: Uuid([1; 16]) };
    let mut image = Image::default();
    image.apply(at(1), std::slice::from_ref(&created), &mut Delta::default()).unwrap();
    for record in [
        created,
        Record::RemoveTopic { id: Uuid([2; 16]) },
        Record::UnregisterBroker { broker: 1, epoch: 1 },
        Record::ProducerIds { broker: 1, broker_epoch: 1, next: 0 },
        Record::PartitionChange(crate::record::PartitionChange {
            topic: Uuid([1; 16]),
            partition: -1,
            ..Default::default()
        }),
    ] {
        let error = image.clone().apply(at(2), &[record], &mut Delta::default()).unwrap_err();
        assert_eq!(error.index, 2);
    }
    assert!(image.apply(at(1), &[], &mut Delta::default()).is_err(), "an entry is applied once");
}
