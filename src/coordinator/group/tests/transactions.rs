//! TxnOffsetCommit: offsets that count when their transaction commits.

use super::*;

const PRODUCER: i64 = 77;

impl Story {
    fn commit_in_transaction(&mut self, offset: i64) -> ErrorCode {
        let request = CommitTransactionalOffsets {
            group: GROUP.into(),
            producer_id: PRODUCER,
            producer_epoch: 0,
            generation: -1,
            member_id: String::new(),
            instance_id: None,
            topics: topics_of("t", 0, offset),
        };
        match self.ask(GroupRequest::CommitTransactionalOffsets(request)) {
            GroupReply::CommitOffsets(Ok(codes)) => codes[0][0],
            GroupReply::CommitOffsets(Err(code)) => code,
            other => panic!("{other:?}"),
        }
    }

    fn end_transaction(&mut self, is_commit: bool) {
        let marker = NewRecord { key: Vec::new(), value: Some(vec![is_commit as u8]) };
        self.log.push((marker, Some(PRODUCER)));
        self.machine.transaction_ended(PRODUCER, is_commit);
    }
}

/// Read, process, write once: the offset moves if and only if the output is committed.
#[test]
fn offsets_of_a_transaction_count_when_it_commits() {
    for (is_commit, offset) in [(true, 5), (false, 1)] {
        let mut story = Story::new();
        story.commit("", -1, 1);
        assert_eq!(story.commit_in_transaction(5), ErrorCode::None);
        for _ in 0..2 {
            assert_eq!(story.committed("t", 0, false).offset, 1, "not yet");
            let unstable = FetchedPartition::none(0, ErrorCode::UnstableOffsetCommit);
            assert_eq!(story.committed("t", 0, true), unstable);
            story.restart();
        }
        story.end_transaction(is_commit);
        for _ in 0..2 {
            assert_eq!(story.committed("t", 0, true).offset, offset, "commit: {is_commit}");
            story.restart();
        }
    }
}

/// A commit that came after the transaction's is the later word, whenever the marker comes.
#[test]
fn a_later_plain_commit_outlives_an_earlier_transaction() {
    let mut story = Story::new();
    story.commit_in_transaction(5);
    story.commit("", -1, 8);
    story.end_transaction(true);
    assert_eq!(story.committed("t", 0, true).offset, 8);
    story.restart();
    assert_eq!(story.committed("t", 0, true).offset, 8);
}

/// The producer checks its own consumer's generation (KIP-447), without waiting for the group to settle.
#[test]
fn a_transaction_names_a_member_or_nobody() {
    let mut story = Story::new();
    story.stable_pair();
    let of = |member_id: &str, generation| {
        GroupRequest::CommitTransactionalOffsets(CommitTransactionalOffsets {
            group: GROUP.into(),
            producer_id: PRODUCER,
            producer_epoch: 0,
            generation,
            member_id: member_id.into(),
            instance_id: None,
            topics: topics_of("t", 0, 1),
        })
    };
    for (member_id, generation, expected) in [
        ("a", 0, Err(ErrorCode::IllegalGeneration)),
        ("c", 1, Err(ErrorCode::UnknownMemberId)),
        ("a", 1, Ok(vec![vec![ErrorCode::None]])),
        ("", -1, Ok(vec![vec![ErrorCode::None]])),
    ] {
        assert_eq!(story.ask(of(member_id, generation)), GroupReply::CommitOffsets(expected), "{member_id}");
    }
}

/// An expiry under an open transaction would delete what its marker then brings back, or not.
#[test]
fn offsets_do_not_expire_while_a_transaction_is_open() {
    let mut story = Story::new();
    story.commit("", -1, 1);
    story.commit_in_transaction(5);
    story.pass(30 * 24 * 3600 * 1000);
    assert_eq!(story.committed("t", 0, false).offset, 1);
    story.end_transaction(false);
    story.pass(24 * 3600 * 1000);
    assert_eq!(story.committed("t", 0, false).offset, -1);
}

/// A group that is deleted takes along what a transaction has pending there: its marker must not bring the offset back.
#[test]
fn a_deleted_group_does_not_come_back_with_a_marker() {
    let mut story = Story::new();
    story.commit_in_transaction(5);
    assert_eq!(story.ask(GroupRequest::Delete(vec![GROUP.into()])), GroupReply::Delete(vec![ErrorCode::None]));
    story.end_transaction(true);
    assert_eq!(story.committed("t", 0, true).offset, -1);
    story.restart();
    assert_eq!((story.committed("t", 0, true).offset, story.machine.group_count()), (-1, 0));
}
