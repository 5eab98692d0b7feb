//! OffsetCommit, OffsetFetch, OffsetDelete and how offsets grow old.

use super::*;

const DAY_MS: i64 = 24 * 3600 * 1000;

fn delete(topic: &str) -> GroupRequest {
    GroupRequest::DeleteOffsets(DeleteOffsets { group: GROUP.into(), topics: vec![(topic.into(), vec![0])] })
}

/// A consumer resumes where it has committed, after whatever restart.
#[test]
fn what_is_committed_is_fetched_also_after_a_restart() {
    let mut story = Story::new();
    assert_eq!(story.commit("", -1, 42), ErrorCode::None);
    story.restart();
    let expected =
        FetchedPartition { partition: 0, error: ErrorCode::None, offset: 42, leader_epoch: 4, metadata: "m".into() };
    assert_eq!(story.committed("t", 0, true), expected);
    for (topic, partition) in [("t", 1), ("u", 0)] {
        assert_eq!(story.committed(topic, partition, true), FetchedPartition::none(partition, ErrorCode::None));
    }
    let GroupReply::FetchOffsets(Ok(all)) =
        story.ask(GroupRequest::FetchOffsets(FetchOffsets { group: GROUP.into(), ..FetchOffsets::default() }))
    else {
        panic!("no answer")
    };
    assert_eq!((all.len(), &*all[0].name, &all[0].partitions[..]), (1, "t", &[expected][..]));
    let nobody = FetchOffsets { group: "nobody".into(), ..FetchOffsets::default() };
    assert_eq!(story.ask(GroupRequest::FetchOffsets(nobody)), GroupReply::FetchOffsets(Ok(Vec::new())));
}

/// A member that was thrown out must not move the offsets of the one that has its partitions now.
#[test]
fn only_members_of_the_generation_commit() {
    let mut story = Story::new();
    assert_eq!(story.commit("a", 1, 1), ErrorCode::GroupIdNotFound);
    let old = CommitOffsets { knows_missing_groups: false, generation: 1, ..commit_of("t", 0, 1) };
    assert_eq!(story.commit_all(old), ErrorCode::IllegalGeneration);
    story.stable_pair();
    assert_eq!(story.commit("a", 1, 1), ErrorCode::None);
    assert_eq!(story.commit("a", 0, 2), ErrorCode::IllegalGeneration);
    assert_eq!(story.commit("c", 1, 2), ErrorCode::UnknownMemberId);
    assert_eq!(story.commit("", -1, 2), ErrorCode::UnknownMemberId, "an administrator, while members are in it");
    let fenced =
        CommitOffsets { member_id: "a".into(), generation: 1, instance_id: Some("i".into()), ..commit_of("t", 0, 2) };
    assert_eq!(story.commit_all(fenced), ErrorCode::UnknownMemberId);
    assert_eq!(story.committed("t", 0, false).offset, 1);
}

/// Before a rebalance members commit what they have read, or it is read twice.
#[test]
fn members_commit_while_a_rebalance_gathers_and_not_before_they_are_assigned() {
    let mut story = Story::new();
    story.stable_pair();
    let a = story.join(known_member("a"));
    assert_eq!(story.commit("b", 1, 7), ErrorCode::None);
    let b = story.join(known_member("b"));
    story.joined(a);
    story.joined(b);
    assert_eq!(story.commit("b", 2, 8), ErrorCode::RebalanceInProgress);
}

/// A consumer that commits but is slow to send heartbeats lives.
#[test]
fn a_commit_counts_as_a_heartbeat() {
    let mut story = Story::new();
    story.stable_pair();
    for offset in 0..5 {
        story.pass(SESSION_MS - 1);
        assert_eq!(story.commit("a", 1, offset), ErrorCode::None);
    }
    assert_eq!(story.heartbeat("b", 1), ErrorCode::UnknownMemberId);
    assert_eq!(story.commit("a", 1, 9), ErrorCode::None);
}

/// Metadata is the clients' to fill: without a limit, with anything.
#[test]
fn metadata_has_a_limit_in_utf16_units() {
    let mut story = Story::new();
    let with = |metadata: String| {
        let mut request = commit_of("t", 0, 1);
        request.topics[0].partitions[0].metadata = metadata;
        request
    };
    assert_eq!(story.commit_all(with("x".repeat(4_096))), ErrorCode::None);
    assert_eq!(story.commit_all(with("ä".repeat(4_096))), ErrorCode::None, "as many units, twice the bytes");
    let records = story.log.len();
    assert_eq!(story.commit_all(with("x".repeat(4_097))), ErrorCode::OffsetMetadataTooLarge);
    assert_eq!(story.log.len(), records);
}

/// A batch that the log refuses would cost every group of the partition its coordinator for a moment.
#[test]
fn a_commit_that_fits_no_batch_is_refused_whole() {
    let mut story = Story::with(GroupOptions { records_bytes_max: 1_000, ..GroupOptions::default() });
    let mut request = commit_of("t", 0, 1);
    let one = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = vec![one; 30];
    assert_eq!(story.commit_all(request), ErrorCode::InvalidCommitOffsetSize);
    assert!(story.log.is_empty() && story.machine.group_count() == 0);
}

/// Offsets of a topic that was deleted must not be taken for those of its successor of the same name.
#[test]
fn an_offset_belongs_to_its_topics_id() {
    let mut story = Story::new();
    story.commit("", -1, 5);
    let mut fetch = |id: TopicId| {
        let topics = vec![FetchTopic { name: "t".into(), id, partitions: vec![0] }];
        let request = FetchOffsets { group: GROUP.into(), topics: Some(topics), ..FetchOffsets::default() };
        match story.ask(GroupRequest::FetchOffsets(request)) {
            GroupReply::FetchOffsets(Ok(topics)) => topics[0].partitions[0].offset,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((fetch(TopicId([1; 16])), fetch(TopicId([2; 16])), fetch(TopicId::ZERO)), (5, -1, 5));
}

/// What members are reading cannot be deleted under them.
#[test]
fn offsets_are_deleted_unless_their_topic_is_in_use() {
    let code = |reply| match reply {
        GroupReply::DeleteOffsets(Ok(codes)) => codes[0][0],
        GroupReply::DeleteOffsets(Err(code)) => code,
        other => panic!("{other:?}"),
    };
    let mut story = Story::new();
    assert_eq!(code(story.ask(delete("t"))), ErrorCode::GroupIdNotFound);
    story.commit_all(commit_of("u", 0, 9));
    story.stable_pair();
    story.commit("a", 1, 5);
    assert_eq!(code(story.ask(delete("t"))), ErrorCode::GroupSubscribedToTopic);
    assert_eq!(code(story.ask(delete("u"))), ErrorCode::None);
    assert_eq!(code(story.ask(delete("never"))), ErrorCode::None);
    story.restart();
    assert_eq!((story.committed("u", 0, false).offset, story.committed("t", 0, false).offset), (-1, 5));

    let mut story = Story::new();
    let worker = JoinGroup { protocol_type: "connect".into(), ..new_member("w") };
    story.join(worker);
    assert_eq!(code(story.ask(delete("t"))), ErrorCode::NonEmptyGroup);
}

/// Offsets that nobody can use any more would fill the memory of every coordinator to come.
#[test]
fn offsets_of_a_group_that_has_been_empty_for_a_week_go_and_the_group_with_them() {
    let mut story = Story::new();
    story.stable_pair();
    story.commit("a", 1, 5);
    story.leave(&[("a", None), ("b", None)]);
    story.restart();
    story.pass(7 * DAY_MS - 1);
    assert_eq!(story.committed("t", 0, false).offset, 5);
    story.pass(600_000);
    assert_eq!(story.committed("t", 0, false).offset, -1);
    assert_eq!(story.machine.group_count(), 0);
    story.restart();
    assert_eq!(story.machine.group_count(), 0);
}

/// A consumer that runs for a month and gets no new records commits nothing: its offsets must be there when it restarts.
#[test]
fn offsets_of_subscribed_topics_do_not_expire() {
    let mut story = Story::new();
    story.commit_all(commit_of("u", 0, 9));
    story.stable_pair();
    story.commit("a", 1, 5);
    for _ in 0..8 * DAY_MS / 9_000 {
        story.pass(9_000);
        story.heartbeat("a", 1);
        story.heartbeat("b", 1);
    }
    assert_eq!(story.committed("t", 0, false).offset, 5);
    assert_eq!(story.committed("u", 0, false).offset, -1, "nobody subscribes to u");
}

/// Tools that only commit have no state to count from: their last commit counts.
#[test]
fn offsets_without_members_expire_by_their_commit_and_old_clients_choose() {
    let mut story = Story::new();
    story.commit("", -1, 5);
    story.pass(4 * DAY_MS);
    story.commit_all(commit_of("u", 0, 6));
    let brief = CommitOffsets { retention_ms: Some(DAY_MS), ..commit_of("v", 0, 7) };
    story.commit_all(brief);
    story.restart();
    story.pass(2 * DAY_MS);
    assert_eq!(story.committed("v", 0, false).offset, -1);
    story.pass(2 * DAY_MS);
    assert_eq!((story.committed("t", 0, false).offset, story.committed("u", 0, false).offset), (-1, 6));
    story.pass(4 * DAY_MS);
    assert_eq!(story.machine.group_count(), 0);
}

/// One step of a large expiry must not hold up heartbeats, nor ask for a batch that fits nowhere.
#[test]
fn a_large_expiry_goes_in_steps() {
    let mut story = Story::new();
    let mut request = commit_of("t", 0, 1);
    let one = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..2_500).map(|partition| CommitPartition { partition, ..one.clone() }).collect();
    story.commit_all(request);
    story.now_ms += 8 * DAY_MS;
    let mut steps = Vec::new();
    while let Some(due_ms) = story.machine.next_deadline().filter(|due_ms| *due_ms <= story.now_ms) {
        assert!(due_ms <= story.now_ms);
        steps.push(story.machine.on_time(story.now_ms).records.len());
    }
    assert_eq!(steps, [1_000, 1_000, 501], "2500 offsets and the group");
}

/// Offsets of a deleted topic would be the start of a new one of that name.
#[test]
fn offsets_go_with_their_topic() {
    let mut story = Story::new();
    story.commit("", -1, 5);
    story.commit_all(commit_of("u", 0, 6));
    story.machine.topics_deleted(vec![(TopicId([1; 16]), "t".into()), (TopicId([9; 16]), "u".into())]);
    story.pass(0);
    story.restart();
    assert_eq!((story.committed("t", 0, false).offset, story.committed("u", 0, false).offset), (-1, 6));
}
