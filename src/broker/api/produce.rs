//! Produce (0): split the request by home shard, append, answer when every shard has.
//!
//! Lives on the connection shard. The column: decode as views, cut the frame into its batches without copying, check each (CRC included)
//! here where its bytes are in the cache, one message per home shard. Everything up to the lanes happens before the next request of the
//! connection is read; the rest is a countdown.

use super::metadata::is_internal;
use super::produce_gate;
use super::request::{ReplyHead, Request, malformed};
use crate::mesh::{ShardReply, ShardRequest};
use crate::net::{Admitted, Answer, CloseReason, Connection, Slot};
use crate::shard::Shard;
use ringlane_metadata::Topic;
use ringlane_partition::{
    Acks, AppendEntry, AppendFailure, AppendReply, AppendRequest, AppendResult, TopicConfig, TopicPartition,
    prepare_batch,
};
use ringlane_protocol::hot::{ProduceResponseWriter, ProduceView};
use ringlane_protocol::produce::{BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse};
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::{Buffer, ShardId, spawn, wall_clock_ms};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// First version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;
/// First version whose answer says where the leader is (KIP-951).
const LEADER_HINTS_FROM: i16 = 10;
/// The only client that may write to topics which Kafka keeps for itself.
const ADMIN_CLIENT_ID: &str = "__admin_client";
/// Attribute bit of a transactional batch, and where the attributes lie in it.
const TRANSACTIONAL_BIT: u8 = 0x10;
const ATTRIBUTES_LOW_AT: usize = 22;

/// Sequences the request and returns; its answer comes later.
pub async fn dispatch(request: Request) -> Result<(), CloseReason> {
    let (shard, responses) = (request.shard().clone(), request.connection.responses.clone());
    let plan = Plan::of(request)?;
    let (version, transaction) = (plan.head.version, plan.transaction.clone());
    let (pending, mut appends) = plan.split(responses.open(0));
    let pending = Rc::new(pending);
    if let Some(transactional_id) = transaction {
        produce_gate::pass(&shard, &pending, &mut appends, transactional_id, version).await;
    }
    if appends.is_empty() {
        pending.answer();
    }
    for append in appends {
        send(&shard, &pending, append).await;
    }
    Ok(())
}

/// Takes one home shard's part there. Waits for a credit only: parts of one connection enter each lane in request order.
async fn send(shard: &Rc<Shard>, pending: &Rc<Pending>, append: ShardAppend) {
    let ShardAppend { to, request, places } = append;
    let pending = pending.clone();
    if to == shard.id {
        shard.home.append(request, move |reply| pending.part_done(&places, Some(reply)));
        return;
    }
    let reply = shard.call(to, ShardRequest::Append(request)).await;
    let waiting = async move {
        let reply = match reply.await {
            Some(ShardReply::Append(reply)) => Some(reply),
            _ => None,
        };
        pending.part_done(&places, reply);
    };
    spawn("produce", waiting).detach();
}

/// The request, decoded: owns everything, borrows nothing.
struct Plan {
    head: ReplyHead,
    connection: Rc<Connection>,
    admitted: Admitted,
    acks: i16,
    timeout_ms: i32,
    /// Why nothing of it may be appended.
    refused: Option<ErrorCode>,
    /// The transactional id, if a batch is transactional.
    transaction: Option<Arc<str>>,
    topics: Vec<PlannedTopic>,
    /// One per partition, in request order.
    entries: Vec<PlannedEntry>,
    frame: Buffer,
}

struct PlannedTopic {
    /// As the client named it, for the answer: by name below version 13, by id from there on.
    name: Arc<str>,
    id: TopicId,
    /// The topic, or why nothing can be appended to it.
    topic: Result<Arc<Topic>, ErrorCode>,
    partitions: usize,
}

struct PlannedEntry {
    partition: i32,
    /// In the frame.
    records: Range<usize>,
    topic: usize,
}

/// What goes to one home shard, and where in the answer its results belong.
pub struct ShardAppend {
    pub to: ShardId,
    pub request: AppendRequest,
    pub places: Vec<usize>,
}

impl Plan {
    fn of(request: Request) -> Result<Plan, CloseReason> {
        let image = request.shard().image();
        let by_id = request.version >= TOPIC_IDS_FROM;
        let view = ProduceView::parse(&request.frame, request.body_at(), request.version).map_err(malformed)?;
        let mut topics = Vec::with_capacity(view.topics().len());
        let mut entries = Vec::new();
        let mut is_transactional = false;
        for asked in view.topics() {
            let topic = if by_id { image.topic(asked.topic_id) } else { image.topic_by_name(asked.name) };
            let partitions = asked.partitions();
            topics.push(PlannedTopic {
                name: topic.map_or_else(|| Arc::from(asked.name), |topic| topic.name.clone()),
                id: asked.topic_id,
                topic: may_append(topic, &request),
                partitions: partitions.len(),
            });
            for asked in partitions {
                let records = asked.records.unwrap_or_default();
                is_transactional |= request.frame[records.clone()]
                    .get(ATTRIBUTES_LOW_AT)
                    .is_some_and(|attributes| attributes & TRANSACTIONAL_BIT != 0);
                entries.push(PlannedEntry { partition: asked.index, records, topic: topics.len() - 1 });
            }
        }
        let refused = match view.acks {
            // A transaction without a name has no coordinator that could end it.
            _ if is_transactional && view.transactional_id.is_none() => {
                Some(ErrorCode::TransactionalIdAuthorizationFailed)
            }
            acks if Acks::from_wire(acks).is_none() => Some(ErrorCode::InvalidRequiredAcks),
            _ => None,
        };
        let (acks, timeout_ms) = (view.acks, view.timeout_ms);
        let transaction = view.transactional_id.filter(|_| is_transactional).map(Arc::from);
        let head = request.reply_head();
        let Request { connection, frame, admitted, .. } = request;
        Ok(Plan { head, connection, admitted, acks, timeout_ms, refused, transaction, topics, entries, frame })
    }

    /// Cuts the frame and checks the batches. Partitions that cannot be appended have their result already.
    fn split(self, slot: Slot) -> (Pending, Vec<ShardAppend>) {
        let Plan { head, connection, admitted, acks, timeout_ms, refused, topics, entries, mut frame, .. } = self;
        let shard = connection.shard.clone();
        let acks_wanted = Acks::from_wire(acks).unwrap_or(Acks::All);
        let now_ms = wall_clock_ms();
        let mut frame_at = 0;
        let mut results = Vec::with_capacity(entries.len());
        let mut appends: Vec<ShardAppend> = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            let records = cut(&mut frame, &mut frame_at, &entry.records);
            let home = match refused {
                Some(error) => Err(error),
                None => topics[entry.topic].place_of(&shard, entry.partition),
            };
            let (at, config) = match home {
                Ok(found) => found,
                Err(error) => {
                    results.push(Some(failed(error)));
                    continue;
                }
            };
            results.push(None);
            let batch = prepare_batch(records, head.version, &config, now_ms);
            let to = shard.placement.home(at.topic_id, at.partition);
            let index = appends.iter().position(|append| append.to == to).unwrap_or_else(|| {
                let request = AppendRequest { acks: acks_wanted, timeout_ms, entries: Vec::new() };
                appends.push(ShardAppend { to, request, places: Vec::new() });
                appends.len() - 1
            });
            appends[index].request.entries.push(AppendEntry { at, guard: None, batch });
            appends[index].places.push(place);
        }
        let pending = Pending {
            head,
            connection: Rc::downgrade(&connection),
            acks,
            topics,
            partitions: entries.into_iter().map(|entry| entry.partition).collect(),
            results: RefCell::new(results),
            parts_left: Cell::new(appends.len()),
            slot: Cell::new(Some(slot)),
            admitted: Cell::new(Some(admitted)),
        };
        (pending, appends)
    }
}

fn may_append(topic: Option<&Arc<Topic>>, request: &Request) -> Result<Arc<Topic>, ErrorCode> {
    match topic {
        None if request.version >= TOPIC_IDS_FROM => Err(ErrorCode::UnknownTopicId),
        None => Err(ErrorCode::UnknownTopicOrPartition),
        Some(topic) if is_internal(&topic.name) && request.client_id() != ADMIN_CLIENT_ID => {
            Err(ErrorCode::InvalidTopicException)
        }
        Some(topic) => Ok(topic.clone()),
    }
}

impl PlannedTopic {
    /// The partition and what its records must be like.
    fn place_of(&self, shard: &Shard, partition: i32) -> Result<(TopicPartition, Arc<TopicConfig>), ErrorCode> {
        let topic = self.topic.as_ref().map_err(|error| *error)?;
        topic.partition(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let config = shard.topic_config(topic.id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        Ok((TopicPartition { topic_id: topic.id, partition }, config))
    }
}

/// Takes `range` out of the frame; what lies before it is given up.
fn cut(frame: &mut Buffer, frame_at: &mut usize, range: &Range<usize>) -> Buffer {
    if range.is_empty() {
        return Buffer::take(0);
    }
    drop(frame.split_to(range.start - *frame_at));
    *frame_at = range.end;
    frame.split_to(range.len())
}

/// A request whose parts are with their home shards.
pub struct Pending {
    head: ReplyHead,
    /// Its shard's partitions keep this request, and the connection its shard: held strongly they would keep each other for ever.
    connection: Weak<Connection>,
    acks: i16,
    topics: Vec<PlannedTopic>,
    partitions: Vec<i32>,
    results: RefCell<Vec<Option<AppendResult>>>,
    parts_left: Cell<usize>,
    slot: Cell<Option<Slot>>,
    /// Held until the bytes are stable: this is what bounds unwritten data.
    admitted: Cell<Option<Admitted>>,
}

impl Pending {
    /// An entry that goes to no home shard has its result.
    pub fn settle(&self, place: usize, result: AppendResult) {
        self.results.borrow_mut()[place] = Some(result);
    }

    /// Parts of which every entry has its result.
    pub fn parts_gone(&self, count: usize) {
        self.parts_left.set(self.parts_left.get() - count);
    }

    fn part_done(&self, places: &[usize], reply: Option<AppendReply>) {
        {
            let mut results = self.results.borrow_mut();
            // No reply: that shard is stopping. The client asks for the leader again.
            let answers =
                reply.map_or_else(|| vec![failed(ErrorCode::NotLeaderOrFollower); places.len()], |reply| reply.results);
            assert_eq!(answers.len(), places.len(), "a home shard answers every entry");
            places.iter().zip(answers).for_each(|(&place, answer)| results[place] = Some(answer));
        }
        self.parts_left.set(self.parts_left.get() - 1);
        if self.parts_left.get() == 0 {
            self.answer();
        }
    }

    fn answer(&self) {
        drop(self.admitted.take());
        let Some(slot) = self.slot.take() else { return };
        let results = self.results.borrow();
        if self.acks == 0 {
            let failure = results.iter().flatten().find_map(|result| result.failure.as_ref());
            slot.answer(match failure {
                Some(failure) => Answer::Close(CloseReason::UnacknowledgedFailure(failure.error)),
                None => Answer::Nothing,
            });
            return;
        }
        // Gone: nobody is left to read an answer.
        let Some(connection) = self.connection.upgrade() else { return };
        slot.answer(self.encode(&connection, &results));
    }

    fn encode(&self, connection: &Connection, results: &[Option<AppendResult>]) -> Answer {
        let shard = &connection.shard;
        let hints = results.iter().flatten().filter_map(|result| result.current_leader);
        let leaders: Vec<i32> = match self.head.version {
            LEADER_HINTS_FROM.. => hints.map(|leader| leader.leader_id).collect(),
            _ => Vec::new(),
        };
        let endpoints = shard.endpoints_of(&shard.image(), connection, &leaders);
        let nodes = endpoints.iter().map(|node| NodeEndpoint {
            node_id: node.id,
            host: &node.host,
            port: node.port,
            rack: node.rack.as_deref(),
        });
        let nodes = nodes.collect();
        self.head.reply_by_hand(shard, |writer| {
            let mut body = ProduceResponseWriter::begin(writer, self.head.version, self.topics.len());
            let mut rest = self.partitions.iter().zip(results);
            for topic in &self.topics {
                body.topic(&topic.name, topic.id, topic.partitions);
                rest.by_ref()
                    .take(topic.partitions)
                    .for_each(|(&index, result)| body.partition(&partition_response(index, result.as_ref())));
            }
            body.finish(0, &nodes);
        })
    }
}

fn partition_response(index: i32, result: Option<&AppendResult>) -> PartitionProduceResponse<'_> {
    let Some(result) = result else {
        return PartitionProduceResponse { index, error_code: ErrorCode::UnknownServerError, ..Default::default() };
    };
    let failure = result.failure.as_ref();
    let faults = failure.map_or(&[][..], |failure| &failure.record_errors);
    PartitionProduceResponse {
        index,
        error_code: result.error(),
        base_offset: result.base_offset,
        log_append_time_ms: result.log_append_time_ms,
        log_start_offset: result.log_start_offset,
        record_errors: faults
            .iter()
            .map(|fault| BatchIndexAndErrorMessage {
                batch_index: fault.index,
                batch_index_error_message: Some(&fault.message),
            })
            .collect(),
        error_message: failure.and_then(|failure| failure.message.as_deref()),
        current_leader: result.current_leader.map_or_else(Default::default, |leader| LeaderIdAndEpoch {
            leader_id: leader.leader_id,
            leader_epoch: leader.leader_epoch,
        }),
    }
}

pub fn failed(error: ErrorCode) -> AppendResult {
    let failure = Some(AppendFailure { error, message: None, record_errors: Vec::new() });
    AppendResult { base_offset: -1, log_append_time_ms: -1, log_start_offset: -1, failure, current_leader: None }
}
