//! Kafka's range assignor: of each topic every member that subscribes to it gets a run of partitions, the first ones one more. Members of other
//! libraries may lead the group or follow us, so it is their arithmetic.

use std::collections::BTreeMap;

/// Partitions by member.
pub type Parts = BTreeMap<String, Vec<(String, i32)>>;

pub const RANGE: &str = "range";

/// `members`: the topics of each. `partitions`: how many each topic has.
pub fn range(members: &BTreeMap<String, Vec<String>>, partitions: &BTreeMap<String, i32>) -> Parts {
    let mut parts: Parts = members.keys().map(|member| (member.clone(), Vec::new())).collect();
    for (topic, &count) in partitions {
        let subscribed: Vec<&String> =
            members.iter().filter(|(_, topics)| topics.contains(topic)).map(|(member, _)| member).collect();
        let Ok(readers) = i32::try_from(subscribed.len()) else { continue };
        let mut next = 0;
        for (index, member) in (0..).zip(subscribed) {
            let share = count / readers + i32::from(index < count % readers);
            if let Some(part) = parts.get_mut(member) {
                part.extend((next..next + share).map(|partition| (topic.clone(), partition)));
            }
            next += share;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition that two members have is read twice, one that nobody has is not read at all.
    #[test]
    fn every_partition_has_one_reader() {
        let topics = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let members = BTreeMap::from([
            ("a".to_owned(), topics(&["t", "u"])),
            ("b".to_owned(), topics(&["t"])),
            ("c".to_owned(), topics(&["t", "gone"])),
        ]);
        let partitions = BTreeMap::from([("t".to_owned(), 7), ("u".to_owned(), 2), ("gone".to_owned(), 0)]);
        let parts = range(&members, &partitions);
        let of = |member: &str| parts[member].iter().map(|(topic, p)| format!("{topic}{p}")).collect::<Vec<_>>();
        assert_eq!(of("a"), ["t0", "t1", "t2", "u0", "u1"]);
        assert_eq!(of("b"), ["t3", "t4"]);
        assert_eq!(of("c"), ["t5", "t6"]);
    }
}
