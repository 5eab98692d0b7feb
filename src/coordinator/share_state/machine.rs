//! States of share partitions: requests, moments and records of the log.

use super::combine::combine;
use super::prune::{Prune, PruneStep};
use super::request::{
    ShareKey, ShareStateError, ShareStateReply, ShareStateRequest, ShareStateWritten, StoredState, StoredSummary,
};
use crate::consumer_group::{TopicTable, Topics, bytes_of};
use crate::share_partition::{RecordState, StateBatch};
use crate::{Effects, NewRecord, ReplyTo};
use ringlane_protocol::TopicId;
use ringlane_protocol::internal::InternalRecordError;
use ringlane_protocol::internal::share_state::{
    NO_COUNT, ShareSnapshotValue, ShareStateKey, ShareUpdateValue, StateBatchValue,
};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Start offset of a state that nobody has read yet.
const NOT_KNOWN: i64 = -1;
/// A number that whoever asks does not know.
const NO_EPOCH: i32 = -1;
/// States that one step deletes, or writes anew.
pub(super) const STATES_PER_STEP: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareStateOptions {
    /// `share.coordinator.snapshot.update.records.per.snapshot`.
    pub updates_per_snapshot: u32,
    /// How often everything is written anew, so that the log's beginning can be deleted.
    pub prune_interval_ms: i64,
    /// Records of one batch: what the internal topic takes.
    pub records_bytes_max: usize,
}

/// Kafka's defaults.
impl Default for ShareStateOptions {
    fn default() -> ShareStateOptions {
        ShareStateOptions { updates_per_snapshot: 500, prune_interval_ms: 300_000, records_bytes_max: 1_000_000 }
    }
}

/// All share partitions of one partition of `__share_group_state`.
///
/// Made empty, given the log record by record ([`Self::replay`]), then [`Self::loaded`] once, then requests and moments.
#[derive(Debug)]
pub struct ShareStateMachine {
    pub(super) options: ShareStateOptions,
    topics: Rc<dyn Topics>,
    pub(super) states: BTreeMap<ShareKey, State>,
    pub(super) prune: Prune,
    /// Topics whose states have not all been deleted yet.
    deleted_topics: Vec<TopicId>,
}

/// The state of one share partition, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub snapshot_epoch: i32,
    pub state_epoch: i32,
    pub leader_epoch: i32,
    /// The highest leader epoch that was ever heard of, also before the state was made anew: who is below it was replaced.
    pub leader_fence: i32,
    pub start_offset: i64,
    pub delivery_complete_count: i32,
    pub created_ms: i64,
    pub batches: Vec<StateBatch>,
    /// Since the snapshot.
    pub updates: u32,
    /// Of the [`Prune`] round in which it was last written whole.
    pub round: u64,
}

impl ShareStateMachine {
    pub fn new(options: ShareStateOptions) -> ShareStateMachine {
        ShareStateMachine {
            options,
            topics: Rc::new(TopicTable::default()),
            states: BTreeMap::new(),
            prune: Prune::default(),
            deleted_topics: Vec::new(),
        }
    }

    /// Where to look whether a partition exists.
    pub fn with_topics(self, topics: Rc<dyn Topics>) -> ShareStateMachine {
        ShareStateMachine { topics, ..self }
    }

    pub fn request(&mut self, now_ms: i64, to: ReplyTo, request: ShareStateRequest) -> Effects<ShareStateReply> {
        let mut effects = Effects::default();
        let records = &mut effects.records;
        let reply = match request {
            ShareStateRequest::Initialize { key, state_epoch, start_offset } => {
                ShareStateReply::Done(self.initialize(&key, state_epoch, start_offset, now_ms, records))
            }
            ShareStateRequest::Read { key, leader_epoch } => {
                ShareStateReply::Read(self.read(&key, leader_epoch, now_ms, records))
            }
            ShareStateRequest::Write {
                key,
                state_epoch,
                leader_epoch,
                start_offset,
                delivery_complete_count,
                batches,
            } => {
                let written = self.check_write(&key, state_epoch, leader_epoch);
                let change = Change { leader_epoch: None, start_offset, delivery_complete_count, batches };
                ShareStateReply::Done(written.and_then(|()| self.add(&key, change, now_ms, records)))
            }
            ShareStateRequest::Delete { key } => ShareStateReply::Done(self.delete(&key, records)),
            ShareStateRequest::Summary { key } => ShareStateReply::Summary(self.summary(&key)),
            ShareStateRequest::Marked => {
                self.prune.marked();
                return effects;
            }
        };
        effects.reply(to, reply);
        effects
    }

    /// Gone as Kafka deletes it: a tombstone of the snapshot.
    fn delete(&mut self, key: &ShareKey, records: &mut Vec<NewRecord>) -> ShareStateWritten {
        self.check_partition(key)?;
        if self.states.remove(key).is_some() {
            records.push(tombstone(key));
        }
        Ok(())
    }

    fn initialize(
        &mut self,
        key: &ShareKey,
        state_epoch: i32,
        start_offset: i64,
        now_ms: i64,
        records: &mut Vec<NewRecord>,
    ) -> ShareStateWritten {
        if key.partition < 0 {
            return Err(ShareStateError::NegativePartition);
        }
        let before = self.states.get(key);
        if state_epoch != NO_EPOCH && before.is_some_and(|state| state.state_epoch > state_epoch) {
            return Err(ShareStateError::FencedStateEpoch);
        }
        self.check_partition(key)?;
        let state = State {
            snapshot_epoch: before.map_or(0, |state| state.snapshot_epoch + 1),
            state_epoch,
            leader_epoch: 0,
            leader_fence: before.map_or(0, |state| state.leader_fence),
            start_offset,
            // Nothing from there on has been delivered; of a start that is not known nobody can say.
            delivery_complete_count: if start_offset == NOT_KNOWN { NO_COUNT } else { 0 },
            created_ms: now_ms,
            batches: Vec::new(),
            updates: 0,
            round: self.prune.round(),
        };
        records.push(state.snapshot(key, now_ms));
        self.states.insert(key.clone(), state);
        Ok(())
    }

    /// A leader that reads says its epoch with it: from then on its predecessors cannot write.
    fn read(
        &mut self,
        key: &ShareKey,
        leader_epoch: i32,
        now_ms: i64,
        records: &mut Vec<NewRecord>,
    ) -> Result<StoredState, ShareStateError> {
        if key.partition < 0 {
            return Err(ShareStateError::NegativePartition);
        }
        let state = self.states.get(key).ok_or(ShareStateError::Uninitialized("Read"))?;
        if leader_epoch != NO_EPOCH && state.leader_fence > leader_epoch {
            return Err(ShareStateError::FencedLeaderEpoch);
        }
        self.check_partition(key)?;
        let stored = StoredState {
            state_epoch: state.state_epoch,
            start_offset: state.start_offset,
            batches: state.batches.clone(),
        };
        if leader_epoch != NO_EPOCH && leader_epoch != state.leader_epoch {
            let change = Change {
                leader_epoch: Some(leader_epoch),
                start_offset: state.start_offset,
                delivery_complete_count: state.delivery_complete_count,
                batches: Vec::new(),
            };
            self.add(key, change, now_ms, records)?;
        }
        Ok(stored)
    }

    fn summary(&self, key: &ShareKey) -> Result<StoredSummary, ShareStateError> {
        self.check_partition(key)?;
        let none = StoredSummary {
            state_epoch: 0,
            leader_epoch: 0,
            start_offset: NOT_KNOWN,
            delivery_complete_count: NO_COUNT,
        };
        Ok(self.states.get(key).map_or(none, |state| StoredSummary {
            state_epoch: state.state_epoch,
            leader_epoch: state.leader_epoch,
            start_offset: state.start_offset,
            delivery_complete_count: state.delivery_complete_count,
        }))
    }

    fn check_write(&self, key: &ShareKey, state_epoch: i32, leader_epoch: i32) -> ShareStateWritten {
        if key.partition < 0 {
            return Err(ShareStateError::NegativePartition);
        }
        let state = self.states.get(key).ok_or(ShareStateError::Uninitialized("Write"))?;
        if leader_epoch != NO_EPOCH && state.leader_fence > leader_epoch {
            return Err(ShareStateError::FencedLeaderEpoch);
        }
        if state_epoch != NO_EPOCH && state.state_epoch > state_epoch {
            return Err(ShareStateError::FencedStateEpoch);
        }
        self.check_partition(key)
    }

    fn check_partition(&self, key: &ShareKey) -> ShareStateWritten {
        if key.partition < 0 {
            return Err(ShareStateError::NegativePartition);
        }
        match self.topics.partition_count(key.topic_id) {
            Some(count) if key.partition < count => Ok(()),
            _ => Err(ShareStateError::UnknownPartition),
        }
    }

    /// Writes a change down: as an update, or, when there have been many, as a snapshot.
    fn add(&mut self, key: &ShareKey, change: Change, now_ms: i64, records: &mut Vec<NewRecord>) -> ShareStateWritten {
        let (updates_max, round) = (self.options.updates_per_snapshot, self.prune.round());
        let state = self.states.get_mut(key).ok_or(ShareStateError::Uninitialized("Write"))?;
        let mut next = state.clone();
        next.apply(&change);
        let record = if next.updates >= updates_max {
            next.begin_snapshot(now_ms, round);
            next.snapshot(key, now_ms)
        } else {
            next.updates += 1;
            next.update(key, &change)
        };
        if bytes_of(std::slice::from_ref(&record)) > self.options.records_bytes_max {
            return Err(ShareStateError::TooLarge);
        }
        records.push(record);
        *state = next;
        self.prune.changed();
        Ok(())
    }

    /// These topics are no more.
    pub fn topics_deleted(&mut self, topics: impl IntoIterator<Item = TopicId>) {
        self.deleted_topics.extend(topics);
    }

    /// When [`Self::on_time`] wants to be called. May be early; changes with every input.
    pub fn next_deadline(&self) -> Option<i64> {
        match self.deleted_topics.is_empty() {
            true => self.prune.next_ms(),
            false => Some(i64::MIN),
        }
    }

    pub fn on_time(&mut self, now_ms: i64) -> Effects<ShareStateReply> {
        let mut effects = Effects::default();
        if self.deleted_topics.is_empty() {
            self.prune_step(now_ms, &mut effects);
        } else {
            self.forget_deleted(&mut effects.records);
        }
        effects
    }

    fn forget_deleted(&mut self, records: &mut Vec<NewRecord>) {
        let deleted = &self.deleted_topics;
        let gone: Vec<ShareKey> =
            self.states.keys().filter(|key| deleted.contains(&key.topic_id)).take(STATES_PER_STEP).cloned().collect();
        if gone.len() < STATES_PER_STEP {
            self.deleted_topics.clear();
        }
        for key in gone {
            self.states.remove(&key);
            records.push(tombstone(&key));
        }
    }

    /// One record of the log, in order.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), InternalRecordError> {
        let key_of = |group: &str, topic_id, partition| ShareKey { group: group.into(), topic_id, partition };
        match (ShareStateKey::decode(key)?, value) {
            (Some(ShareStateKey::Snapshot { group, topic_id, partition }), Some(value)) => {
                let mut state = State::of_snapshot(ShareSnapshotValue::decode(value)?)?;
                let key = key_of(group, topic_id, partition);
                let before = self.states.get(&key).map_or(0, |before| before.leader_fence);
                state.leader_fence = state.leader_fence.max(before);
                self.states.insert(key, state);
            }
            (Some(ShareStateKey::Snapshot { group, topic_id, partition }), None) => {
                self.states.remove(&key_of(group, topic_id, partition));
            }
            (Some(ShareStateKey::Update { group, topic_id, partition }), Some(value)) => {
                let update = ShareUpdateValue::decode(value)?;
                let change = Change {
                    leader_epoch: Some(update.leader_epoch),
                    start_offset: update.start_offset,
                    delivery_complete_count: update.delivery_complete_count,
                    batches: batches_of(&update.batches)?,
                };
                let state = self.states.entry(key_of(group, topic_id, partition));
                // Its snapshot may be further on: what lies before the log's start has been deleted.
                let state = state.or_insert_with(|| State::before_its_snapshot(update.snapshot_epoch));
                state.apply(&change);
                state.updates += 1;
                self.prune.changed();
            }
            (Some(ShareStateKey::Update { .. }), None) | (None, _) => {}
        }
        Ok(())
    }

    /// The log has been replayed to its end: time begins.
    pub fn loaded(&mut self, now_ms: i64) {
        self.prune.begin(now_ms, self.options.prune_interval_ms);
    }

    pub fn state_count(&self) -> usize {
        self.states.len()
    }

    fn prune_step(&mut self, now_ms: i64, effects: &mut Effects<ShareStateReply>) {
        let Some(step) = self.prune.step(now_ms, self.options.prune_interval_ms) else { return };
        match step {
            PruneStep::Mark => effects.reply(crate::UNASKED, ShareStateReply::Prune(PruneStep::Mark)),
            PruneStep::Done => {
                if self.write_anew(now_ms, &mut effects.records) {
                    self.prune.is_done(now_ms, self.options.prune_interval_ms);
                    effects.reply(crate::UNASKED, ShareStateReply::Prune(PruneStep::Done));
                }
            }
        }
    }

    /// Writes some states whole that were not since the round began. True when there are no more.
    fn write_anew(&mut self, now_ms: i64, records: &mut Vec<NewRecord>) -> bool {
        let (round, bytes_max) = (self.prune.round(), self.options.records_bytes_max / 2);
        for (key, state) in self.states.iter_mut().filter(|(_, state)| state.round < round) {
            if records.len() >= STATES_PER_STEP || bytes_of(records) > bytes_max {
                return false;
            }
            state.begin_snapshot(now_ms, round);
            records.push(state.snapshot(key, now_ms));
        }
        true
    }
}

/// What a write changes.
struct Change {
    /// `None`: as it is.
    leader_epoch: Option<i32>,
    start_offset: i64,
    delivery_complete_count: i32,
    batches: Vec<StateBatch>,
}

impl State {
    fn before_its_snapshot(snapshot_epoch: i32) -> State {
        State {
            snapshot_epoch,
            state_epoch: 0,
            leader_epoch: 0,
            leader_fence: 0,
            start_offset: NOT_KNOWN,
            delivery_complete_count: NO_COUNT,
            created_ms: 0,
            batches: Vec::new(),
            updates: 0,
            round: 0,
        }
    }

    fn apply(&mut self, change: &Change) {
        if let Some(leader_epoch) = change.leader_epoch {
            self.leader_epoch = self.leader_epoch.max(leader_epoch);
            self.leader_fence = self.leader_fence.max(leader_epoch);
        }
        if change.start_offset != NOT_KNOWN {
            self.start_offset = change.start_offset;
        }
        self.delivery_complete_count = change.delivery_complete_count;
        self.batches = combine(&self.batches, &change.batches, self.start_offset);
    }

    fn begin_snapshot(&mut self, now_ms: i64, round: u64) {
        self.snapshot_epoch += 1;
        self.created_ms = now_ms;
        self.updates = 0;
        self.round = round;
    }

    fn snapshot(&self, key: &ShareKey, now_ms: i64) -> NewRecord {
        let value = ShareSnapshotValue {
            snapshot_epoch: self.snapshot_epoch,
            state_epoch: self.state_epoch,
            leader_epoch: self.leader_epoch,
            start_offset: self.start_offset,
            delivery_complete_count: self.delivery_complete_count,
            create_timestamp: self.created_ms,
            write_timestamp: now_ms,
            batches: self.batches.iter().map(value_of).collect(),
        };
        NewRecord { key: snapshot_key(key), value: Some(value.encode()) }
    }

    fn update(&self, key: &ShareKey, change: &Change) -> NewRecord {
        let value = ShareUpdateValue {
            snapshot_epoch: self.snapshot_epoch,
            leader_epoch: self.leader_epoch,
            start_offset: change.start_offset,
            delivery_complete_count: change.delivery_complete_count,
            batches: combine(&[], &change.batches, change.start_offset).iter().map(value_of).collect(),
        };
        let ShareKey { group, topic_id, partition } = key;
        let key = ShareStateKey::Update { group, topic_id: *topic_id, partition: *partition };
        NewRecord { key: key.encode(), value: Some(value.encode()) }
    }

    fn of_snapshot(value: ShareSnapshotValue) -> Result<State, InternalRecordError> {
        Ok(State {
            snapshot_epoch: value.snapshot_epoch,
            state_epoch: value.state_epoch,
            leader_epoch: value.leader_epoch,
            leader_fence: value.leader_epoch,
            start_offset: value.start_offset,
            delivery_complete_count: value.delivery_complete_count,
            created_ms: value.create_timestamp,
            batches: batches_of(&value.batches)?,
            updates: 0,
            round: 0,
        })
    }
}

fn snapshot_key(key: &ShareKey) -> Vec<u8> {
    let ShareKey { group, topic_id, partition } = key;
    ShareStateKey::Snapshot { group, topic_id: *topic_id, partition: *partition }.encode()
}

fn tombstone(key: &ShareKey) -> NewRecord {
    NewRecord { key: snapshot_key(key), value: None }
}

fn value_of(batch: &StateBatch) -> StateBatchValue {
    StateBatchValue {
        first_offset: batch.first_offset,
        last_offset: batch.last_offset,
        delivery_state: batch.state.code(),
        delivery_count: batch.delivery_count,
    }
}

fn batches_of(values: &[StateBatchValue]) -> Result<Vec<StateBatch>, InternalRecordError> {
    let batch = |value: &StateBatchValue| {
        let found = value.delivery_state;
        let state = RecordState::from_code(found)
            .ok_or(InternalRecordError::UnknownValue { what: "a delivery state", found })?;
        Ok(StateBatch {
            first_offset: value.first_offset,
            last_offset: value.last_offset,
            state,
            delivery_count: value.delivery_count,
        })
    };
    values.iter().map(batch).collect()
}
