//! What a group answers.

use super::share::ShareReply;
use crate::consumer_group::{ConsumerGroupError, ConsumerHeartbeatReply, DescribedConsumerGroup};
use ringlane_protocol::{ErrorCode, TopicId};
use std::sync::Arc;

/// "No generation", as errors carry it.
const NO_GENERATION: i32 = -1;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupReply {
    Join(JoinReply),
    Sync(SyncReply),
    Heartbeat(ErrorCode),
    /// One code a member, in the order of the request.
    Leave(Vec<ErrorCode>),
    /// Topics and partitions in the order of the request. `Err` is the answer to each of them.
    CommitOffsets(Result<Vec<Vec<ErrorCode>>, ErrorCode>),
    FetchOffsets(Result<Vec<FetchedTopic>, ErrorCode>),
    DeleteOffsets(Result<Vec<Vec<ErrorCode>>, ErrorCode>),
    Describe(Vec<DescribedGroup>),
    List(Vec<ListedGroup>),
    Delete(Vec<ErrorCode>),
    ConsumerHeartbeat(Result<ConsumerHeartbeatReply, ConsumerGroupError>),
    /// In the order of the request; `None` for what is no consumer group.
    DescribeConsumers(Vec<Option<DescribedConsumerGroup>>),
    Share(ShareReply),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinReply {
    pub error: ErrorCode,
    pub generation: i32,
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub leader: Arc<str>,
    pub skip_assignment: bool,
    pub member_id: Arc<str>,
    /// For the leader only.
    pub members: Vec<JoinedMember>,
}

impl JoinReply {
    pub fn failed(error: ErrorCode, member_id: &str) -> JoinReply {
        JoinReply {
            error,
            generation: NO_GENERATION,
            protocol_type: None,
            protocol: None,
            leader: "".into(),
            skip_assignment: false,
            member_id: member_id.into(),
            members: Vec::new(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinedMember {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub metadata: Arc<[u8]>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncReply {
    pub error: ErrorCode,
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub assignment: Arc<[u8]>,
}

impl SyncReply {
    pub fn failed(error: ErrorCode) -> SyncReply {
        SyncReply { error, protocol_type: None, protocol: None, assignment: Arc::default() }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedTopic {
    pub name: Arc<str>,
    /// Of a fetch of all: as it was committed, zero if it was not.
    pub id: TopicId,
    pub partitions: Vec<FetchedPartition>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedPartition {
    pub partition: i32,
    pub error: ErrorCode,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Arc<str>,
}

impl FetchedPartition {
    /// Nothing is committed there.
    pub fn none(partition: i32, error: ErrorCode) -> FetchedPartition {
        FetchedPartition { partition, error, offset: -1, leader_epoch: -1, metadata: "".into() }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DescribedGroup {
    /// GROUP_ID_NOT_FOUND when there is none; old clients are told that it is dead instead.
    pub error: ErrorCode,
    pub state: &'static str,
    pub protocol_type: Arc<str>,
    pub protocol: Arc<str>,
    pub members: Vec<DescribedMember>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DescribedMember {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// Empty while the group is not stable.
    pub metadata: Arc<[u8]>,
    pub assignment: Arc<[u8]>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedGroup {
    pub group: Arc<str>,
    pub protocol_type: Arc<str>,
    pub state: &'static str,
    /// `classic` and what else there will be (KIP-848).
    pub kind: &'static str,
}
