//! The coordinators of this broker: for each partition of an internal topic that it leads, one machine on the partition's home shard.
//!
//! [`Coordinators`] is one per shard. `topic`: the internal topics, and which partition coordinates what. `table`: which machines live here, by
//! the metadata. `host`: one machine with its log, its clock and those who wait for answers. `load`: the log becomes a machine. `call`: how a
//! connection shard asks. `machine` says what a machine must be; the rules themselves are in `ringlane_coordinator`.

mod call;
mod host;
mod load;
mod machine;
mod table;
mod topic;
mod topics;

pub use call::{Answers, GroupCall, GroupResult, ReplyVia};
pub use topic::{CoordinatorTopic, partition_of};

use crate::shard::Shard;
use ringlane_config::BrokerConfig;
use ringlane_coordinator::consumer_group::{Assignor, ConsumerGroupOptions};
use ringlane_coordinator::group::{GroupMachine, GroupOptions};
use ringlane_metadata::Image;
use ringlane_protocol::{ErrorCode, TopicId};
use std::rc::Rc;
use table::HostTable;
use topics::ClusterTopics;

/// What a batch needs besides the keys and values of its records.
const BATCH_OVERHEAD_BYTES: usize = 1_024;

/// The machines that live on one shard.
#[derive(Default)]
pub struct Coordinators {
    pub groups: HostTable<GroupMachine>,
    /// Requests of this shard's connections whose answers come by ticket.
    pub answers: Answers,
    topics: Rc<ClusterTopics>,
}

impl Coordinators {
    /// The metadata has changed: begins where this broker leads now, ends where it does not any more.
    pub fn follow(&self, shard: &Shard, image: &Image) {
        self.topics.follow(shard.image());
        let options = |topic: TopicId| group_options(shard, topic);
        self.groups.follow(shard, image, CoordinatorTopic::Offsets, |topic| {
            let (options, topics) = (options(topic), self.topics.clone());
            Rc::new(move || GroupMachine::new(options.clone()).with_topics(topics.clone()))
        });
    }

    /// Topics are gone, and with them what was committed for them.
    pub fn topics_deleted(&self, topics: &[(TopicId, String)]) {
        if !topics.is_empty() {
            self.groups.each(|host| host.topics_deleted(topics));
        }
    }

    /// The shard stops: whoever waits is told to look for another coordinator.
    pub fn close(&self) {
        self.groups.close(ErrorCode::NotCoordinator);
    }
}

fn group_options(shard: &Shard, topic: TopicId) -> GroupOptions {
    let broker = &shard.config.broker;
    let batch_bytes_max = shard.topic_config(topic).map_or(0, |config| config.max_message_bytes);
    GroupOptions {
        session_timeout_min_ms: broker.group_min_session_timeout_ms,
        session_timeout_max_ms: broker.group_max_session_timeout_ms,
        initial_rebalance_delay_ms: broker.group_initial_rebalance_delay_ms.into(),
        max_size: broker.group_max_size,
        offset_metadata_max: broker.offset_metadata_max_bytes,
        offsets_retention_ms: i64::from(broker.offsets_retention_minutes) * 60_000,
        offsets_retention_check_interval_ms: broker.offsets_retention_check_interval_ms,
        records_bytes_max: batch_bytes_max.saturating_sub(BATCH_OVERHEAD_BYTES),
        consumer: consumer_options(&shard.config.broker),
    }
}

fn consumer_options(broker: &BrokerConfig) -> ConsumerGroupOptions {
    ConsumerGroupOptions {
        session_timeout_ms: broker.group_consumer_session_timeout_ms,
        heartbeat_interval_ms: broker.group_consumer_heartbeat_interval_ms,
        assignment_interval_ms: broker.group_consumer_assignment_interval_ms,
        max_size: broker.group_consumer_max_size,
        assignors: broker.group_consumer_assignors.iter().filter_map(|name| Assignor::from_name(name)).collect(),
        regex_refresh_interval_ms: broker.group_consumer_regex_refresh_interval_ms,
    }
}
