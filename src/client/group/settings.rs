//! How a member behaves, with Kafka's names and defaults.

use super::assignor::Assignor;
use crate::{ClientError, ConsumerOptions};
use ringlane_protocol::ErrorCode;
use std::time::Duration;

/// Which protocol a member speaks: Kafka's `group.protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupProtocol {
    /// Members decide who reads what; all stop for it unless their assignor is cooperative.
    #[default]
    Classic,
    /// The coordinator decides, and moves partition by partition (KIP-848).
    Consumer,
}

#[derive(Debug, Clone)]
pub struct GroupOptions {
    pub group: String,
    pub protocol: GroupProtocol,
    /// A name for this member that outlives restarts (KIP-345): one that comes back under it within the session timeout moves nothing.
    pub instance: Option<String>,
    /// Classic only: in the order of preference.
    pub assignors: Vec<Assignor>,
    /// With the consumer protocol: the coordinator's assignor, such as "uniform" or "range"; `None`: its own choice.
    pub remote_assignor: Option<String>,
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    /// Who does not poll for this long leaves the group.
    pub max_poll_interval: Duration,
    /// Commits what was handed out and polled past, this often; `None`: the application commits.
    pub auto_commit: Option<Duration>,
    /// Where this member stands; assignors and fetches may take the nearest replica.
    pub rack: Option<String>,
    /// How partitions are read. `reset` says where one without a committed offset begins.
    pub consumer: ConsumerOptions,
}

impl GroupOptions {
    /// Kafka's defaults.
    pub fn of(group: &str) -> GroupOptions {
        GroupOptions {
            group: group.to_string(),
            protocol: GroupProtocol::Classic,
            instance: None,
            assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
            remote_assignor: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            auto_commit: Some(Duration::from_secs(5)),
            rack: None,
            consumer: ConsumerOptions::default(),
        }
    }
}

/// Of these, what the state machines need.
pub(super) struct Settings {
    pub(super) group: String,
    pub(super) instance: Option<String>,
    pub(super) assignors: Vec<Assignor>,
    pub(super) remote_assignor: Option<String>,
    pub(super) session_timeout: Duration,
    pub(super) heartbeat_interval: Duration,
    pub(super) max_poll_interval: Duration,
    pub(super) auto_commit: Option<Duration>,
    pub(super) rack: Option<String>,
}

impl Settings {
    pub(super) fn from(options: &GroupOptions) -> Settings {
        Settings {
            group: options.group.clone(),
            instance: options.instance.clone(),
            assignors: options.assignors.clone(),
            remote_assignor: options.remote_assignor.clone(),
            session_timeout: options.session_timeout,
            heartbeat_interval: options.heartbeat_interval,
            max_poll_interval: options.max_poll_interval,
            auto_commit: options.auto_commit,
            rack: options.rack.clone(),
        }
    }

    /// Whether members keep reading through a rebalance. Only if every assignor can: the vote may go to any of them.
    pub(super) fn is_cooperative(&self) -> bool {
        self.assignors.iter().all(|assignor| *assignor == Assignor::CooperativeSticky)
    }

    pub(super) fn refused(&self, doing: &str, code: ErrorCode) -> ClientError {
        ClientError::refused(format!("group {}: {doing}", self.group), code, None)
    }
}
