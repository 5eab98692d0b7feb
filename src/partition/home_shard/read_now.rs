//! The reads of one fetch: checks, whole batches from the tail or the disk, within the fetch's limits.
//!
//! Partitions are looked at in the order of the request. What the tail has is taken at once; reads from disk run side by side as long as the
//! limits have room for all that they may take, so that each gets what it would get after the one before it. Where the room ends, one waits
//! for another, and what that did not take goes to the next.

use super::Inner;
use crate::message::{AbortedTransaction, Isolation, ReadEntry, ReadReply, ReadRequest, ReadResult};
use crate::partition::Visible;
use ringlane_log::{DiskRead, Log, ReadData, ReadError, ReadPlan};
use ringlane_protocol::ErrorCode;
use ringlane_runtime::{Task, give_way, spawn};
use std::collections::VecDeque;
use std::rc::Rc;

/// Reads from disk that one fetch has under way. The shard's logs have their own limit for all of them together.
const SIDE_BY_SIDE_MAX: usize = 16;

/// What a fetch's limits leave (KIP-74).
#[derive(Clone, Copy, Debug)]
struct Left {
    bytes: usize,
    /// Nothing was found yet, so the first batch goes out whatever its size.
    at_least_one: bool,
}

impl Left {
    /// Takes a result into account. One that does not fit any more is given up: a batch before it was larger than its partition's limit.
    fn take(&mut self, result: &mut ReadResult) {
        if result.bytes > self.bytes && !self.at_least_one {
            result.slices.clear();
            result.bytes = 0;
        }
        self.bytes = self.bytes.saturating_sub(result.bytes);
        self.at_least_one &= result.bytes == 0;
    }
}

/// One partition's read that has begun, or is done but has others before it in the request.
struct Begun {
    place: usize,
    /// What it may take of the limits.
    bytes_max: usize,
    /// It was told to keep to the limits, though what comes first in the end may be more.
    is_held_back: bool,
    reading: Reading,
}

enum Reading {
    Done(ReadResult),
    Task(Task<ReadResult>),
}

/// The results so far.
struct Reads {
    left: Left,
    results: Vec<ReadResult>,
    /// In the order of the request, as their results are counted.
    begun: VecDeque<Begun>,
    /// Sum over `begun`.
    promised_bytes: usize,
    tasks_count: usize,
    /// Held back, and found nothing within the limits.
    held_back: Vec<usize>,
}

impl Reads {
    fn new(request: &ReadRequest) -> Reads {
        Reads {
            left: Left { bytes: request.max_bytes.max(0) as usize, at_least_one: request.at_least_one },
            results: request.entries.iter().map(|_| ReadResult::failed(ErrorCode::None)).collect(),
            begun: VecDeque::new(),
            promised_bytes: 0,
            tasks_count: 0,
            held_back: Vec::new(),
        }
    }

    /// What the next read, which wants up to `bytes_max`, may take; `None` while it might get more once those before it are done.
    fn next_limit(&self, bytes_max: usize) -> Option<Left> {
        let bytes = self.left.bytes.saturating_sub(self.promised_bytes);
        let is_known = self.begun.is_empty() || (bytes >= bytes_max && self.tasks_count < SIDE_BY_SIDE_MAX);
        is_known.then_some(Left { bytes, at_least_one: self.left.at_least_one && self.begun.is_empty() })
    }

    fn push(&mut self, begun: Begun) {
        self.promised_bytes += begun.bytes_max;
        self.tasks_count += usize::from(matches!(begun.reading, Reading::Task(_)));
        self.begun.push_back(begun);
    }

    async fn settle_first(&mut self) {
        let Some(Begun { place, bytes_max, is_held_back, reading }) = self.begun.pop_front() else { return };
        self.promised_bytes -= bytes_max;
        let mut result = match reading {
            Reading::Done(result) => result,
            Reading::Task(task) => {
                self.tasks_count -= 1;
                task.await.unwrap_or_else(|_| ReadResult::failed(ErrorCode::UnknownServerError))
            }
        };
        self.left.take(&mut result);
        if is_held_back && result.error == ErrorCode::None && result.bytes == 0 {
            self.held_back.push(place);
        }
        self.results[place] = result;
    }

    /// Takes in what is done and has nothing before it.
    async fn settle_done(&mut self) {
        while let Some(Begun { reading: Reading::Done(_), .. }) = self.begun.front() {
            self.settle_first().await;
        }
    }
}

enum Plan {
    /// There is nothing to read.
    Answer(ReadResult),
    /// From memory, or nothing because of the limits.
    Tail(ReadResult),
    Disk(DiskRead, Visible),
}

impl Inner {
    pub(super) async fn read_now(self: &Rc<Self>, request: ReadRequest) -> ReadReply {
        let readable_bytes = self.state.borrow().readable_sum(&request, self.broker_id);
        let mut reads = Reads::new(&request);
        for (place, entry) in request.entries.iter().enumerate() {
            let bytes_max = entry.max_bytes.max(0) as usize;
            let limit = loop {
                match reads.next_limit(bytes_max) {
                    Some(limit) => break limit,
                    None => reads.settle_first().await,
                }
            };
            reads.push(self.begin(place, entry, request.isolation, limit));
            reads.settle_done().await;
            give_way().await;
        }
        while !reads.begun.is_empty() {
            reads.settle_first().await;
        }
        self.find_at_least_one(&mut reads, &request).await;
        let bytes: usize = reads.results.iter().map(|result| result.bytes).sum();
        self.metrics.fetch_bytes.add(bytes as u64);
        ReadReply { results: reads.results, readable_bytes }
    }

    fn begin(self: &Rc<Self>, place: usize, entry: &ReadEntry, isolation: Isolation, limit: Left) -> Begun {
        let is_held_back = !limit.at_least_one;
        match self.plan(entry, isolation, limit) {
            Plan::Answer(result) => Begun { place, bytes_max: 0, is_held_back: false, reading: Reading::Done(result) },
            Plan::Tail(result) => {
                Begun { place, bytes_max: result.bytes, is_held_back, reading: Reading::Done(result) }
            }
            Plan::Disk(disk, visible) => {
                let (inner, entry) = (self.clone(), *entry);
                let task = spawn("cold read", async move {
                    match disk.run().await {
                        Err(ReadError::Moved) => inner.read_entry(&entry, isolation, limit).await,
                        data => result(data, &visible, isolation),
                    }
                });
                let bytes_max = limit.bytes.min(entry.max_bytes.max(0) as usize);
                Begun { place, bytes_max, is_held_back, reading: Reading::Task(task) }
            }
        }
    }

    /// Nothing was found, but only the first read was told to take a batch whatever its size: asks the others again, in turn.
    async fn find_at_least_one(&self, reads: &mut Reads, request: &ReadRequest) {
        for place in std::mem::take(&mut reads.held_back) {
            if !reads.left.at_least_one {
                return;
            }
            let mut result = self.read_entry(&request.entries[place], request.isolation, reads.left).await;
            reads.left.take(&mut result);
            reads.results[place] = result;
            give_way().await;
        }
    }

    async fn read_entry(&self, entry: &ReadEntry, isolation: Isolation, limit: Left) -> ReadResult {
        loop {
            let (disk, visible) = match self.plan(entry, isolation, limit) {
                Plan::Answer(result) | Plan::Tail(result) => return result,
                Plan::Disk(disk, visible) => (disk, visible),
            };
            match disk.run().await {
                // Cut at one of its ends: the offset may be out of range now, and a log that is gone is no longer found.
                Err(ReadError::Moved) => give_way().await,
                data => return result(data, &visible, isolation),
            }
        }
    }

    fn plan(&self, entry: &ReadEntry, isolation: Isolation, limit: Left) -> Plan {
        let (log, visible) = match self.check(entry, isolation) {
            Ok(checked) => checked,
            Err(answer) => return Plan::Answer(answer),
        };
        let found = |data| result(Ok(data), &visible, isolation);
        let max_bytes = limit.bytes.min(entry.max_bytes.max(0) as usize);
        if entry.fetch_offset >= visible.below {
            return Plan::Answer(found(ReadData::default()));
        }
        if max_bytes == 0 && !limit.at_least_one {
            return Plan::Tail(found(ReadData::default()));
        }
        self.metrics.fetch_reads.increment();
        match log.plan_read(entry.fetch_offset, visible.below, max_bytes, limit.at_least_one) {
            ReadPlan::Ready(data) => Plan::Tail(found(data)),
            ReadPlan::Disk(disk) => {
                self.metrics.fetch_reads_from_disk.increment();
                Plan::Disk(disk, visible)
            }
        }
    }

    fn check(&self, entry: &ReadEntry, isolation: Isolation) -> Result<(Log, Visible), ReadResult> {
        let state = self.state.borrow();
        let Some(partition) = state.partitions.get(&entry.at).filter(|_| !state.is_closed) else {
            return Err(ReadResult::failed(state.missing(&entry.at)));
        };
        let visible = partition.check_read(self.broker_id, entry, isolation)?;
        Ok((partition.log.clone(), visible))
    }
}

fn result(data: Result<ReadData, ReadError>, visible: &Visible, isolation: Isolation) -> ReadResult {
    match data {
        Ok(ReadData { slices, bytes }) => {
            ReadResult { slices, bytes, aborted_transactions: none_aborted(isolation), ..visible.result() }
        }
        Err(error) => ReadResult::failed(code_of(&error)),
    }
}

/// The one place where a read's error becomes Kafka's.
pub(super) fn code_of(error: &ReadError) -> ErrorCode {
    tracing::warn!("cannot read: {error}");
    match error {
        ReadError::Io { .. } => ErrorCode::KafkaStorageError,
        ReadError::Corrupt { .. } => ErrorCode::CorruptMessage,
        ReadError::Moved => ErrorCode::NotLeaderOrFollower,
    }
}

/// No transaction can have ended in a log that takes no transactional batches: the list is empty, and absent for read_uncommitted.
fn none_aborted(isolation: Isolation) -> Option<Vec<AbortedTransaction>> {
    (isolation == Isolation::ReadCommitted).then(Vec::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: usize) -> ReadResult {
        ReadResult { bytes, ..ReadResult::failed(ErrorCode::None) }
    }

    fn reads(max_bytes: usize) -> Reads {
        Reads {
            left: Left { bytes: max_bytes, at_least_one: true },
            results: vec![found(0); 4],
            begun: VecDeque::new(),
            promised_bytes: 0,
            tasks_count: 0,
            held_back: Vec::new(),
        }
    }

    fn done(place: usize, bytes_max: usize, bytes: usize) -> Begun {
        Begun { place, bytes_max, is_held_back: place > 0, reading: Reading::Done(found(bytes)) }
    }

    /// Reads side by side that each take all that is left would together pass the limit; one that begins with too little because those
    /// before it might take all would get nothing, fetch after fetch.
    #[test]
    fn a_read_waits_only_where_those_before_it_may_take_its_room() {
        let mut reads = reads(100);
        let limit = |reads: &Reads, max| reads.next_limit(max).map(|left| (left.bytes, left.at_least_one));
        assert_eq!(limit(&reads, 1000), Some((100, true)));
        reads.push(done(0, 60, 30));
        assert_eq!(limit(&reads, 40), Some((40, false)));
        assert_eq!(limit(&reads, 41), None, "70, if the first one finds no more");
        reads.push(done(1, 40, 10));
        assert_eq!(limit(&reads, 1), None);
        ready(reads.settle_first());
        assert_eq!(limit(&reads, 30), Some((30, false)));
        ready(reads.settle_first());
        assert_eq!(limit(&reads, 1000), Some((60, false)), "nothing to wait for");
        assert_eq!(reads.results.iter().map(|result| result.bytes).collect::<Vec<_>>(), [30, 10, 0, 0]);
    }

    /// KIP-74: one batch larger than all limits goes out alone, and those who found nothing within theirs are asked again only if there
    /// was none.
    #[test]
    fn an_oversized_first_batch_leaves_nothing_to_the_others() {
        let mut over = reads(100);
        [done(0, 50, 500), done(1, 50, 50), done(2, 0, 0)].into_iter().for_each(|begun| over.push(begun));
        while !over.begun.is_empty() {
            ready(over.settle_first());
        }
        assert_eq!(over.results.iter().map(|result| result.bytes).collect::<Vec<_>>(), [500, 0, 0, 0]);
        assert!(!over.left.at_least_one && over.left.bytes == 0);

        let mut none = reads(100);
        [done(0, 50, 0), done(1, 50, 0)].into_iter().for_each(|begun| none.push(begun));
        while !none.begun.is_empty() {
            ready(none.settle_first());
        }
        assert!(none.left.at_least_one);
        assert_eq!(none.held_back, [1], "the first one was asked for whatever its size");
    }

    /// Nothing here waits: all reads are done.
    fn ready(future: impl Future<Output = ()>) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::pin!(future).poll(&mut context).is_ready());
    }
}
