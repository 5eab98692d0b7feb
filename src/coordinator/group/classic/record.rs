//! A classic group as its record in `__consumer_offsets` has it, and back.

use super::member::Member;
use super::{ClassicGroup, State};
use crate::group::Turn;
use crate::group::request::Protocol;
use crate::group::timers::Alarm;
use ringlane_protocol::internal::consumer_offsets::{GroupValue, MemberValue, encode_group_key};
use std::sync::Arc;

/// What Kafka 4.3 writes; it reads 4, too.
const VALUE_VERSION: i16 = 3;

impl ClassicGroup {
    /// Asks for the group's record. Says no, and asks for nothing, if the log could not take it.
    pub(in crate::group) fn write_record(&self, turn: &mut Turn<'_>) -> bool {
        let (key, value) = (encode_group_key(&self.id), self.encode());
        if key.len() + value.len() > turn.options.records_bytes_max {
            return false;
        }
        turn.effects.append(key, Some(value));
        true
    }

    fn encode(&self) -> Vec<u8> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let subscriptions: Vec<Arc<[u8]>> = self.members.values().map(|member| member.metadata(protocol)).collect();
        let members = self.members.values().zip(&subscriptions).map(|(member, subscription)| MemberValue {
            member_id: &member.id,
            group_instance_id: member.instance_id.as_deref(),
            client_id: &member.client_id,
            client_host: &member.client_host,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription,
            assignment: &member.assignment,
        });
        let value = GroupValue {
            protocol_type: self.protocol_type.as_deref().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.as_deref(),
            leader: self.leader.as_deref(),
            state_timestamp: self.state_since_ms.unwrap_or(-1),
            members: members.collect(),
        };
        value.encode(VALUE_VERSION)
    }

    pub fn from_record(id: Arc<str>, value: &GroupValue<'_>) -> ClassicGroup {
        let mut group = ClassicGroup::new(id, value.state_timestamp);
        if value.state_timestamp < 0 {
            group.state_since_ms = None;
        }
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type).filter(|name| !name.is_empty()).map(Arc::from);
        group.protocol = value.protocol.map(Arc::from);
        group.leader = value.leader.map(Arc::from);
        for member in &value.members {
            group.take_in(loaded(member, value.protocol.unwrap_or_default()));
        }
        if !group.members.is_empty() {
            group.state = State::Stable;
        }
        group.subscribed = group.compute_subscribed();
        group
    }
}

fn loaded(value: &MemberValue<'_>, protocol: &str) -> Member {
    Member {
        id: value.member_id.into(),
        instance_id: value.group_instance_id.map(Arc::from),
        client_id: value.client_id.into(),
        client_host: value.client_host.into(),
        // Before version 1 the session's was the rebalance's, too.
        rebalance_timeout_ms: match value.rebalance_timeout_ms {
            -1 => value.session_timeout_ms,
            known => known,
        },
        session_timeout_ms: value.session_timeout_ms,
        protocols: vec![Protocol { name: protocol.into(), metadata: value.subscription.into() }],
        assignment: value.assignment.into(),
        joining: None,
        syncing: None,
        is_new: false,
        owes_sync: false,
        session: Alarm::default(),
    }
}
