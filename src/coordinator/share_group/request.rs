//! ShareGroupHeartbeat, free of wire versions, and its answer.

use super::ShareGroupError;
use super::offsets::TopicPartitions;
use ringlane_protocol::TopicId;
use std::sync::Arc;

const JOIN: i32 = 0;
/// The epoch with which a member leaves.
pub const LEAVE: i32 = -1;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShareHeartbeat {
    pub group: String,
    pub member_id: String,
    pub epoch: i32,
    /// `None`: as before.
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// `None`: as before.
    pub topics: Option<Vec<String>>,
}

impl ShareHeartbeat {
    /// Checks that need no group.
    pub fn validate(&self) -> Result<(), ShareGroupError> {
        let refused = match () {
            () if self.member_id.trim().is_empty() => "MemberId can't be empty.",
            () if self.group.trim().is_empty() => "GroupId can't be empty.",
            () if self.rack_id.as_deref().is_some_and(|rack| rack.trim().is_empty()) => "RackId can't be empty.",
            () if self.joins() && self.topics.as_ref().is_none_or(Vec::is_empty) => {
                "SubscribedTopicNames must be set in first request."
            }
            () if self.epoch < LEAVE => "MemberEpoch is invalid.",
            () => return Ok(()),
        };
        Err(ShareGroupError::InvalidRequest(refused))
    }

    pub fn joins(&self) -> bool {
        self.epoch == JOIN
    }

    pub fn leaves(&self) -> bool {
        self.epoch == LEAVE
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareHeartbeatReply {
    pub member_id: Arc<str>,
    pub epoch: i32,
    pub heartbeat_interval_ms: i32,
    /// `None`: as the member knows it.
    pub assignment: Option<Vec<(TopicId, Vec<i32>)>>,
    /// Share partitions for which a state is to be made, with that state epoch; the group wants to hear of it.
    pub initialize: Option<(i32, Vec<TopicPartitions>)>,
}
