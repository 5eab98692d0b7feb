//! Producer ids that the machine has asked its host for, and who waits for one.

use super::TransactionMachine;
use super::messages::{TransactionEffects, TransactionReply, TransactionRequest};
use crate::ReplyTo;
use ringlane_protocol::ErrorCode;
use std::collections::VecDeque;

#[derive(Default)]
pub(super) struct ProducerIds {
    /// Given and not used yet: whoever wanted one may have found another answer meanwhile.
    spare: VecDeque<i64>,
    /// Asked for and not given yet.
    asked: usize,
    /// In order of arrival. Bounded by the requests that connections admit.
    waiting: VecDeque<(TransactionRequest, ReplyTo)>,
}

impl ProducerIds {
    pub fn take(&mut self) -> Option<i64> {
        self.spare.pop_front()
    }

    /// Keeps a request until there is an id for it. Says how many more ids are to be asked for.
    pub fn wait(&mut self, request: TransactionRequest, to: ReplyTo) -> usize {
        self.waiting.push_back((request, to));
        self.want(self.waiting.len())
    }

    /// Sees to it that `count` ids are on their way or here. Says how many more are to be asked for.
    pub fn want(&mut self, count: usize) -> usize {
        let more = count.saturating_sub(self.asked + self.spare.len());
        self.asked += more;
        more
    }
}

/// Ids kept for those who will need one: a host that gives one along with each request needs not to be asked.
const SPARE_MAX: usize = 16;

impl TransactionMachine {
    /// An id that nobody else has, in case that one is needed.
    pub fn offer_producer_id(&mut self, id: i64) {
        if self.producer_ids.spare.len() < SPARE_MAX {
            self.producer_ids.spare.push_back(id);
        }
    }

    /// Here are ids that were wanted: whoever waits for one is served.
    pub fn producer_ids_given(&mut self, given: impl IntoIterator<Item = i64>, now_ms: i64) -> TransactionEffects {
        let mut effects = TransactionEffects::default();
        for id in given {
            self.producer_ids.asked = self.producer_ids.asked.saturating_sub(1);
            self.producer_ids.spare.push_back(id);
        }
        // Each once: one that still finds no id waits again, behind those who came after it.
        for _ in 0..self.producer_ids.waiting.len() {
            let Some((request, to)) = self.producer_ids.waiting.pop_front() else { break };
            self.decide(request, to, now_ms, &mut effects);
        }
        effects
    }

    /// There are no ids to be had now: whoever waits for one is told to come back.
    pub fn producer_ids_refused(&mut self) -> TransactionEffects {
        let mut effects = TransactionEffects::default();
        self.producer_ids.asked = 0;
        for (request, to) in self.producer_ids.waiting.drain(..) {
            effects.reply(to, refusal(&request));
        }
        effects
    }
}

fn refusal(request: &TransactionRequest) -> TransactionReply {
    let error = ErrorCode::CoordinatorLoadInProgress;
    match request {
        TransactionRequest::InitProducerId(_) => TransactionReply::InitProducerId(Err(error)),
        TransactionRequest::EndTxn(_) => TransactionReply::EndTxn(Err(error)),
        TransactionRequest::AddPartitions(_) => TransactionReply::AddPartitions(error),
        TransactionRequest::VerifyPartitions(request) => {
            TransactionReply::VerifyPartitions(request.partitions.iter().map(|at| (at.clone(), error)).collect())
        }
    }
}
