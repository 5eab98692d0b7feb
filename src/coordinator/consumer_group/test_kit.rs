//! A group with its topics, clock and log. After every input the log is replayed, and must give the same group.

use super::group::bytes_of;
use super::request::{LEAVE, LEAVE_STATIC, NOT_SENT};
use super::{
    ConsumerGroup, ConsumerGroupError, ConsumerGroupOptions, ConsumerHeartbeat, ConsumerHeartbeatReply, OwnedTopic,
    Replayed, Topic, TopicTable, Topics,
};
use crate::NewRecord;
use ringlane_protocol::TopicId;
use ringlane_protocol::internal::consumer_group::ConsumerGroupKey;

pub fn topic_id(name: &str) -> TopicId {
    let mut id = [0; 16];
    id.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    TopicId(id)
}

/// The first heartbeat of a member.
pub fn join(member: &str, topics: &[&str]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: "g".into(),
        member_id: member.into(),
        must_name_itself: true,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout_ms: 60_000,
        topics: Some(topics.iter().map(|topic| topic.to_string()).collect()),
        owned: Some(Vec::new()),
        ..ConsumerHeartbeat::default()
    }
}

/// A heartbeat that says nothing new.
pub fn beat(member: &str, epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat { epoch, topics: None, owned: None, rebalance_timeout_ms: NOT_SENT, ..join(member, &[]) }
}

/// One that says what the member owns.
pub fn owning(member: &str, epoch: i32, owned: &[(&str, &[i32])]) -> ConsumerHeartbeat {
    let owned =
        owned.iter().map(|(topic, partitions)| OwnedTopic { topic: topic_id(topic), partitions: partitions.to_vec() });
    ConsumerHeartbeat { owned: Some(owned.collect()), ..beat(member, epoch) }
}

pub fn of_instance(instance: &str, heartbeat: ConsumerHeartbeat) -> ConsumerHeartbeat {
    ConsumerHeartbeat { instance_id: Some(instance.into()), ..heartbeat }
}

/// A macro, because the group is changed meanwhile.
macro_rules! bench_context {
    ($bench:expr) => {
        crate::consumer_group::Context {
            now_ms: $bench.now_ms,
            topics: &$bench.topics,
            options: &$bench.options,
            records_bytes_max: $bench.records_bytes_max,
        }
    };
}
pub(crate) use bench_context;

pub struct Bench {
    pub group: ConsumerGroup,
    pub topics: TopicTable,
    pub options: ConsumerGroupOptions,
    pub now_ms: i64,
    pub records_bytes_max: usize,
    pub log: Vec<NewRecord>,
    /// What the log gives, as far as it has been replayed.
    shadow: ConsumerGroup,
    shadow_records: usize,
}

impl Bench {
    /// Targets follow at once, unless a test says otherwise.
    pub fn new(topics: &[(&str, i32)]) -> Bench {
        let mut bench = Bench {
            group: ConsumerGroup::new("g"),
            topics: TopicTable::default(),
            options: ConsumerGroupOptions { assignment_interval_ms: 0, ..ConsumerGroupOptions::default() },
            now_ms: 1_000_000,
            records_bytes_max: 1_000_000,
            log: Vec::new(),
            shadow: ConsumerGroup::new("g"),
            shadow_records: 0,
        };
        topics.iter().for_each(|(name, count)| bench.set_topic(name, *count));
        bench
    }

    pub fn set_topic(&mut self, name: &str, partition_count: i32) {
        self.topics.set(name, Topic { id: topic_id(name), partition_count, racks: Vec::new() });
    }

    pub fn hear(&mut self, said: &ConsumerHeartbeat) -> Result<ConsumerHeartbeatReply, ConsumerGroupError> {
        said.validate(&self.options)?;
        let from = self.log.len();
        let context = bench_context!(self);
        let reply = self.group.heartbeat(said, &context, &mut self.log);
        assert!(reply.is_ok() || self.log.len() == from, "a refused request has changed the group");
        assert!(bytes_of(&self.log[from..]) <= self.records_bytes_max, "more than a batch takes");
        self.check_replay();
        reply
    }

    /// The code that refuses it.
    pub fn refused(&mut self, said: &ConsumerHeartbeat) -> i16 {
        self.hear(said).unwrap_err().code().code()
    }

    pub fn epoch_of(&mut self, said: &ConsumerHeartbeat) -> i32 {
        self.hear(said).unwrap().epoch
    }

    /// What the reply assigns, by topic name.
    pub fn assigned(&mut self, said: &ConsumerHeartbeat) -> Option<Vec<(String, Vec<i32>)>> {
        let assignment = self.hear(said).unwrap().assignment?;
        Some(
            assignment
                .into_iter()
                .map(|(topic, partitions)| (self.topics.name(topic).unwrap().to_string(), partitions))
                .collect(),
        )
    }

    pub fn leave(&mut self, member: &str) {
        self.hear(&beat(member, LEAVE)).unwrap();
    }

    pub fn leave_for_a_while(&mut self, instance: &str, member: &str) {
        self.hear(&of_instance(instance, beat(member, LEAVE_STATIC))).unwrap();
    }

    pub fn sleep(&mut self, ms: i64) {
        self.now_ms += ms;
        let context = bench_context!(self);
        self.group.on_time(&context, &mut self.log);
        self.check_replay();
    }

    pub fn replayed(records: &[NewRecord]) -> ConsumerGroup {
        let mut group = ConsumerGroup::new("g");
        records.iter().for_each(|record| replay(&mut group, record));
        group
    }

    fn check_replay(&mut self) {
        for record in &self.log[self.shadow_records..] {
            replay(&mut self.shadow, record);
        }
        self.shadow_records = self.log.len();
        assert_eq!(self.shadow, self.group, "the log gives another group");
    }
}

fn replay(group: &mut ConsumerGroup, record: &NewRecord) {
    let key = ConsumerGroupKey::decode(&record.key).unwrap().expect("a record of a consumer group");
    assert_eq!(key.group(), "g");
    if group.replay(key, record.value.as_deref()).unwrap() == Replayed::Deleted {
        *group = ConsumerGroup::new("g");
    }
}

pub fn on(topic: &str, partitions: &[i32]) -> Option<Vec<(String, Vec<i32>)>> {
    Some(vec![(topic.to_string(), partitions.to_vec())])
}

pub fn nothing() -> Option<Vec<(String, Vec<i32>)>> {
    Some(Vec::new())
}
