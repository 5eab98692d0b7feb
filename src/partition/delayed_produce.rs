//! Produce requests that wait for their batches to become stable or replicated.
//!
//! Pure; one per shard. A request waits for its last partition; each partition knows, in offset order, who waits for it. Bounded by the
//! connections' request budgets: every waiting request holds its share of one until it is answered.

use crate::message::{AppendReply, AppendResult};
use ringlane_protocol::ErrorCode;
use ringlane_runtime::Instant;
use std::collections::{BTreeMap, VecDeque};

/// Called once, when a request is done.
pub(crate) type ReplyFn = Box<dyn FnOnce(AppendReply)>;

/// A request that is done: the caller calls `reply` when it holds no borrow any more.
pub(crate) struct Done {
    reply: ReplyFn,
    results: Vec<AppendResult>,
}

impl Done {
    pub fn new(reply: ReplyFn, results: Vec<AppendResult>) -> Done {
        Done { reply, results }
    }

    pub fn answer(self) {
        (self.reply)(AppendReply { results: self.results });
    }
}

/// Names a waiting request; never used again while the shard runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct RequestId(pub u64);

#[derive(Default)]
pub(crate) struct DelayedProduce {
    waiting: BTreeMap<RequestId, Waiting>,
}

struct Waiting {
    /// What is answered; entries still waited for are marked in `open`.
    results: Vec<AppendResult>,
    open: Vec<bool>,
    open_count: usize,
    /// `None`: waits for ever (acks=0, whose reply only frees memory).
    deadline: Option<Instant>,
    reply: ReplyFn,
}

impl DelayedProduce {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// `open` says which results are waited for: at least one.
    pub fn wait(
        &mut self,
        id: RequestId,
        results: Vec<AppendResult>,
        open: Vec<bool>,
        deadline: Option<Instant>,
        reply: ReplyFn,
    ) {
        let open_count = open.iter().filter(|open| **open).count();
        debug_assert!(open_count > 0 && open.len() == results.len());
        self.waiting.insert(id, Waiting { results, open, open_count, deadline, reply });
    }

    /// The partition at `entry` of the request is done, well or not. Unknown ids are requests that have timed out.
    pub fn complete(&mut self, waiter: Waiter, error: ErrorCode) -> Option<Done> {
        let waiting = self.waiting.get_mut(&waiter.request)?;
        if !std::mem::take(&mut waiting.open[waiter.entry]) {
            return None;
        }
        if error != ErrorCode::None {
            waiting.results[waiter.entry] = AppendResult::failed(error);
        }
        waiting.open_count -= 1;
        if waiting.open_count > 0 {
            return None;
        }
        let Waiting { results, reply, .. } = self.waiting.remove(&waiter.request)?;
        Some(Done { reply, results })
    }

    /// Answers those whose time is up: REQUEST_TIMED_OUT for what is still open. The records stay appended.
    pub fn expire(&mut self, now: Instant) -> Vec<Done> {
        let late = |waiting: &Waiting| waiting.deadline.is_some_and(|deadline| deadline <= now);
        let ids: Vec<RequestId> = self.waiting.iter().filter(|(_, waiting)| late(waiting)).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.give_up(id, ErrorCode::RequestTimedOut)).collect()
    }

    /// Answers all.
    pub fn give_up_all(&mut self, error: ErrorCode) -> Vec<Done> {
        let ids: Vec<RequestId> = self.waiting.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.give_up(id, error)).collect()
    }

    fn give_up(&mut self, id: RequestId, error: ErrorCode) -> Option<Done> {
        let Waiting { mut results, open, reply, .. } = self.waiting.remove(&id)?;
        for (result, open) in results.iter_mut().zip(open) {
            if open {
                *result = AppendResult::failed(error);
            }
        }
        Some(Done { reply, results })
    }
}

/// One entry of a waiting request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Waiter {
    pub request: RequestId,
    pub entry: usize,
}

/// Who waits for one partition to reach an offset, in offset order.
#[derive(Default)]
pub(crate) struct WaitQueue {
    queue: VecDeque<(i64, Waiter)>,
}

impl WaitQueue {
    pub fn push(&mut self, needed_offset: i64, waiter: Waiter) {
        // New batches go to the end; a repeated batch waits for the offset that it got the first time.
        let at = match self.queue.back() {
            Some((last, _)) if needed_offset < *last => {
                self.queue.partition_point(|(offset, _)| *offset <= needed_offset)
            }
            _ => self.queue.len(),
        };
        self.queue.insert(at, (needed_offset, waiter));
    }

    /// The next one that `reached` satisfies.
    pub fn pop_up_to(&mut self, reached: i64) -> Option<Waiter> {
        match self.queue.front() {
            Some((needed, _)) if *needed <= reached => self.queue.pop_front().map(|(_, waiter)| waiter),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_kit::Random;
    use std::cell::RefCell;
    use std::rc::Rc;

    type Answers = Rc<RefCell<Vec<(u64, Vec<ErrorCode>)>>>;

    fn note_in(answers: &Answers, id: u64) -> ReplyFn {
        let answers = answers.clone();
        Box::new(move |reply| {
            answers.borrow_mut().push((id, reply.results.iter().map(AppendResult::error).collect()));
        })
    }

    fn at(base_offset: i64) -> AppendResult {
        AppendResult { base_offset, failure: None, ..AppendResult::failed(ErrorCode::None) }
    }

    fn waiter(request: u64, entry: usize) -> Waiter {
        Waiter { request: RequestId(request), entry }
    }

    /// One reply per request, when its last partition is there, with each partition's own outcome.
    #[test]
    fn a_request_is_answered_once_when_its_last_partition_is_done() {
        let answers = Answers::default();
        let mut delayed = DelayedProduce::default();
        let results = vec![AppendResult::failed(ErrorCode::NotLeaderOrFollower), at(7), at(9)];
        delayed.wait(RequestId(1), results, vec![false, true, true], None, note_in(&answers, 1));
        assert!(delayed.complete(waiter(1, 2), ErrorCode::None).is_none());
        assert!(delayed.complete(waiter(1, 2), ErrorCode::None).is_none(), "the same partition again");
        delayed.complete(waiter(1, 1), ErrorCode::KafkaStorageError).unwrap().answer();
        assert!(delayed.complete(waiter(1, 1), ErrorCode::None).is_none() && delayed.is_empty());
        let expected = vec![ErrorCode::NotLeaderOrFollower, ErrorCode::KafkaStorageError, ErrorCode::None];
        assert_eq!(*answers.borrow(), [(1, expected)]);
    }

    /// A client that waits longer than it asked to gives the connection up and sends everything again.
    #[test]
    fn what_is_late_is_answered_with_a_timeout_and_acks_0_never_is() {
        let answers = Answers::default();
        let mut delayed = DelayedProduce::default();
        let soon = Instant::default() + std::time::Duration::from_millis(10);
        delayed.wait(RequestId(1), vec![at(0), at(1)], vec![true, true], Some(soon), note_in(&answers, 1));
        delayed.wait(RequestId(2), vec![at(2)], vec![true], None, note_in(&answers, 2));
        assert!(delayed.complete(waiter(1, 0), ErrorCode::None).is_none());
        assert!(delayed.expire(Instant::default()).is_empty());
        delayed.expire(soon).into_iter().for_each(Done::answer);
        assert_eq!(*answers.borrow(), [(1, vec![ErrorCode::None, ErrorCode::RequestTimedOut])]);
        delayed.give_up_all(ErrorCode::NotLeaderOrFollower).into_iter().for_each(Done::answer);
        assert_eq!(answers.borrow().len(), 2);
    }

    /// A repeated batch that waits behind younger ones would answer late; one that jumps the queue would be acknowledged too early.
    #[test]
    fn waiters_leave_in_offset_order_whatever_order_they_came_in() {
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let mut queue = WaitQueue::default();
            let mut model: Vec<(i64, u64)> = Vec::new();
            for id in 0..200 {
                let offset = random.below(1_000) as i64;
                queue.push(offset, waiter(id, 0));
                model.push((offset, id));
                if random.below(3) == 0 {
                    let reached = random.below(600) as i64;
                    let mut expected: Vec<_> = model.iter().copied().filter(|(offset, _)| *offset <= reached).collect();
                    expected.sort_by_key(|(offset, _)| *offset);
                    model.retain(|(offset, _)| *offset > reached);
                    let popped: Vec<_> = std::iter::from_fn(|| queue.pop_up_to(reached)).map(|w| w.request.0).collect();
                    assert_eq!(popped, expected.into_iter().map(|(_, id)| id).collect::<Vec<_>>(), "seed {seed}");
                }
            }
        }
    }
}
