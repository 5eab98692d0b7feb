//! Reads that wait for enough bytes to become visible (KIP-74's min bytes), woken by the partitions they wait for, never by polling.
//!
//! One per shard. A waiting read holds offsets and a counter, no records and no permit. Each partition knows who watches it; when more of
//! it becomes visible it tells how many bytes a watcher could read now, and the read wakes when its sum is enough.

use crate::message::ReadTicket;
use ringlane_runtime::{OneshotReceiver, OneshotSender, oneshot};
use std::collections::BTreeMap;

/// Reads that may wait at once on a shard. One more is answered at once with what there is, like one whose time is up.
pub(crate) const WAITING_READS_MAX: usize = 10_000;

/// Names a waiting read; never used again while the shard runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ReadId(u64);

#[derive(Default)]
pub(crate) struct DelayedFetch {
    waiting: BTreeMap<ReadId, Waiting>,
    by_ticket: BTreeMap<ReadTicket, ReadId>,
    next_id: u64,
}

struct Waiting {
    missing_bytes: usize,
    ticket: Option<ReadTicket>,
    wake: OneshotSender<()>,
}

impl DelayedFetch {
    /// `None` when too many wait already.
    pub fn wait(&mut self, missing_bytes: usize, ticket: Option<ReadTicket>) -> Option<(ReadId, OneshotReceiver<()>)> {
        if self.waiting.len() >= WAITING_READS_MAX {
            return None;
        }
        let id = ReadId(self.next_id);
        self.next_id += 1;
        let (wake, woken) = oneshot();
        self.waiting.insert(id, Waiting { missing_bytes, ticket, wake });
        if let Some(ticket) = ticket {
            self.by_ticket.insert(ticket, id);
        }
        Some((id, woken))
    }

    /// `more` bytes have become visible to the read.
    pub fn gained(&mut self, id: ReadId, more: usize) {
        let Some(waiting) = self.waiting.get_mut(&id) else { return };
        waiting.missing_bytes = waiting.missing_bytes.saturating_sub(more);
        if waiting.missing_bytes == 0 {
            self.wake(id);
        }
    }

    /// Something happened that the read must tell its client: an error, a new leader, the end of the shard.
    pub fn wake(&mut self, id: ReadId) {
        if let Some(waiting) = self.remove(id) {
            // The read may have been given up meanwhile.
            let _ = waiting.wake.send(());
        }
    }

    pub fn wake_ticket(&mut self, ticket: ReadTicket) {
        if let Some(id) = self.by_ticket.get(&ticket).copied() {
            self.wake(id);
        }
    }

    pub fn wake_all(&mut self) {
        while let Some((id, _)) = self.waiting.first_key_value() {
            self.wake(*id);
        }
    }

    /// The read is over or given up.
    pub fn forget(&mut self, id: ReadId) {
        self.remove(id);
    }

    fn remove(&mut self, id: ReadId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        if let Some(ticket) = waiting.ticket {
            self.by_ticket.remove(&ticket);
        }
        Some(waiting)
    }
}

/// One partition that a waiting read waits for.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub read: ReadId,
    pub from: i64,
    pub bytes_max: usize,
    pub committed_only: bool,
    /// Bytes of this partition that the read has counted already.
    pub counted_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    fn is_woken(woken: &mut OneshotReceiver<()>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        matches!(Pin::new(woken).poll(&mut context), Poll::Ready(Some(())))
    }

    use std::future::Future;

    /// Too early a wake-up costs the client its batching, too late a one its latency.
    #[test]
    fn a_read_wakes_when_the_sum_over_its_partitions_is_enough() {
        let mut delayed = DelayedFetch::default();
        let (id, mut woken) = delayed.wait(100, None).unwrap();
        delayed.gained(id, 60);
        assert!(!is_woken(&mut woken));
        delayed.gained(id, 40);
        assert!(is_woken(&mut woken));
        delayed.gained(id, 40);
        delayed.forget(id);
    }

    /// Two shards share one fetch: when one has enough the other must not keep the client waiting.
    #[test]
    fn a_ticket_wakes_its_read_only() {
        let mut delayed = DelayedFetch::default();
        let ticket = |number| ReadTicket { shard: 1, number };
        let (_, mut first) = delayed.wait(100, Some(ticket(1))).unwrap();
        let (second_id, mut second) = delayed.wait(100, Some(ticket(2))).unwrap();
        delayed.wake_ticket(ticket(1));
        delayed.wake_ticket(ticket(1));
        assert!(is_woken(&mut first) && !is_woken(&mut second));
        delayed.forget(second_id);
        assert!(delayed.by_ticket.is_empty() && delayed.waiting.is_empty());
    }

    /// Memory for waiting reads is bounded, whoever opens however many connections.
    #[test]
    fn one_too_many_does_not_wait() {
        let mut delayed = DelayedFetch::default();
        let mut held: Vec<_> = (0..WAITING_READS_MAX).map(|_| delayed.wait(1, None).unwrap()).collect();
        assert!(delayed.wait(1, None).is_none());
        delayed.wake_all();
        assert!(held.iter_mut().all(|(_, woken)| is_woken(woken)) && delayed.wait(1, None).is_some());
    }
}
