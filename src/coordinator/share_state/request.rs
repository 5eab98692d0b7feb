//! What the share coordinator is asked, and what it answers.

use crate::share_partition::StateBatch;
use ringlane_protocol::{ErrorCode, TopicId};
use std::sync::Arc;

/// One share partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShareKey {
    pub group: Arc<str>,
    pub topic_id: TopicId,
    pub partition: i32,
}

impl ShareKey {
    /// As FindCoordinator is asked for it; its hash says which partition of the state topic has it.
    pub fn coordinator_key(&self) -> String {
        format!("{}:{}:{}", self.group, self.topic_id, self.partition)
    }
}

/// Epochs are -1 when whoever asks does not know them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareStateRequest {
    /// A group begins to read the partition, or is told to read it from elsewhere.
    Initialize {
        key: ShareKey,
        state_epoch: i32,
        start_offset: i64,
    },
    /// The partition's leader takes over.
    Read {
        key: ShareKey,
        leader_epoch: i32,
    },
    Write {
        key: ShareKey,
        state_epoch: i32,
        leader_epoch: i32,
        /// -1: as before.
        start_offset: i64,
        delivery_complete_count: i32,
        batches: Vec<StateBatch>,
    },
    Delete {
        key: ShareKey,
    },
    Summary {
        key: ShareKey,
    },
    /// Of the host: the log ended there when the machine asked for it.
    Marked,
}

impl ShareStateRequest {
    pub fn key(&self) -> Option<&ShareKey> {
        match self {
            ShareStateRequest::Initialize { key, .. }
            | ShareStateRequest::Read { key, .. }
            | ShareStateRequest::Write { key, .. }
            | ShareStateRequest::Delete { key }
            | ShareStateRequest::Summary { key } => Some(key),
            ShareStateRequest::Marked => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareStateReply {
    Read(Result<StoredState, ShareStateError>),
    Summary(Result<StoredSummary, ShareStateError>),
    /// To initialize, write and delete.
    Done(ShareStateWritten),
    /// To the host, unasked: see [`super::PruneStep`].
    Prune(super::PruneStep),
}

pub type ShareStateWritten = Result<(), ShareStateError>;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredState {
    pub state_epoch: i32,
    /// -1: the group's reset policy decides.
    pub start_offset: i64,
    pub batches: Vec<StateBatch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSummary {
    pub state_epoch: i32,
    pub leader_epoch: i32,
    pub start_offset: i64,
    pub delivery_complete_count: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareStateError {
    #[error("The partition id cannot be a negative number.")]
    NegativePartition,
    #[error("{0} operation on uninitialized share partition not allowed.")]
    Uninitialized(&'static str),
    #[error("The leader epoch in the request is older than the one that is known.")]
    FencedLeaderEpoch,
    #[error("The share coordinator rejected the request because the share-group state epoch did not match.")]
    FencedStateEpoch,
    #[error("This server does not host this topic-partition.")]
    UnknownPartition,
    #[error("The state has become too large for the log.")]
    TooLarge,
}

impl ShareStateError {
    pub fn code(&self) -> ErrorCode {
        match self {
            ShareStateError::NegativePartition | ShareStateError::Uninitialized(_) => ErrorCode::InvalidRequest,
            ShareStateError::FencedLeaderEpoch => ErrorCode::FencedLeaderEpoch,
            ShareStateError::FencedStateEpoch => ErrorCode::FencedStateEpoch,
            ShareStateError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
            ShareStateError::TooLarge => ErrorCode::UnknownServerError,
        }
    }
}
