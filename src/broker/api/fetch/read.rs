//! The reads of one fetch: one request per home shard, and the wait for enough bytes over all of them.
//!
//! Each shard waits for its share of what is missing. Whenever all together have enough, at least one has its share (pigeonholes), so the first
//! answer is the moment to look: the others are hurried, the sum decides, and if it is not enough the shares go up by what is
//! missing. For the default `min.bytes` of 1 that is one round.

use super::session::{TopicKey, Wanted};
use crate::mesh::{Called, ShardReply, ShardRequest};
use crate::shard::Shard;
use crate::task::start;
use futures::stream::{FuturesUnordered, StreamExt};
use ringlane_metadata::Image;
use ringlane_partition::{Isolation, ReadEntry, ReadReply, ReadRequest, ReadResult, ReadTicket, TopicPartition};
use ringlane_protocol::ErrorCode;
use ringlane_runtime::{Instant, Permit, ShardId, now, sleep};
use std::rc::Rc;
use std::time::Duration;

/// How often a fetch looks again when a home shard has too many waiting reads to take another.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Of the request, within the broker's own.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
}

/// What to read where. Owns everything.
pub struct Read {
    limits: Limits,
    isolation: Isolation,
    parts: Vec<Part>,
    /// One per wanted partition; what cannot be read has its result already.
    results: Vec<ReadResult>,
}

/// What one home shard is asked, and where its results belong.
struct Part {
    to: ShardId,
    entries: Vec<ReadEntry>,
    places: Vec<usize>,
    /// The next wait's share of `min_bytes`.
    min_bytes: i32,
    readable_bytes: usize,
}

impl Read {
    pub fn plan(shard: &Shard, wanted: &[Wanted], limits: Limits, isolation: Isolation) -> Read {
        let image = shard.image();
        let mut read = Read { limits, isolation, parts: Vec::new(), results: Vec::with_capacity(wanted.len()) };
        for (place, wanted) in wanted.iter().enumerate() {
            match resolve(&image, wanted) {
                Err(error) => read.results.push(failed(error)),
                Ok(at) => {
                    read.results.push(failed(ErrorCode::NotLeaderOrFollower));
                    let part = read.part(shard.placement.home(at.topic_id, at.partition));
                    part.places.push(place);
                    part.entries.push(ReadEntry {
                        at,
                        fetch_offset: wanted.fetch_offset,
                        max_bytes: wanted.max_bytes,
                        current_leader_epoch: wanted.current_leader_epoch,
                        last_fetched_epoch: wanted.last_fetched_epoch,
                    });
                }
            }
        }
        let is_partial = read.parts.iter().map(|part| part.places.len()).sum::<usize>() < wanted.len();
        if is_partial || wanted.is_empty() {
            // An error is an answer: nobody waits with it.
            read.limits.max_wait_ms = 0;
        }
        let shares = read.parts.len().max(1) as i32;
        read.parts.iter_mut().for_each(|part| part.min_bytes = share(limits.min_bytes, shares));
        read
    }

    fn part(&mut self, to: ShardId) -> &mut Part {
        let index = self.parts.iter().position(|part| part.to == to).unwrap_or_else(|| {
            self.parts.push(Part { to, entries: Vec::new(), places: Vec::new(), min_bytes: 0, readable_bytes: 0 });
            self.parts.len() - 1
        });
        &mut self.parts[index]
    }

    /// Reads until there is enough, or time is up. Results in the order of the plan's partitions.
    pub async fn run(mut self, shard: &Rc<Shard>) -> Vec<ReadResult> {
        let deadline = now() + Duration::from_millis(self.limits.max_wait_ms as u64);
        while !self.parts.is_empty() {
            let readable_before = self.readable_bytes();
            self.round(shard, deadline).await;
            if self.has_enough() || now() >= deadline {
                break;
            }
            self.raise_shares();
            if self.readable_bytes() <= readable_before {
                // Nobody waited: too many reads wait there already.
                sleep(POLL_EVERY).await;
            }
        }
        if self.parts.len() > 1 {
            self.keep_to_max_bytes();
        }
        self.results
    }

    /// Asks every shard once and takes all replies.
    async fn round(&mut self, shard: &Rc<Shard>, deadline: Instant) {
        let wait_ms = deadline.since(now()).as_millis() as i32;
        let mut calls = FuturesUnordered::new();
        let mut under_way = UnderWay { shard, reads: Vec::with_capacity(self.parts.len()) };
        for (index, part) in self.parts.iter().enumerate() {
            let parked = shard.park_read(part.to);
            let ticket = shard.next_ticket();
            let request = ReadRequest {
                ticket: Some(ticket),
                max_wait_ms: if parked.is_some() { wait_ms } else { 0 },
                min_bytes: part.min_bytes,
                max_bytes: self.limits.max_bytes,
                at_least_one: true,
                isolation: self.isolation,
                entries: part.entries.clone(),
            };
            let called = shard.call(part.to, ShardRequest::Read(request)).await;
            calls.push(finish(index, called, parked));
            under_way.reads.push(Some((part.to, ticket)));
        }
        while let Some((index, reply)) = calls.next().await {
            under_way.reads[index] = None;
            under_way.hurry();
            self.take(index, reply);
        }
    }

    fn take(&mut self, index: usize, reply: Option<ReadReply>) {
        let part = &mut self.parts[index];
        // No reply: that shard is stopping, and the results stay "not leader".
        let Some(reply) = reply else { return };
        assert_eq!(reply.results.len(), part.places.len(), "a home shard answers every entry");
        part.readable_bytes = reply.readable_bytes;
        part.places.iter().zip(reply.results).for_each(|(&place, result)| self.results[place] = result);
    }

    /// Counts as the home shards do, so that a share which one of them has is never asked of it again: what their results hold may be
    /// less (whole batches only, and at most `max_bytes`), however often they are asked.
    fn has_enough(&self) -> bool {
        let is_news = |result: &ReadResult| result.error != ErrorCode::None || result.diverging_epoch.is_some();
        self.missing_bytes() <= 0 || self.results.iter().any(is_news)
    }

    fn raise_shares(&mut self) {
        let missing = self.missing_bytes().max(1) as i32;
        let shares = self.parts.len() as i32;
        for part in &mut self.parts {
            part.min_bytes = (part.readable_bytes as i32).saturating_add(share(missing, shares));
        }
    }

    fn missing_bytes(&self) -> i64 {
        i64::from(self.limits.min_bytes.min(self.limits.max_bytes)) - self.readable_bytes() as i64
    }

    fn readable_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.readable_bytes).sum()
    }

    /// Each shard kept to `max_bytes` by itself; together they may not exceed it either, but for the first batch (KIP-74).
    fn keep_to_max_bytes(&mut self) {
        let mut left = self.limits.max_bytes as usize;
        let mut is_first = true;
        for result in self.results.iter_mut().filter(|result| result.bytes > 0) {
            if result.bytes > left && !is_first {
                result.slices.clear();
                result.bytes = 0;
            }
            left = left.saturating_sub(result.bytes);
            is_first = false;
        }
    }
}

async fn finish(index: usize, called: Called, parked: Option<Permit>) -> (usize, Option<ReadReply>) {
    let reply = called.await;
    drop(parked);
    match reply {
        Some(ShardReply::Read(reply)) => (index, Some(reply)),
        _ => (index, None),
    }
}

/// Reads of one round that have not answered. They need not wait any longer once one shard has answered, or when the client is gone:
/// left alone, each would hold its place and its credit for as long as the client had asked for.
struct UnderWay<'a> {
    shard: &'a Rc<Shard>,
    reads: Vec<Option<(ShardId, ReadTicket)>>,
}

impl UnderWay<'_> {
    fn hurry(&mut self) {
        for (to, ticket) in self.reads.iter_mut().filter_map(Option::take) {
            let shard = self.shard.clone();
            // Nobody waits for the reply: the read's own is what was hurried.
            start("hurry", async move { drop(shard.call(to, ShardRequest::Hurry(ticket)).await) });
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.hurry();
    }
}

/// One of `shares` equal shares, rounded up, at least 1 byte.
fn share(bytes: i32, shares: i32) -> i32 {
    bytes.max(1).saturating_add(shares - 1) / shares
}

fn resolve(image: &Image, wanted: &Wanted) -> Result<TopicPartition, ErrorCode> {
    let (topic, unknown) = match &wanted.topic {
        TopicKey::Id(id) => (image.topic(*id), ErrorCode::UnknownTopicId),
        TopicKey::Name(name) => (image.topic_by_name(name), ErrorCode::UnknownTopicOrPartition),
    };
    let topic = topic.ok_or(unknown)?;
    topic.partition(wanted.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    Ok(TopicPartition { topic_id: topic.id, partition: wanted.partition })
}

fn failed(error: ErrorCode) -> ReadResult {
    ReadResult {
        error,
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        diverging_epoch: None,
        current_leader: None,
        aborted_transactions: None,
        slices: Vec::new(),
        bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn found(bytes: usize) -> ReadResult {
        let slices = if bytes > 0 { vec![Bytes::from(vec![0; bytes])] } else { Vec::new() };
        ReadResult { slices, bytes, ..failed(ErrorCode::None) }
    }

    fn read(min_bytes: i32, max_bytes: i32, results: Vec<ReadResult>) -> Read {
        let limits = Limits { max_wait_ms: 100, min_bytes, max_bytes };
        let parts = results.iter().enumerate().map(|(place, result)| Part {
            to: ShardId(place as u16),
            entries: Vec::new(),
            places: vec![place],
            min_bytes: share(min_bytes, results.len() as i32),
            readable_bytes: result.bytes,
        });
        Read { limits, isolation: Isolation::ReadUncommitted, parts: parts.collect(), results }
    }

    fn sizes(read: &Read) -> Vec<usize> {
        read.results.iter().map(|result| result.slices.iter().map(Bytes::len).sum()).collect()
    }

    /// Two shards that each keep to the limit would together send twice of it, and the client's buffer would not hold it.
    #[test]
    fn shards_together_keep_to_the_limit() {
        let mut over = read(1, 100, vec![found(60), found(60), found(30)]);
        over.keep_to_max_bytes();
        assert_eq!(sizes(&over), [60, 0, 30]);
    }

    /// A batch larger than the limit must still come, or its consumer is stuck at it for ever (KIP-74).
    #[test]
    fn the_first_batch_comes_whatever_the_limit() {
        let mut over = read(1, 100, vec![found(0), found(500), found(10)]);
        over.keep_to_max_bytes();
        assert_eq!(sizes(&over), [0, 500, 0]);
    }

    /// If every shard waited for all of `min_bytes`, bytes spread over shards would wait for the deadline; if each took any byte, the
    /// limit would mean nothing.
    #[test]
    fn whenever_the_sum_is_enough_some_shard_has_its_share() {
        for (min_bytes, held) in [(100, [40, 40, 20]), (100, [0, 0, 100]), (1, [1, 0, 0]), (7, [3, 2, 2])] {
            let read = read(min_bytes, 1000, held.map(found).into());
            assert!(read.has_enough());
            assert!(
                read.parts.iter().any(|part| part.readable_bytes as i32 >= part.min_bytes),
                "{held:?} of {min_bytes}"
            );
        }
        let mut short = read(100, 1000, vec![found(34), found(30), found(0)]);
        assert!(!short.has_enough());
        short.raise_shares();
        let shares: Vec<i32> = short.parts.iter().map(|part| part.min_bytes).collect();
        assert_eq!(shares, [46, 42, 12], "36 are missing, 12 more from each would do");
    }
}
