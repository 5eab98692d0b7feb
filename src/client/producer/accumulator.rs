//! All queues of one producer, and the buffer that they share. Pure, like the queues.

use super::partitioner::Sticky;
use super::queue::{Answer, Batch, Consequence, Identity, Limits, Queue};
use super::record::{Delivery, ProducerRecord};
use crate::ClientError;
use ringlane_runtime::Instant;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A partition that records go to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) topic: Rc<str>,
    pub(super) partition: i32,
}

pub(super) struct Accumulator {
    pub(super) limits: Limits,
    pub(super) sticky: Sticky,
    queues: BTreeMap<Target, Queue>,
    buffer_bytes: usize,
    buffered_bytes: usize,
    last_id: u64,
    identity: Option<Identity>,
    /// Callers of `flush` that wait: nothing lingers meanwhile.
    flushes: usize,
    first_failure: Option<ClientError>,
    /// The latest reason for a retry, for those that run out of time.
    last_error: ClientError,
}

impl Accumulator {
    pub(super) fn new(limits: Limits, buffer_bytes: usize) -> Accumulator {
        Accumulator {
            limits,
            sticky: Sticky::default(),
            queues: BTreeMap::new(),
            buffer_bytes,
            buffered_bytes: 0,
            last_id: 0,
            identity: None,
            flushes: 0,
            first_failure: None,
            last_error: ClientError::Unreachable {
                bootstrap: "the cluster".to_string(),
                last: "no connection was made yet".to_string(),
            },
        }
    }

    /// A record larger than the whole buffer goes through alone.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.buffered_bytes == 0 || self.buffered_bytes + bytes <= self.buffer_bytes
    }

    /// Adds a record. True with the delivery when it opened a batch, which is news to the sender.
    pub(super) fn push(
        &mut self,
        target: &Target,
        record: &ProducerRecord,
        timestamp: i64,
        now: Instant,
    ) -> (Delivery, bool) {
        if !self.queues.contains_key(target) {
            self.queues.insert(target.clone(), Queue::new(&target.topic, target.partition));
        }
        let queue = self.queues.get_mut(target).expect("the queue was inserted");
        let (outcome, index, bytes) = queue.push(record, timestamp, &mut self.last_id, &self.limits, now);
        self.buffered_bytes += bytes;
        (Delivery::new(outcome, target.partition, index, timestamp), index == 0)
    }

    /// Partitions whose next batch may go out now.
    pub(super) fn ready(&self, now: Instant) -> Vec<Target> {
        if self.limits.idempotence && self.identity.is_none() {
            return Vec::new();
        }
        let is_ready = |queue: &Queue| queue.ready_at(&self.limits, self.is_flushing()).is_some_and(|at| at <= now);
        self.queues.iter().filter(|(_, queue)| is_ready(queue)).map(|(target, _)| target.clone()).collect()
    }

    /// The next moment at which time alone changes something.
    pub(super) fn next_event(&self, now: Instant) -> Option<Instant> {
        let events = self.queues.values().flat_map(|queue| {
            let ready = queue.ready_at(&self.limits, self.is_flushing()).filter(|&at| at > now);
            ready.into_iter().chain(queue.expires_at(&self.limits))
        });
        events.min()
    }

    pub(super) fn take(&mut self, target: &Target) -> Option<Batch> {
        loop {
            match self.queues.get_mut(target)?.take(self.identity, self.limits.transactional)? {
                Ok(batch) => return Some(batch),
                Err((error, freed_bytes)) => {
                    self.see_to(&Consequence { freed_bytes, failed: Some(error), ..Default::default() });
                }
            }
        }
    }

    pub(super) fn answered(&mut self, target: &Target, batch: Batch, answer: Answer, now: Instant) -> Consequence {
        match &answer {
            Answer::Stored(_) => {}
            Answer::Refused(code, message) => {
                let what = format!("topic {} partition {}", target.topic, target.partition);
                self.last_error = ClientError::refused(what, *code, message.as_deref());
            }
            Answer::Lost(error) => self.last_error = error.clone(),
        }
        let queue = self.queues.get_mut(target).expect("a batch in flight keeps its queue");
        let consequence = queue.answered(batch, answer, &self.limits, now);
        self.see_to(&consequence);
        consequence
    }

    /// Fails what is too late. True if anything was.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let Accumulator { queues, limits, last_error, .. } = self;
        let consequences: Vec<Consequence> =
            queues.values_mut().map(|queue| queue.expire(limits, now, last_error)).collect();
        consequences.iter().for_each(|consequence| self.see_to(consequence));
        consequences.iter().any(|consequence| consequence.failed.is_some())
    }

    fn see_to(&mut self, consequence: &Consequence) {
        self.buffered_bytes -= consequence.freed_bytes;
        if let Some(error) = &consequence.failed {
            self.first_failure.get_or_insert_with(|| error.clone());
        }
    }

    pub(super) fn note(&mut self, error: ClientError) {
        self.last_error = error;
    }

    /// Whether batches wait for a producer id.
    pub(super) fn wants_identity(&self) -> bool {
        if self.limits.transactional {
            return false; // It gets one with each transaction that needs it.
        }
        let wants = |queue: &Queue| queue.wants_identity() || (self.identity.is_none() && !queue.is_empty());
        self.limits.idempotence && self.queues.values().any(wants)
    }

    pub(super) fn set_identity(&mut self, identity: Identity) {
        self.identity = Some(identity);
        self.queues.values_mut().filter(|queue| queue.wants_identity()).for_each(|queue| queue.renew(identity));
    }

    /// Fails what is not on its way.
    pub(super) fn fail_waiting(&mut self, error: &ClientError) {
        let consequences: Vec<Consequence> = self.queues.values_mut().map(|queue| queue.fail_waiting(error)).collect();
        consequences.iter().for_each(|consequence| self.see_to(consequence));
    }

    /// The first failure that no flush has told.
    pub(super) fn failure(&self) -> Option<ClientError> {
        self.first_failure.clone()
    }
    pub(super) fn forget_failure(&mut self) {
        self.first_failure = None;
    }

    pub(super) fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Whether every batch up to `id` has its final answer.
    pub(super) fn is_settled(&self, id: u64) -> bool {
        self.queues.values().filter_map(Queue::oldest_id).all(|oldest| oldest > id)
    }

    fn is_flushing(&self) -> bool {
        self.flushes > 0
    }
    pub(super) fn begin_flush(&mut self) {
        self.flushes += 1;
    }
    pub(super) fn end_flush(&mut self) -> Option<ClientError> {
        self.flushes -= 1;
        self.first_failure.take()
    }
}
