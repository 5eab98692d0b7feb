//! The share coordinator as its host runs it: when the machine has written everything anew, the beginning of the log is deleted.

use super::machine::Machine;
use super::topics::ClusterTopics;
use crate::task::start;
use ringlane_coordinator::share_state::{
    PruneStep, ShareStateMachine, ShareStateOptions, ShareStateReply, ShareStateRequest,
};
use ringlane_coordinator::{Effects, ReplyTo, UNASKED};
use ringlane_partition::{DeleteRecordsEntry, DeleteRecordsRequest, HomeShard, TopicPartition};
use ringlane_protocol::internal::InternalRecordError;
use ringlane_protocol::records::ProducerStamp;
use ringlane_protocol::{ErrorCode, TopicId};
use std::cell::Cell;
use std::rc::Rc;

/// How long the deletion of records may take.
const DELETE_TIMEOUT_MS: i32 = 30_000;

pub struct ShareStates {
    machine: ShareStateMachine,
    at: TopicPartition,
    home: HomeShard,
    /// Where the log ended when the machine asked for it.
    mark: Cell<Option<i64>>,
    /// The machine has not heard of the mark yet.
    is_news: Cell<bool>,
}

impl ShareStates {
    pub fn new(
        at: TopicPartition,
        options: ShareStateOptions,
        topics: Rc<ClusterTopics>,
        home: HomeShard,
    ) -> ShareStates {
        let machine = ShareStateMachine::new(options).with_topics(topics);
        ShareStates { machine, at, home, mark: Cell::new(None), is_news: Cell::new(false) }
    }

    /// A log that begins earlier than it must is only longer: the next round tries again.
    fn delete_before(&self, offset: i64) {
        let (home, at) = (self.home.clone(), self.at);
        let request =
            DeleteRecordsRequest { timeout_ms: DELETE_TIMEOUT_MS, entries: vec![DeleteRecordsEntry { at, offset }] };
        start("share state pruning", async move {
            let reply = home.delete_records(request).await;
            let failed = reply.results.iter().find(|result| result.error != ErrorCode::None);
            if let Some(failed) = failed {
                tracing::debug!(partition = at.partition, offset, "old share states stay for now: {}", failed.error);
            }
        });
    }
}

impl Machine for ShareStates {
    type Request = ShareStateRequest;
    type Reply = ShareStateReply;

    fn request(&mut self, now_ms: i64, to: ReplyTo, request: ShareStateRequest) -> Effects<ShareStateReply> {
        self.machine.request(now_ms, to, request)
    }

    fn producer_of(_: &ShareStateRequest) -> Option<ProducerStamp> {
        None
    }

    fn next_deadline(&self) -> Option<i64> {
        if self.is_news.get() { Some(i64::MIN) } else { self.machine.next_deadline() }
    }

    fn on_time(&mut self, now_ms: i64) -> Effects<ShareStateReply> {
        if self.is_news.take() {
            return self.machine.request(now_ms, UNASKED, ShareStateRequest::Marked);
        }
        self.machine.on_time(now_ms)
    }

    fn replay(&mut self, key: &[u8], value: Option<&[u8]>, _: Option<i64>) -> Result<(), InternalRecordError> {
        self.machine.replay(key, value)
    }

    fn replay_marker(&mut self, _: i64, _: bool) {}

    fn loaded(&mut self, now_ms: i64) -> Effects<ShareStateReply> {
        self.machine.loaded(now_ms);
        Effects::default()
    }

    fn topics_deleted(&mut self, topics: Vec<(TopicId, String)>) {
        self.machine.topics_deleted(topics.into_iter().map(|(id, _)| id));
    }

    fn unasked(&self, said: ShareStateReply) {
        match said {
            ShareStateReply::Prune(PruneStep::Mark) => {
                self.mark.set(self.home.log_range(self.at).ok().map(|range| range.end_offset));
                self.is_news.set(true);
            }
            ShareStateReply::Prune(PruneStep::Done) => {
                self.mark.take().into_iter().for_each(|at| self.delete_before(at))
            }
            _ => {}
        }
    }
}
