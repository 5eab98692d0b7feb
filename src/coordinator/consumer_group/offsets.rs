//! Who may commit and fetch the group's offsets.
//!
//! A member's commit counts if the member has the partition: its epoch is the newest, or not older than the assignment of that partition to
//! it. So a commit that was on its way while the member went on to another epoch is not lost, and one of a member that was given up is.

use super::{ConsumerGroup, ConsumerGroupError, Member};
use ringlane_protocol::{ErrorCode, TopicId};

/// OffsetCommit knows member epochs since this version.
const COMMIT_VERSION_MIN: i16 = 9;

/// What of a commit counts.
#[derive(Debug, Clone, Copy)]
pub enum CommitCheck<'a> {
    All,
    /// The epoch is an older one: only partitions that the member has had since.
    Since {
        member: &'a Member,
        epoch: i32,
    },
}

impl CommitCheck<'_> {
    pub fn partition(&self, topic: TopicId, partition: i32) -> ErrorCode {
        let CommitCheck::Since { member, epoch } = self else { return ErrorCode::None };
        let since = |owned: &super::Owned| owned.get(&topic).and_then(|partitions| partitions.get(&partition)).copied();
        match since(&member.current.assigned).or_else(|| since(&member.current.revoking)) {
            Some(since) if *epoch >= since => ErrorCode::None,
            _ if member.is_classic() => ErrorCode::IllegalGeneration,
            _ => ErrorCode::StaleMemberEpoch,
        }
    }
}

impl ConsumerGroup {
    /// `version` is that of OffsetCommit; `None` for a commit within a transaction, whose API has no such rule.
    pub fn check_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        epoch: i32,
        version: Option<i16>,
    ) -> Result<CommitCheck<'_>, ConsumerGroupError> {
        // Of an administrator, or of a consumer that assigns itself.
        if epoch < 0 && self.members.is_empty() {
            return Ok(CommitCheck::All);
        }
        // A transactional producer need not say for which member it commits.
        if version.is_none() && epoch == -1 && member_id.is_empty() && instance_id.is_none() {
            return Ok(CommitCheck::All);
        }
        let member = self.members.get(member_id).ok_or_else(|| self.unknown(member_id))?;
        if !member.is_classic() && version.is_some_and(|version| version < COMMIT_VERSION_MIN) {
            return Err(ConsumerGroupError::UnsupportedVersion);
        }
        match epoch.cmp(&member.current.epoch) {
            std::cmp::Ordering::Equal => Ok(CommitCheck::All),
            std::cmp::Ordering::Less => Ok(CommitCheck::Since { member, epoch }),
            std::cmp::Ordering::Greater => Err(stale(member, epoch)),
        }
    }

    /// `None` with a negative epoch: whoever asks is no member, and may read.
    pub fn check_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), ConsumerGroupError> {
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let member_id = member_id.unwrap_or_default();
        let member = self.members.get(member_id).ok_or_else(|| self.unknown(member_id))?;
        if member.current.epoch == epoch { Ok(()) } else { Err(stale(member, epoch)) }
    }
}

fn stale(member: &Member, received: i32) -> ConsumerGroupError {
    let expected = member.current.epoch;
    if member.is_classic() {
        ConsumerGroupError::IllegalGeneration { received, expected }
    } else {
        ConsumerGroupError::StaleMemberEpoch { received, expected }
    }
}
