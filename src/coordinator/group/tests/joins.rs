//! JoinGroup and SyncGroup: who is in, and how a generation comes about.

use super::*;

/// A client that is let in with a session of a millisecond would rebalance its group for ever.
#[test]
fn a_session_timeout_has_bounds_and_a_group_a_name() {
    let mut story = Story::new();
    for session_timeout_ms in [5_999, 1_800_001, -1] {
        let to = story.join(JoinGroup { session_timeout_ms, ..new_member("a") });
        assert_eq!(story.joined(to).error, ErrorCode::InvalidSessionTimeout);
    }
    let to = story.join(JoinGroup { group: String::new(), ..new_member("a") });
    assert_eq!(story.joined(to).error, ErrorCode::InvalidGroupId);
    assert!(story.log.is_empty() && story.machine.group_count() == 0);
}

/// Without KIP-394 each try of a client whose answers are lost leaves a member behind that holds up the group.
#[test]
fn a_new_client_is_given_an_id_and_is_no_member_before_it_uses_it() {
    let mut story = Story::new();
    let to = story.join(JoinGroup { takes_member_id: true, ..new_member("a") });
    let reply = story.joined(to);
    assert_eq!((reply.error, &*reply.member_id, reply.generation), (ErrorCode::MemberIdRequired, "a", -1));
    assert_eq!(story.state(), "Empty");
    let to = story.join(known_member("a"));
    assert_eq!(story.state(), "PreparingRebalance");
    story.pass(INITIAL_DELAY_MS);
    assert_eq!(story.joined(to).error, ErrorCode::None);
}

/// An id that was given out and never used must not hold up the group's rebalances for ever.
#[test]
fn an_unused_id_is_forgotten_after_the_session_timeout() {
    let mut story = Story::new();
    story.stable_pair();
    let to = story.join(JoinGroup { takes_member_id: true, ..new_member("c") });
    assert_eq!(story.joined(to).error, ErrorCode::MemberIdRequired);
    let (a, b) = (story.join(known_member("a")), story.join(known_member("b")));
    assert!(story.answer(a).is_none(), "c may still come");
    story.pass(SESSION_MS);
    assert_eq!(story.joined(a).generation, 2);
    assert_eq!(story.joined(b).generation, 2);
    let to = story.join(known_member("c"));
    assert_eq!(story.joined(to).error, ErrorCode::UnknownMemberId);
}

/// Memory for ids that were given out is bounded, whoever asks however often.
#[test]
fn ids_given_out_are_bounded() {
    let mut story = Story::new();
    for number in 0..options::PENDING_MEMBERS_MAX {
        let to = story.join(JoinGroup { takes_member_id: true, ..new_member(&format!("m{number}")) });
        assert_eq!(story.joined(to).error, ErrorCode::MemberIdRequired);
    }
    let to = story.join(JoinGroup { takes_member_id: true, ..new_member("one too many") });
    assert_eq!(story.joined(to).error, ErrorCode::CoordinatorNotAvailable);
    story.pass(SESSION_MS);
    let to = story.join(JoinGroup { takes_member_id: true, ..new_member("later") });
    assert_eq!(story.joined(to).error, ErrorCode::MemberIdRequired);
    // The expiry of offsets, and the one member.
    assert_eq!(story.machine.timer_count(), 2);
}

/// A member of a group that cannot agree on a protocol with the others would be assigned nothing it understands.
#[test]
fn a_member_must_share_a_protocol_with_all() {
    let mut story = Story::new();
    for wrong in [
        JoinGroup { protocols: Vec::new(), ..new_member("a") },
        JoinGroup { protocol_type: String::new(), ..new_member("a") },
    ] {
        let to = story.join(wrong);
        assert_eq!(story.joined(to).error, ErrorCode::InconsistentGroupProtocol);
    }
    assert!(story.log.is_empty(), "a refused client makes no group");
    story.stable_pair();
    let other = vec![Protocol { name: "other".into(), metadata: subscription() }];
    for wrong in [
        JoinGroup { protocols: other, ..new_member("c") },
        JoinGroup { protocol_type: "connect".into(), ..new_member("c") },
    ] {
        let to = story.join(wrong);
        assert_eq!(story.joined(to).error, ErrorCode::InconsistentGroupProtocol);
    }
    assert_eq!(story.state(), "Stable");
}

/// Votes decide among what all support: a protocol that one member lacks would leave it out.
#[test]
fn the_protocol_is_the_one_that_most_prefer_among_those_that_all_support() {
    let protocols = |names: &[&str]| {
        names.iter().map(|name| Protocol { name: (*name).into(), metadata: subscription() }).collect::<Vec<_>>()
    };
    let mut story = Story::new();
    let asked = [("a", &["sticky", "range", "robin"][..]), ("b", &["robin", "range"]), ("c", &["range", "robin"])];
    let joins = asked.map(|(id, names)| story.join(JoinGroup { protocols: protocols(names), ..new_member(id) }));
    story.pass(3 * INITIAL_DELAY_MS);
    for to in joins {
        assert_eq!(story.joined(to).protocol.as_deref(), Some("range"), "two votes of three; nobody else has sticky");
    }
}

/// A deployment that starts many members makes one rebalance, but not one that waits for ever (KIP-134).
#[test]
fn the_first_rebalance_waits_while_members_keep_coming_but_not_past_their_rebalance_timeout() {
    let mut story = Story::new();
    let patient = |id: &str| JoinGroup { rebalance_timeout_ms: 10_000, ..new_member(id) };
    let first = story.join(patient("m0"));
    for number in 1..=6 {
        story.pass(2_000);
        story.join(patient(&format!("m{number}")));
        if number < 5 {
            assert!(story.answer(first).is_none(), "at {number}");
        }
    }
    assert_eq!(story.joined(first).generation, 1);

    let mut lonely = Story::new();
    let to = lonely.join(new_member("a"));
    lonely.pass(INITIAL_DELAY_MS - 1);
    assert!(lonely.answer(to).is_none());
    lonely.pass(1);
    assert_eq!(lonely.joined(to).generation, 1);
}

/// A client joins again when its answer was lost: a rebalance for that would be one for each lost packet.
#[test]
fn who_joins_again_unchanged_gets_the_same_generation() {
    let mut story = Story::new();
    let a = story.join(new_member("a"));
    story.pass(INITIAL_DELAY_MS);
    story.joined(a);
    let again = story.join(known_member("a"));
    let reply = story.joined(again);
    assert_eq!((reply.generation, reply.members.len()), (1, 1), "the leader needs the members again");

    let mut story = Story::new();
    story.stable_pair();
    let b = story.join(known_member("b"));
    assert_eq!(story.joined(b).generation, 1);
    assert_eq!(story.state(), "Stable");
}

/// A leader that joins again knows of partitions that are not assigned yet; a member with another subscription wants others.
#[test]
fn the_leader_and_changed_members_make_a_rebalance() {
    let mut story = Story::new();
    story.stable_pair();
    story.join(known_member("a"));
    assert_eq!(story.state(), "PreparingRebalance");
    assert_eq!(story.heartbeat("b", 1), ErrorCode::RebalanceInProgress);

    let mut story = Story::new();
    story.stable_pair();
    let changed = vec![Protocol { name: "range".into(), metadata: Arc::from(&b"other"[..]) }];
    let b = story.join(JoinGroup { protocols: changed, ..known_member("b") });
    assert_eq!(story.state(), "PreparingRebalance");
    let a = story.join(known_member("a"));
    let (a, b) = (story.joined(a), story.joined(b));
    assert_eq!((a.generation, b.generation), (2, 2));
    let metadata_of_b = a.members.iter().find(|member| &*member.member_id == "b").unwrap();
    assert_eq!(&*metadata_of_b.metadata, b"other");
}

/// A member that does not come back is dropped, or its partitions would be read by nobody.
#[test]
fn a_rebalance_ends_without_those_who_do_not_join_in_time() {
    let mut story = Story::new();
    story.stable_pair();
    let a = story.join(known_member("a"));
    for _ in 0..REBALANCE_MS / 5_000 - 1 {
        story.pass(5_000);
        assert_eq!(story.heartbeat("b", 1), ErrorCode::RebalanceInProgress);
    }
    assert!(story.answer(a).is_none());
    story.pass(5_000);
    let reply = story.joined(a);
    assert_eq!((reply.generation, reply.members.len()), (2, 1));
    assert_eq!(story.heartbeat("b", 1), ErrorCode::UnknownMemberId);
}

/// Without a new leader a group whose leader is gone never gets an assignment again.
#[test]
fn another_leads_when_the_leader_does_not_come_back() {
    let mut story = Story::new();
    story.stable_pair();
    assert_eq!(story.leave(&[("a", None)]), [ErrorCode::None]);
    let b = story.join(known_member("b"));
    let reply = story.joined(b);
    assert_eq!((&*reply.leader, reply.members.len(), reply.generation), ("b", 1, 2));
}

/// A group over its limit costs the broker memory that others were promised.
#[test]
fn a_full_group_takes_no_more_members() {
    let mut story = Story::with(GroupOptions { max_size: 2, ..GroupOptions::default() });
    story.stable_pair();
    let c = story.join(new_member("c"));
    assert_eq!(story.joined(c).error, ErrorCode::GroupMaxSizeReached);
    assert_eq!(story.state(), "Stable");
    let b = story.join(known_member("b"));
    assert_eq!(story.joined(b).error, ErrorCode::None);
}

/// A limit that was lowered holds for those who are in as well, but they may finish what they read.
#[test]
fn a_group_that_is_too_large_at_the_start_rebalances_and_takes_the_first_to_come() {
    let mut story = Story::new();
    story.stable_pair();
    story.options.max_size = 1;
    story.restart();
    assert_eq!(story.state(), "PreparingRebalance");
    let b = story.join(known_member("b"));
    let a = story.join(known_member("a"));
    assert_eq!(story.joined(a).error, ErrorCode::GroupMaxSizeReached);
    story.pass(REBALANCE_MS);
    assert_eq!(story.joined(b).members.len(), 1);
}

/// The wrong half of these answers would have a member work with an assignment that is not its own.
#[test]
fn sync_is_refused_to_those_who_are_not_in_this_generation() {
    let mut story = Story::new();
    let nobody = story.sync("a", 1, &[]);
    assert_eq!(story.synced(nobody).error, ErrorCode::UnknownMemberId);
    story.stable_pair();
    for (member_id, generation, error) in
        [("c", 1, ErrorCode::UnknownMemberId), ("a", 0, ErrorCode::IllegalGeneration), ("a", 1, ErrorCode::None)]
    {
        let to = story.sync(member_id, generation, &[]);
        assert_eq!(story.synced(to).error, error, "{member_id} {generation}");
    }
    let mismatch = SyncGroup {
        group: GROUP.into(),
        generation: 1,
        member_id: "a".into(),
        protocol: Some("robin".into()),
        ..SyncGroup::default()
    };
    let to = story.send(GroupRequest::Sync(mismatch));
    assert_eq!(story.synced(to).error, ErrorCode::InconsistentGroupProtocol);
    story.join(known_member("a"));
    let to = story.sync("b", 1, &[]);
    assert_eq!(story.synced(to).error, ErrorCode::RebalanceInProgress);
}

/// A follower that waits for an assignment that will never come would be thrown out for silence.
#[test]
fn a_rebalance_sends_those_who_wait_for_an_assignment_back() {
    let mut story = Story::new();
    let (a, b) = (story.join(new_member("a")), story.join(new_member("b")));
    story.pass(2 * INITIAL_DELAY_MS);
    story.joined(a);
    story.joined(b);
    let waiting = story.sync("b", 1, &[]);
    story.join(new_member("c"));
    assert_eq!(story.synced(waiting).error, ErrorCode::RebalanceInProgress);
}

/// Its client has given up the first request: an answer must still come, or the broker would keep it for ever.
#[test]
fn a_second_request_answers_the_first_that_waits() {
    let mut story = Story::new();
    let (a, b) = (story.join(new_member("a")), story.join(new_member("b")));
    story.pass(2 * INITIAL_DELAY_MS);
    story.joined(a);
    story.joined(b);
    let first = story.sync("b", 1, &[]);
    let second = story.sync("b", 1, &[]);
    assert_eq!(story.synced(first).error, ErrorCode::RebalanceInProgress);
    let a = story.sync("a", 1, &[("b", "for b")]);
    assert_eq!(&*story.synced(second).assignment, b"for b");
    assert!(story.synced(a).assignment.is_empty(), "the leader forgot itself");

    let first = story.join(known_member("a"));
    let second = story.join(known_member("a"));
    assert_eq!(story.joined(first).error, ErrorCode::RebalanceInProgress);
    let b = story.join(known_member("b"));
    assert_eq!((story.joined(second).generation, story.joined(b).generation), (2, 2));
}

/// A member that joins and never fetches its assignment holds partitions that nobody reads (KAFKA-9935).
#[test]
fn who_does_not_fetch_the_assignment_in_time_is_out() {
    let mut story = Story::new();
    let (a, b) = (story.join(new_member("a")), story.join(new_member("b")));
    story.pass(2 * INITIAL_DELAY_MS);
    story.joined(a);
    story.joined(b);
    let a = story.sync("a", 1, &[]);
    story.synced(a);
    for _ in 0..REBALANCE_MS / 5_000 {
        story.pass(5_000);
        story.heartbeat("a", 1);
        story.heartbeat("b", 1);
    }
    assert_eq!(story.heartbeat("a", 1), ErrorCode::RebalanceInProgress);
    assert_eq!(story.heartbeat("b", 1), ErrorCode::UnknownMemberId);
}

/// An assignment that the log cannot take must not be in force: after a restart nobody would know it.
#[test]
fn an_assignment_that_is_too_large_is_nobodys() {
    let mut story = Story::with(GroupOptions { records_bytes_max: 600, ..GroupOptions::default() });
    let (a, b) = (story.join(new_member("a")), story.join(new_member("b")));
    story.pass(2 * INITIAL_DELAY_MS);
    story.joined(a);
    story.joined(b);
    let large = "x".repeat(600);
    let b = story.sync("b", 1, &[]);
    let a = story.sync("a", 1, &[("a", &large)]);
    assert_eq!(story.synced(a).error, ErrorCode::UnknownServerError);
    assert_eq!(story.synced(b).error, ErrorCode::UnknownServerError);
    assert_eq!(story.state(), "PreparingRebalance");
}
