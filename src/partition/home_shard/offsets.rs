//! ListOffsets and OffsetForLeaderEpoch.

use super::read_now::code_of;
use super::{HomeShard, Inner};
use crate::message::{
    EpochEndEntry, EpochEndReply, EpochEndRequest, EpochEndResult, Isolation, OffsetSpec, OffsetsEntry, OffsetsReply,
    OffsetsRequest, OffsetsResult,
};
use ringlane_log::{Log, ReadError};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::NO_TIMESTAMP;

/// "There is no such record": no error.
const NONE: OffsetsResult =
    OffsetsResult { error: ErrorCode::None, timestamp: NO_TIMESTAMP, offset: -1, leader_epoch: -1 };

impl HomeShard {
    pub async fn offsets(&self, request: OffsetsRequest) -> OffsetsReply {
        let mut results = Vec::with_capacity(request.entries.len());
        for entry in &request.entries {
            results.push(self.inner.offset(entry, request.isolation).await);
        }
        OffsetsReply { results }
    }

    pub fn epoch_ends(&self, request: EpochEndRequest) -> EpochEndReply {
        EpochEndReply { results: request.entries.iter().map(|entry| self.inner.epoch_end(entry)).collect() }
    }
}

impl Inner {
    async fn offset(&self, entry: &OffsetsEntry, isolation: Isolation) -> OffsetsResult {
        let (log, below) = match self.offset_at_once(entry, isolation) {
            AtOnce::Answer(result) => return result,
            AtOnce::Search { log, below } => (log, below),
        };
        let found: Result<Option<(i64, i64)>, ReadError> = match entry.wanted {
            OffsetSpec::MaxTimestamp => log.max_timestamp(below).await,
            OffsetSpec::Timestamp(timestamp) => log.offset_for_timestamp(timestamp, below).await,
            _ => Ok(None),
        };
        match found {
            Ok(Some((offset, timestamp))) => {
                let leader_epoch = self.epoch_at(entry, offset);
                OffsetsResult { error: ErrorCode::None, timestamp, offset, leader_epoch }
            }
            Ok(None) => NONE,
            Err(error) => OffsetsResult::failed(code_of(&error)),
        }
    }

    fn offset_at_once(&self, entry: &OffsetsEntry, isolation: Isolation) -> AtOnce {
        let state = self.state.borrow();
        let Some(partition) = state.partitions.get(&entry.at).filter(|_| !state.is_closed) else {
            return AtOnce::Answer(OffsetsResult::failed(state.missing(&entry.at)));
        };
        if let Err(error) = partition.check_leader(self.broker_id, entry.current_leader_epoch) {
            return AtOnce::Answer(OffsetsResult::failed(error));
        }
        let visible = partition.visible(isolation);
        let at = |offset: i64, leader_epoch: i32| {
            AtOnce::Answer(OffsetsResult { error: ErrorCode::None, timestamp: NO_TIMESTAMP, offset, leader_epoch })
        };
        match entry.wanted {
            OffsetSpec::Earliest | OffsetSpec::EarliestLocal => {
                let start = visible.log_start_offset;
                at(start, partition.epochs.epoch_at(start).unwrap_or(-1))
            }
            OffsetSpec::LatestTiered | OffsetSpec::EarliestPendingUpload => AtOnce::Answer(NONE),
            // KIP-207: a new leader does not know yet how far its predecessor's high watermark was.
            _ if partition.epochs.latest_start().is_some_and(|start| visible.high_watermark < start) => {
                AtOnce::Answer(OffsetsResult::failed(ErrorCode::OffsetNotAvailable))
            }
            OffsetSpec::Latest => at(visible.below, partition.spec.leader_epoch),
            OffsetSpec::MaxTimestamp | OffsetSpec::Timestamp(_) => {
                AtOnce::Search { log: partition.log.clone(), below: visible.below }
            }
        }
    }

    fn epoch_at(&self, entry: &OffsetsEntry, offset: i64) -> i32 {
        let state = self.state.borrow();
        state.partitions.get(&entry.at).and_then(|partition| partition.epochs.epoch_at(offset)).unwrap_or(-1)
    }

    fn epoch_end(&self, entry: &EpochEndEntry) -> EpochEndResult {
        let state = self.state.borrow();
        let nothing = |error| EpochEndResult { error, leader_epoch: -1, end_offset: -1 };
        let Some(partition) = state.partitions.get(&entry.at).filter(|_| !state.is_closed) else {
            return nothing(state.missing(&entry.at));
        };
        if let Err(error) = partition.check_leader(self.broker_id, entry.current_leader_epoch) {
            return nothing(error);
        }
        match partition.epochs.end_of(entry.leader_epoch, partition.log.end_offset()) {
            Some(end) => EpochEndResult { error: ErrorCode::None, leader_epoch: end.epoch, end_offset: end.end_offset },
            None => nothing(ErrorCode::None),
        }
    }
}

enum AtOnce {
    Answer(OffsetsResult),
    /// Needs a look into the log.
    Search {
        log: Log,
        below: i64,
    },
}
