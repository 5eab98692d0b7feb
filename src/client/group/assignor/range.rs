//! "range": each topic for itself, cut into runs; the first members get one more when it does not divide.

use super::{Member, Plan, TopicPartition, in_order};
use std::collections::BTreeMap;
use std::rc::Rc;

pub(super) fn assign(members: &[Member], topics: &BTreeMap<Rc<str>, usize>) -> Plan {
    let mut plan = Plan::new();
    plan.resize_with(members.len(), Default::default);
    let order = in_order(members);
    for (topic, &partitions) in topics {
        let readers: Vec<usize> =
            order.iter().copied().filter(|&member| members[member].topics.contains(topic)).collect();
        if readers.is_empty() {
            continue;
        }
        let (share, more) = (partitions / readers.len(), partitions % readers.len());
        let mut first = 0;
        for (at, member) in readers.into_iter().enumerate() {
            let end = first + share + usize::from(at < more);
            plan[member].extend((first..end).map(|i| TopicPartition { topic: topic.clone(), partition: i as i32 }));
            first = end;
        }
    }
    plan
}
