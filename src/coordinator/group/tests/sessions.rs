//! Heartbeats, leaving, silence, and what a restart remembers.

use super::*;

/// Each code tells the client something else to do: retry, rejoin with its id, rejoin as new.
#[test]
fn heartbeats_tell_members_where_the_group_is() {
    let mut story = Story::new();
    assert_eq!(story.heartbeat("a", 1), ErrorCode::UnknownMemberId);
    story.stable_pair();
    assert_eq!(story.heartbeat("a", 1), ErrorCode::None);
    assert_eq!(story.heartbeat("a", 2), ErrorCode::IllegalGeneration);
    assert_eq!(story.heartbeat("c", 1), ErrorCode::UnknownMemberId);
    story.join(known_member("a"));
    assert_eq!(story.heartbeat("b", 1), ErrorCode::RebalanceInProgress);
    let b = story.join(known_member("b"));
    story.joined(b);
    assert_eq!(story.heartbeat("b", 2), ErrorCode::None, "while the group waits for its leader");
}

/// A member that is gone without a word keeps its partitions from everybody until its session ends, and not longer.
#[test]
fn silence_ends_a_membership_and_heartbeats_keep_it() {
    let mut story = Story::new();
    story.stable_pair();
    for _ in 0..20 {
        story.pass(SESSION_MS / 2);
        let expected = ErrorCode::None;
        assert_eq!(story.heartbeat("a", 1), expected);
        assert_eq!(story.heartbeat("b", 1), expected);
    }
    story.pass(SESSION_MS - 1);
    assert_eq!(story.heartbeat("a", 1), ErrorCode::None);
    story.pass(1);
    assert_eq!(story.heartbeat("a", 1), ErrorCode::RebalanceInProgress);
    assert_eq!(story.heartbeat("b", 1), ErrorCode::UnknownMemberId);
    let a = story.join(known_member("a"));
    assert_eq!(story.joined(a).members.len(), 1);
}

/// Members wait in JoinGroup for as long as the rebalance takes, and cannot send heartbeats meanwhile; new ones may be gone, though.
#[test]
fn who_waits_for_a_rebalance_does_not_expire_unless_it_is_new() {
    let mut story = Story::new();
    let long = JoinGroup { rebalance_timeout_ms: 20 * 60_000, ..new_member("a") };
    let first = story.join(long.clone());
    story.pass(INITIAL_DELAY_MS);
    story.joined(first);
    let a = story.sync("a", 1, &[]);
    story.synced(a);
    // A member that never joins again, but lives, holds the rebalance up.
    let c = story.join(new_member("c"));
    for _ in 0..options::NEW_MEMBER_JOIN_TIMEOUT_MS / 5_000 - 1 {
        story.pass(5_000);
        assert_eq!(story.heartbeat("a", 1), ErrorCode::RebalanceInProgress);
    }
    assert!(story.answer(c).is_none());
    story.pass(5_000);
    assert_eq!(story.joined(c).error, ErrorCode::UnknownMemberId, "five minutes for a new one");

    let again = story.join(JoinGroup { member_id: "a".into(), ..long });
    assert_eq!(story.joined(again).members.len(), 1);
}

/// A consumer that closes gives its partitions back at once; its group ends in a record that says so.
#[test]
fn who_leaves_is_gone_at_once_and_the_last_leaves_an_empty_group() {
    let mut story = Story::new();
    assert_eq!(story.leave(&[("a", None)]), [ErrorCode::UnknownMemberId]);
    story.stable_pair();
    let codes = story.leave(&[("a", None), ("c", None), ("b", Some("nobody"))]);
    assert_eq!(codes, [ErrorCode::None, ErrorCode::UnknownMemberId, ErrorCode::UnknownMemberId]);
    assert_eq!(story.state(), "PreparingRebalance");
    assert_eq!(story.leave(&[("b", None)]), [ErrorCode::None]);
    assert_eq!(story.state(), "Empty");
    story.restart();
    assert_eq!(story.state(), "Empty");
    // Whoever comes next does not meet generation 1 again, of which a lost member may still hold an assignment.
    let to = story.join(new_member("d"));
    story.pass(INITIAL_DELAY_MS);
    assert_eq!(story.joined(to).generation, 3);
}

/// A JoinGroup or SyncGroup that waits belongs to a client that waits: it is told when its member goes.
#[test]
fn leaving_answers_what_the_member_waits_for() {
    let mut story = Story::new();
    let waiting = story.join(new_member("a"));
    story.join(new_member("b"));
    assert_eq!(story.leave(&[("a", None)]), [ErrorCode::None]);
    assert_eq!(story.joined(waiting).error, ErrorCode::UnknownMemberId);

    let mut story = Story::new();
    let (a, b) = (story.join(new_member("a")), story.join(new_member("b")));
    story.pass(2 * INITIAL_DELAY_MS);
    story.joined(a);
    story.joined(b);
    let waiting = story.sync("b", 1, &[]);
    story.leave(&[("b", None)]);
    assert_eq!(story.synced(waiting).error, ErrorCode::UnknownMemberId);
}

/// An id that was given out can be given back: the client closed between its two JoinGroups.
#[test]
fn a_pending_member_may_leave() {
    let mut story = Story::new();
    let to = story.join(JoinGroup { takes_member_id: true, ..new_member("a") });
    story.joined(to);
    assert_eq!(story.leave(&[("a", None)]), [ErrorCode::None]);
    let to = story.join(known_member("a"));
    assert_eq!(story.joined(to).error, ErrorCode::UnknownMemberId);
}

/// Members do not notice a restart of the coordinator: same ids, same generation, same assignments, and a whole session to be heard of.
#[test]
fn a_restart_changes_nothing_for_members() {
    let mut story = Story::new();
    story.stable_pair();
    story.pass(SESSION_MS - 1);
    story.restart();
    story.pass(SESSION_MS - 1);
    assert_eq!(story.heartbeat("a", 1), ErrorCode::None);
    let b = story.sync("b", 1, &[]);
    assert_eq!(&*story.synced(b).assignment, b"for b");
    story.pass(1);
    assert_eq!(story.heartbeat("b", 1), ErrorCode::UnknownMemberId, "it had its time");
}

/// Heartbeats of ten thousand members must not cost ten thousand timers each.
#[test]
fn a_heartbeat_asks_for_no_record_and_no_timer() {
    let mut story = Story::new();
    story.stable_pair();
    let (records, timers) = (story.log.len(), story.machine.timer_count());
    for _ in 0..1_000 {
        story.heartbeat("a", 1);
    }
    assert_eq!((story.log.len(), story.machine.timer_count()), (records, timers));
}
