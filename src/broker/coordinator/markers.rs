//! Markers of transactions on their way to the partitions of this broker, and what their arrival there means for groups.
//!
//! `send` runs on the coordinator's shard, `serve` on the home shards of the partitions.

use super::outbox::WishedMarker;
use super::{CoordinatorTopic, TransactionInput};
use crate::mesh::{ShardReply, ShardRequest};
use crate::shard::{Shard, ShardImage};
use crate::task::start;
use ringlane_coordinator::transaction::{MarkerRequest, MarkerResult, Outcome, PartitionName};
use ringlane_log::EndMarker;
use ringlane_partition::{AppendReply, AppendResult, MarkerEntry, MarkersRequest, TopicPartition};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::ControlType;
use ringlane_runtime::ShardId;
use std::collections::BTreeMap;
use std::rc::Rc;

/// How long a marker may wait for its disk and replicas before its coordinator asks again.
const MARKER_TIMEOUT_MS: i32 = 30_000;

/// Results of one marker request, as far as they are known.
type Results = Vec<(PartitionName, MarkerResult)>;

/// One home shard's part: its entries, and for each whose it is (index of the wish) and by which name.
#[derive(Default)]
struct Part {
    entries: Vec<MarkerEntry>,
    places: Vec<(usize, PartitionName)>,
}

/// Sends every marker to the home shards of its partitions; the machines hear of each part as it is written.
pub fn send(shard: &Rc<Shard>, wished: Vec<WishedMarker>) {
    let image = shard.image();
    let mut parts: BTreeMap<ShardId, Part> = BTreeMap::new();
    for (index, WishedMarker { at, life, marker }) in wished.iter().enumerate() {
        let mut settled = Results::new();
        for name in &marker.partitions {
            match place_of(shard, &image, name) {
                Ok((at, home)) => {
                    let part = parts.entry(home).or_default();
                    part.entries.push(entry_of(at, marker));
                    part.places.push((index, name.clone()));
                }
                Err(result) => settled.push((name.clone(), result)),
            }
        }
        tell(shard, *at, *life, marker, settled);
    }
    let wished = Rc::new(wished);
    for (home, part) in parts {
        let (shard, wished) = (shard.clone(), wished.clone());
        start("markers", async move { send_part(&shard, home, part, &wished).await });
    }
}

async fn send_part(shard: &Rc<Shard>, home: ShardId, part: Part, wished: &[WishedMarker]) {
    let request = MarkersRequest { timeout_ms: MARKER_TIMEOUT_MS, entries: part.entries };
    let results = match shard.ask(home, ShardRequest::Markers(request)).await {
        Some(ShardReply::Append(AppendReply { results })) => results,
        _ => Vec::new(),
    };
    let mut by_wish: BTreeMap<usize, Results> = BTreeMap::new();
    let results = results.iter().map(|result| MarkerResult::of(result.error()));
    // No answer: that shard is stopping.
    let results = results.chain(std::iter::repeat(MarkerResult::Retry));
    for ((index, name), result) in part.places.into_iter().zip(results) {
        by_wish.entry(index).or_default().push((name, result));
    }
    for (index, results) in by_wish {
        let WishedMarker { at, life, marker } = &wished[index];
        tell(shard, *at, *life, marker, results);
    }
}

fn tell(shard: &Rc<Shard>, at: TopicPartition, life: u64, marker: &MarkerRequest, results: Results) {
    if results.is_empty() {
        return;
    }
    let input = TransactionInput::MarkersWritten {
        life,
        transactional_id: marker.transactional_id.clone(),
        end: marker.end,
        results,
    };
    shard.coordinators.transactions.request(at, input, Box::new(|_| {}));
}

/// Where the marker goes; or what has become of it. A partition that does not exist any more has nothing to end; one that another broker
/// leads has to wait until it is ours again: brokers do not talk to each other about transactions yet.
fn place_of(
    shard: &Shard,
    image: &ShardImage,
    name: &PartitionName,
) -> Result<(TopicPartition, ShardId), MarkerResult> {
    let topic = image.topic_by_name(&name.topic).ok_or(MarkerResult::Done)?;
    let partition = topic.partition(name.partition).ok_or(MarkerResult::Done)?;
    if partition.leader != shard.identity.node_id {
        return Err(MarkerResult::Retry);
    }
    let at = TopicPartition { topic_id: topic.id, partition: name.partition };
    Ok((at, shard.placement.home(at.topic_id, at.partition)))
}

fn entry_of(at: TopicPartition, marker: &MarkerRequest) -> MarkerEntry {
    let kind = match marker.outcome {
        Outcome::Commit => ControlType::Commit,
        Outcome::Abort => ControlType::Abort,
    };
    MarkerEntry {
        at,
        producer_id: marker.producer.producer_id,
        epoch: marker.producer.epoch,
        marker: EndMarker { kind, coordinator_epoch: marker.coordinator_epoch },
        transaction_version: marker.version.level(),
    }
}

impl Shard {
    /// The home shard's side. Offsets that a transaction has committed count from its marker on; a group whose coordinator is still loading
    /// might miss it, so its marker has to come again.
    pub fn serve_markers(self: &Rc<Self>, request: MarkersRequest, reply: impl FnOnce(AppendReply) + 'static) {
        let MarkersRequest { timeout_ms, entries } = request;
        let image = self.image();
        let offsets = image.topic_by_name(CoordinatorTopic::Offsets.name()).map(|topic| topic.id);
        let is_of_groups = |at: TopicPartition| Some(at.topic_id) == offsets;
        let is_ready = |at: TopicPartition| {
            !is_of_groups(at) || self.coordinators.groups.host(at).is_some_and(|host| host.is_active())
        };
        let ready: Vec<bool> = entries.iter().map(|entry| is_ready(entry.at)).collect();
        let ready_entries = entries.into_iter().zip(&ready).filter(|(_, ready)| **ready);
        let entries: Vec<MarkerEntry> = ready_entries.map(|(entry, _)| entry).collect();
        let of_groups: Vec<Option<MarkerEntry>> =
            entries.iter().map(|entry| is_of_groups(entry.at).then_some(*entry)).collect();
        let shard = self.clone();
        self.home.write_markers(MarkersRequest { timeout_ms, entries }, move |written| {
            for (entry, result) in of_groups.iter().zip(&written.results) {
                if let Some(entry) = entry.filter(|_| result.failure.is_none()) {
                    shard.release_offsets(&entry);
                }
            }
            let mut written = written.results.into_iter();
            let result = |ready: bool| match ready {
                true => written.next().unwrap_or_else(not_ready),
                false => not_ready(),
            };
            reply(AppendReply { results: ready.into_iter().map(result).collect() });
        });
    }

    fn release_offsets(&self, entry: &MarkerEntry) {
        let Some(host) = self.coordinators.groups.host(entry.at) else { return };
        let is_commit = entry.marker.kind == ControlType::Commit;
        host.tell(|machine| machine.transaction_ended(entry.producer_id, is_commit));
    }
}

fn not_ready() -> AppendResult {
    AppendResult::failed(ErrorCode::NotLeaderOrFollower)
}
