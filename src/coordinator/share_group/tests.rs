//! One group with its topics, clock and log. After every input the log is replayed, and must give the same group.

use super::*;
use crate::NewRecord;
use crate::consumer_group::{Topic, TopicTable};
use ringlane_protocol::internal::share_group::ShareGroupKey;
use ringlane_protocol::{ErrorCode, TopicId};

const TOPIC: TopicId = TopicId([1; 16]);

struct Bench {
    group: ShareGroup,
    topics: TopicTable,
    options: ShareGroupOptions,
    now_ms: i64,
    log: Vec<NewRecord>,
}

macro_rules! context {
    ($bench:expr) => {
        ShareContext {
            now_ms: $bench.now_ms,
            topics: &$bench.topics,
            options: &$bench.options,
            records_bytes_max: 1_000_000,
        }
    };
}

fn join(member: &str) -> ShareHeartbeat {
    ShareHeartbeat {
        group: "g".into(),
        member_id: member.into(),
        client_id: "c".into(),
        client_host: "/h".into(),
        topics: Some(vec!["t".into()]),
        ..ShareHeartbeat::default()
    }
}

fn beat(member: &str, epoch: i32) -> ShareHeartbeat {
    ShareHeartbeat { epoch, topics: None, ..join(member) }
}

impl Bench {
    fn new(partitions: i32) -> Bench {
        let options = ShareGroupOptions { assignment_interval_ms: 0, ..ShareGroupOptions::default() };
        let mut bench = Bench {
            group: ShareGroup::new("g"),
            topics: TopicTable::default(),
            options,
            now_ms: 1_000,
            log: Vec::new(),
        };
        bench.set_partitions(partitions);
        bench
    }

    fn set_partitions(&mut self, partition_count: i32) {
        self.topics.set("t", Topic { id: TOPIC, partition_count, racks: Vec::new() });
    }

    fn hear(&mut self, said: &ShareHeartbeat) -> Result<ShareHeartbeatReply, ShareGroupError> {
        said.validate()?;
        let context = context!(self);
        let reply = self.group.heartbeat(said, &context, &mut self.log);
        self.check_replay();
        reply
    }

    fn refused(&mut self, said: &ShareHeartbeat) -> ErrorCode {
        self.hear(said).unwrap_err().code()
    }

    /// The host's part: the share coordinator has made the states that a heartbeat asked for.
    fn initialize(&mut self, wanted: &ShareHeartbeatReply) {
        let (_, topics) = wanted.initialize.as_ref().expect("a state is to be made");
        let context = context!(self);
        self.group.are_initialized(topics, &context, &mut self.log);
        self.check_replay();
    }

    fn check_replay(&self) {
        let mut group = ShareGroup::new("g");
        for record in &self.log {
            let key = ShareGroupKey::decode(&record.key).unwrap().unwrap();
            if group.replay(key, record.value.as_deref()).unwrap() == Replayed::Deleted {
                group = ShareGroup::new("g");
            }
        }
        assert_eq!(group, self.group, "the log gives another group");
    }

    fn partitions(reply: &ShareHeartbeatReply) -> Vec<i32> {
        reply.assignment.iter().flatten().flat_map(|(_, partitions)| partitions.clone()).collect()
    }
}

/// A partition that is read before its state exists loses what was acknowledged at the next restart.
#[test]
fn partitions_are_assigned_when_they_have_a_state() {
    let mut bench = Bench::new(2);
    let first = bench.hear(&join("a")).unwrap();
    assert_eq!(Bench::partitions(&first), []);
    assert_eq!(bench.hear(&beat("a", first.epoch)).unwrap().initialize, None, "it has been asked for");
    bench.initialize(&first);
    let next = bench.hear(&beat("a", first.epoch)).unwrap();
    assert_eq!(Bench::partitions(&next), [0, 1]);
    assert!(next.epoch > first.epoch);
    let more = bench.hear(&join("b")).unwrap();
    assert_eq!(Bench::partitions(&more), [1]);
    let told = bench.hear(&beat("a", next.epoch)).unwrap();
    assert_eq!(Bench::partitions(&told), [0]);

    bench.set_partitions(3);
    let grown = bench.hear(&beat("a", told.epoch)).unwrap();
    bench.initialize(&grown);
    bench.hear(&beat("a", grown.epoch)).unwrap();
    let of_b = bench.hear(&ShareHeartbeat { epoch: 0, ..join("b") }).unwrap();
    let of_a = bench.hear(&ShareHeartbeat { epoch: 0, ..join("a") }).unwrap();
    assert_eq!((Bench::partitions(&of_a), Bench::partitions(&of_b)), (vec![0, 2], vec![1]));
}

/// An answer that never came would leave the partition without a reader for ever.
#[test]
fn a_state_that_does_not_come_is_asked_for_again() {
    let mut bench = Bench::new(1);
    let first = bench.hear(&join("a")).unwrap();
    bench.now_ms += bench.options.initialize_retry_interval_ms;
    let again = bench.hear(&beat("a", first.epoch)).unwrap();
    assert!(again.initialize.is_some());
    let (_, topics) = again.initialize.unwrap();
    bench.group.not_initialized(&topics, &mut bench.log);
    bench.check_replay();
    assert!(bench.hear(&beat("a", again.epoch)).unwrap().initialize.is_some());
}

/// A member with an epoch of its own making would read with an assignment that nobody gave it.
#[test]
fn epochs_are_checked() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.refused(&ShareHeartbeat { topics: None, ..join("a") }), ErrorCode::InvalidRequest);
    assert_eq!(bench.refused(&ShareHeartbeat { member_id: String::new(), ..join("a") }), ErrorCode::InvalidRequest);
    assert_eq!(bench.refused(&beat("a", 3)), ErrorCode::UnknownMemberId);
    assert_eq!(bench.refused(&beat("a", -2)), ErrorCode::InvalidRequest);
    let first = bench.hear(&join("a")).unwrap();
    assert_eq!(bench.refused(&beat("a", first.epoch + 1)), ErrorCode::FencedMemberEpoch);
    bench.initialize(&first);
    let second = bench.hear(&beat("a", first.epoch)).unwrap();
    assert_eq!(bench.hear(&beat("a", first.epoch)).unwrap().epoch, second.epoch, "its answer was lost");
    bench.options.max_size = 1;
    assert_eq!(bench.refused(&join("b")), ErrorCode::GroupMaxSizeReached);
    assert_eq!(bench.hear(&beat("a", LEAVE)).unwrap().epoch, LEAVE);
    assert_eq!(bench.refused(&beat("a", LEAVE)), ErrorCode::UnknownMemberId);
    assert_eq!(bench.group.state_name(), "Empty");
}

/// A member that has died would keep its partitions; with one reader each nobody would read them.
#[test]
fn who_is_silent_is_given_up() {
    let mut bench = Bench::new(2);
    let first = bench.hear(&join("a")).unwrap();
    bench.initialize(&first);
    bench.now_ms += 20_000;
    let b = bench.hear(&join("b")).unwrap();
    bench.now_ms += 25_000;
    let context = context!(bench);
    assert!(bench.group.next_deadline_ms().is_some_and(|ms| ms <= bench.now_ms));
    bench.group.on_time(&context, &mut bench.log);
    bench.check_replay();
    let told = bench.hear(&beat("b", b.epoch)).unwrap();
    assert_eq!(Bench::partitions(&told), [0, 1]);
    assert_eq!(bench.refused(&beat("a", first.epoch)), ErrorCode::UnknownMemberId);
}

/// A deletion that stops half way must leave a trace, or states stay behind that nobody knows of.
#[test]
fn states_that_are_being_deleted_are_remembered() {
    let mut bench = Bench::new(2);
    let first = bench.hear(&join("a")).unwrap();
    bench.initialize(&first);
    let context = context!(bench);
    let busy = bench.group.begin_delete(vec!["t".into()], &context, &mut bench.log);
    assert_eq!(busy, Err(ShareGroupError::NonEmptyGroup));
    bench.hear(&beat("a", LEAVE)).unwrap();
    let context = context!(bench);
    let plan = bench.group.begin_delete(vec!["t".into(), "u".into()], &context, &mut bench.log).unwrap();
    assert_eq!(plan.topics, [("t".into(), TopicPartitions { topic_id: TOPIC, partitions: vec![0, 1] })]);
    assert_eq!(plan.refused.len(), 1);
    let again = bench.group.begin_delete_all(&context, &mut bench.log).unwrap();
    assert_eq!(again.topics, plan.topics);
    bench.group.end_delete(&[TOPIC], &mut bench.log);
    bench.check_replay();
    assert_eq!(bench.group.begin_delete_all(&context, &mut bench.log).unwrap().topics, []);

    let wanted = vec![AlterTopic { name: "t".into(), partitions: vec![(1, 40), (2, 7)] }];
    let altered = bench.group.alter(wanted, &context, &mut bench.log).unwrap();
    assert_eq!(altered.topics[0].partitions, [(1, 40, ErrorCode::None), (2, 7, ErrorCode::UnknownTopicOrPartition)]);
    bench.check_replay();
    bench.group.tombstones(&mut bench.log);
    bench.group = ShareGroup::new("g");
    bench.check_replay();
}
