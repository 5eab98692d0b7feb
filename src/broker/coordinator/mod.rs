//! The coordinators of this broker: for each partition of an internal topic that it leads, one machine on the partition's home shard.
//!
//! [`Coordinators`] is one per shard. `topic`: the internal topics, and which partition coordinates what. `table`: which machines live here, by
//! the metadata. `host`: one machine with its log, its clock and those who wait for answers. `load`: the log becomes a machine. `call`: how a
//! connection shard asks. `transactions`: the machine of transactional ids with what it wants done, `outbox` and
//! `markers` do it, `transaction_call` asks it. `share_states`: the share coordinator, `share_call` asks it. `machine` says what a machine must be; the rules themselves are in `ringlane_coordinator`.

mod call;
mod host;
mod load;
mod machine;
mod markers;
mod outbox;
mod share_call;
mod share_states;
mod table;
mod topic;
mod topics;
mod transaction_call;
mod transactions;

pub use call::{Answers, GroupCall, GroupResult, ReplyVia};
pub use share_call::{ShareStateCall, ShareStateResult};
pub use topic::{CoordinatorTopic, partition_of};
pub use transaction_call::{TransactionCall, TransactionResult};
pub use transactions::{TransactionInput, TransactionOutput};

use crate::shard::Shard;
use outbox::Outbox;
use ringlane_config::BrokerConfig;
use ringlane_coordinator::consumer_group::{Assignor, ConsumerGroupOptions};
use ringlane_coordinator::group::{GroupMachine, GroupOptions};
use ringlane_coordinator::share_group::ShareGroupOptions;
use ringlane_coordinator::share_state::ShareStateOptions;
use ringlane_coordinator::transaction::{TransactionOptions, TransactionVersion};
use ringlane_metadata::Image;
use ringlane_partition::TopicPartition;
use ringlane_protocol::{ErrorCode, TopicId};
use share_states::ShareStates;
use std::rc::Rc;
use table::HostTable;
use topics::ClusterTopics;
use transactions::Transactions;

/// What a batch needs besides the keys and values of its records.
const BATCH_OVERHEAD_BYTES: usize = 1_024;

/// The machines that live on one shard.
#[derive(Default)]
pub struct Coordinators {
    pub groups: HostTable<GroupMachine>,
    pub transactions: HostTable<Transactions>,
    pub share_states: HostTable<ShareStates>,
    /// What the transaction coordinators of this shard want done.
    pub outbox: Rc<Outbox>,
    /// Requests of this shard's connections whose answers come by ticket.
    pub answers: Answers,
    topics: Rc<ClusterTopics>,
}

impl Coordinators {
    /// The metadata has changed: begins where this broker leads now, ends where it does not any more.
    pub fn follow(&self, shard: &Shard, image: &Image) {
        self.topics.follow(shard.image());
        self.groups.follow(shard, image, CoordinatorTopic::Offsets, |at| {
            let (options, topics) = (group_options(shard, at.topic_id), self.topics.clone());
            Rc::new(move || GroupMachine::new(options.clone()).with_topics(topics.clone()))
        });
        self.transactions.follow(shard, image, CoordinatorTopic::Transactions, |at| {
            let (options, outbox) = (transaction_options(shard, image, at), self.outbox.clone());
            Rc::new(move || Transactions::new(at, options, outbox.clone()))
        });
        self.share_states.follow(shard, image, CoordinatorTopic::ShareStates, |at| {
            let (options, topics) = (share_state_options(shard, at.topic_id), self.topics.clone());
            let home = shard.home.clone();
            Rc::new(move || ShareStates::new(at, options.clone(), topics.clone(), home.clone()))
        });
    }

    /// Topics are gone, and with them what was committed for them.
    pub fn topics_deleted(&self, topics: &[(TopicId, String)]) {
        if !topics.is_empty() {
            self.groups.each(|host| host.topics_deleted(topics));
            self.share_states.each(|host| host.topics_deleted(topics));
        }
    }

    /// The shard stops: whoever waits is told to look for another coordinator.
    pub fn close(&self) {
        self.groups.close(ErrorCode::NotCoordinator);
        self.transactions.close(ErrorCode::NotCoordinator);
        self.share_states.close(ErrorCode::NotCoordinator);
    }
}

/// The feature by which a cluster says which protocol of transactions it runs.
const TRANSACTION_VERSION: &str = "transaction.version";

fn transaction_options(shard: &Shard, image: &Image, at: TopicPartition) -> TransactionOptions {
    let broker = &shard.config.broker;
    let partition = image.topic(at.topic_id).and_then(|topic| topic.partition(at.partition));
    TransactionOptions {
        timeout_max_ms: broker.transaction_max_timeout_ms,
        expiration_ms: broker.transactional_id_expiration_ms.into(),
        version: TransactionVersion::of_level(image.feature(TRANSACTION_VERSION).unwrap_or(0)),
        coordinator_epoch: partition.map_or(0, |partition| partition.leader_epoch),
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
        share: share_options(&shard.config.broker),
    }
}

fn share_state_options(shard: &Shard, topic: TopicId) -> ShareStateOptions {
    let batch_bytes_max = shard.topic_config(topic).map_or(0, |config| config.max_message_bytes);
    ShareStateOptions {
        updates_per_snapshot: shard.config.broker.share_coordinator_snapshot_update_records_per_snapshot,
        records_bytes_max: batch_bytes_max.saturating_sub(BATCH_OVERHEAD_BYTES),
        ..ShareStateOptions::default()
    }
}

fn share_options(broker: &BrokerConfig) -> ShareGroupOptions {
    ShareGroupOptions {
        session_timeout_ms: broker.group_share_session_timeout_ms,
        heartbeat_interval_ms: broker.group_share_heartbeat_interval_ms,
        assignment_interval_ms: broker.group_share_assignment_interval_ms,
        max_size: broker.group_share_max_size,
        initialize_retry_interval_ms: broker.group_share_initialize_retry_interval_ms,
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
