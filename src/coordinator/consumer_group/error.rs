//! Why a consumer group refuses a request.

use ringlane_protocol::ErrorCode;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerGroupError {
    #[error("{0}")]
    InvalidRequest(&'static str),
    #[error("ServerAssignor {asked} is not supported. Supported assignors: {supported}.")]
    UnsupportedAssignor { asked: String, supported: String },
    #[error("SubscribedTopicRegex `{regex}` is not a valid regular expression: {reason}.")]
    InvalidRegularExpression { regex: String, reason: String },
    #[error("The group has reached its maximum capacity of {0} members.")]
    Full(usize),
    #[error("Group {0} not found.")]
    GroupNotFound(String),
    #[error("{0} is not a member of group {1}.")]
    UnknownMember(String, String),
    #[error(
        "The member has epoch {received}, the group coordinator knows it at {known}. It must abandon all its partitions and rejoin."
    )]
    FencedMemberEpoch { received: i32, known: i32 },
    #[error("The received member epoch {received} does not match the expected member epoch {expected}.")]
    StaleMemberEpoch { received: i32, expected: i32 },
    #[error("The received generation {received} does not match the expected member epoch {expected}.")]
    IllegalGeneration { received: i32, expected: i32 },
    #[error("Instance id {instance} is owned by member {owner}, which has not left.")]
    UnreleasedInstance { instance: String, owner: String },
    #[error("Instance id {instance} is owned by member {owner}.")]
    FencedInstance { instance: String, owner: String },
    #[error("The group has become too large for the log: one change of it would take more than {0} bytes.")]
    TooLarge(usize),
    #[error("OffsetCommit version 9 or above must be used by members using the consumer group protocol")]
    UnsupportedVersion,
}

impl ConsumerGroupError {
    pub fn code(&self) -> ErrorCode {
        match self {
            ConsumerGroupError::InvalidRequest(_) => ErrorCode::InvalidRequest,
            ConsumerGroupError::UnsupportedAssignor { .. } => ErrorCode::UnsupportedAssignor,
            ConsumerGroupError::InvalidRegularExpression { .. } => ErrorCode::InvalidRegularExpression,
            ConsumerGroupError::Full(_) => ErrorCode::GroupMaxSizeReached,
            ConsumerGroupError::GroupNotFound(_) => ErrorCode::GroupIdNotFound,
            ConsumerGroupError::UnknownMember(..) => ErrorCode::UnknownMemberId,
            ConsumerGroupError::FencedMemberEpoch { .. } => ErrorCode::FencedMemberEpoch,
            ConsumerGroupError::StaleMemberEpoch { .. } => ErrorCode::StaleMemberEpoch,
            ConsumerGroupError::IllegalGeneration { .. } => ErrorCode::IllegalGeneration,
            ConsumerGroupError::UnreleasedInstance { .. } => ErrorCode::UnreleasedInstanceId,
            ConsumerGroupError::FencedInstance { .. } => ErrorCode::FencedInstanceId,
            ConsumerGroupError::TooLarge(_) => ErrorCode::UnknownServerError,
            ConsumerGroupError::UnsupportedVersion => ErrorCode::UnsupportedVersion,
        }
    }
}
