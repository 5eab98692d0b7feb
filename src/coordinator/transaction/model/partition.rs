//! A partition as far as transactions go, by Kafka's rules: who may append, what ends what.

use crate::transaction::{MarkerRequest, Outcome, ProducerIdentity};
use ringlane_protocol::ErrorCode;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct FakePartition {
    producers: BTreeMap<i64, State>,
    next_guard: u64,
    /// Records of transactions, each with what became of it.
    pub ended: Vec<(u64, Outcome)>,
}

#[derive(Default)]
struct State {
    epoch: i16,
    coordinator_epoch: i32,
    /// Records of the open transaction.
    open: Vec<u64>,
    /// A first append that is being verified: its guard, its epoch.
    guard: Option<(u64, i16)>,
}

/// What an append needs before it may go on.
pub enum Gate {
    Open,
    Verify(u64),
}

impl FakePartition {
    pub fn gate(&mut self, producer: ProducerIdentity) -> Result<Gate, ErrorCode> {
        let guard = self.next_guard;
        let state = self.producers.entry(producer.producer_id).or_default();
        if producer.epoch < state.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if producer.epoch == state.epoch && !state.open.is_empty() {
            return Ok(Gate::Open);
        }
        self.next_guard += 1;
        let (guard, _) = *state.guard.get_or_insert((guard, producer.epoch));
        Ok(Gate::Verify(guard))
    }

    pub fn append(&mut self, producer: ProducerIdentity, guard: Option<u64>, record: u64) -> Result<(), ErrorCode> {
        let state = self.producers.entry(producer.producer_id).or_default();
        if producer.epoch < state.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        let goes_on = producer.epoch == state.epoch && !state.open.is_empty();
        let is_verified = guard.is_some() && guard == state.guard.map(|(guard, _)| guard);
        if !goes_on && !is_verified {
            return Err(ErrorCode::InvalidTxnState);
        }
        state.epoch = producer.epoch;
        state.guard = None;
        state.open.push(record);
        Ok(())
    }

    pub fn end(&mut self, marker: &MarkerRequest) -> ErrorCode {
        let state = self.producers.entry(marker.producer.producer_id).or_default();
        let epoch = marker.producer.epoch;
        let bumps = marker.version.bumps_epoch();
        let is_late = if bumps { epoch <= state.epoch } else { epoch < state.epoch };
        let is_repeated = bumps && epoch == state.epoch && state.open.is_empty();
        if is_late && !is_repeated {
            return ErrorCode::InvalidProducerEpoch;
        }
        if marker.coordinator_epoch < state.coordinator_epoch {
            return ErrorCode::TransactionCoordinatorFenced;
        }
        state.epoch = epoch;
        state.coordinator_epoch = marker.coordinator_epoch;
        let is_of_next = bumps && state.guard.is_some_and(|(_, guarded)| guarded == epoch);
        if !is_of_next {
            state.guard = None;
        }
        self.ended.extend(state.open.drain(..).map(|record| (record, marker.outcome)));
        ErrorCode::None
    }

    pub fn is_anything_open(&self) -> bool {
        self.producers.values().any(|state| !state.open.is_empty())
    }
}
