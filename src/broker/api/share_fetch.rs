//! ShareFetch (78): a member of a share group gets records, and says what became of those that it got before.
//!
//! Lives on the connection shard. The session says what is fetched; acknowledgements come first; then the home shards give what there is, and
//! if that is nothing the fetch waits for any of them to have something. A waiting fetch holds no frame.

use super::request::{ReplyHead, Request};
use super::share_acknowledge::{Acknowledged, RENEW_FROM, SaidBatch, acknowledge, leader_of, lock_timeout_ms};
use super::share_group_heartbeat::is_valid_member;
use super::{Handled, later_promising};
use crate::net::{Answer, CloseReason, Connection, QUEUED_BYTES_MAX, Response};
use crate::shard::Shard;
use crate::share::{FINAL_EPOCH, FetchedPartition, SessionAsked, SessionTold, ShareFetchCall, fetch_all, watch_all};
use ringlane_coordinator::share_partition::AcquireMode;
use ringlane_partition::TopicPartition;
use ringlane_protocol::share_fetch::{
    AcquiredRecords, LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareFetchRequest, ShareFetchResponse,
    ShareFetchableTopicResponse,
};
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::{Permit, now, sleep};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Parts of the shard's fetch budget that one answer may take.
const SHARES_OF_BUDGET: usize = 16;
/// Between two looks when the first had nothing although it was told that there was.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The request, owned.
struct Asked {
    group: Option<Arc<str>>,
    member: Option<Arc<str>>,
    epoch: i32,
    max_wait_ms: i32,
    min_bytes: i32,
    max_bytes: i32,
    max_records: i32,
    batch_size: i32,
    mode: Option<AcquireMode>,
    is_renew: bool,
    wanted: Vec<TopicPartition>,
    said: Vec<(TopicPartition, Vec<SaidBatch>)>,
    forgotten: Vec<TopicPartition>,
}

/// Begins the fetch and returns: it may wait for long.
pub async fn dispatch(request: Request) -> Result<(), CloseReason> {
    let asked = parse(&request)?;
    let promised_bytes = (asked.max_bytes.max(0) as usize).min(QUEUED_BYTES_MAX);
    if request.connection.responses.room_for(promised_bytes).await {
        later_promising(request, promised_bytes, |request| answer(request, asked));
    }
    Ok(())
}

fn parse(request: &Request) -> Result<Asked, CloseReason> {
    let body: ShareFetchRequest = request.body()?;
    let mut wanted = Vec::new();
    let mut said = Vec::new();
    for topic in &body.topics {
        for partition in &topic.partitions {
            let at = TopicPartition { topic_id: topic.topic_id, partition: partition.partition_index };
            wanted.push(at);
            let batches = partition.acknowledgement_batches.iter();
            let batches: Vec<SaidBatch> =
                batches.map(|batch| (batch.first_offset, batch.last_offset, batch.acknowledge_types.clone())).collect();
            if !batches.is_empty() {
                said.push((at, batches));
            }
        }
    }
    let forgotten = body.forgotten_topics_data.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| TopicPartition { topic_id: topic.topic_id, partition: *partition })
    });
    Ok(Asked {
        group: body.group_id.map(Arc::from),
        member: body.member_id.map(Arc::from),
        epoch: body.share_session_epoch,
        max_wait_ms: body.max_wait_ms,
        min_bytes: body.min_bytes,
        max_bytes: body.max_bytes.min(request.shard().settings.fetch_bytes_max as i32),
        max_records: body.max_records,
        batch_size: body.batch_size,
        mode: AcquireMode::from_wire(body.share_acquire_mode),
        is_renew: body.is_renew_ack && request.version >= RENEW_FROM,
        forgotten: forgotten.collect(),
        wanted,
        said,
    })
}

async fn answer(request: Request, asked: Asked) -> Handled {
    let connection = request.connection.clone();
    let head = request.reply_head();
    // A fetch may wait for long: it must not hold its frame, nor the budget that admitted it.
    drop(request);
    let shard = &connection.shard;
    let refused = |error_code, message: &str| {
        let error_message = Some(message).filter(|message| !message.is_empty());
        head.reply(shard, &ShareFetchResponse { error_code, error_message, ..Default::default() })
    };
    let Some(group) = &asked.group else {
        return Ok(refused(ErrorCode::InvalidRequest, "Invalid group id in the request."));
    };
    let Some(member) = asked.member.as_ref().filter(|member| is_valid_member(Some(member))) else {
        return Ok(refused(ErrorCode::InvalidRequest, "Invalid member id in the request."));
    };
    if let Err(message) = asked.check() {
        return Ok(refused(ErrorCode::InvalidRequest, message));
    }
    let session = SessionAsked::Fetch {
        group: group.clone(),
        member: member.clone(),
        epoch: asked.epoch,
        wanted: asked.wanted.clone(),
        forgotten: asked.forgotten.clone(),
        acknowledges: !asked.said.is_empty(),
        connection: (shard.id.0, connection.number),
    };
    let partitions = match shard.ask_share_session(group, session).await {
        Some(SessionTold::Fetch(Ok(partitions))) => partitions,
        Some(SessionTold::Fetch(Err(ErrorCode::ShareSessionLimitReached))) => {
            // Who comes again at once would come for ever.
            sleep(Duration::from_millis(asked.max_wait_ms.max(0) as u64)).await;
            return Ok(refused(ErrorCode::ShareSessionLimitReached, ""));
        }
        Some(SessionTold::Fetch(Err(error))) => return Ok(refused(error, "")),
        _ => return Ok(refused(ErrorCode::CoordinatorNotAvailable, "")),
    };
    let session_key = (group.clone(), member.clone());
    if asked.epoch == FINAL_EPOCH {
        connection.share_sessions.borrow_mut().remove(&session_key);
    } else {
        connection.share_sessions.borrow_mut().insert(session_key);
    }
    let acknowledged = acknowledge(shard, group, member, asked.said.clone(), head.version, asked.is_renew).await;
    let (fetched, held) = match asked.is_renew || asked.epoch == FINAL_EPOCH {
        // While records are fetched the locks that were renewed run out.
        true => (Vec::new(), None),
        false => fetch(shard, group, member, &asked, partitions).await,
    };
    if asked.epoch == FINAL_EPOCH {
        shard.end_share_session(group, member, None).await;
    }
    Ok(reply(head, &connection, group, fetched, acknowledged, held))
}

impl Asked {
    fn check(&self) -> Result<(), &'static str> {
        let limits = [self.max_bytes, self.min_bytes, self.max_records, self.max_wait_ms];
        if self.is_renew && limits.iter().any(|limit| *limit != 0) {
            return Err("maxBytes, minBytes, maxRecords and maxWaitMs must be set to 0, if isRenewAck is true.");
        }
        if self.mode.is_none() {
            return Err("Unknown share acquire mode.");
        }
        Ok(())
    }
}

/// What there is, or what comes in time; with the memory that it holds.
async fn fetch(
    shard: &Rc<Shard>,
    group: &Arc<str>,
    member: &Arc<str>,
    asked: &Asked,
    partitions: Vec<TopicPartition>,
) -> (Vec<FetchedPartition>, Option<Permit>) {
    let (mut failed, entries) = resolve(shard, partitions);
    if entries.is_empty() || asked.max_records <= 0 || asked.max_bytes <= 0 {
        return (failed, None);
    }
    let bytes_max = (asked.max_bytes as usize).min(shard.fetch_budget.limit_bytes() / SHARES_OF_BUDGET).max(1);
    let deadline = now() + Duration::from_millis(asked.max_wait_ms.max(0) as u64);
    let min_bytes = asked.min_bytes.min(bytes_max as i32);
    if min_bytes > 1 && failed.is_empty() {
        watch_all(shard, group, member, entries.clone(), deadline.since(now()), min_bytes).await;
    }
    loop {
        let held = shard.fetch_budget.acquire(bytes_max).await;
        let call = ShareFetchCall {
            entries: entries.clone(),
            records_max: asked.max_records.into(),
            bytes_max: bytes_max as i32,
            batch_size: asked.batch_size.into(),
            mode: asked.mode.unwrap_or_default(),
            max_wait_ms: deadline.since(now()).as_millis() as i32,
        };
        let fetched = fetch_all(shard, group, member, call).await;
        if !fetched.is_empty() || !failed.is_empty() || now() >= deadline {
            failed.extend(fetched);
            return (failed, Some(held));
        }
        drop(held);
        let began = now();
        watch_all(shard, group, member, entries.clone(), deadline.since(began), 1).await;
        if began.elapsed() < LOOK_AGAIN_AFTER / 4 && now() < deadline {
            sleep(LOOK_AGAIN_AFTER.min(deadline.since(now()))).await;
        }
    }
}

/// Partitions that cannot be read here have their answer already.
fn resolve(shard: &Shard, partitions: Vec<TopicPartition>) -> (Vec<FetchedPartition>, Vec<TopicPartition>) {
    let image = shard.image();
    let (mut failed, mut entries) = (Vec::new(), Vec::new());
    for at in partitions {
        let error = match image.topic(at.topic_id).map(|topic| topic.partition(at.partition)) {
            None => ErrorCode::UnknownTopicId,
            Some(None) => ErrorCode::UnknownTopicOrPartition,
            Some(Some(partition)) if partition.leader != shard.identity.node_id => ErrorCode::NotLeaderOrFollower,
            Some(Some(_)) => {
                entries.push(at);
                continue;
            }
        };
        failed.push(FetchedPartition::failed(at, error));
    }
    (failed, entries)
}

fn reply(
    head: ReplyHead,
    connection: &Connection,
    group: &str,
    fetched: Vec<FetchedPartition>,
    mut acknowledged: Acknowledged,
    held: Option<Permit>,
) -> Answer {
    let shard = &connection.shard;
    let image = shard.image();
    let records: Vec<Vec<u8>> = fetched.iter().map(|partition| partition.slices.concat()).collect();
    let mut answers: BTreeMap<TopicId, Vec<PartitionData<'_>>> = BTreeMap::new();
    let said: Vec<(TopicPartition, ErrorCode, Option<String>)> = fetched
        .iter()
        .map(|partition| {
            let (error, message) = acknowledged.remove(&partition.at).unwrap_or((ErrorCode::None, None));
            (partition.at, error, message)
        })
        .collect();
    let mut leaders = Vec::new();
    for ((partition, records), (_, acknowledge_error, message)) in fetched.iter().zip(&records).zip(&said) {
        let (leader_id, leader_epoch) = leader_of(&image, partition.at, partition.error);
        leaders.extend((partition.error == ErrorCode::NotLeaderOrFollower).then_some(leader_id));
        let acquired = partition.acquired.iter().map(|acquired| AcquiredRecords {
            first_offset: acquired.first_offset,
            last_offset: acquired.last_offset,
            delivery_count: acquired.delivery_count,
        });
        answers.entry(partition.at.topic_id).or_default().push(PartitionData {
            partition_index: partition.at.partition,
            error_code: partition.error,
            acknowledge_error_code: *acknowledge_error,
            acknowledge_error_message: message.as_deref(),
            current_leader: LeaderIdAndEpoch { leader_id, leader_epoch },
            records,
            acquired_records: acquired.collect(),
            ..Default::default()
        });
    }
    for (at, (error, message)) in &acknowledged {
        answers.entry(at.topic_id).or_default().push(PartitionData {
            partition_index: at.partition,
            acknowledge_error_code: *error,
            acknowledge_error_message: message.as_deref(),
            ..Default::default()
        });
    }
    let endpoints = shard.endpoints_of(&image, connection, &leaders);
    let response = ShareFetchResponse {
        acquisition_lock_timeout_ms: lock_timeout_ms(shard, group),
        responses: answers
            .into_iter()
            .map(|(topic_id, partitions)| ShareFetchableTopicResponse { topic_id, partitions })
            .collect(),
        node_endpoints: endpoints
            .iter()
            .map(|node| NodeEndpoint {
                node_id: node.id,
                host: &node.host,
                port: node.port,
                rack: node.rack.as_deref(),
            })
            .collect(),
        ..Default::default()
    };
    match head.reply(shard, &response) {
        Answer::Send(Response { parts, .. }) => Answer::Send(Response { parts, held }),
        other => other,
    }
}
