//! Static members (KIP-345): a restart within the session is no rebalance.

use super::*;

fn of_instance(instance_id: &str, new_member_id: &str) -> JoinGroup {
    JoinGroup { instance_id: Some(instance_id.into()), takes_member_id: true, ..new_member(new_member_id) }
}

/// `i` as `i-1`, who leads, and `j` as `j-1`.
fn stable_instances() -> Story {
    let mut story = Story::new();
    let (i, j) = (story.join(of_instance("i", "i-1")), story.join(of_instance("j", "j-1")));
    story.pass(2 * INITIAL_DELAY_MS);
    assert_eq!(&*story.joined(i).leader, "i-1");
    story.joined(j);
    let j = story.sync("j-1", 1, &[]);
    let i = story.sync("i-1", 1, &[("i-1", "for i"), ("j-1", "for j")]);
    story.synced(i);
    story.synced(j);
    story
}

/// A rolling restart of fifty members made a hundred rebalances; with instance ids it makes none.
#[test]
fn a_restarted_member_has_its_assignment_back_without_a_rebalance() {
    let mut story = stable_instances();
    let to = story.join(of_instance("j", "j-2"));
    let reply = story.joined(to);
    assert_eq!((reply.error, reply.generation, &*reply.member_id), (ErrorCode::None, 1, "j-2"));
    assert_eq!(story.state(), "Stable");
    story.restart();
    let to = story.sync("j-2", 1, &[]);
    assert_eq!(&*story.synced(to).assignment, b"for j", "the new id is in the log");
    assert_eq!(story.heartbeat("j-1", 1), ErrorCode::UnknownMemberId);
}

/// An old client that took itself for the leader would assign for a generation that is complete (KIP-814).
#[test]
fn a_restarted_leader_leads_only_if_it_knows_that_it_need_not_assign() {
    let mut story = stable_instances();
    let to = story.join(of_instance("i", "i-2"));
    let reply = story.joined(to);
    assert_eq!((&*reply.leader, reply.members.len(), reply.skip_assignment), ("i-1", 0, false));
    let to = story.join(JoinGroup { can_skip_assignment: true, ..of_instance("i", "i-3") });
    let reply = story.joined(to);
    assert_eq!((&*reply.leader, reply.members.len(), reply.skip_assignment), ("i-3", 2, true));
}

/// Two processes with one instance id would read the same partitions: the earlier one is told to stop.
#[test]
fn the_earlier_of_two_with_one_instance_id_is_fenced() {
    let mut story = stable_instances();
    let to = story.join(of_instance("j", "j-2"));
    story.joined(to);
    let beat = |member_id: &str| {
        GroupRequest::Heartbeat(Heartbeat {
            group: GROUP.into(),
            generation: 1,
            member_id: member_id.into(),
            instance_id: Some("j".into()),
        })
    };
    assert_eq!(story.ask(beat("j-1")), GroupReply::Heartbeat(ErrorCode::FencedInstanceId));
    assert_eq!(story.ask(beat("j-2")), GroupReply::Heartbeat(ErrorCode::None));
    let to = story.join(JoinGroup { instance_id: Some("j".into()), ..known_member("j-1") });
    assert_eq!(story.joined(to).error, ErrorCode::FencedInstanceId);
    let to = story.join(JoinGroup { instance_id: Some("unheard".into()), ..known_member("j-2") });
    assert_eq!(story.joined(to).error, ErrorCode::UnknownMemberId);
}

/// What waits in the name of the earlier process is answered, too.
#[test]
fn what_waits_under_the_old_id_is_fenced() {
    let mut story = Story::new();
    let first = story.join(of_instance("i", "i-1"));
    let second = story.join(of_instance("i", "i-2"));
    assert_eq!(story.joined(first).error, ErrorCode::FencedInstanceId);
    story.pass(2 * INITIAL_DELAY_MS);
    let reply = story.joined(second);
    assert_eq!((&*reply.member_id, reply.members.len()), ("i-2", 1));
}

/// The leader is assigning to the old id at this moment: without a rebalance the new one would get nothing.
#[test]
fn a_restart_before_the_assignment_makes_a_rebalance() {
    let mut story = Story::new();
    let (i, j) = (story.join(of_instance("i", "i-1")), story.join(of_instance("j", "j-1")));
    story.pass(2 * INITIAL_DELAY_MS);
    story.joined(i);
    story.joined(j);
    let waiting = story.sync("j-1", 1, &[]);
    let to = story.join(of_instance("j", "j-2"));
    assert_eq!(story.synced(waiting).error, ErrorCode::FencedInstanceId);
    assert_eq!(story.state(), "PreparingRebalance");
    let i = story.join(JoinGroup { instance_id: Some("i".into()), ..known_member("i-1") });
    assert_eq!((story.joined(to).generation, story.joined(i).generation), (2, 2));
}

/// With another protocol than the group's, the member's old assignment means nothing.
#[test]
fn a_restart_that_changes_the_protocol_makes_a_rebalance() {
    let mut story = Story::new();
    let protocols = |names: &[&str]| -> Vec<Protocol> {
        names.iter().map(|name| Protocol { name: (*name).into(), metadata: subscription() }).collect()
    };
    let both = JoinGroup { protocols: protocols(&["range", "robin"]), ..of_instance("i", "i-1") };
    let to = story.join(both.clone());
    story.pass(INITIAL_DELAY_MS);
    story.joined(to);
    let to = story.sync("i-1", 1, &[]);
    story.synced(to);
    let to = story.join(JoinGroup { protocols: protocols(&["robin", "range"]), new_member_id: "i-2".into(), ..both });
    let reply = story.joined(to);
    assert_eq!((reply.generation, reply.protocol.as_deref()), (2, Some("robin")));
}

/// A static member is given until its session ends, however long the rebalance took.
#[test]
fn a_static_member_keeps_its_place_through_a_rebalance_that_it_misses() {
    let mut story = stable_instances();
    let i = story.join(JoinGroup { instance_id: Some("i".into()), ..known_member("i-1") });
    for _ in 0..REBALANCE_MS / 5_000 {
        story.pass(5_000);
        story.heartbeat("j-1", 1);
    }
    let reply = story.joined(i);
    assert_eq!((reply.generation, reply.members.len()), (2, 2), "it is assigned to all the same");
    assert_eq!(reply.members[1].instance_id.as_deref(), Some("j"));
}

/// Administrators remove members that are down for good by the name that they gave them.
#[test]
fn a_static_member_is_removed_by_its_instance_id() {
    let mut story = stable_instances();
    let codes = story.leave(&[("", Some("j")), ("", Some("k")), ("", None)]);
    assert_eq!(codes, [ErrorCode::None, ErrorCode::UnknownMemberId, ErrorCode::UnknownMemberId]);
    assert_eq!(story.leave(&[("other", Some("i"))]), [ErrorCode::FencedInstanceId]);
    let i = story.join(JoinGroup { instance_id: Some("i".into()), ..known_member("i-1") });
    assert_eq!(story.joined(i).members.len(), 1);
}
