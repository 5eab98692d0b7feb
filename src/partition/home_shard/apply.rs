//! What the metadata says becomes true here: partitions open, change their leader or settings, and go.

use super::{HomeShard, Inner, PartitionSpec};
use crate::delayed_produce::{Done, WaitQueue};
use crate::high_watermark::HighWatermark;
use crate::leader_epochs::{CHECKPOINT_FILE, LeaderEpochs};
use crate::message::TopicPartition;
use crate::open_transactions::OpenTransactions;
use crate::partition::Partition;
use crate::producer_state::PartitionNumber;
use crate::snapshot::{self, Snapshot};
use crate::verification::Verifications;
use bytes::Bytes;
use ringlane_log::{EndMarker, Log, LogId, LogKey, OpenError, Visitor};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::BatchHeader;
use ringlane_protocol::storage::producer_snapshot::ProducerEntry;
use ringlane_protocol::storage::txn_index::AbortedTransaction;
use ringlane_runtime::wall_clock_ms;
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("partition {partition} of topic {topic}: {source}")]
    Open { topic: Arc<str>, partition: i32, source: OpenError },
}

impl HomeShard {
    /// Opens the partition, or gives the open one its new leader, epoch and settings. One call at a time for a partition; any number for
    /// different ones.
    pub async fn apply(&self, spec: PartitionSpec) -> Result<(), ApplyError> {
        let is_open = self.inner.state.borrow().partitions.contains_key(&spec.at);
        let at = spec.at;
        if is_open {
            self.inner.change(spec);
        } else {
            let opened = self.inner.open(spec).await;
            self.inner.is_offline(at, opened.is_err());
            self.inner.take_in(opened?);
        }
        self.inner.lead(at).await;
        Ok(())
    }

    /// The topic is gone: answers everything that waits, deletes the log.
    pub async fn remove(&self, at: TopicPartition) {
        self.inner.is_offline(at, false);
        let Some((log, done)) = self.inner.take_out(at) else { return };
        done.into_iter().for_each(Done::answer);
        if let Err(error) = self.inner.logs.delete(&log).await {
            tracing::error!("cannot delete {}: {error}", log.id());
        }
    }
}

impl Inner {
    async fn open(&self, spec: PartitionSpec) -> Result<Partition, ApplyError> {
        let number = self.state.borrow_mut().new_partition_number();
        let id = LogId { topic: spec.topic.to_string(), topic_id: spec.at.topic_id, partition: spec.at.partition };
        let mut rebuilt = Rebuilt {
            shard: self,
            number,
            now_ms: wall_clock_ms(),
            epochs: LeaderEpochs::default(),
            transactions: OpenTransactions::default(),
        };
        let log = match self.logs.open(id, spec.log, spec.is_new, &mut rebuilt).await {
            Ok(log) => log,
            Err(source) => {
                self.state.borrow_mut().producers.forget_partition(number);
                return Err(ApplyError::Open { topic: spec.topic, partition: spec.at.partition, source });
            }
        };
        let Rebuilt { epochs, mut transactions, .. } = rebuilt;
        transactions.replicated(log.stable_offset());
        let checkpoint = read_checkpoint(&log).await;
        let mut epochs = LeaderEpochs::merged(checkpoint, epochs, log.end_offset());
        epochs.truncate_from_start(log.start_offset());
        Ok(partition(spec, number, log, epochs, transactions))
    }

    /// What a checkpoint of the log stores of its partition. `None`: the log is not in use yet.
    pub(super) fn state_of(&self, log: LogKey) -> Option<Bytes> {
        let state = self.state.borrow();
        let partition = state.by_log.get(&log).and_then(|at| state.partitions.get(at))?;
        let producers = state.producers.kept_of(partition.number);
        Some(snapshot::encode(&partition.epochs, &partition.transactions, producers.iter()))
    }

    /// What Kafka's snapshot as of the log's end says. `None`: the log is not in use yet.
    pub(super) fn producers_of(&self, log: LogKey) -> Option<Vec<ProducerEntry>> {
        let state = self.state.borrow();
        let partition = state.by_log.get(&log).and_then(|at| state.partitions.get(at))?;
        Some(partition.producer_entries(&state.producers))
    }

    fn is_offline(&self, at: TopicPartition, offline: bool) {
        let changed = match offline {
            true => self.state.borrow_mut().offline.insert(at),
            false => self.state.borrow_mut().offline.remove(&at),
        };
        if changed {
            self.metrics.partitions_offline.add(if offline { 1 } else { -1 });
        }
    }

    fn take_in(&self, partition: Partition) {
        let mut state = self.state.borrow_mut();
        state.by_log.insert(partition.log.key(), partition.spec.at);
        state.partitions.insert(partition.spec.at, partition);
        self.metrics.partitions.set(state.partitions.len() as i64);
        self.metrics.producers.set(state.producers.len() as i64);
    }

    /// A spec with an older epoch than the one in force is old news.
    fn change(&self, spec: PartitionSpec) {
        let mut done = Vec::new();
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let Some(partition) = state.partitions.get_mut(&spec.at) else { return };
        if spec.leader_epoch < partition.spec.leader_epoch {
            return;
        }
        if spec.log != partition.spec.log {
            partition.log.set_options(spec.log);
        }
        partition.spec = spec;
        if !partition.is_led_by(self.broker_id) {
            partition.watchers.iter().for_each(|watcher| state.fetches.wake(watcher.read));
            let waiters = partition.take_waiters();
            done.extend(waiters.into_iter().filter_map(|w| state.produces.complete(w, ErrorCode::NotLeaderOrFollower)));
        } else if partition.advance_high_watermark() {
            // There were too few in-sync replicas, or they needed to be fewer.
            let log = partition.log.key();
            state.became_visible(log, &mut done);
        }
        drop(guard);
        done.into_iter().for_each(Done::answer);
    }

    /// As leader: begins the epoch where the log ends.
    async fn lead(&self, at: TopicPartition) {
        let Some((log, checkpoint)) = self.begin_epoch(at) else { return };
        // Lost, it is rebuilt from the batches: worth a warning, not the partition.
        if let Err(error) = log.write_checkpoint(CHECKPOINT_FILE, checkpoint.as_bytes()).await {
            tracing::warn!("{}: cannot write {CHECKPOINT_FILE}: {error}", log.id());
        }
    }

    fn begin_epoch(&self, at: TopicPartition) -> Option<(Log, String)> {
        let mut state = self.state.borrow_mut();
        let partition = state.partitions.get_mut(&at).filter(|partition| partition.is_led_by(self.broker_id))?;
        let is_new = partition.epochs.assign(partition.spec.leader_epoch, partition.log.end_offset());
        // An empty log has nothing to tell that a later scan would not: a new topic costs no file here.
        let has_records = partition.log.end_offset() > partition.log.start_offset();
        (is_new && has_records).then(|| (partition.log.clone(), partition.epochs.to_checkpoint()))
    }

    fn take_out(&self, at: TopicPartition) -> Option<(Log, Vec<Done>)> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let mut partition = state.partitions.remove(&at)?;
        state.by_log.remove(&partition.log.key());
        state.producers.forget_partition(partition.number);
        state.unstable_bytes -= partition.take_unstable_bytes();
        if partition.log.failure().is_some() {
            self.metrics.partitions_offline.decrement();
        }
        self.metrics.partitions.set(state.partitions.len() as i64);
        self.metrics.producers.set(state.producers.len() as i64);
        partition.watchers.iter().for_each(|watcher| state.fetches.wake(watcher.read));
        let waiters = partition.take_waiters();
        let done = waiters.into_iter().filter_map(|w| state.produces.complete(w, ErrorCode::UnknownTopicOrPartition));
        Some((partition.log, done.collect()))
    }
}

/// What the log tells of its partition as it opens.
struct Rebuilt<'a> {
    shard: &'a Inner,
    number: PartitionNumber,
    now_ms: i64,
    epochs: LeaderEpochs,
    transactions: OpenTransactions,
}

impl Visitor for Rebuilt<'_> {
    fn state(&mut self, state: &[u8]) -> bool {
        let Some(Snapshot { epochs, transactions, producers }) = snapshot::decode(state) else { return false };
        (self.epochs, self.transactions) = (epochs, transactions);
        let table = &mut self.shard.state.borrow_mut().producers;
        producers.into_iter().for_each(|producer| table.restore(self.number, producer));
        true
    }

    fn batch(&mut self, batch: &BatchHeader) {
        self.epochs.assign(batch.leader_epoch, batch.base_offset);
        self.transactions.note(batch);
        if batch.has_producer() {
            let table = &mut self.shard.state.borrow_mut().producers;
            table.note(self.number, batch, batch.max_timestamp.min(self.now_ms));
        }
    }

    fn marker(&mut self, batch: &BatchHeader, marker: EndMarker) -> Option<AbortedTransaction> {
        let table = &mut self.shard.state.borrow_mut().producers;
        table.note_coordinator(self.number, batch.producer_id, marker.coordinator_epoch);
        self.transactions.end(batch, marker.kind)
    }

    fn keeps_transactions(&self) -> bool {
        true
    }

    fn producers(&mut self, producers: &[ProducerEntry]) {
        let table = &mut self.shard.state.borrow_mut().producers;
        producers.iter().for_each(|entry| table.import(self.number, entry, self.now_ms));
        self.transactions.import(producers);
    }
}

fn partition(
    spec: PartitionSpec,
    number: PartitionNumber,
    log: Log,
    epochs: LeaderEpochs,
    transactions: OpenTransactions,
) -> Partition {
    Partition {
        high: HighWatermark::new(log.stable_offset()),
        spec,
        number,
        log,
        epochs,
        transactions,
        verifications: Verifications::default(),
        for_stable: WaitQueue::default(),
        for_high: WaitQueue::default(),
        unstable: VecDeque::new(),
        watchers: Vec::new(),
        last_request: None,
    }
}

async fn read_checkpoint(log: &Log) -> Option<LeaderEpochs> {
    match log.read_checkpoint(CHECKPOINT_FILE).await {
        Ok(Some(content)) => {
            let epochs = LeaderEpochs::from_checkpoint(&content);
            if epochs.is_none() {
                tracing::warn!("{}: {CHECKPOINT_FILE} is damaged: leader epochs are taken from the batches", log.id());
            }
            epochs
        }
        Ok(None) => None,
        Err(error) => {
            tracing::warn!("{}: cannot read {CHECKPOINT_FILE}: {error}", log.id());
            None
        }
    }
}
