//! What clients ask of a group, free of wire versions: the broker's API files resolve those.

use super::share::ShareRequest;
use crate::consumer_group::ConsumerHeartbeat;
use ringlane_protocol::TopicId;
use std::sync::Arc;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupRequest {
    Join(JoinGroup),
    Sync(SyncGroup),
    Heartbeat(Heartbeat),
    Leave(LeaveGroup),
    CommitOffsets(CommitOffsets),
    CommitTransactionalOffsets(CommitTransactionalOffsets),
    FetchOffsets(FetchOffsets),
    DeleteOffsets(DeleteOffsets),
    Describe(Vec<String>),
    List(ListGroups),
    Delete(Vec<String>),
    /// Boxed: it is three times as large as the others.
    ConsumerHeartbeat(Box<ConsumerHeartbeat>),
    DescribeConsumers(Vec<String>),
    Share(ShareRequest),
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JoinGroup {
    pub group: String,
    /// "" of a member that has no id yet.
    pub member_id: String,
    /// The id that a new member gets.
    pub new_member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    /// Best first.
    pub protocols: Vec<Protocol>,
    /// The client comes again with the id that it is given (KIP-394).
    pub takes_member_id: bool,
    /// The client understands that its assignment is in force already (KIP-814).
    pub can_skip_assignment: bool,
}

/// One way to assign that a member supports. Its metadata is the members' own affair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Protocol {
    pub name: Arc<str>,
    pub metadata: Arc<[u8]>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SyncGroup {
    pub group: String,
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// By member id; of the leader only.
    pub assignments: Vec<(String, Arc<[u8]>)>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Heartbeat {
    pub group: String,
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaveGroup {
    pub group: String,
    pub members: Vec<LeavingMember>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeavingMember {
    /// "": whoever has the instance id (removal by an administrator).
    pub member_id: String,
    pub instance_id: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitOffsets {
    pub group: String,
    /// Negative: the commit is not a member's.
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
    /// Of old clients; `None`: the broker's retention rules.
    pub retention_ms: Option<i64>,
    /// The client knows GROUP_ID_NOT_FOUND (version 9).
    pub knows_missing_groups: bool,
    pub topics: Vec<CommitTopic>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitTopic {
    pub name: String,
    pub id: TopicId,
    pub partitions: Vec<CommitPartition>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitPartition {
    pub partition: i32,
    pub offset: i64,
    /// -1 when not known.
    pub leader_epoch: i32,
    pub metadata: String,
}

/// TxnOffsetCommit: the offsets count when the producer's transaction commits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitTransactionalOffsets {
    pub group: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
    pub topics: Vec<CommitTopic>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FetchOffsets {
    pub group: String,
    /// `None`: all that the group has.
    pub topics: Option<Vec<FetchTopic>>,
    /// Offsets of an open transaction make the partition's answer UNSTABLE_OFFSET_COMMIT.
    pub require_stable: bool,
    /// Of a member of a consumer group (version 9), which may have been given up.
    pub member_id: Option<String>,
    /// Negative when whoever asks is no member; else the version knows it.
    pub member_epoch: Option<i32>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchTopic {
    pub name: String,
    /// Zero when the client names the topic.
    pub id: TopicId,
    pub partitions: Vec<i32>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteOffsets {
    pub group: String,
    pub topics: Vec<(String, Vec<i32>)>,
}

/// Empty lists let everything through.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListGroups {
    pub states: Vec<String>,
    pub types: Vec<String>,
}
