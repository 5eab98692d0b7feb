//! One member: what it said of itself, and what it owns.

use super::Owned;
use super::request::{ConsumerHeartbeat, NOT_SENT};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Whether a member has arrived at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemberState {
    /// It owns what its epoch gives it.
    #[default]
    Stable,
    /// It must give partitions back before it may go on to the next epoch.
    UnrevokedPartitions,
    /// It is at its epoch and waits for partitions that others have not given back.
    UnreleasedPartitions,
    /// Written by a later broker: the member must join again.
    Unknown,
}

impl MemberState {
    pub fn code(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
            MemberState::Unknown => 127,
        }
    }

    pub fn from_code(code: i8) -> MemberState {
        match code {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        }
    }
}

/// What a member said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub instance_id: Option<Arc<str>>,
    pub rack_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub topics: BTreeSet<Arc<str>>,
    /// "" of a member that subscribes by name only.
    pub regex: Arc<str>,
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<Arc<str>>,
    /// Of a member that speaks the classic protocol.
    pub classic: Option<Classic>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classic {
    pub session_timeout_ms: i32,
    /// Name and metadata, best first.
    pub protocols: Vec<(Arc<str>, Arc<[u8]>)>,
}

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            instance_id: None,
            rack_id: None,
            client_id: "".into(),
            client_host: "".into(),
            topics: BTreeSet::new(),
            regex: "".into(),
            rebalance_timeout_ms: NOT_SENT,
            assignor: None,
            classic: None,
        }
    }
}

impl Profile {
    /// With what the heartbeat says; `None` when it says nothing new, as nearly all do.
    pub(super) fn updated(&self, said: &ConsumerHeartbeat) -> Option<Profile> {
        let other =
            |said: &Option<String>, known: &Option<Arc<str>>| said.is_some() && said.as_deref() != known.as_deref();
        let topics = said.topics.as_ref().filter(|topics| {
            let said: BTreeSet<&str> = topics.iter().map(String::as_str).collect();
            !said.iter().copied().eq(self.topics.iter().map(|topic| &**topic))
        });
        let changed = other(&said.instance_id, &self.instance_id)
            || other(&said.rack_id, &self.rack_id)
            || other(&said.assignor, &self.assignor)
            || said.regex.as_deref().is_some_and(|regex| regex != &*self.regex)
            || topics.is_some()
            || (said.rebalance_timeout_ms != NOT_SENT && said.rebalance_timeout_ms != self.rebalance_timeout_ms)
            || said.client_id != *self.client_id
            || said.client_host != *self.client_host
            || self.classic.is_some();
        if !changed {
            return None;
        }
        let text = |said: &Option<String>, known: &Option<Arc<str>>| match said {
            Some(said) => Some(said.as_str().into()),
            None => known.clone(),
        };
        Some(Profile {
            instance_id: text(&said.instance_id, &self.instance_id),
            rack_id: text(&said.rack_id, &self.rack_id),
            client_id: said.client_id.as_str().into(),
            client_host: said.client_host.as_str().into(),
            topics: match topics {
                Some(topics) => topics.iter().map(|topic| topic.as_str().into()).collect(),
                None => self.topics.clone(),
            },
            regex: said.regex.as_deref().map_or_else(|| self.regex.clone(), Arc::from),
            rebalance_timeout_ms: match said.rebalance_timeout_ms {
                NOT_SENT => self.rebalance_timeout_ms,
                timeout_ms => timeout_ms,
            },
            assignor: text(&said.assignor, &self.assignor),
            classic: None,
        })
    }
}

/// Where a member stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    pub epoch: i32,
    /// Where it stood before: a member that has not got the answer which moved it comes with this one.
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: Owned,
    /// What it still has and must give back.
    pub revoking: Owned,
}

impl Default for Current {
    fn default() -> Current {
        Current {
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Owned::new(),
            revoking: Owned::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    pub profile: Profile,
    pub current: Current,
}

impl Member {
    /// Whether it has all that the target of `epoch` gives it.
    pub fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.current.state == MemberState::Stable && self.current.epoch == epoch
    }

    pub fn is_classic(&self) -> bool {
        self.profile.classic.is_some()
    }
}
