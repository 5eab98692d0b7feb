//! What every assignor promises, and what only some do.

use super::*;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

fn topics(of: &[(&str, usize)]) -> BTreeMap<Rc<str>, usize> {
    of.iter().map(|&(topic, count)| (topic.into(), count)).collect()
}

fn member(id: &str, topics: &[&str]) -> Member {
    let topics = topics.iter().map(|&topic| topic.into()).collect();
    Member { id: id.to_string(), topics, generation: -1, ..Member::default() }
}

fn names(plan: &Plan) -> Vec<String> {
    let of = |partitions: &BTreeSet<TopicPartition>| {
        let names: Vec<String> = partitions.iter().map(|p| format!("{}{}", p.topic, p.partition)).collect();
        names.join(" ")
    };
    plan.iter().map(of).collect()
}

/// Members of one group may be of different makes: the same names must mean the same plans as in Kafka's documentation.
#[test]
fn range_and_roundrobin_deal_as_kafka_does() {
    let members = [member("B", &["s", "t"]), member("A", &["s", "t"])];
    let all = topics(&[("s", 3), ("t", 3)]);
    assert_eq!(names(&Assignor::Range.assign(&members, &all)), ["s2 t2", "s0 s1 t0 t1"]);
    assert_eq!(names(&Assignor::RoundRobin.assign(&members, &all)), ["s1 t0 t2", "s0 s2 t1"]);

    let uneven = [member("A", &["a"]), member("B", &["a", "b"]), member("C", &["a", "b", "c"])];
    let all = topics(&[("a", 1), ("b", 2), ("c", 3)]);
    assert_eq!(names(&Assignor::RoundRobin.assign(&uneven, &all)), ["a0", "b0", "b1 c0 c1 c2"]);
    assert_eq!(names(&Assignor::Sticky.assign(&uneven, &all)), ["a0", "b0 b1", "c0 c1 c2"]);
}

/// A static member that restarts gets a new id: ordered by that, all its partitions would move.
#[test]
fn static_members_keep_their_place() {
    let with_instance = |id: &str, instance: &str| Member { instance: Some(instance.into()), ..member(id, &["t"]) };
    let all = topics(&[("t", 4)]);
    let before = [with_instance("z", "one"), with_instance("a", "two"), member("b", &["t"])];
    assert_eq!(names(&Assignor::Range.assign(&before, &all)), ["t0 t1", "t2", "t3"]);
}

/// Moving a partition costs its reader a cache and its group a pause: only what balance needs may move.
#[test]
fn sticky_moves_no_more_than_it_must() {
    let all = topics(&[("t", 6)]);
    let mut members = vec![member("A", &["t"]), member("B", &["t"])];
    let first = Assignor::Sticky.assign(&members, &all);
    assert_eq!(names(&first), ["t0 t2 t4", "t1 t3 t5"]);
    for (member, owned) in members.iter_mut().zip(first) {
        (member.owned, member.generation) = (owned, 1);
    }
    members.push(member("C", &["t"]));
    let second = Assignor::Sticky.assign(&members, &all);
    assert_eq!(names(&second), ["t0 t2", "t1 t3", "t4 t5"]);

    // Cooperative: what moves is with nobody until the old reader has given it up.
    let planned = Assignor::CooperativeSticky.assign(&members, &all);
    assert_eq!(names(&planned), ["t0 t2", "t1 t3", ""]);
}

/// A member that was away still claims what is another's by now: the later generation is right, and of two equal claims neither.
#[test]
fn the_later_generation_keeps_what_two_claim() {
    let all = topics(&[("t", 2)]);
    let owned: BTreeSet<TopicPartition> = [TopicPartition { topic: "t".into(), partition: 0 }].into();
    let of = |id: &str, generation| Member { owned: owned.clone(), generation, ..member(id, &["t"]) };
    assert_eq!(names(&Assignor::Sticky.assign(&[of("A", 4), of("B", 5)], &all)), ["t1", "t0"]);
    let equal = [of("A", 5), of("B", 5)];
    assert_eq!(names(&Assignor::Sticky.assign(&equal, &all)), ["t0", "t1"]);
    assert_eq!(names(&Assignor::CooperativeSticky.assign(&equal, &all)), ["", "t1"], "both have to let go first");
}

/// Metadata that cannot be read, of one member, must not stop the group.
#[test]
fn unreadable_metadata_subscribes_to_nothing() {
    let read = Member::read("A", None, b"\xff", Assignor::Range);
    assert!(read.topics.is_empty());
    let plan = Assignor::Range.assign(&[read, member("B", &["t"])], &topics(&[("t", 2)]));
    assert_eq!(names(&plan), ["", "t0 t1"]);
}

/// Whatever members want and had: each partition once, to one who reads its topic, to nobody only if nobody reads it; sticky plans are
/// balanced, and a cooperative group comes to rest after the moves.
#[test]
fn every_plan_is_whole() {
    for seed in 0..300u64 {
        let random = |what: u64, below: usize| {
            let mut hasher = DefaultHasher::new();
            (seed, what).hash(&mut hasher);
            (hasher.finish() % below as u64) as usize
        };
        let all = topics(&[("a", random(1, 9)), ("b", 1 + random(2, 5)), ("c", random(3, 20))]);
        let is_uniform = random(4, 2) == 0;
        let mut members: Vec<Member> = (0..1 + random(5, 6))
            .map(|at| {
                let names = ["a", "b", "c"];
                let wants = |i: &usize| is_uniform || random(100 + 10 * at as u64 + *i as u64, 3) > 0;
                let wanted: Vec<&str> = (0..3).filter(wants).map(|i| names[i]).collect();
                member(&format!("m{}", random(50 + at as u64, 1000)), &wanted)
            })
            .collect();
        for (at, member) in members.iter_mut().enumerate() {
            for (topic, &count) in &all {
                let claims = |i: &usize| random(1000 + 100 * at as u64 + *i as u64 + topic.len() as u64, 4) == 0;
                let owned = (0..count + 1).filter(claims);
                member.owned.extend(owned.map(|i| TopicPartition { topic: topic.clone(), partition: i as i32 }));
            }
            member.generation = random(70 + at as u64, 3) as i32;
        }
        for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky] {
            check_whole(seed, assignor, &members, &all, &assignor.assign(&members, &all));
        }
        let sticky = Assignor::Sticky.assign(&members, &all);
        for (from, to) in (0..members.len()).flat_map(|from| (0..members.len()).map(move |to| (from, to))) {
            let gives = sticky[from].iter().any(|partition| members[to].topics.contains(&partition.topic));
            assert!(
                !gives || sticky[from].len() <= sticky[to].len() + 1,
                "seed {seed}: {}",
                names(&sticky).join(" | ")
            );
        }
        // Each round all give up what is not in the plan, then join again.
        for round in 0.. {
            assert!(round < 4, "seed {seed}: a cooperative group does not come to rest");
            let plan = Assignor::CooperativeSticky.assign(&members, &all);
            let is_settled = members.iter().zip(&plan).all(|(member, planned)| member.owned == *planned);
            for (member, planned) in members.iter_mut().zip(&plan) {
                (member.owned, member.generation) = (planned.clone(), 10 + round);
            }
            if is_settled {
                check_whole(seed, Assignor::CooperativeSticky, &members, &all, &plan);
                break;
            }
        }
    }
}

fn check_whole(seed: u64, assignor: Assignor, members: &[Member], all: &BTreeMap<Rc<str>, usize>, plan: &Plan) {
    let what = format!("seed {seed} {}: {}", assignor.name(), names(plan).join(" | "));
    let assigned: Vec<&TopicPartition> = plan.iter().flatten().collect();
    let unique: BTreeSet<&TopicPartition> = assigned.iter().copied().collect();
    assert_eq!(assigned.len(), unique.len(), "twice: {what}");
    for (member, partitions) in members.iter().zip(plan) {
        assert!(partitions.iter().all(|partition| member.topics.contains(&partition.topic)), "not subscribed: {what}");
    }
    let read = |topic: &Rc<str>| members.iter().any(|member| member.topics.contains(topic));
    let expected: usize = all.iter().filter(|(topic, _)| read(topic)).map(|(_, count)| count).sum();
    assert_eq!(unique.len(), expected, "left out: {what}");
}
