//! The protocol, one story each.

use super::model::compacted;
use super::test_kit::{Bench, beat, bench_context, join, nothing, of_instance, on, owning};
use super::{Classic, ConsumerGroupOptions, ConsumerHeartbeat, GroupState, MemberState, Profile};
use ringlane_protocol::ErrorCode;

/// Two members of one group on one topic of four partitions, both settled: `a` has 0 and 1, `b` 2 and 3.
fn two_members() -> (Bench, i32) {
    let mut bench = Bench::new(&[("orders", 4)]);
    assert_eq!(bench.assigned(&join("a", &["orders"])), on("orders", &[0, 1, 2, 3]));
    assert_eq!(bench.assigned(&join("b", &["orders"])), nothing(), "a still has all");
    let a = bench.group.members()["a"].current.epoch;
    assert_eq!(bench.assigned(&beat("a", a)), on("orders", &[0, 1]));
    let epoch = bench.epoch_of(&owning("a", a, &[("orders", &[0, 1])]));
    assert_eq!(bench.assigned(&beat("b", epoch)), on("orders", &[2, 3]));
    assert_eq!(bench.group.state(), GroupState::Stable);
    (bench, epoch)
}

/// The whole of a member's life: if any step of it fails, no consumer of the new protocol works.
#[test]
fn members_come_share_and_go() {
    let (mut bench, epoch) = two_members();
    assert_eq!(bench.hear(&beat("a", epoch)).unwrap().assignment, None, "nothing new");
    let records = bench.log.len();
    bench.hear(&owning("b", epoch, &[("orders", &[2, 3])])).unwrap();
    assert_eq!(bench.log.len(), records, "a heartbeat that says nothing new writes nothing");

    bench.leave("b");
    assert_eq!(bench.group.state(), GroupState::Assigning);
    assert_eq!(bench.assigned(&beat("a", epoch)), on("orders", &[0, 1, 2, 3]));
    bench.leave("a");
    assert_eq!(bench.group.state(), GroupState::Empty);
    assert_eq!(bench.refused(&beat("a", epoch)), 25);
}

/// Without its previous epoch a member whose answer was lost would have to give up everything and join anew.
#[test]
fn a_lost_answer_is_given_again() {
    let (mut bench, epoch) = two_members();
    bench.leave("b");
    let newer = bench.epoch_of(&beat("a", epoch));
    assert!(newer > epoch);
    assert_eq!(bench.refused(&beat("a", epoch)), 110, "it does not say what it owns");
    assert_eq!(bench.epoch_of(&owning("a", epoch, &[("orders", &[0, 1])])), newer);
    assert_eq!(bench.refused(&beat("a", newer + 1)), 110);
    assert_eq!(bench.refused(&owning("a", epoch - 1, &[])), 110);
    assert_eq!(bench.assigned(&join("a", &["orders"])), on("orders", &[0, 1, 2, 3]), "it may always join again");
}

/// A member that hangs would keep its partitions from everybody, for ever.
#[test]
fn a_silent_member_is_given_up() {
    let (mut bench, epoch) = two_members();
    bench.sleep(44_000);
    bench.hear(&beat("a", epoch)).unwrap();
    assert!(bench.group.next_deadline_ms().is_some_and(|ms| ms <= bench.now_ms + 1_000));
    bench.sleep(1_000);
    assert_eq!(bench.group.members().len(), 1);
    assert_eq!(bench.assigned(&beat("a", epoch)), on("orders", &[0, 1, 2, 3]));
    assert_eq!(bench.refused(&beat("b", epoch)), 25);
}

/// So would one that sends heartbeats, and never gives back what it must.
#[test]
fn a_member_that_does_not_revoke_is_given_up() {
    let mut bench = Bench::new(&[("orders", 2)]);
    let a = bench.epoch_of(&join("a", &["orders"]));
    bench.hear(&join("b", &["orders"])).unwrap();
    assert_eq!(bench.assigned(&beat("a", a)), on("orders", &[0]));
    assert_eq!(bench.group.members()["a"].current.state, MemberState::UnrevokedPartitions);
    for _ in 0..6 {
        let b = bench.group.members()["b"].current.epoch;
        bench.hear(&owning("a", a, &[("orders", &[0, 1])])).unwrap();
        bench.hear(&beat("b", b)).unwrap();
        bench.sleep(10_000);
    }
    assert_eq!(bench.refused(&beat("a", a)), 25);
    let b = bench.group.members()["b"].current.epoch;
    assert_eq!(bench.assigned(&beat("b", b)), on("orders", &[0, 1]));
}

/// A restart of a static member must not move a partition; a second process with its name must not take it over.
#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut bench = Bench::new(&[("orders", 4)]);
    bench.hear(&of_instance("i", join("a", &["orders"]))).unwrap();
    assert_eq!(bench.refused(&of_instance("i", join("twin", &["orders"]))), 111);
    assert_eq!(bench.refused(&of_instance("i", beat("twin", 3))), 82);
    assert_eq!(bench.refused(&of_instance("none", beat("a", 3))), 25);
    let epoch = bench.group.epoch();

    bench.leave_for_a_while("i", "a");
    assert_eq!(bench.group.epoch(), epoch, "nothing is assigned anew");
    bench.sleep(20_000);
    let back = bench.hear(&of_instance("i", join("a2", &["orders"]))).unwrap();
    assert_eq!(back.epoch, epoch);
    assert_eq!(back.assignment.unwrap()[0].1, [0, 1, 2, 3]);
    assert_eq!(bench.group.epoch(), epoch);
    assert_eq!(bench.refused(&of_instance("i", beat("a", epoch))), 82);

    bench.leave_for_a_while("i", "a2");
    bench.sleep(46_000);
    assert!(bench.group.is_empty(), "it did not come back within its session");
}

/// Topics grow, come and go while members consume: nobody tells the members but the group.
#[test]
fn topics_that_change_start_a_new_epoch() {
    let mut bench = Bench::new(&[("orders", 1)]);
    let first = bench.epoch_of(&join("a", &["orders", "later"]));
    bench.set_topic("other", 5);
    assert_eq!(bench.hear(&beat("a", first)).unwrap().assignment, None, "not ours");
    bench.set_topic("orders", 2);
    assert_eq!(bench.assigned(&beat("a", first)), on("orders", &[0, 1]));
    bench.set_topic("later", 1);
    let second = bench.epoch_of(&beat("a", first + 1));
    assert_eq!(second, first + 2);
    bench.topics.remove("orders");
    let third = bench.hear(&beat("a", second)).unwrap();
    assert_eq!((third.epoch, third.assignment.unwrap().len()), (second, 1), "it gives back what is no more");
}

/// Without the interval, a thousand members that come one by one are a thousand runs of the assignor, each moving partitions.
#[test]
fn targets_are_not_computed_more_often_than_asked_for() {
    let mut bench = Bench::new(&[("orders", 4)]);
    bench.options.assignment_interval_ms = 1_000;
    let a = bench.epoch_of(&join("a", &["orders"]));
    let b = bench.hear(&join("b", &["orders"])).unwrap();
    assert_eq!((b.epoch, b.assignment), (a, Some(Vec::new())), "it is there, and waits");
    assert_eq!(bench.group.state(), GroupState::Assigning);
    assert_eq!(bench.hear(&beat("a", a)).unwrap().assignment, None);
    bench.sleep(1_000);
    assert_eq!(bench.assigned(&beat("a", a)), on("orders", &[0, 1]));
}

/// The server matches patterns, so that every member sees the same topics; a topic that comes later must be found.
#[test]
fn subscriptions_by_pattern_follow_the_topics() {
    let mut bench = Bench::new(&[("orders-eu", 1), ("orders-us", 1), ("reorders", 1)]);
    let by_regex =
        |member: &str, regex: &str| ConsumerHeartbeat { topics: None, regex: Some(regex.into()), ..join(member, &[]) };
    assert_eq!(bench.refused(&by_regex("a", "orders-(")), 128);
    assert!(bench.group.is_empty());
    let first = bench.hear(&by_regex("a", "orders-.*")).unwrap();
    assert_eq!(first.assignment.unwrap().len(), 2);

    bench.set_topic("orders-asia", 1);
    bench.sleep(10_000);
    assert_eq!(bench.hear(&beat("a", first.epoch)).unwrap().assignment, None, "not sooner than after ten seconds");
    bench.sleep(1);
    let second = bench.hear(&beat("a", first.epoch)).unwrap();
    assert_eq!(second.assignment.unwrap().len(), 3);
    assert!(bench.group.is_subscribed_to("orders-asia"));

    let third = bench.hear(&ConsumerHeartbeat { regex: Some("reorders".into()), ..beat("a", second.epoch) }).unwrap();
    assert!(!bench.group.is_subscribed_to("orders-asia"));
    assert_eq!(third.assignment.unwrap().len(), 0);
    bench.leave("a");
    assert!(!bench.group.is_subscribed_to("reorders"));
}

/// One member that subscribes to other topics makes the group a mixed one; the assignor that most ask for rules.
#[test]
fn members_may_want_different_things() {
    let mut bench = Bench::new(&[("orders", 2), ("bills", 2)]);
    bench.hear(&ConsumerHeartbeat { assignor: Some("range".into()), ..join("a", &["orders"]) }).unwrap();
    assert_eq!(bench.assigned(&join("b", &["bills"])), on("bills", &[0, 1]));
    let context = bench_context!(bench);
    let described = bench.group.describe(&context);
    assert_eq!(&*described.assignor, "range");
    assert_eq!(described.members[0].assignment[0].2, [0, 1]);
    assert_eq!(&*described.members[1].target[0].1, "bills");
    assert_eq!(described.members[1].member_type, 1);
}

/// A group without a bound takes all memory.
#[test]
fn a_full_group_takes_no_more_members() {
    let mut bench = Bench::new(&[("orders", 2)]);
    bench.options = ConsumerGroupOptions { max_size: 1, ..bench.options };
    let epoch = bench.epoch_of(&join("a", &["orders"]));
    assert_eq!(bench.refused(&join("b", &["orders"])), 81);
    bench.hear(&beat("a", epoch)).unwrap();
}

/// A commit of a member that has lost the partition would put its successor back; one that was on its way while the epoch went on must count.
#[test]
fn commits_count_while_the_member_has_the_partition() {
    let (mut bench, epoch) = two_members();
    let topic = super::test_kit::topic_id("orders");
    bench.leave("b");
    let newer = bench.epoch_of(&beat("a", epoch));
    let group = &bench.group;
    let check = |member: &str, epoch, version, partition| match group.check_commit(member, None, epoch, version) {
        Ok(check) => check.partition(topic, partition),
        Err(error) => error.code(),
    };
    assert_eq!(check("a", newer, Some(9), 0), ErrorCode::None);
    assert_eq!(check("a", epoch, Some(9), 0), ErrorCode::None, "it had partition 0 at that epoch");
    assert_eq!(check("a", epoch, Some(9), 2), ErrorCode::StaleMemberEpoch, "partition 2 came later");
    assert_eq!(check("a", newer + 1, Some(9), 0), ErrorCode::StaleMemberEpoch);
    assert_eq!(check("a", newer, Some(8), 0), ErrorCode::UnsupportedVersion);
    assert_eq!(check("b", newer, Some(9), 0), ErrorCode::UnknownMemberId);
    assert_eq!(check("", -1, Some(9), 0), ErrorCode::UnknownMemberId, "the group is in use");
    assert_eq!(check("", -1, None, 0), ErrorCode::None, "a transaction need not name its member");
    assert_eq!(group.check_fetch(None, -1), Ok(()));
    assert_eq!(group.check_fetch(Some("a"), newer), Ok(()));
    assert_eq!(group.check_fetch(Some("a"), epoch).unwrap_err().code(), ErrorCode::StaleMemberEpoch);
    assert_eq!(group.check_fetch(Some("b"), newer).unwrap_err().code(), ErrorCode::UnknownMemberId);
    bench.leave("a");
    assert!(bench.group.check_commit("", None, -1, Some(9)).is_ok(), "an administrator resets an empty group");
}

/// After a restart, members go on where they were: no new epoch, a full session for each, and a clock for what is being revoked.
#[test]
fn a_group_goes_on_after_a_restart() {
    let (mut bench, epoch) = two_members();
    bench.hear(&join("c", &["orders"])).unwrap();
    bench.hear(&beat("b", epoch)).unwrap();
    let was = bench.group.epoch();
    bench.group = Bench::replayed(&compacted(&bench.log));
    let context = bench_context!(bench);
    bench.group.loaded(&context);
    bench.sleep(44_000);
    bench.hear(&beat("a", epoch)).unwrap();
    assert_eq!(bench.group.epoch(), was);
    bench.sleep(1_000);
    assert_eq!(bench.group.members().len(), 1, "those who did not come back are given up");
}

/// A group that is deleted and whose records come back is one that nobody can delete.
#[test]
fn a_deleted_group_leaves_nothing() {
    let (mut bench, _) = two_members();
    bench.leave("a");
    bench.leave("b");
    bench.group.tombstones(&mut bench.log);
    assert_eq!(Bench::replayed(&bench.log), super::ConsumerGroup::new("g"));
    let left = compacted(&bench.log);
    assert!(left.is_empty(), "{left:?}");
}

/// Records of classic members in a consumer group are read and kept as they are, also by a broker that makes none.
#[test]
fn a_profile_goes_through_its_record_unchanged() {
    let profile = Profile {
        instance_id: Some("i".into()),
        topics: ["orders".into()].into(),
        classic: Some(Classic { session_timeout_ms: 10_000, protocols: vec![("range".into(), [1, 2][..].into())] }),
        ..Profile::default()
    };
    let event = super::event::Event::Member("m".into(), profile);
    let record = event.encode("g");
    let key = ringlane_protocol::internal::consumer_group::ConsumerGroupKey::decode(&record.key).unwrap().unwrap();
    assert_eq!(super::event::Event::decode(key, record.value.as_deref()), Ok(event));
}

/// A group whose change does not fit a batch would stop the machine, and every group of its partition with it.
#[test]
fn a_change_that_the_log_cannot_take_is_taken_back() {
    let mut bench = Bench::new(&[("orders", 4)]);
    let epoch = bench.epoch_of(&join("a", &["orders"]));
    bench.hear(&of_instance("i", join("s", &["orders"]))).unwrap();
    bench.leave_for_a_while("i", "s");
    bench.records_bytes_max = 200;
    let long = "x".repeat(200);
    assert_eq!(bench.refused(&join("b", &["orders", &long])), -1);
    assert_eq!(bench.refused(&of_instance("i", join("s2", &["orders", &long]))), -1);
    assert_eq!(bench.refused(&ConsumerHeartbeat { regex: Some(long), ..beat("a", epoch) }), -1);
    bench.records_bytes_max = 1_000_000;
    let back = bench.hear(&of_instance("i", join("s2", &["orders"]))).unwrap();
    assert_eq!(back.assignment.unwrap(), [], "a has all still");
}

/// Nor may many members at once: their targets come in several batches, and so do their ends.
#[test]
fn large_groups_are_written_in_parts() {
    let mut bench = Bench::new(&[("orders", 60)]);
    bench.options.assignment_interval_ms = 1_000;
    bench.records_bytes_max = 1_500;
    for number in 0..60 {
        bench.hear(&join(&format!("member-{number:02}"), &["orders"])).unwrap();
    }
    bench.sleep(1_000);
    for _ in 0..60 {
        for number in 0..60 {
            let name = format!("member-{number:02}");
            let current = &bench.group.members()[name.as_str()].current;
            let owned: Vec<i32> = current.assigned.values().flat_map(|partitions| partitions.keys().copied()).collect();
            let said = owning(&name, current.epoch, &[("orders", &owned)]);
            bench.hear(&said).unwrap();
        }
        bench.sleep(100);
    }
    assert_eq!(bench.group.state(), GroupState::Stable);
    let has = |member: &super::Member| super::assignment::partitions(&member.current.assigned).count();
    assert!(bench.group.members().values().all(|member| has(member) == 1), "one partition each");
    bench.sleep(46_000);
    for _ in 0..60 {
        bench.sleep(1);
    }
    assert!(bench.group.is_empty());
}
