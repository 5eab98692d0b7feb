//! Fetch (1): session, one read per home shard, wait together, answer by reference.
//!
//! Lives on the connection shard. `session` says what the request means, `read` gets it from the home shards and waits for enough, this
//! file turns it into the answer, whose records are slices of the logs' memory. A waiting fetch holds its plan and no frame.

mod read;
mod session;

pub use session::FetchSessions;

use super::request::{ReplyHead, Request, malformed};
use super::{Handled, later_promising};
use crate::net::{Answer, CloseReason, Connection, QUEUED_BYTES_MAX, Response};
use crate::shard::Shard;
use bytes::Bytes;
use read::{Limits, Read};
use ringlane_partition::{Isolation, ReadResult};
use ringlane_protocol::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use ringlane_protocol::hot::{FetchResponseWriter, FetchView};
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::{Permit, now, random_u64};
use session::{Begun, SessionRequest, Told, TopicKey, Wanted};
use std::rc::Rc;

/// First version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;
/// First version whose answer says where the leader is (KIP-951).
const LEADER_HINTS_FROM: i16 = 16;

/// Parts of the shard's fetch budget that one answer may take when the budget is short.
const SHARES_UNDER_PRESSURE: usize = 16;

/// The request, owned.
struct Asked {
    session: SessionRequest,
    limits: Limits,
    isolation: Option<Isolation>,
}

/// Begins the fetch and returns. Its session moves on now, in request order; its reads may wait.
pub async fn dispatch(request: Request) -> Result<(), CloseReason> {
    let asked = parse(&request)?;
    let promised_bytes = (asked.limits.max_bytes as usize).min(QUEUED_BYTES_MAX);
    if request.connection.responses.room_for(promised_bytes).await {
        later_promising(request, promised_bytes, |request| answer(request, asked));
    }
    Ok(())
}

fn parse(request: &Request) -> Result<Asked, CloseReason> {
    let view = FetchView::parse(&request.frame, request.body_at(), request.version).map_err(malformed)?;
    let by_id = request.version >= TOPIC_IDS_FROM;
    let key = |name: &str, id: TopicId| if by_id { TopicKey::Id(id) } else { TopicKey::Name(name.into()) };
    let mut wanted = Vec::new();
    for topic in view.topics() {
        let key = key(topic.name, topic.topic_id);
        wanted.extend(topic.partitions().map(|partition| wanted_of(&key, &partition)));
    }
    let mut forgotten = Vec::new();
    for topic in view.forgotten() {
        let key = key(topic.name, topic.topic_id);
        forgotten.extend(topic.partitions().map(|partition| (key.clone(), partition)));
    }
    let bytes_max = request.shard().settings.fetch_bytes_max as i32;
    Ok(Asked {
        session: SessionRequest { id: view.session_id, epoch: view.session_epoch, by_id, wanted, forgotten },
        limits: Limits {
            max_wait_ms: view.max_wait_ms.max(0),
            min_bytes: view.min_bytes.min(bytes_max),
            max_bytes: view.max_bytes.clamp(0, bytes_max),
        },
        isolation: Isolation::from_wire(view.isolation_level),
    })
}

fn wanted_of(topic: &TopicKey, partition: &FetchPartition) -> Wanted {
    Wanted {
        topic: topic.clone(),
        partition: partition.partition,
        fetch_offset: partition.fetch_offset,
        max_bytes: partition.partition_max_bytes,
        current_leader_epoch: partition.current_leader_epoch,
        last_fetched_epoch: partition.last_fetched_epoch,
    }
}

async fn answer(request: Request, asked: Asked) -> Handled {
    let connection = request.connection.clone();
    let head = request.reply_head();
    // A fetch may wait for long: it must not hold its frame, nor the budget that admitted it.
    drop(request);
    let Some(isolation) = asked.isolation else {
        return Ok(refuse(head, ErrorCode::InvalidRequest));
    };
    let shard = &connection.shard;
    let now_ms = now().as_nanos() / 1_000_000;
    let begun = shard.sessions.borrow_mut().begin(asked.session, now_ms, random_u64());
    let Begun { session_id, incremental, wanted } = match begun {
        Ok(begun) => begun,
        Err(error) => return Ok(refuse(head, error)),
    };
    let (results, held) = read_within_budget(shard, &wanted, asked.limits, isolation).await;
    let told = tell(&connection, session_id, incremental, &wanted, results);
    let parts = encode(head, &connection, session_id, &told);
    Ok(Answer::Send(Response { parts, held }))
}

/// Reads, and takes the budget for what was read. Without enough budget the bytes are given up, and read again, fewer, when other
/// clients have read theirs.
async fn read_within_budget(
    shard: &Rc<Shard>,
    wanted: &[Wanted],
    mut limits: Limits,
    isolation: Isolation,
) -> (Vec<ReadResult>, Option<Permit>) {
    let results = Read::plan(shard, wanted, limits, isolation).run(shard).await;
    let bytes: usize = results.iter().map(|result| result.bytes).sum();
    if bytes == 0 {
        return (results, None);
    }
    if let Some(held) = shard.fetch_budget.try_acquire(bytes) {
        return (results, Some(held));
    }
    drop(results);
    let fewer = bytes.min(shard.fetch_budget.limit_bytes() / SHARES_UNDER_PRESSURE);
    let held = shard.fetch_budget.acquire(fewer).await;
    limits.max_bytes = fewer as i32;
    limits.max_wait_ms = 0;
    (Read::plan(shard, wanted, limits, isolation).run(shard).await, Some(held))
}

/// Notes in the session what the client gets to know; what it need not be told again is left out.
fn tell<'a>(
    connection: &Rc<Connection>,
    session_id: i32,
    incremental: bool,
    wanted: &'a [Wanted],
    results: Vec<ReadResult>,
) -> Vec<(&'a Wanted, ReadResult)> {
    let mut sessions = connection.shard.sessions.borrow_mut();
    let mut tell_one = |wanted: &Wanted, result: &ReadResult| {
        let told = Told {
            error: result.error,
            high_watermark: result.high_watermark,
            log_start_offset: result.log_start_offset,
            has_news: result.bytes > 0 || result.diverging_epoch.is_some(),
        };
        session_id == 0 || sessions.tell(session_id, wanted, told) || !incremental
    };
    wanted.iter().zip(results).filter(|(wanted, result)| tell_one(wanted, result)).collect()
}

/// A whole request that is refused: no partition has an answer of its own.
fn refuse(head: ReplyHead, error: ErrorCode) -> Answer {
    let writer = FetchResponseWriter::begin(head.version, head.correlation_id, 0, error, 0, 0, 0);
    Answer::Send(Response { parts: writer.finish(&Vec::new()), held: None })
}

fn encode(head: ReplyHead, connection: &Connection, session_id: i32, told: &[(&Wanted, ReadResult)]) -> Vec<Bytes> {
    let topics = || told.chunk_by(|(one, _), (next, _)| one.topic == next.topic);
    let mut writer = FetchResponseWriter::begin(
        head.version,
        head.correlation_id,
        0,
        ErrorCode::None,
        session_id,
        topics().count(),
        told.len(),
    );
    for topic in topics() {
        match &topic[0].0.topic {
            TopicKey::Id(id) => writer.topic("", *id, topic.len()),
            TopicKey::Name(name) => writer.topic(name, TopicId::ZERO, topic.len()),
        }
        for (wanted, result) in topic {
            writer.partition(&partition_data(wanted.partition, result), result.slices.iter().cloned());
        }
    }
    let hints: Vec<i32> = match head.version {
        LEADER_HINTS_FROM.. => {
            told.iter().filter_map(|(_, result)| result.current_leader).map(|leader| leader.leader_id).collect()
        }
        _ => Vec::new(),
    };
    let shard = &connection.shard;
    let endpoints = shard.endpoints_of(&shard.image(), connection, &hints);
    let nodes = endpoints.iter().map(|node| NodeEndpoint {
        node_id: node.id,
        host: &node.host,
        port: node.port,
        rack: node.rack.as_deref(),
    });
    writer.finish(&nodes.collect())
}

fn partition_data(partition_index: i32, result: &ReadResult) -> PartitionData<'static> {
    let aborted = result.aborted_transactions.as_ref().map(|transactions| {
        let wire = |transaction: &ringlane_partition::AbortedTransaction| AbortedTransaction {
            producer_id: transaction.producer_id,
            first_offset: transaction.first_offset,
        };
        transactions.iter().map(wire).collect()
    });
    PartitionData {
        partition_index,
        error_code: result.error,
        high_watermark: result.high_watermark,
        last_stable_offset: result.last_stable_offset,
        log_start_offset: result.log_start_offset,
        diverging_epoch: result
            .diverging_epoch
            .map_or_else(Default::default, |end| EpochEndOffset { epoch: end.epoch, end_offset: end.end_offset }),
        current_leader: result.current_leader.map_or_else(Default::default, |leader| LeaderIdAndEpoch {
            leader_id: leader.leader_id,
            leader_epoch: leader.leader_epoch,
        }),
        aborted_transactions: aborted,
        ..Default::default()
    }
}
