//! The machine of transactional ids as its host runs it: what it wants done besides answers goes to the shard's outbox.

use super::machine::{Machine, UNASKED};
use super::outbox::{Outbox, Wish};
use ringlane_coordinator::transaction::{
    EndId, ListedTransaction, MarkerRequest, MarkerResult, PartitionName, TransactionDescription, TransactionEffects,
    TransactionFilter, TransactionMachine, TransactionOptions, TransactionReply, TransactionRequest,
};
use ringlane_coordinator::{Effects, Reply, ReplyTo};
use ringlane_partition::TopicPartition;
use ringlane_protocol::internal::InternalRecordError;
use ringlane_protocol::records::ProducerStamp;
use ringlane_protocol::{ErrorCode, TopicId};
use std::rc::Rc;
use std::sync::Arc;

/// What is asked of the transactional ids of one partition.
pub enum TransactionInput {
    /// A client's request, with a producer id that nobody else has in case that it needs one.
    Client {
        request: TransactionRequest,
        producer_id: Option<i64>,
    },
    Describe(Vec<String>),
    List(TransactionFilter),
    /// What became of markers that the machine of that life has asked for.
    MarkersWritten {
        life: u64,
        transactional_id: Arc<str>,
        end: EndId,
        results: Vec<(PartitionName, MarkerResult)>,
    },
    /// Producer ids that the machine of that life has asked for; `None`: there are none to be had.
    ProducerIds {
        life: u64,
        ids: Option<Vec<i64>>,
    },
}

pub enum TransactionOutput {
    Answer(TransactionReply),
    Described(Vec<(String, Result<TransactionDescription, ErrorCode>)>),
    Listed(Vec<ListedTransaction>),
    /// Heard, nothing to say.
    Done,
    /// To nobody: see [`UNASKED`].
    Markers(Vec<MarkerRequest>),
    ProducerIdsWanted(usize),
}

pub struct Transactions {
    machine: TransactionMachine,
    at: TopicPartition,
    /// Which machine this is of all that the shard has had: what an earlier one has asked for means nothing to it.
    life: u64,
    outbox: Rc<Outbox>,
}

impl Transactions {
    pub fn new(at: TopicPartition, options: TransactionOptions, outbox: Rc<Outbox>) -> Transactions {
        Transactions { machine: TransactionMachine::new(options), at, life: outbox.new_life(), outbox }
    }

    fn effects(&self, effects: TransactionEffects) -> Effects<TransactionOutput> {
        let TransactionEffects { base: Effects { records, replies }, markers, producer_ids_wanted } = effects;
        let answers =
            replies.into_iter().map(|Reply { to, reply }| Reply { to, reply: TransactionOutput::Answer(reply) });
        let mut effects = Effects { records, replies: answers.collect() };
        if !markers.is_empty() {
            effects.reply(UNASKED, TransactionOutput::Markers(markers));
        }
        if producer_ids_wanted > 0 {
            effects.reply(UNASKED, TransactionOutput::ProducerIdsWanted(producer_ids_wanted));
        }
        effects
    }

    fn told(&self, to: ReplyTo, effects: TransactionEffects) -> Effects<TransactionOutput> {
        let mut effects = self.effects(effects);
        effects.reply(to, TransactionOutput::Done);
        effects
    }
}

impl Machine for Transactions {
    type Request = TransactionInput;
    type Reply = TransactionOutput;

    fn request(&mut self, now_ms: i64, to: ReplyTo, request: TransactionInput) -> Effects<TransactionOutput> {
        match request {
            TransactionInput::Client { request, producer_id } => {
                producer_id.into_iter().for_each(|id| self.machine.offer_producer_id(id));
                let effects = self.machine.handle(request, to, now_ms);
                self.effects(effects)
            }
            TransactionInput::Describe(ids) => {
                let describe = |id: String| {
                    let described = self.machine.describe(&id);
                    (id, described)
                };
                let described = ids.into_iter().map(describe).collect();
                answer(to, TransactionOutput::Described(described))
            }
            TransactionInput::List(filter) => answer(to, TransactionOutput::Listed(self.machine.list(&filter, now_ms))),
            TransactionInput::MarkersWritten { life, transactional_id, end, results } => {
                let effects = match life == self.life {
                    true => self.machine.markers_written(&transactional_id, end, results, now_ms),
                    false => TransactionEffects::default(),
                };
                self.told(to, effects)
            }
            TransactionInput::ProducerIds { life, ids } => {
                let effects = match ids {
                    _ if life != self.life => TransactionEffects::default(),
                    Some(ids) => self.machine.producer_ids_given(ids, now_ms),
                    None => self.machine.producer_ids_refused(),
                };
                self.told(to, effects)
            }
        }
    }

    fn producer_of(_: &TransactionInput) -> Option<ProducerStamp> {
        None
    }

    fn next_deadline(&self) -> Option<i64> {
        self.machine.next_deadline()
    }

    fn on_time(&mut self, now_ms: i64) -> Effects<TransactionOutput> {
        let effects = self.machine.on_time(now_ms);
        self.effects(effects)
    }

    fn replay(&mut self, key: &[u8], value: Option<&[u8]>, _: Option<i64>) -> Result<(), InternalRecordError> {
        self.machine.replay(key, value)
    }

    fn replay_marker(&mut self, _: i64, _: bool) {}

    fn loaded(&mut self, now_ms: i64) -> Effects<TransactionOutput> {
        let effects = self.machine.begin(now_ms);
        self.effects(effects)
    }

    fn topics_deleted(&mut self, _: Vec<(TopicId, String)>) {}

    fn unasked(&self, said: TransactionOutput) {
        let (at, life) = (self.at, self.life);
        match said {
            TransactionOutput::Markers(markers) => {
                markers.into_iter().for_each(|marker| self.outbox.push(at, life, Wish::Marker(marker)));
            }
            TransactionOutput::ProducerIdsWanted(count) => self.outbox.push(at, life, Wish::ProducerIds(count)),
            _ => {}
        }
    }
}

fn answer(to: ReplyTo, answer: TransactionOutput) -> Effects<TransactionOutput> {
    let mut effects = Effects::default();
    effects.reply(to, answer);
    effects
}
