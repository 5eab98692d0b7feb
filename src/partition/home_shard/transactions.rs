//! What transaction coordinators and connection shards ask about transactions: the gate in front of an append, markers, who is active.

use super::append::Step;
use super::{HomeShard, Inner, State};
use crate::delayed_produce::{Done, ReplyFn};
use crate::message::{
    Acks, ActiveProducer, AppendReply, AppendResult, MarkerEntry, MarkersRequest, ProducersReply, TopicPartition,
    VerifyEntry, VerifyReply, VerifyRequest,
};
use crate::verification::VerificationGuard;
use ringlane_protocol::ErrorCode;

impl HomeShard {
    /// Asked for the transactional batches of a produce request before they are sent, in the connection's order.
    pub fn verify(&self, request: VerifyRequest) -> VerifyReply {
        let mut state = self.inner.state.borrow_mut();
        let gate = |entry: &VerifyEntry| {
            let missing = state.missing(&entry.at);
            let State { partitions, producers, is_closed, .. } = &mut *state;
            let partition = partitions.get_mut(&entry.at).filter(|_| !*is_closed).ok_or(missing)?;
            match partition.is_led_by(self.inner.broker_id) {
                true => partition.gate(entry, producers),
                false => Err(ErrorCode::NotLeaderOrFollower.into()),
            }
        };
        VerifyReply { results: request.entries.iter().map(gate).collect() }
    }

    /// Whether a coordinator of this shard may append a batch of the producer's transaction to its own log now.
    pub fn may_write(
        &self,
        at: TopicPartition,
        producer_id: i64,
        epoch: i16,
        guard: Option<VerificationGuard>,
    ) -> Result<(), ErrorCode> {
        let state = self.inner.state.borrow();
        let partition = state.partitions.get(&at).ok_or(ErrorCode::NotCoordinator)?;
        partition.may_write(producer_id, epoch, guard, &state.producers).map_err(|failure| failure.error)
    }

    /// Appends the markers now; `reply` is called when they are replicated. A request may name a partition for several producers.
    pub fn write_markers(&self, request: MarkersRequest, reply: impl FnOnce(AppendReply) + 'static) {
        let done = self.inner.write_markers(request, Box::new(reply));
        if let Some(done) = done {
            done.answer();
        }
    }

    /// Who writes to each of the partitions.
    pub fn producers(&self, wanted: &[TopicPartition]) -> ProducersReply {
        let state = self.inner.state.borrow();
        let active = |at: &TopicPartition| {
            let missing = state.missing(at);
            let partition = state.partitions.get(at).filter(|_| !state.is_closed).ok_or(missing)?;
            if !partition.is_led_by(self.inner.broker_id) {
                return Err(ErrorCode::NotLeaderOrFollower);
            }
            let with_transaction = |producer: ActiveProducer| {
                let first_offset = partition.transactions.first_offset_of(producer.producer_id);
                ActiveProducer { transaction_start_offset: first_offset.unwrap_or(-1), ..producer }
            };
            Ok(state.producers.active(partition.number).map(with_transaction).collect())
        };
        ProducersReply { results: wanted.iter().map(active).collect() }
    }
}

impl Inner {
    fn write_markers(&self, request: MarkersRequest, reply: ReplyFn) -> Option<Done> {
        let mut state = self.state.borrow_mut();
        let MarkersRequest { timeout_ms, entries } = request;
        let step = Step::new(Acks::All, state.new_request_id());
        let outcomes: Vec<(AppendResult, bool)> = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| self.write_marker(&mut state, &step, index, entry))
            .collect();
        let (results, open) = outcomes.into_iter().unzip();
        self.await_append(&mut state, step, timeout_ms, results, open, reply)
    }

    /// Markers are taken whatever waits for the disk: they are small, and they are what lets readers go on.
    fn write_marker(&self, state: &mut State, step: &Step, index: usize, entry: &MarkerEntry) -> (AppendResult, bool) {
        let missing = state.missing(&entry.at);
        let State { partitions, producers, unstable_bytes, is_closed, .. } = state;
        let Some(partition) = partitions.get_mut(&entry.at).filter(|_| !*is_closed) else {
            return (AppendResult::failed(missing), false);
        };
        if !partition.is_led_by(self.broker_id) {
            return (AppendResult::failed(ErrorCode::NotLeaderOrFollower), false);
        }
        if !partition.isr_is_enough() {
            return (AppendResult::failed(ErrorCode::NotEnoughReplicas), false);
        }
        match partition.sequence_marker(entry, producers, step.now_ms) {
            Ok(sequenced) => step.appended(partition, unstable_bytes, index, sequenced),
            Err(failure) => (AppendResult::failed(failure), false),
        }
    }
}
