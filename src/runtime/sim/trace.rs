//! Owns the record of what happened: every event is folded into one hash, the last ones are kept to be read after a failure.
//!
//! Two runs of one seed have equal hashes, in any process: nothing that is folded in comes from an address, a real clock or a hash map.

use super::NodeId;
use crate::ShardId;
use std::collections::VecDeque;
use std::fmt::Write;

/// Events kept to explain a failure.
const TAIL_EVENTS: usize = 400;

pub(super) struct Trace {
    hash: u64,
    events: u64,
    tail: VecDeque<Event>,
}

#[derive(Clone, Copy)]
struct Event {
    nanos: u64,
    node: NodeId,
    shard: ShardId,
    kind: &'static str,
    subject: u64,
    digest: u64,
}

impl Trace {
    pub(super) fn new(seed: u64) -> Trace {
        Trace { hash: mix(0, seed), events: 0, tail: VecDeque::with_capacity(TAIL_EVENTS) }
    }

    pub(super) fn record(
        &mut self,
        nanos: u64,
        node: NodeId,
        shard: ShardId,
        kind: &'static str,
        subject: u64,
        digest: u64,
    ) {
        let place = u64::from(node.0) << 16 | u64::from(shard.0);
        for word in [nanos, place, digest_of(kind.as_bytes()), subject, digest] {
            self.hash = mix(self.hash, word);
        }
        self.events += 1;
        if self.tail.len() == TAIL_EVENTS {
            self.tail.pop_front();
        }
        self.tail.push_back(Event { nanos, node, shard, kind, subject, digest });
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// The last events, oldest first, one a line.
    pub(super) fn tail(&self) -> String {
        let mut text = String::new();
        for event in &self.tail {
            let Event { nanos, node, shard, kind, subject, digest } = event;
            let ms = *nanos as f64 / 1e6;
            let _ = writeln!(text, "{ms:14.6} ms  {node} shard {}  {kind} {subject} {digest:016x}", shard.0);
        }
        text
    }
}

/// A short fingerprint of `bytes`, for the trace.
pub(super) fn digest_of(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    let mut digest = bytes.len() as u64;
    for word in &mut words {
        digest = mix(digest, u64::from_le_bytes(word.try_into().expect("chunks of eight")));
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    mix(digest, u64::from_le_bytes(last))
}

fn mix(hash: u64, word: u64) -> u64 {
    let folded = u128::from(hash ^ 0x9e37_79b9_7f4a_7c15) * u128::from(word ^ 0xa076_1d64_78bd_642f | 1);
    (folded as u64) ^ ((folded >> 64) as u64) ^ hash.rotate_left(23)
}
