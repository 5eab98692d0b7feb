//! ConsumerGroupHeartbeat, free of wire versions, and the checks that need no group.

use super::{ConsumerGroupError, ConsumerGroupOptions};
use ringlane_protocol::TopicId;
use std::sync::Arc;

/// The member leaves.
pub const LEAVE: i32 = -1;
/// A static member goes and means to come back.
pub const LEAVE_STATIC: i32 = -2;
/// A field that was not sent.
pub const NOT_SENT: i32 = -1;

/// What a member says. `None` (and -1 for the timeout) is "as before".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumerHeartbeat {
    pub group: String,
    /// "" of a member of version 0 that joins: it gets `new_member_id`.
    pub member_id: String,
    /// The name that the host gives a member without one.
    pub new_member_id: String,
    /// Version 1 and up: members name themselves.
    pub must_name_itself: bool,
    pub epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub topics: Option<Vec<String>>,
    pub regex: Option<String>,
    pub assignor: Option<String>,
    pub owned: Option<Vec<OwnedTopic>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedTopic {
    pub topic: TopicId,
    pub partitions: Vec<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerHeartbeatReply {
    pub member_id: Arc<str>,
    pub epoch: i32,
    pub heartbeat_interval_ms: i32,
    /// `None`: nothing new.
    pub assignment: Option<Vec<(TopicId, Vec<i32>)>>,
}

impl ConsumerHeartbeat {
    /// What is wrong with the request whatever the group is like.
    pub fn validate(&self, options: &ConsumerGroupOptions) -> Result<(), ConsumerGroupError> {
        let invalid = |reason| Err(ConsumerGroupError::InvalidRequest(reason));
        let blank = |text: &str| text.trim().is_empty();
        if (self.must_name_itself || self.epoch > 0 || self.epoch == LEAVE) && blank(&self.member_id) {
            return invalid("MemberId can't be empty.");
        }
        if blank(&self.group) {
            return invalid("GroupId can't be empty.");
        }
        if self.instance_id.as_deref().is_some_and(blank) {
            return invalid("InstanceId can't be empty.");
        }
        if self.rack_id.as_deref().is_some_and(blank) {
            return invalid("RackId can't be empty.");
        }
        match self.epoch {
            0 if self.rebalance_timeout_ms == NOT_SENT => {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            0 if self.owned.as_ref().is_none_or(|owned| !owned.is_empty()) => {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            0 if self.topics.is_none() && self.regex.is_none() => {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
            LEAVE_STATIC if self.instance_id.is_none() => return invalid("InstanceId can't be null."),
            epoch if epoch < LEAVE_STATIC => return invalid("MemberEpoch is invalid."),
            _ => {}
        }
        match &self.assignor {
            Some(name) if options.assignor(name).is_none() => {
                let supported: Vec<_> = options.assignors.iter().map(|assignor| assignor.name()).collect();
                Err(ConsumerGroupError::UnsupportedAssignor { asked: name.clone(), supported: supported.join(", ") })
            }
            _ => Ok(()),
        }
    }

    pub fn joins(&self) -> bool {
        self.epoch == 0
    }

    pub fn leaves(&self) -> bool {
        self.epoch == LEAVE || self.epoch == LEAVE_STATIC
    }

    /// All that a member can say: sent when it joins and after any error.
    pub(super) fn is_full(&self) -> bool {
        self.rebalance_timeout_ms != NOT_SENT && (self.topics.is_some() || self.regex.is_some()) && self.owned.is_some()
    }

    pub(super) fn named(&self) -> &str {
        if self.member_id.is_empty() { &self.new_member_id } else { &self.member_id }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::join;
    use super::*;

    /// What is let through here is believed everywhere behind: a member that joins with partitions would own what others own.
    #[test]
    fn requests_that_no_group_could_answer_are_refused() {
        let options = ConsumerGroupOptions::default();
        let of = |change: fn(&mut ConsumerHeartbeat)| {
            let mut request = join("m", &["orders"]);
            change(&mut request);
            request.validate(&options).map_err(|error| error.code().code())
        };
        assert_eq!(of(|_| {}), Ok(()));
        assert_eq!(of(|r| r.group = "  ".into()), Err(42));
        assert_eq!(of(|r| r.member_id.clear()), Err(42));
        assert_eq!(of(|r| (r.must_name_itself, r.member_id) = (false, String::new())), Ok(()));
        assert_eq!(of(|r| (r.must_name_itself, r.member_id, r.epoch) = (false, String::new(), 3)), Err(42));
        assert_eq!(of(|r| r.instance_id = Some(String::new())), Err(42));
        assert_eq!(of(|r| r.rack_id = Some(String::new())), Err(42));
        assert_eq!(of(|r| r.rebalance_timeout_ms = -1), Err(42));
        assert_eq!(of(|r| r.owned = None), Err(42));
        assert_eq!(of(|r| r.owned = Some(vec![OwnedTopic { topic: TopicId::ZERO, partitions: vec![0] }])), Err(42));
        assert_eq!(of(|r| r.topics = None), Err(42));
        assert_eq!(of(|r| (r.topics, r.regex) = (None, Some("o.*".into()))), Ok(()));
        assert_eq!(of(|r| r.epoch = -2), Err(42));
        assert_eq!(of(|r| (r.epoch, r.instance_id) = (-2, Some("i".into()))), Ok(()));
        assert_eq!(of(|r| r.epoch = -3), Err(42));
        assert_eq!(of(|r| r.assignor = Some("range".into())), Ok(()));
        assert_eq!(of(|r| r.assignor = Some("cooperative-sticky".into())), Err(112));
    }
}
