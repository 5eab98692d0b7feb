//! "roundrobin": all partitions of all topics in order, dealt out one by one to the members that subscribe.

use super::{Member, Plan, TopicPartition, in_order};
use std::collections::BTreeMap;
use std::rc::Rc;

pub(super) fn assign(members: &[Member], topics: &BTreeMap<Rc<str>, usize>) -> Plan {
    let mut plan = Plan::new();
    plan.resize_with(members.len(), Default::default);
    let order = in_order(members);
    let mut next = 0;
    for (topic, &partitions) in topics {
        if !members.iter().any(|member| member.topics.contains(topic)) {
            continue;
        }
        for partition in 0..partitions as i32 {
            let reader = loop {
                let member = order[next % order.len()];
                next += 1;
                if members[member].topics.contains(topic) {
                    break member;
                }
            };
            plan[reader].insert(TopicPartition { topic: topic.clone(), partition });
        }
    }
    plan
}
