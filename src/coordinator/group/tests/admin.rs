//! DescribeGroups, ListGroups, DeleteGroups.

use super::*;

fn list(story: &mut Story, states: &[&str], types: &[&str]) -> Vec<(String, &'static str, &'static str)> {
    let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    match story.ask(GroupRequest::List(ListGroups { states: owned(states), types: owned(types) })) {
        GroupReply::List(groups) => {
            groups.into_iter().map(|group| (group.group.to_string(), group.state, group.kind)).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// `kafka-consumer-groups.sh --describe --members` shows what is here.
#[test]
fn a_description_has_members_and_their_bytes_while_the_group_is_stable() {
    let mut story = Story::new();
    story.stable_pair();
    let GroupReply::Describe(groups) = story.ask(GroupRequest::Describe(vec![GROUP.into(), "none".into()])) else {
        panic!("no answer")
    };
    let group = &groups[0];
    assert_eq!((group.error, group.state), (ErrorCode::None, "Stable"));
    assert_eq!((&*group.protocol_type, &*group.protocol), ("consumer", "range"));
    let member = &group.members[0];
    assert_eq!((&*member.member_id, &*member.client_id, &*member.client_host), ("a", "client", "/127.0.0.1"));
    assert_eq!((&*member.metadata, &*member.assignment), (&*subscription(), &b"for a"[..]));
    assert_eq!((groups[1].error, groups[1].state), (ErrorCode::GroupIdNotFound, "Dead"));

    story.join(known_member("a"));
    let GroupReply::Describe(groups) = story.ask(GroupRequest::Describe(vec![GROUP.into()])) else {
        panic!("no answer")
    };
    assert_eq!((groups[0].state, &*groups[0].protocol), ("PreparingRebalance", ""));
    assert!(groups[0].members.iter().all(|member| member.metadata.is_empty()));
}

/// Filters are compared as people type them.
#[test]
fn a_list_is_filtered_by_state_and_type() {
    let mut story = Story::new();
    story.stable_pair();
    story.commit_all(CommitOffsets { group: "tool".into(), ..commit_of("t", 0, 1) });
    let readers = ("readers".to_owned(), "Stable", "classic");
    let tool = ("tool".to_owned(), "Empty", "classic");
    assert_eq!(list(&mut story, &[], &[]), [readers.clone(), tool.clone()]);
    assert_eq!(list(&mut story, &["stable "], &["Classic"]), [readers]);
    assert_eq!(list(&mut story, &["Empty"], &[]), [tool]);
    assert_eq!(list(&mut story, &[], &["consumer"]), []);
}

/// A group that is in use must not lose its offsets, and one that is deleted must not come back with the next restart.
#[test]
fn only_an_empty_group_is_deleted_and_with_it_its_offsets() {
    let mut story = Story::new();
    story.stable_pair();
    story.commit("a", 1, 5);
    let delete = || GroupRequest::Delete(vec![GROUP.into(), "none".into()]);
    let expected = GroupReply::Delete(vec![ErrorCode::NonEmptyGroup, ErrorCode::GroupIdNotFound]);
    assert_eq!(story.ask(delete()), expected);
    story.leave(&[("a", None), ("b", None)]);
    assert_eq!(story.ask(delete()), GroupReply::Delete(vec![ErrorCode::None, ErrorCode::GroupIdNotFound]));
    for _ in 0..2 {
        assert_eq!(story.machine.group_count(), 0);
        assert_eq!(story.committed("t", 0, false).offset, -1);
        story.restart();
    }
    assert_eq!(story.machine.timer_count(), 1, "the expiry of offsets only");
}
