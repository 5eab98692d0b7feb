//! The Kafka APIs: one file per key, and the dispatch to them.
//!
//! Lives on the connection shard. A handler decodes its request, asks home shards or the controller if it must, and answers its slot. Handlers
//! that may wait run as tasks after they were begun in order; those of Produce are sequenced before the next request is read.

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod alter_configs;
mod alter_share_group_offsets;
mod api_versions;
mod auto_create;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_share_group_offsets;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_share_group_offsets;
mod describe_topic_partitions;
mod describe_transactions;
mod end_txn;
pub mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod list_transactions;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod produce_gate;
mod request;
mod share_acknowledge;
mod share_fetch;
mod share_group_describe;
mod share_group_heartbeat;
mod share_states;
mod sync_group;
mod table;
mod transaction_gate;
mod txn_offset_commit;
mod write_txn_markers;

pub use auto_create::new_topic_id;
pub use init_producer_id::{ProducerIds, next_producer_id};
pub use request::Request;

use crate::net::{Answer, CloseReason, Connection, Frame, Slot};
use crate::task::begin;
use ringlane_protocol::ApiKey;
use std::future::Future;
use std::rc::Rc;

/// Begins the work on one request, in the order of arrival; returns when the next request may be read. An error ends the connection
/// after the answers that are owed.
pub async fn dispatch(connection: &Rc<Connection>, frame: Frame) -> Result<(), CloseReason> {
    if !connection.responses.room_for(0).await {
        return Ok(());
    }
    let (request, served) = Request::parse(connection.clone(), frame)?;
    if !served {
        return api_versions::unsupported(request);
    }
    connection.shard.metrics.requests.increment(request.key.code());
    match request.key {
        ApiKey::Produce => return produce::dispatch(request).await,
        ApiKey::Fetch => return fetch::dispatch(request).await,
        ApiKey::ApiVersions => now(request, api_versions::answer),
        ApiKey::DescribeCluster => now(request, describe_cluster::answer),
        ApiKey::DescribeConfigs => now(request, describe_configs::answer),
        ApiKey::DescribeTopicPartitions => now(request, describe_topic_partitions::answer),
        ApiKey::Metadata => later(request, metadata::answer),
        ApiKey::ListOffsets => later(request, list_offsets::answer),
        ApiKey::OffsetForLeaderEpoch => later(request, offset_for_leader_epoch::answer),
        ApiKey::CreateTopics => later(request, create_topics::answer),
        ApiKey::DeleteRecords => later(request, delete_records::answer),
        ApiKey::DescribeLogDirs => later(request, describe_log_dirs::answer),
        ApiKey::DeleteTopics => later(request, delete_topics::answer),
        ApiKey::CreatePartitions => later(request, create_partitions::answer),
        ApiKey::AlterConfigs => later(request, alter_configs::answer),
        ApiKey::IncrementalAlterConfigs => later(request, incremental_alter_configs::answer),
        ApiKey::InitProducerId => later(request, init_producer_id::answer),
        ApiKey::FindCoordinator => later(request, find_coordinator::answer),
        ApiKey::AddPartitionsToTxn => later(request, add_partitions_to_txn::answer),
        ApiKey::AddOffsetsToTxn => later(request, add_offsets_to_txn::answer),
        ApiKey::EndTxn => later(request, end_txn::answer),
        ApiKey::WriteTxnMarkers => later(request, write_txn_markers::answer),
        ApiKey::TxnOffsetCommit => later(request, txn_offset_commit::answer),
        ApiKey::DescribeProducers => later(request, describe_producers::answer),
        ApiKey::DescribeTransactions => later(request, describe_transactions::answer),
        ApiKey::ListTransactions => later(request, list_transactions::answer),
        ApiKey::JoinGroup => later(request, join_group::answer),
        ApiKey::SyncGroup => later(request, sync_group::answer),
        ApiKey::Heartbeat => later(request, heartbeat::answer),
        ApiKey::LeaveGroup => later(request, leave_group::answer),
        ApiKey::OffsetCommit => later(request, offset_commit::answer),
        ApiKey::OffsetFetch => later(request, offset_fetch::answer),
        ApiKey::OffsetDelete => later(request, offset_delete::answer),
        ApiKey::DescribeGroups => later(request, describe_groups::answer),
        ApiKey::ListGroups => later(request, list_groups::answer),
        ApiKey::DeleteGroups => later(request, delete_groups::answer),
        ApiKey::ConsumerGroupHeartbeat => later(request, consumer_group_heartbeat::answer),
        ApiKey::ConsumerGroupDescribe => later(request, consumer_group_describe::answer),
        ApiKey::ShareGroupHeartbeat => later(request, share_group_heartbeat::answer),
        ApiKey::ShareGroupDescribe => later(request, share_group_describe::answer),
        ApiKey::ShareFetch => return share_fetch::dispatch(request).await,
        ApiKey::ShareAcknowledge => later(request, share_acknowledge::answer),
        ApiKey::InitializeShareGroupState => later(request, share_states::initialize),
        ApiKey::ReadShareGroupState => later(request, share_states::read),
        ApiKey::WriteShareGroupState => later(request, share_states::write),
        ApiKey::DeleteShareGroupState => later(request, share_states::delete),
        ApiKey::ReadShareGroupStateSummary => later(request, share_states::summary),
        ApiKey::DescribeShareGroupOffsets => later(request, describe_share_group_offsets::answer),
        ApiKey::AlterShareGroupOffsets => later(request, alter_share_group_offsets::answer),
        ApiKey::DeleteShareGroupOffsets => later(request, delete_share_group_offsets::answer),
        other => return Err(CloseReason::Unsupported { key: other.code(), version: request.version }),
    }
    Ok(())
}

/// A handler's result: an error ends the connection.
pub type Handled = Result<Answer, CloseReason>;

/// Runs a handler that never waits.
fn now(request: Request, handler: fn(&Request) -> Handled) {
    let slot = request.connection.responses.open(0);
    finish(slot, handler(&request));
}

/// Runs a handler that may wait; the connection goes on reading meanwhile.
fn later<F: Future<Output = Handled> + 'static>(request: Request, handler: fn(Request) -> F) {
    later_promising(request, 0, handler)
}

/// [`later`], for a handler whose answer may be as large as `promised_bytes`.
fn later_promising<F>(request: Request, promised_bytes: usize, handler: impl FnOnce(Request) -> F)
where
    F: Future<Output = Handled> + 'static,
{
    let slot = request.connection.responses.open(promised_bytes);
    let place = slot.place();
    let name = request.key.name();
    let handling = handler(request);
    if let Some(task) = begin(name, async move { finish(slot, handling.await) }) {
        place.keep(task);
    }
}

fn finish(slot: Slot, handled: Handled) {
    slot.answer(handled.unwrap_or_else(Answer::Close));
}

/// A controller's answer to another question: never happens, and must not take the connection down if it does.
fn answered_another() -> ringlane_metadata::Refused {
    ringlane_metadata::Refused {
        code: ringlane_protocol::ErrorCode::UnknownServerError,
        message: "the controller answered another request".into(),
    }
}
