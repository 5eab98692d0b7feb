//! Offsets go: by request, with their group, with their topic, or because they have grown old.

use super::{Committed, Offsets};
use crate::group::classic::{ClassicGroup, State};
use crate::group::options::RECORD_OVERHEAD_BYTES;
use crate::group::{Group, Turn};
use ringlane_protocol::internal::consumer_offsets::OffsetKey;
use ringlane_protocol::{ErrorCode, TopicId};
use std::sync::Arc;

/// OffsetDelete, after the group has agreed. One code a partition.
pub fn delete_requested(
    offsets: &mut Offsets,
    group: &Group,
    id: &str,
    topics: &[(String, Vec<i32>)],
    turn: &mut Turn<'_>,
) -> Vec<Vec<ErrorCode>> {
    let mut codes = Vec::with_capacity(topics.len());
    for (topic, partitions) in topics {
        if group.is_subscribed_to(topic) {
            codes.push(vec![ErrorCode::GroupSubscribedToTopic; partitions.len()]);
            continue;
        }
        for &partition in partitions {
            if offsets.get(id, topic, partition).is_some() || offsets.is_pending(id, topic, partition) {
                remove(offsets, id, topic, partition, turn);
            }
        }
        codes.push(vec![ErrorCode::None; partitions.len()]);
    }
    codes
}

/// All of a group that is deleted, pending ones as well. Says no, and changes nothing, if one batch could not take them.
pub fn delete_all(offsets: &mut Offsets, id: &str, turn: &mut Turn<'_>) -> bool {
    let Some(group) = offsets.by_group.get(id) else { return true };
    let committed =
        group.topics.iter().flat_map(|(topic, kept)| kept.keys().map(|partition| (topic.clone(), *partition)));
    let pending = group.open.iter().flat_map(|(topic, open)| open.keys().map(|partition| (topic.clone(), *partition)));
    let mut keys: Vec<(Arc<str>, i32)> = committed.chain(pending).collect();
    keys.sort();
    keys.dedup();
    let bytes: usize = keys
        .iter()
        .map(|(topic, partition)| {
            OffsetKey { group: id, topic, partition: *partition }.encode().len() + RECORD_OVERHEAD_BYTES
        })
        .sum();
    if bytes > turn.options.records_bytes_max {
        return false;
    }
    for (topic, partition) in keys {
        remove(offsets, id, &topic, partition, turn);
    }
    true
}

/// Offsets of topics that are gone, at most `max`: the rest at the next call. An offset without a topic's id is from a time when topics had none.
pub fn of_deleted_topics(
    offsets: &mut Offsets,
    deleted: &[(TopicId, String)],
    max: usize,
    turn: &mut Turn<'_>,
) -> bool {
    let mut keys: Vec<(Arc<str>, Arc<str>, i32)> = Vec::new();
    let is_gone = |topic_id: TopicId, id: TopicId| topic_id.is_zero() || topic_id == id;
    for (group, kept) in &offsets.by_group {
        for (id, name) in deleted {
            let Some((topic, partitions)) = kept.topics.get_key_value(name.as_str()) else { continue };
            let gone = partitions.iter().filter(|(_, committed)| is_gone(committed.topic_id, *id));
            keys.extend(gone.map(|(partition, _)| (group.clone(), topic.clone(), *partition)));
        }
    }
    for pending in offsets.pending.values() {
        for (id, name) in deleted {
            let gone = pending.iter().filter(|((_, topic, _), kept)| **topic == **name && is_gone(kept.topic_id, *id));
            keys.extend(gone.map(|(key, _)| key.clone()));
        }
    }
    keys.sort();
    keys.dedup();
    let is_done = keys.len() <= max;
    for (group, topic, partition) in keys.into_iter().take(max) {
        remove(offsets, &group, &topic, partition, turn);
    }
    is_done
}

/// Kafka's rules of expiry (KIP-211). `Some(true)`: nothing is left of the group's offsets. `None`: there was not room for all.
pub fn expire_group(offsets: &mut Offsets, group: &Group, id: &str, max: usize, turn: &mut Turn<'_>) -> Option<bool> {
    let Some(kept) = offsets.by_group.get(id) else { return Some(true) };
    let since = match group {
        Group::Classic(classic) => ageing(classic),
        // Only those of topics that no member subscribes to, see below.
        Group::Consumers(_) | Group::Shares(_) => Some(Box::new(|committed: &Committed| committed.commit_ms) as Since),
    };
    let Some(since) = since else { return Some(false) };
    let (now_ms, retention_ms) = (turn.now_ms, turn.options.offsets_retention_ms);
    let mut expired = Vec::new();
    let mut left = 0;
    for (topic, partitions) in &kept.topics {
        let is_subscribed = group.is_subscribed_to(topic);
        for (&partition, committed) in partitions {
            let is_old = match committed.expire_ms {
                Some(expire_ms) => now_ms >= expire_ms,
                None => now_ms - since(committed) >= retention_ms,
            };
            let is_pending = kept.open.get(topic).is_some_and(|open| open.contains_key(&partition));
            match is_old && !is_subscribed && !is_pending {
                true => expired.push((topic.clone(), partition)),
                false => left += 1,
            }
        }
    }
    let is_all = expired.len() <= max;
    let none_left = left == 0 && kept.open.is_empty();
    for (topic, partition) in expired.into_iter().take(max) {
        remove(offsets, id, &topic, partition, turn);
    }
    is_all.then_some(none_left)
}

type Since = Box<dyn Fn(&Committed) -> i64>;

/// Since when an offset of the group counts as unused; `None` while it is in use.
fn ageing(group: &ClassicGroup) -> Option<Since> {
    let since_commit: Since = Box::new(|committed| committed.commit_ms);
    if group.protocol_type().is_none() {
        // Somebody who commits without being a member.
        return Some(since_commit);
    }
    match (group.state(), group.state_since_ms()) {
        (State::Empty, Some(since_ms)) => Some(Box::new(move |_| since_ms)),
        (State::Empty, None) => Some(since_commit),
        (State::Stable, _) if group.is_of_consumers() && group.subscribed().is_some() => Some(since_commit),
        _ => None,
    }
}

fn remove(offsets: &mut Offsets, group: &str, topic: &str, partition: i32, turn: &mut Turn<'_>) {
    let key = OffsetKey { group, topic, partition };
    turn.effects.append(key.encode(), None);
    offsets.remove(&key);
}
