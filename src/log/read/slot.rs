//! One read of a segment's file, on its way or done.
//!
//! Made by `ahead`, filled by a task of its own, shared with the stream that will take the bytes. When the stream is gone first, nobody
//! takes them: that is counted, and the memory is free again.

use crate::ReadError;
use bytes::Bytes;
use ringlane_metrics::ShardMetrics;
use ringlane_runtime::{BLOCK_BYTES, Event};
use std::cell::RefCell;
use std::rc::Rc;

/// Bytes of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    pub base_offset: i64,
    pub start: u64,
    pub end: u64,
}

impl Extent {
    pub fn bytes(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Where a direct read of it begins.
    pub fn aligned_start(&self) -> u64 {
        self.start - self.start % BLOCK_BYTES as u64
    }

    /// Length of a direct read of it.
    pub fn aligned_bytes(&self) -> usize {
        (self.end.next_multiple_of(BLOCK_BYTES as u64) - self.aligned_start()) as usize
    }
}

pub(crate) struct Slot {
    pub extent: Extent,
    /// Of the log, when the read was decided.
    pub generation: u64,
    /// A reader waits for it. Otherwise it is read ahead.
    pub is_demand: bool,
    outcome: RefCell<Option<Result<Bytes, ReadError>>>,
    done: Event,
    metrics: Rc<ShardMetrics>,
}

impl Slot {
    pub fn new(extent: Extent, generation: u64, is_demand: bool, metrics: Rc<ShardMetrics>) -> Rc<Slot> {
        Rc::new(Slot { extent, generation, is_demand, outcome: RefCell::default(), done: Event::default(), metrics })
    }

    pub fn finish(&self, outcome: Result<Bytes, ReadError>) {
        self.outcome.replace(Some(outcome));
        self.done.notify_all();
    }

    pub fn is_done(&self) -> bool {
        self.outcome.borrow().is_some()
    }

    pub async fn until_done(&self) {
        loop {
            let done = self.done.listen();
            if self.is_done() {
                return;
            }
            done.await;
        }
    }

    /// What came of it, once.
    pub fn take(&self) -> Option<Result<Bytes, ReadError>> {
        self.outcome.take()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(Ok(bytes)) = self.outcome.get_mut()
            && !self.is_demand
        {
            self.metrics.log_read_ahead_wasted_bytes.add(bytes.len() as u64);
        }
    }
}
