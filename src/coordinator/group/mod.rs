//! The groups of one partition of `__consumer_offsets`: their members and their committed offsets.
//!
//! [`GroupMachine`] lives on the partition's home shard, owned by the broker's coordinator host. Rooms: `classic` (members that join, sync
//! and send heartbeats), `offsets` (what is committed, also within transactions), `admin` (describe, list, delete), `machine` (who gets which
//! input), `consumer` (groups of the new protocol, KIP-848, which `crate::consumer_group` keeps), `share` (share groups, KIP-932: `crate::share_group`). A group id is of one kind at a time: [`Group`] is
//! where other kinds (streams) come in; offsets are kept for all of them alike.

mod admin;
mod classic;
mod consumer;
mod machine;
#[cfg(test)]
mod model;
mod offsets;
mod options;
mod reply;
mod request;
mod share;
#[cfg(test)]
mod tests;
mod timers;

pub use machine::GroupMachine;
pub use options::GroupOptions;
pub use reply::*;
pub use request::*;
pub use share::{ShareReply, ShareRequest};

use crate::consumer_group::{Context, Topics};
use crate::{Effects, NewRecord, ReplyTo};
use classic::ClassicGroup;
use consumer::Consumers;
use ringlane_protocol::ErrorCode;
use ringlane_protocol::internal::consumer_offsets::encode_group_key;
use share::Shares;
use timers::Timers;

/// One group id.
#[derive(Debug)]
pub(crate) enum Group {
    Classic(ClassicGroup),
    Consumers(Consumers),
    Shares(Shares),
}

/// What an input may use and change besides the group that it is for.
pub(crate) struct Turn<'a> {
    pub now_ms: i64,
    pub options: &'a GroupOptions,
    pub topics: &'a dyn Topics,
    pub timers: &'a mut Timers,
    pub effects: &'a mut Effects<GroupReply>,
}

impl<'a> Turn<'a> {
    fn context(&self) -> Context<'a> {
        Context {
            now_ms: self.now_ms,
            topics: self.topics,
            options: &self.options.consumer,
            records_bytes_max: self.options.records_bytes_max,
        }
    }

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
            Group::Consumers(_) => "consumer",
            Group::Shares(_) => "share",
        }
    }

    fn state_name(&self) -> &'static str {
        match self {
            Group::Classic(group) => group.state().name(),
            Group::Consumers(consumers) => consumers.group.state().name(),
            Group::Shares(shares) => shares.group.state_name(),
        }
    }

    /// Nobody is in it or about to be.
    fn is_deserted(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_deserted(),
            Group::Consumers(consumers) => consumers.group.is_empty(),
            // It stays for its start offsets, until it is deleted.
            Group::Shares(_) => false,
        }
    }

    fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed_to(topic),
            Group::Consumers(consumers) => consumers.group.is_subscribed_to(topic),
            Group::Shares(shares) => shares.group.is_subscribed_to(topic),
        }
    }

    fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        match self {
            Group::Classic(group) => group.check_offset_delete(),
            Group::Consumers(_) => Ok(()),
            Group::Shares(_) => Err(ErrorCode::GroupIdNotFound),
        }
    }

    fn cancel_timers(&mut self, timers: &mut Timers) {
        match self {
            Group::Classic(group) => group.cancel_timers(timers),
            Group::Consumers(consumers) => consumers.cancel_timers(timers),
            Group::Shares(shares) => shares.cancel_timers(timers),
        }
    }

    /// The records that delete the group, but not its offsets.
    fn tombstones(&self, id: &str, records: &mut Vec<NewRecord>) {
        match self {
            Group::Classic(_) => records.push(NewRecord { key: encode_group_key(id), value: None }),
            Group::Consumers(consumers) => consumers.group.tombstones(records),
            Group::Shares(shares) => shares.group.tombstones(records),
        }
    }
}
