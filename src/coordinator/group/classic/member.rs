//! One member of a classic group.

use crate::ReplyTo;
use crate::group::request::Protocol;
use crate::group::timers::Alarm;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug)]
pub struct Member {
    pub id: Arc<str>,
    /// A static member (KIP-345): it keeps its place while it restarts.
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// Best first.
    pub protocols: Vec<Protocol>,
    pub assignment: Arc<[u8]>,
    /// Its JoinGroup waits for the rebalance.
    pub joining: Option<ReplyTo>,
    /// Its SyncGroup waits for the leader's.
    pub syncing: Option<ReplyTo>,
    /// It has not had an answer to its first JoinGroup yet.
    pub is_new: bool,
    /// It has not asked for the assignment of this generation yet.
    pub owes_sync: bool,
    pub session: Alarm,
}

impl Member {
    /// Each name once, whatever the client sent.
    pub fn protocol_names(&self) -> BTreeSet<Arc<str>> {
        self.protocols.iter().map(|protocol| protocol.name.clone()).collect()
    }

    pub fn metadata(&self, protocol: &str) -> Arc<[u8]> {
        let found = self.protocols.iter().find(|supported| *supported.name == *protocol);
        found.map(|protocol| protocol.metadata.clone()).unwrap_or_default()
    }

    /// A member that waits for us need not send heartbeats; one that is new may be gone, and could not tell.
    pub fn is_excused(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }
}
