//! Who leads when brokers come and go: the first replica, in assignment order, that is in the ISR and active. Clean elections only.

use crate::record::PartitionChange;
use crate::{BrokerId, Image, NO_LEADER, Partition, Record};
use std::sync::Arc;

/// Takes a broker out of every ISR and leadership. The last member stays in its ISR: it alone has everything that was acknowledged,
/// so nobody else may lead until it is back.
pub(super) fn broker_leaves(image: &Image, broker: BrokerId) -> Vec<Record> {
    let active = |id: BrokerId| id != broker && image.broker(id).is_some_and(|b| b.is_active());
    changes(image, |partition| {
        if !partition.isr.contains(&broker) && partition.leader != broker {
            return None;
        }
        let remaining: Arc<[BrokerId]> = partition.isr.iter().copied().filter(|id| *id != broker).collect();
        let isr = if remaining.is_empty() { partition.isr.clone() } else { remaining };
        Some(elected(partition, isr, active))
    })
}

/// Gives leaderless partitions to a broker that becomes active, where it may have them.
pub(super) fn broker_returns(image: &Image, broker: BrokerId) -> Vec<Record> {
    let active = |id: BrokerId| id == broker || image.broker(id).is_some_and(|b| b.is_active());
    changes(image, |partition| (!partition.has_leader()).then(|| elected(partition, partition.isr.clone(), active)))
}

/// The change that gives `partition` this ISR and a leader from it.
fn elected(partition: &Partition, isr: Arc<[BrokerId]>, active: impl Fn(BrokerId) -> bool) -> PartitionChange {
    let may_lead = |id: &BrokerId| isr.contains(id) && active(*id);
    let leader = Some(partition.leader)
        .filter(may_lead)
        .or_else(|| partition.replicas.iter().copied().find(may_lead))
        .unwrap_or(NO_LEADER);
    PartitionChange {
        leader: (leader != partition.leader).then_some(leader),
        isr: (isr != partition.isr).then_some(isr),
        ..Default::default()
    }
}

fn changes(image: &Image, change: impl Fn(&Partition) -> Option<PartitionChange>) -> Vec<Record> {
    let mut records = Vec::new();
    for topic in image.topics() {
        for (partition, state) in (0..).zip(&topic.partitions) {
            let Some(change) = change(state) else { continue };
            if change.leader.is_none() && change.isr.is_none() {
                continue;
            }
            records.push(Record::PartitionChange(PartitionChange { topic: topic.id, partition, ..change }));
        }
    }
    records
}
