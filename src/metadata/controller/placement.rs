//! Which brokers hold a new partition.

use crate::controller::Refused;
use crate::{BrokerId, Image, Partition, Record, RecoveryState, Uuid};
use ringlane_protocol::ErrorCode;
use std::sync::Arc;

/// The replicas of one new partition, preferred leader first, and those of them that are in sync from the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Placement {
    pub replicas: Vec<BrokerId>,
    pub isr: Vec<BrokerId>,
}

/// Places `count` partitions, the first of which is `first`: leaders go around the active brokers from a start that the topic's id
/// decides, and each round the followers stand further apart, so that a lost broker's load spreads over all others. Fenced brokers
/// only fill up what the active ones cannot.
pub(super) fn place(
    image: &Image,
    topic: Uuid,
    first: usize,
    count: usize,
    replication_factor: usize,
) -> Result<Vec<Placement>, Refused> {
    let refused = |why: String| {
        let message = format!("replication factor {replication_factor} is not possible: {why}");
        Err(Refused::new(ErrorCode::InvalidReplicationFactor, message))
    };
    let (active, idle): (Vec<_>, Vec<_>) = image.brokers().partition(|broker| broker.is_active());
    let active: Vec<BrokerId> = active.iter().map(|broker| broker.id).collect();
    let idle: Vec<BrokerId> = idle.iter().map(|broker| broker.id).collect();
    if active.is_empty() {
        return refused("all brokers are fenced or shutting down".into());
    }
    if replication_factor > active.len() + idle.len() {
        return refused(format!("only {} broker(s) are registered", active.len() + idle.len()));
    }
    let start = topic.0.iter().fold(0usize, |sum, byte| sum + usize::from(*byte));
    let one = |partition: usize| {
        let leader = start + partition;
        let stride = 1 + (start + partition / active.len()) % active.len().saturating_sub(1).max(1);
        let around = |members: &[BrokerId], from: usize, n: usize| -> Vec<BrokerId> {
            (0..n).map(|i| members[(from + i) % members.len()]).collect()
        };
        let mut replicas = vec![active[leader % active.len()]];
        let others: Vec<BrokerId> = active.iter().copied().filter(|id| *id != replicas[0]).collect();
        let followers = (replication_factor - 1).min(others.len());
        replicas.extend(around(&others, leader + stride, followers));
        let isr = replicas.clone();
        replicas.extend(around(&idle, leader, replication_factor - 1 - followers));
        Placement { replicas, isr }
    };
    Ok((first..first + count).map(one).collect())
}

/// An assignment made by hand: brokers that exist, each once, as many as the topic's other partitions have, one of them active.
pub(super) fn check_assignment(
    image: &Image,
    partition: i32,
    replicas: &[BrokerId],
    replication_factor: Option<usize>,
) -> Result<Placement, Refused> {
    let refused = |why: String| {
        let message = format!("the assignment of partition {partition} {why}");
        Err(Refused::new(ErrorCode::InvalidReplicaAssignment, message))
    };
    if replicas.is_empty() {
        return refused("names no broker".into());
    }
    for (i, id) in replicas.iter().enumerate() {
        if image.broker(*id).is_none() {
            return refused(format!("names broker {id}, which is not registered"));
        }
        if replicas[..i].contains(id) {
            return refused(format!("names broker {id} more than once"));
        }
    }
    if let Some(factor) = replication_factor
        && factor != replicas.len()
    {
        return refused(format!("has {} replicas, other partitions have {factor}", replicas.len()));
    }
    let active = |id: &BrokerId| image.broker(*id).is_some_and(|broker| broker.is_active());
    let isr: Vec<_> = replicas.iter().copied().filter(active).collect();
    if isr.is_empty() {
        return refused("names only brokers that are fenced or shutting down".into());
    }
    Ok(Placement { replicas: replicas.to_vec(), isr })
}

/// The records of new partitions `first ..`, led by the first replica in sync.
pub(super) fn partition_records(
    image: &Image,
    topic: Uuid,
    first: i32,
    placed: Vec<Placement>,
) -> impl Iterator<Item = Record> {
    (first..).zip(placed).map(move |(partition, Placement { replicas, isr })| {
        let none: Arc<[BrokerId]> = Arc::from([]);
        let state = Partition {
            directories: replicas.iter().map(|id| directory(image, *id)).collect(),
            leader: isr[0],
            replicas: replicas.into(),
            isr: isr.into(),
            elr: none.clone(),
            last_known_elr: none.clone(),
            adding: none.clone(),
            removing: none,
            leader_epoch: 0,
            partition_epoch: 0,
            recovery: RecoveryState::Recovered,
        };
        Record::Partition { topic, partition, state }
    })
}

/// The directory of a broker that has only one; with several the broker chooses (Kafka's "unassigned" is the zero id).
fn directory(image: &Image, id: BrokerId) -> Uuid {
    match image.broker(id).map(|broker| broker.directories.as_slice()) {
        Some([only]) => *only,
        _ => Uuid::ZERO,
    }
}
