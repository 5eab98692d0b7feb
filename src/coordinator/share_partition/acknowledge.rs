//! What members say of the records that they have, and what becomes of them when their member goes.
//!
//! A request is checked whole before anything changes: one that is wrong in one place has no effect.

use super::SharePartition;
use super::options::SharePartitionOptions;
use super::range::{Change, RecordState};
use super::write::WriteNumber;
use ringlane_protocol::ErrorCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcknowledgeType {
    /// There is no record at this offset.
    Gap,
    Accept,
    Release,
    Reject,
    /// Not done yet: the lock begins anew (KIP-1222).
    Renew,
}

impl AcknowledgeType {
    pub fn from_wire(number: i8) -> Option<AcknowledgeType> {
        match number {
            0 => Some(AcknowledgeType::Gap),
            1 => Some(AcknowledgeType::Accept),
            2 => Some(AcknowledgeType::Release),
            3 => Some(AcknowledgeType::Reject),
            4 => Some(AcknowledgeType::Renew),
            _ => None,
        }
    }
}

/// One type for all offsets, or one for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcknowledgementBatch {
    pub first_offset: i64,
    pub last_offset: i64,
    pub types: Vec<AcknowledgeType>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcknowledgeError {
    #[error("{0}")]
    InvalidRequest(&'static str),
    #[error("{0}")]
    InvalidRecordState(&'static str),
}

impl AcknowledgeError {
    pub fn code(&self) -> ErrorCode {
        match self {
            AcknowledgeError::InvalidRequest(_) => ErrorCode::InvalidRequest,
            AcknowledgeError::InvalidRecordState(_) => ErrorCode::InvalidRecordState,
        }
    }
}

impl SharePartition {
    /// `Some` is the write after which the answer may be given.
    pub fn acknowledge(
        &mut self,
        member: &str,
        batches: &[AcknowledgementBatch],
        options: &SharePartitionOptions,
        now_ms: i64,
    ) -> Result<Option<WriteNumber>, AcknowledgeError> {
        let mut before = i64::MIN;
        for batch in batches {
            if batch.first_offset <= before {
                return Err(AcknowledgeError::InvalidRecordState("The offset cannot be acknowledged twice."));
            }
            self.check(member, batch, options)?;
            before = batch.last_offset;
        }
        let mut changed = false;
        let start = self.start;
        for batch in batches.iter().filter(|batch| batch.last_offset >= start) {
            for (first, last, kind) in runs(batch) {
                changed |= self.say(first.max(start), last, kind, options, now_ms);
            }
        }
        self.ranges.join();
        Ok(changed.then(|| self.writes.wanted()))
    }

    /// The member has gone: what it has, others may have.
    pub fn release(&mut self, member: &str, options: &SharePartitionOptions) -> Option<WriteNumber> {
        let write = self.writes.upcoming();
        let mut changed = false;
        for (_, range) in self.ranges.iter_mut().filter(|(_, range)| range.is_acquired_by(member)) {
            let change = Change { write, member: range.member.clone() };
            let lock_until_ms = range.lock_until_ms;
            range.let_go(options.delivery_count_limit);
            (range.change, range.lock_until_ms) = (Some(change), lock_until_ms);
            changed = true;
        }
        changed.then(|| self.writes.wanted())
    }

    fn check(
        &self,
        member: &str,
        batch: &AcknowledgementBatch,
        options: &SharePartitionOptions,
    ) -> Result<(), AcknowledgeError> {
        let count = batch.last_offset.saturating_sub(batch.first_offset).saturating_add(1);
        let is_one_for_all = batch.types.len() == 1;
        if count <= 0 || (!is_one_for_all && batch.types.len() as i64 != count) {
            return Err(AcknowledgeError::InvalidRequest(
                "One acknowledgement type, or one for each offset, is expected.",
            ));
        }
        if batch.last_offset < self.start {
            return Ok(());
        }
        if self.ranges.is_empty() {
            let found_none = "Batch record not found. The request batch offsets are not found in the cache.";
            return Err(AcknowledgeError::InvalidRecordState(found_none));
        }
        if batch.first_offset >= self.next {
            let past = "Batch record not found. The first offset in request is past acquired records.";
            return Err(AcknowledgeError::InvalidRequest(past));
        }
        if batch.last_offset >= self.next {
            let past = "Batch record not found. The last offset in request is past acquired records.";
            return Err(AcknowledgeError::InvalidRequest(past));
        }
        for (_, range) in self.ranges.within(batch.first_offset.max(self.start), batch.last_offset) {
            if range.state != RecordState::Acquired || range.change.is_some() {
                let not_acquired = "The offset cannot be acknowledged. The offset is not acquired.";
                return Err(AcknowledgeError::InvalidRecordState(not_acquired));
            }
            if !range.is_acquired_by(member) {
                return Err(AcknowledgeError::InvalidRecordState("Member is not the owner of offset"));
            }
        }
        if !options.renew_enabled && batch.types.contains(&AcknowledgeType::Renew) {
            let disabled = "Renewing acquisition locks is not enabled for the group.";
            return Err(AcknowledgeError::InvalidRecordState(disabled));
        }
        Ok(())
    }

    /// True if a state has changed.
    fn say(
        &mut self,
        first: i64,
        last: i64,
        kind: AcknowledgeType,
        options: &SharePartitionOptions,
        now_ms: i64,
    ) -> bool {
        if kind == AcknowledgeType::Renew {
            let lock_until_ms = now_ms.saturating_add(options.lock_ms);
            self.ranges.isolate(first, last).for_each(|(_, range)| range.lock_until_ms = lock_until_ms);
            return false;
        }
        let write = self.writes.upcoming();
        let mut changed = false;
        for (_, range) in self.ranges.isolate(first, last) {
            let change = Change { write, member: range.member.clone() };
            let lock_until_ms = range.lock_until_ms;
            match kind {
                AcknowledgeType::Accept => range.settle(RecordState::Acknowledged),
                AcknowledgeType::Release => range.let_go(options.delivery_count_limit),
                AcknowledgeType::Gap | AcknowledgeType::Reject | AcknowledgeType::Renew => {
                    range.settle(RecordState::Archived)
                }
            }
            (range.change, range.lock_until_ms) = (Some(change), lock_until_ms);
            changed = true;
        }
        changed
    }
}

/// Neighbouring offsets of the same type together.
fn runs(batch: &AcknowledgementBatch) -> Vec<(i64, i64, AcknowledgeType)> {
    if let [kind] = batch.types[..] {
        return vec![(batch.first_offset, batch.last_offset, kind)];
    }
    let mut runs: Vec<(i64, i64, AcknowledgeType)> = Vec::new();
    for (offset, &kind) in (batch.first_offset..).zip(&batch.types) {
        match runs.last_mut() {
            Some((_, last, before)) if *before == kind => *last = offset,
            _ => runs.push((offset, offset, kind)),
        }
    }
    runs
}
