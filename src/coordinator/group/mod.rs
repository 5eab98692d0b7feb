//! The groups of one partition of `__consumer_offsets`: their members and their committed offsets.
//!
//! [`GroupMachine`] lives on the partition's home shard, owned by the broker's coordinator host. Rooms: `classic` (members that join, sync
//! and send heartbeats), `offsets` (what is committed, also within transactions), `admin` (describe, list, delete), `machine` (who gets which
//! input). A group id is of one kind at a time: [`Group`] is where other kinds (KIP-848, share, streams) come in; offsets are kept for
//! all of them alike.

mod admin;
mod classic;
mod machine;
#[cfg(test)]
mod model;
mod offsets;
mod options;
mod reply;
mod request;
#[cfg(test)]
mod tests;
mod timers;

pub use machine::GroupMachine;
pub use options::GroupOptions;
pub use reply::*;
pub use request::*;

use crate::{Effects, ReplyTo};
use classic::ClassicGroup;
use ringlane_protocol::ErrorCode;
use timers::Timers;

/// One group id.
#[derive(Debug)]
pub(crate) enum Group {
    Classic(ClassicGroup),
}

/// What an input may use and change besides the group that it is for.
pub(crate) struct Turn<'a> {
    pub now_ms: i64,
    pub options: &'a GroupOptions,
    pub timers: &'a mut Timers,
    pub effects: &'a mut Effects<GroupReply>,
}

impl Turn<'_> {
    fn reply(&mut self, to: ReplyTo, reply: GroupReply) {
        self.effects.reply(to, reply);
    }

    fn after(&self, ms: i64) -> i64 {
        self.now_ms.saturating_add(ms.max(0))
    }
}

impl Group {
    /// As ListGroups says it.
    fn kind(&self) -> &'static str {
        match self {
            Group::Classic(_) => "classic",
        }
    }

    fn state_name(&self) -> &'static str {
        match self {
            Group::Classic(group) => group.state().name(),
        }
    }

    /// Nobody is in it or about to be.
    fn is_deserted(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_deserted(),
        }
    }

    fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed_to(topic),
        }
    }

    fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        match self {
            Group::Classic(group) => group.check_offset_delete(),
        }
    }

    fn cancel_timers(&mut self, timers: &mut Timers) {
        match self {
            Group::Classic(group) => group.cancel_timers(timers),
        }
    }
}
