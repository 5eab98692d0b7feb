//! What transactions ask of a partition: may this batch open or continue one, and does this marker end one (KIP-98, KIP-890).
//!
//! Synchronous steps of the home shard, like the rest of [`Partition`].

use crate::message::{AppendFailure, Gate, MarkerEntry, VerifyEntry};
use crate::partition::{Partition, Sequenced};
use crate::producer_state::ProducerTable;
use crate::verification::VerificationGuard;
use ringlane_log::AppendBatch;
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::{
    BatchHeader, NO_PRODUCER_EPOCH, NO_SEQUENCE, NO_TIMESTAMP, marker_batch, patch_base_offset, patch_leader_epoch,
};

/// First `transaction.version` whose markers carry an epoch above that of the records.
const BUMPS_EPOCH_FROM: i16 = 2;

impl Partition {
    /// Whether a transactional batch needs its coordinator's word first.
    pub fn gate(&mut self, entry: &VerifyEntry, producers: &ProducerTable) -> Result<Gate, AppendFailure> {
        let VerifyEntry { producer_id, epoch, base_sequence, bumps_epoch, .. } = *entry;
        self.check_epoch(producer_id, epoch, producers)?;
        if self.is_ongoing(producer_id, epoch, producers) {
            return Ok(Gate::Open);
        }
        Ok(Gate::Verify(self.verifications.begin(producer_id, epoch, base_sequence, bumps_epoch)))
    }

    /// The rules of a producer's batch that its sequence does not tell.
    pub fn check_transaction(
        &self,
        batch: &BatchHeader,
        guard: Option<VerificationGuard>,
        producers: &ProducerTable,
    ) -> Result<(), AppendFailure> {
        let (producer_id, epoch) = (batch.producer_id, batch.producer_epoch);
        if !batch.is_transactional() {
            return match self.transactions.is_open(producer_id) {
                true => Err(invalid_state(format!("producer {producer_id} has an open transaction here"))),
                false => Ok(()),
            };
        }
        // A coordinator's own batch has no sequence; it has asked `may_write` in the same step.
        if batch.base_sequence == NO_SEQUENCE {
            return self.check_epoch(producer_id, epoch, producers);
        }
        if self.is_ongoing(producer_id, epoch, producers) {
            return Ok(());
        }
        self.may_write(producer_id, epoch, guard, producers)?;
        let Some(verified) = self.verifications.of(producer_id) else { return Ok(()) };
        let is_unknown = producers.epochs_of(self.number, producer_id).is_none();
        let must_begin_at_zero = verified.bumps_epoch && is_unknown && batch.base_sequence != 0;
        if must_begin_at_zero || batch.base_sequence > verified.lowest_sequence {
            let expected = if must_begin_at_zero { 0 } else { verified.lowest_sequence };
            let message = format!("producer {producer_id} sent sequence {} before {expected}", batch.base_sequence);
            return Err(AppendFailure::new(ErrorCode::OutOfOrderSequenceNumber, message));
        }
        Ok(())
    }

    /// Whether the producer's transaction is open here, or its coordinator has agreed that it begins.
    pub fn may_write(
        &self,
        producer_id: i64,
        epoch: i16,
        guard: Option<VerificationGuard>,
        producers: &ProducerTable,
    ) -> Result<(), AppendFailure> {
        if self.is_ongoing(producer_id, epoch, producers) {
            return Ok(());
        }
        self.check_epoch(producer_id, epoch, producers)?;
        match self.verifications.of(producer_id).is_some_and(|known| Some(known.guard) == guard) {
            true => Ok(()),
            false => Err(invalid_state(format!("producer {producer_id} has no transaction with this partition in it"))),
        }
    }

    /// Ends the producer's transaction here, or finds that the marker comes too late. A repeated one is appended again: it ends nothing.
    pub fn sequence_marker(
        &mut self,
        entry: &MarkerEntry,
        producers: &mut ProducerTable,
        now_ms: i64,
    ) -> Result<Sequenced, AppendFailure> {
        self.check_marker(entry, producers)?;
        let MarkerEntry { producer_id, epoch, marker, .. } = *entry;
        let mut bytes = marker_batch(marker.kind, producer_id, epoch, marker.coordinator_epoch, now_ms);
        patch_base_offset(&mut bytes, self.log.end_offset());
        patch_leader_epoch(&mut bytes, self.spec.leader_epoch);
        let storage = |failed: String| AppendFailure::new(ErrorCode::KafkaStorageError, failed);
        let header = BatchHeader::parse(&bytes).map_err(|error| storage(error.to_string()))?;
        let bytes_count = bytes.len();
        self.log.append(AppendBatch::new(&header, bytes.into())).map_err(|failed| storage(failed.to_string()))?;
        if self.log.has_rolled() {
            self.log.note_producers(self.producer_entries(producers));
        }
        producers.note(self.number, &header, now_ms);
        producers.note_coordinator(self.number, producer_id, marker.coordinator_epoch);
        self.verifications.ended(producer_id, epoch);
        if let Some(aborted) = self.transactions.end(&header, marker.kind) {
            self.log.note_aborted(aborted);
        }
        Ok(Sequenced {
            base_offset: header.base_offset,
            next_offset: header.next_offset(),
            log_append_time_ms: NO_TIMESTAMP,
            bytes: bytes_count,
        })
    }

    fn check_marker(&self, entry: &MarkerEntry, producers: &ProducerTable) -> Result<(), AppendFailure> {
        let MarkerEntry { producer_id, epoch, marker, transaction_version, .. } = *entry;
        let (seen, coordinator_epoch) = self.epochs_of(producer_id, producers);
        let bumps = transaction_version >= BUMPS_EPOCH_FROM;
        let is_late = if bumps { epoch <= seen } else { epoch < seen };
        // Written before and asked for again, by a coordinator that did not hear of it. The highest epoch cannot be bumped: it must end.
        let is_repeated = bumps && epoch == seen && (!self.transactions.is_open(producer_id) || epoch == i16::MAX);
        if is_late && !is_repeated {
            let message = format!("a marker with epoch {epoch} for producer {producer_id}, of which {seen} was seen");
            return Err(AppendFailure::new(ErrorCode::InvalidProducerEpoch, message));
        }
        if let Some(coordinator_epoch) = coordinator_epoch.filter(|seen| marker.coordinator_epoch < *seen) {
            let message = format!(
                "a marker of coordinator epoch {} for producer {producer_id}, of which {coordinator_epoch} was seen",
                marker.coordinator_epoch
            );
            return Err(AppendFailure::new(ErrorCode::TransactionCoordinatorFenced, message));
        }
        Ok(())
    }

    fn check_epoch(&self, producer_id: i64, epoch: i16, producers: &ProducerTable) -> Result<(), AppendFailure> {
        match self.epochs_of(producer_id, producers) {
            (seen, _) if epoch < seen => Err(AppendFailure::new(
                ErrorCode::InvalidProducerEpoch,
                format!("producer {producer_id} with epoch {epoch}: epoch {seen} was seen before"),
            )),
            _ => Ok(()),
        }
    }

    fn is_ongoing(&self, producer_id: i64, epoch: i16, producers: &ProducerTable) -> bool {
        self.transactions.is_open(producer_id) && self.epochs_of(producer_id, producers).0 == epoch
    }

    /// Of the producer and of its last coordinator. One that the table has forgotten begins anew, also in the middle of a transaction.
    fn epochs_of(&self, producer_id: i64, producers: &ProducerTable) -> (i16, Option<i32>) {
        producers.epochs_of(self.number, producer_id).unwrap_or((NO_PRODUCER_EPOCH, None))
    }
}

fn invalid_state(message: String) -> AppendFailure {
    AppendFailure::new(ErrorCode::InvalidTxnState, message)
}
