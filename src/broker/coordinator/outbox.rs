//! What the transaction coordinators of a shard want done, and the task that does it.
//!
//! A machine's step never waits; markers may go to any shard, and producer ids come from the controller. One task per shard takes what was
//! wished for meanwhile and carries it out together. Unbounded, but for what is in it: one entry for each transaction that is ending.

use super::{TransactionInput, markers};
use crate::api::next_producer_id;
use crate::shard::Shard;
use crate::task::start;
use ringlane_coordinator::transaction::MarkerRequest;
use ringlane_partition::TopicPartition;
use ringlane_runtime::Event;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Markers that one step of the task takes out: so many fit a lane's message without holding its shard up.
const TAKEN_AT_ONCE: usize = 256;

#[derive(Default)]
pub struct Outbox {
    wishes: RefCell<std::collections::VecDeque<(TopicPartition, u64, Wish)>>,
    news: Event,
    lives: Cell<u64>,
}

pub enum Wish {
    Marker(MarkerRequest),
    ProducerIds(usize),
}

/// A marker with the machine that waits for it.
pub struct WishedMarker {
    pub at: TopicPartition,
    pub life: u64,
    pub marker: MarkerRequest,
}

impl Outbox {
    pub fn new_life(&self) -> u64 {
        self.lives.set(self.lives.get() + 1);
        self.lives.get()
    }

    pub fn push(&self, at: TopicPartition, life: u64, wish: Wish) {
        self.wishes.borrow_mut().push_back((at, life, wish));
        self.news.notify_all();
    }

    fn take(&self) -> Vec<(TopicPartition, u64, Wish)> {
        let mut wishes = self.wishes.borrow_mut();
        let count = wishes.len().min(TAKEN_AT_ONCE);
        wishes.drain(..count).collect()
    }
}

impl Shard {
    /// Does what the coordinators of this shard wish for. One task per shard; never returns.
    pub async fn run_outbox(self: &Rc<Self>) {
        let outbox = self.coordinators.outbox.clone();
        loop {
            let news = outbox.news.listen();
            let taken = outbox.take();
            if taken.is_empty() {
                news.await;
                continue;
            }
            let mut wished = Vec::new();
            for (at, life, wish) in taken {
                match wish {
                    Wish::Marker(marker) => wished.push(WishedMarker { at, life, marker }),
                    Wish::ProducerIds(count) => {
                        let shard = self.clone();
                        start("producer ids", async move { shard.fetch_producer_ids(at, life, count).await });
                    }
                }
            }
            markers::send(self, wished);
        }
    }

    async fn fetch_producer_ids(self: &Rc<Self>, at: TopicPartition, life: u64, count: usize) {
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            match next_producer_id(self).await {
                Ok(id) => ids.push(id),
                Err(_) => break,
            }
        }
        let ids = Some(ids).filter(|ids| ids.len() == count);
        let input = TransactionInput::ProducerIds { life, ids };
        self.coordinators.transactions.request(at, input, Box::new(|_| {}));
    }
}
