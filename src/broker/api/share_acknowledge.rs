//! ShareAcknowledge (79): what a member of a share group says of the records that it has; and the rules that its acknowledgements in
//! ShareFetch follow as well.

use super::Handled;
use super::request::Request;
use super::share_group_heartbeat::is_valid_member;
use crate::shard::{Node, Shard};
use crate::share::{AcknowledgeEntry, FINAL_EPOCH, SessionAsked, SessionTold, acknowledge_all, group_settings};
use ringlane_coordinator::share_partition::{AcknowledgeType, AcknowledgementBatch as Batch};
use ringlane_metadata::Image;
use ringlane_partition::TopicPartition;
use ringlane_protocol::share_acknowledge::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareAcknowledgeRequest, ShareAcknowledgeResponse,
    ShareAcknowledgeTopicResponse,
};
use ringlane_protocol::{ErrorCode, TopicId};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// First version that can renew locks.
pub const RENEW_FROM: i16 = 2;

/// One batch as it comes: offsets, and types as numbers.
pub type SaidBatch = (i64, i64, Vec<i8>);
/// One code a partition, with a message if there is more to say.
pub type Acknowledged = BTreeMap<TopicPartition, (ErrorCode, Option<String>)>;

pub async fn answer(request: Request) -> Handled {
    let (group, member, epoch, is_renew, said) = {
        let body: ShareAcknowledgeRequest = request.body()?;
        let said = body.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                let at = TopicPartition { topic_id: topic.topic_id, partition: partition.partition_index };
                let batches = partition.acknowledgement_batches.iter();
                let batch = |batch: &ringlane_protocol::share_acknowledge::AcknowledgementBatch| {
                    (batch.first_offset, batch.last_offset, batch.acknowledge_types.clone())
                };
                (at, batches.map(batch).collect())
            })
        });
        let said: Vec<(TopicPartition, Vec<SaidBatch>)> = said.collect();
        let owned = |text: Option<&str>| text.map(Arc::<str>::from);
        (owned(body.group_id), owned(body.member_id), body.share_session_epoch, body.is_renew_ack, said)
    };
    let refused = |error_code, message: &str| {
        let error_message = Some(message).filter(|message| !message.is_empty());
        request.reply(&ShareAcknowledgeResponse { error_code, error_message, ..Default::default() })
    };
    let Some(group) = group else {
        return Ok(refused(ErrorCode::InvalidRequest, "Invalid group id in the request."));
    };
    let Some(member) = member.filter(|member| is_valid_member(Some(member))) else {
        return Ok(refused(ErrorCode::InvalidRequest, "Invalid member id in the request."));
    };
    let shard = request.shard().clone();
    let asked = SessionAsked::Acknowledge { group: group.clone(), member: member.clone(), epoch };
    match shard.ask_share_session(&group, asked).await {
        Some(SessionTold::Acknowledge(Ok(()))) => {}
        Some(SessionTold::Acknowledge(Err(error))) => return Ok(refused(error, "")),
        _ => return Ok(refused(ErrorCode::CoordinatorNotAvailable, "")),
    }
    let is_renew = is_renew && request.version >= RENEW_FROM;
    let acknowledged = acknowledge(&shard, &group, &member, said, request.version, is_renew).await;
    if epoch == FINAL_EPOCH {
        shard.end_share_session(&group, &member, None).await;
    }
    Ok(reply(&request, &group, &acknowledged))
}

/// Checks what needs no share partition, then asks the home shards.
pub async fn acknowledge(
    shard: &Rc<Shard>,
    group: &Arc<str>,
    member: &Arc<str>,
    said: Vec<(TopicPartition, Vec<SaidBatch>)>,
    version: i16,
    is_renew: bool,
) -> Acknowledged {
    let image = shard.image();
    let mut answers = Acknowledged::new();
    let mut entries = Vec::new();
    for (at, batches) in said {
        match check(&image, at, &batches, version, is_renew, shard.identity.node_id) {
            Ok(batches) if batches.is_empty() => drop(answers.insert(at, (ErrorCode::None, None))),
            Ok(batches) => entries.push(AcknowledgeEntry { at, batches }),
            Err(error) => drop(answers.insert(at, (error, None))),
        }
    }
    answers.extend(acknowledge_all(shard, group, member, entries).await);
    answers
}

fn check(
    image: &Image,
    at: TopicPartition,
    batches: &[SaidBatch],
    version: i16,
    is_renew: bool,
    node_id: i32,
) -> Result<Vec<Batch>, ErrorCode> {
    let batches = parse(batches, version, is_renew).ok_or(ErrorCode::InvalidRequest)?;
    let topic = image.topic(at.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
    let partition = topic.partition(at.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    match partition.leader == node_id {
        true => Ok(batches),
        false => Err(ErrorCode::NotLeaderOrFollower),
    }
}

/// `None`: batches out of order, or types that do not fit them.
fn parse(batches: &[SaidBatch], version: i16, is_renew: bool) -> Option<Vec<Batch>> {
    let mut before = -1;
    let mut parsed = Vec::with_capacity(batches.len());
    for (first_offset, last_offset, types) in batches {
        let (first_offset, last_offset) = (*first_offset, *last_offset);
        let count = last_offset.checked_sub(first_offset)?.checked_add(1)?;
        if count <= 0 || first_offset < before || !(types.len() == 1 || types.len() as i64 == count) {
            return None;
        }
        let kind = |number: &i8| {
            let kind = AcknowledgeType::from_wire(*number)?;
            let is_allowed = kind != AcknowledgeType::Renew || (version >= RENEW_FROM && is_renew);
            is_allowed.then_some(kind)
        };
        let types = types.iter().map(kind).collect::<Option<Vec<_>>>()?;
        before = last_offset;
        parsed.push(Batch { first_offset, last_offset, types });
    }
    Some(parsed)
}

fn reply(request: &Request, group: &str, acknowledged: &Acknowledged) -> crate::net::Answer {
    let shard = request.shard();
    let image = shard.image();
    let mut topics: BTreeMap<TopicId, Vec<PartitionData<'_>>> = BTreeMap::new();
    let mut leaders = Vec::new();
    for (at, (error_code, message)) in acknowledged {
        let (leader_id, leader_epoch) = leader_of(&image, *at, *error_code);
        leaders.extend((leader_id >= 0).then_some(leader_id));
        topics.entry(at.topic_id).or_default().push(PartitionData {
            partition_index: at.partition,
            error_code: *error_code,
            error_message: message.as_deref(),
            current_leader: LeaderIdAndEpoch { leader_id, leader_epoch },
        });
    }
    let endpoints = shard.endpoints_of(&image, &request.connection, &leaders);
    let responses =
        topics.into_iter().map(|(topic_id, partitions)| ShareAcknowledgeTopicResponse { topic_id, partitions });
    request.reply(&ShareAcknowledgeResponse {
        acquisition_lock_timeout_ms: lock_timeout_ms(shard, group),
        responses: responses.collect(),
        node_endpoints: endpoints.iter().map(endpoint).collect(),
        ..Default::default()
    })
}

/// Who leads the partition, if the error is that this broker does not (KIP-951).
pub fn leader_of(image: &Image, at: TopicPartition, error: ErrorCode) -> (i32, i32) {
    let is_moved = matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
    let partition = image.partition(at.topic_id, at.partition).filter(|_| is_moved);
    partition.map_or((0, 0), |partition| (partition.leader, partition.leader_epoch))
}

pub fn lock_timeout_ms(shard: &Shard, group: &str) -> i32 {
    i32::try_from(group_settings(shard, group).partition.lock_ms).unwrap_or(i32::MAX)
}

fn endpoint(node: &Node) -> NodeEndpoint<'_> {
    NodeEndpoint { node_id: node.id, host: &node.host, port: node.port, rack: node.rack.as_deref() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types that do not fit their offsets would acknowledge records that nobody has spoken of.
    #[test]
    fn batches_must_be_in_order_and_their_types_must_fit() {
        let ok = |batches: &[SaidBatch], version, is_renew| parse(batches, version, is_renew).is_some();
        assert!(ok(&[(0, 4, vec![1]), (5, 6, vec![1, 2])], 1, false));
        assert!(!ok(&[(0, 4, vec![1]), (3, 6, vec![1])], 1, false));
        assert!(!ok(&[(4, 0, vec![1])], 1, false));
        assert!(!ok(&[(0, 4, vec![])], 1, false));
        assert!(!ok(&[(0, 4, vec![1, 1])], 1, false));
        assert!(!ok(&[(0, 0, vec![5])], 2, true));
        assert!(!ok(&[(0, 0, vec![-1])], 2, true));
        assert!(!ok(&[(0, 0, vec![4])], 1, true));
        assert!(!ok(&[(0, 0, vec![4])], 2, false));
        assert!(ok(&[(0, 0, vec![4])], 2, true));
        assert!(!ok(&[(i64::MIN, i64::MAX, vec![1])], 2, true));
    }
}
