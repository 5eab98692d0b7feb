//! One machine and its log: what a restart would find is checked after every input.

use super::*;
use crate::consumer_group::{Topic, TopicTable};
use crate::share_partition::{RecordState, StateBatch};
use crate::{NewRecord, ReplyTo};
use ringlane_protocol::{ErrorCode, TopicId};
use std::rc::Rc;

const TOPIC: TopicId = TopicId([7; 16]);

struct Bench {
    machine: ShareStateMachine,
    log: Vec<NewRecord>,
    now_ms: i64,
    options: ShareStateOptions,
}

fn machine(options: &ShareStateOptions) -> ShareStateMachine {
    let mut topics = TopicTable::default();
    topics.set("t", Topic { id: TOPIC, partition_count: 2, racks: Vec::new() });
    ShareStateMachine::new(options.clone()).with_topics(Rc::new(topics))
}

fn key(partition: i32) -> ShareKey {
    ShareKey { group: "g".into(), topic_id: TOPIC, partition }
}

impl Bench {
    fn new(updates_per_snapshot: u32) -> Bench {
        let options = ShareStateOptions { updates_per_snapshot, ..ShareStateOptions::default() };
        let mut machine = machine(&options);
        machine.loaded(1_000);
        Bench { machine, log: Vec::new(), now_ms: 1_000, options }
    }

    fn ask(&mut self, request: ShareStateRequest) -> ShareStateReply {
        let mut effects = self.machine.request(self.now_ms, ReplyTo(1), request);
        self.log.append(&mut effects.records);
        self.check_replay(0);
        effects.replies.pop().unwrap().reply
    }

    fn code(&mut self, request: ShareStateRequest) -> ErrorCode {
        match self.ask(request) {
            ShareStateReply::Done(done) => done.err().map_or(ErrorCode::None, |error| error.code()),
            ShareStateReply::Read(read) => read.err().map_or(ErrorCode::None, |error| error.code()),
            other => panic!("{other:?}"),
        }
    }

    fn begin(&mut self) {
        assert_eq!(
            self.code(ShareStateRequest::Initialize { key: key(0), state_epoch: 3, start_offset: 0 }),
            ErrorCode::None
        );
        assert_eq!(self.code(ShareStateRequest::Read { key: key(0), leader_epoch: 5 }), ErrorCode::None);
    }

    fn write(&mut self, state_epoch: i32, leader_epoch: i32, start_offset: i64, acknowledged: (i64, i64)) -> ErrorCode {
        let batches = vec![StateBatch {
            first_offset: acknowledged.0,
            last_offset: acknowledged.1,
            state: RecordState::Acknowledged,
            delivery_count: 1,
        }];
        let key = key(0);
        self.code(ShareStateRequest::Write {
            key,
            state_epoch,
            leader_epoch,
            start_offset,
            delivery_complete_count: 0,
            batches,
        })
    }

    /// The log, from a record on, gives the same states.
    fn check_replay(&self, from: usize) {
        let mut replayed = machine(&self.options);
        for record in &self.log[from..] {
            replayed.replay(&record.key, record.value.as_deref()).unwrap();
        }
        let plain = |machine: &ShareStateMachine| {
            let states = machine.states.clone().into_iter();
            states.map(|(key, state)| (key, super::machine::State { round: 0, ..state })).collect::<Vec<_>>()
        };
        assert_eq!(plain(&replayed), plain(&self.machine));
    }

    fn tick(&mut self) -> Vec<ShareStateReply> {
        let mut effects = self.machine.on_time(self.now_ms);
        self.log.append(&mut effects.records);
        effects.replies.into_iter().map(|reply| reply.reply).collect()
    }
}

/// A leader that was replaced would otherwise undo what its successor has written: records acknowledged there come again.
#[test]
fn who_was_replaced_cannot_write() {
    let mut bench = Bench::new(500);
    assert_eq!(bench.code(ShareStateRequest::Read { key: key(0), leader_epoch: 1 }), ErrorCode::InvalidRequest);
    bench.begin();
    assert_eq!(bench.write(3, 4, 0, (0, 1)), ErrorCode::FencedLeaderEpoch);
    assert_eq!(bench.write(2, 5, 0, (0, 1)), ErrorCode::FencedStateEpoch);
    assert_eq!(bench.write(3, 5, 0, (0, 1)), ErrorCode::None);
    let again = ShareStateRequest::Initialize { key: key(0), state_epoch: 2, start_offset: 9 };
    assert_eq!(bench.code(again), ErrorCode::FencedStateEpoch);
    let anew = ShareStateRequest::Initialize { key: key(0), state_epoch: 4, start_offset: 9 };
    assert_eq!(bench.code(anew), ErrorCode::None);
    assert_eq!(bench.write(4, 4, 9, (9, 9)), ErrorCode::FencedLeaderEpoch, "not by the state's beginning anew either");
    assert_eq!(bench.write(4, 5, 9, (9, 9)), ErrorCode::None);
    let beyond = ShareStateRequest::Initialize { key: key(2), state_epoch: 3, start_offset: 0 };
    assert_eq!(bench.code(beyond), ErrorCode::UnknownTopicOrPartition);
}

/// Updates without end would make each restart read them all; a snapshot that lost one would deliver records again.
#[test]
fn many_updates_become_a_snapshot() {
    let mut bench = Bench::new(3);
    bench.begin();
    for offset in 0..10 {
        assert_eq!(bench.write(3, 5, 0, (2 * offset, 2 * offset)), ErrorCode::None);
    }
    let snapshots = bench.log.iter().filter(|record| record.key[1] == 0).count();
    assert_eq!(snapshots, 1 + 2, "one at the beginning, then each fourth of eleven changes");
    let ShareStateReply::Read(Ok(stored)) = bench.ask(ShareStateRequest::Read { key: key(0), leader_epoch: 5 }) else {
        panic!()
    };
    assert_eq!(stored.batches.len(), 10);
}

/// The log of states is not compacted: nobody else would ever make it shorter.
#[test]
fn everything_is_written_anew_and_the_old_is_not_needed() {
    let mut bench = Bench::new(500);
    bench.begin();
    bench.code(ShareStateRequest::Initialize { key: key(1), state_epoch: 1, start_offset: -1 });
    bench.write(3, 5, 4, (6, 7));
    bench.now_ms += 300_000;
    assert_eq!(bench.tick(), [ShareStateReply::Prune(PruneStep::Mark)]);
    let mark = bench.log.len();
    assert_eq!(bench.tick(), []);
    assert!(bench.machine.request(bench.now_ms, ReplyTo(2), ShareStateRequest::Marked).replies.is_empty());
    assert_eq!(bench.tick(), [ShareStateReply::Prune(PruneStep::Done)]);
    assert_eq!(bench.log.len(), mark + 2);
    bench.check_replay(mark);
    bench.now_ms += 300_000;
    assert_eq!(bench.tick(), [], "nothing has changed");
    assert_eq!(bench.log.len(), mark + 2);
}

/// States of deleted topics would stay for ever: nobody asks for them again.
#[test]
fn states_go_with_their_topic() {
    let mut bench = Bench::new(500);
    bench.begin();
    bench.machine.topics_deleted([TOPIC]);
    assert_eq!(bench.machine.next_deadline(), Some(i64::MIN));
    bench.tick();
    assert_eq!(bench.machine.state_count(), 0);
    bench.check_replay(0);
}
