//! What administrators ask: which groups there are, what they look like, to delete them.

use super::classic::State;
use super::classic::subscription::CONSUMER;
use super::offsets::{self, Offsets};
use super::reply::{DescribedGroup, ListedGroup};
use super::request::ListGroups;
use super::{Group, Turn};
use ringlane_protocol::ErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What Kafka calls a group that is not there.
const DEAD: &str = "Dead";
/// Protocol type of share groups.
const SHARE: &str = "share";

pub type Groups = BTreeMap<Arc<str>, Group>;

pub fn describe(groups: &Groups, ids: &[String]) -> Vec<DescribedGroup> {
    let one = |id: &String| match groups.get(id.as_str()) {
        Some(Group::Classic(group)) => group.describe(),
        // One of the new protocol is described by another API.
        Some(Group::Consumers(_) | Group::Shares(_)) | None => DescribedGroup {
            error: ErrorCode::GroupIdNotFound,
            state: DEAD,
            protocol_type: "".into(),
            protocol: "".into(),
            members: Vec::new(),
        },
    };
    ids.iter().map(one).collect()
}

pub fn list(groups: &Groups, filter: &ListGroups) -> Vec<ListedGroup> {
    let lets_through = |filter: &[String], name: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
    };
    let wanted = groups.iter().filter(|(_, group)| {
        lets_through(&filter.states, group.state_name()) && lets_through(&filter.types, group.kind())
    });
    let listed = |(id, group): (&Arc<str>, &Group)| ListedGroup {
        group: id.clone(),
        protocol_type: match group {
            Group::Classic(classic) => classic.protocol_type().cloned().unwrap_or_default(),
            Group::Consumers(_) => CONSUMER.into(),
            Group::Shares(_) => SHARE.into(),
        },
        state: group.state_name(),
        kind: group.kind(),
    };
    wanted.map(listed).collect()
}

/// One code a group. A group goes with all its offsets or stays.
pub fn delete(groups: &mut Groups, offsets: &mut Offsets, ids: &[String], turn: &mut Turn<'_>) -> Vec<ErrorCode> {
    ids.iter().map(|id| delete_one(groups, offsets, id, turn)).collect()
}

fn delete_one(groups: &mut Groups, offsets: &mut Offsets, id: &str, turn: &mut Turn<'_>) -> ErrorCode {
    let Some(group) = groups.get(id) else { return ErrorCode::GroupIdNotFound };
    let is_empty = match group {
        Group::Classic(classic) => classic.state() == State::Empty,
        Group::Consumers(consumers) => consumers.group.is_empty(),
        Group::Shares(shares) => shares.group.is_empty(),
    };
    if !is_empty {
        return ErrorCode::NonEmptyGroup;
    }
    if !offsets::delete_all(offsets, id, turn) {
        return ErrorCode::UnknownServerError;
    }
    remove(groups, id, turn);
    ErrorCode::None
}

/// The group's own records go, and its timers.
pub fn remove(groups: &mut Groups, id: &str, turn: &mut Turn<'_>) {
    if let Some(mut group) = groups.remove(id) {
        group.cancel_timers(turn.timers);
        group.tombstones(id, &mut turn.effects.records);
    }
}
