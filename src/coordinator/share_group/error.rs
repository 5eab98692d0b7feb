//! Why a share group refuses a request.

use ringlane_protocol::ErrorCode;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareGroupError {
    #[error("{0}")]
    InvalidRequest(&'static str),
    #[error("The share group has reached its maximum capacity of {0} members.")]
    Full(usize),
    #[error("Share group {0} not found.")]
    GroupNotFound(String),
    #[error("Group {0} is not a share group.")]
    NotAShareGroup(String),
    #[error("Member {0} is not a member of group {1}.")]
    UnknownMember(String, String),
    #[error(
        "The member has epoch {received}, the group coordinator knows it at {known}. It must abandon all its partitions and rejoin."
    )]
    FencedMemberEpoch { received: i32, known: i32 },
    #[error("The group is not empty.")]
    NonEmptyGroup,
    #[error("The group has become too large for the log: one change of it would take more than {0} bytes.")]
    TooLarge(usize),
}

impl ShareGroupError {
    pub fn code(&self) -> ErrorCode {
        match self {
            ShareGroupError::InvalidRequest(_) => ErrorCode::InvalidRequest,
            ShareGroupError::Full(_) => ErrorCode::GroupMaxSizeReached,
            ShareGroupError::GroupNotFound(_) | ShareGroupError::NotAShareGroup(_) => ErrorCode::GroupIdNotFound,
            ShareGroupError::UnknownMember(..) => ErrorCode::UnknownMemberId,
            ShareGroupError::FencedMemberEpoch { .. } => ErrorCode::FencedMemberEpoch,
            ShareGroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
            ShareGroupError::TooLarge(_) => ErrorCode::UnknownServerError,
        }
    }
}
