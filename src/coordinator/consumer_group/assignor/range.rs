//! `range`: of each topic, every member gets neighbouring partitions. Topics with equal counts and equal subscribers are cut alike, so that
//! partition 3 of one and partition 3 of the other have one owner.

use super::super::Target;
use super::{Spec, Subscriber};
use ringlane_protocol::TopicId;
use std::collections::BTreeMap;

pub fn assign(spec: &Spec<'_>) -> Vec<Target> {
    let mut order: Vec<usize> = (0..spec.members.len()).collect();
    order.sort_by(|a, b| rank(&spec.members[*a]).cmp(&rank(&spec.members[*b])));

    let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for index in order {
        for topic in spec.members[index].topics {
            subscribers.entry(*topic).or_default().push(index);
        }
    }

    let mut targets = vec![Target::new(); spec.members.len()];
    for (topic, members) in subscribers {
        let count = spec.partition_counts.get(&topic).copied().unwrap_or(0);
        let each = count / members.len() as i32;
        let mut extra = count % members.len() as i32;
        let mut next = 0;
        for index in members {
            let end = next + each + i32::from(extra > 0);
            extra -= i32::from(extra > 0);
            if next < end {
                targets[index].insert(topic, (next..end).collect());
            }
            next = end;
        }
    }
    targets
}

/// Static members first, by instance id: they keep their places when they come back under another member id.
fn rank<'a>(member: &Subscriber<'a>) -> (bool, &'a str) {
    match member.instance_id {
        Some(instance) => (false, instance),
        None => (true, member.id),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::{run, target};
    use super::super::{Assignor, Target};

    /// Two topics that are cut differently cannot be joined by key.
    #[test]
    fn topics_are_cut_alike() {
        let members: [(&str, Option<&str>, &[u8], Target); 3] = [
            ("b", None, &[1, 2], Target::new()),
            ("a", None, &[1, 2], Target::new()),
            ("z", Some("i"), &[1, 2], Target::new()),
        ];
        let targets = run(Assignor::Range, true, &members, &[(1, 7), (2, 7)]);
        assert_eq!(targets[2], target(&[(1, &[0, 1, 2]), (2, &[0, 1, 2])]), "static members come first");
        assert_eq!(targets[1], target(&[(1, &[3, 4]), (2, &[3, 4])]));
        assert_eq!(targets[0], target(&[(1, &[5, 6]), (2, &[5, 6])]));
    }

    /// Each topic is shared by those who subscribe to it, and no one else.
    #[test]
    fn each_topic_is_shared_by_its_subscribers() {
        let members: [(&str, Option<&str>, &[u8], Target); 3] =
            [("a", None, &[1], Target::new()), ("b", None, &[1, 2], Target::new()), ("c", None, &[2], Target::new())];
        let targets = run(Assignor::Range, false, &members, &[(1, 3), (2, 1)]);
        assert_eq!(targets[0], target(&[(1, &[0, 1])]));
        assert_eq!(targets[1], target(&[(1, &[2]), (2, &[0])]));
        assert_eq!(targets[2], target(&[]));
    }
}
