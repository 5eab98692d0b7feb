//! What a partition keeps beside its log, as bytes of a checkpoint: so that a start reads the batches since then and no others.
//!
//! Pure. Written by the home shard when the log's checkpoint asks, read when the log opens. Ours, not Kafka's `.snapshot`: that has one
//! batch of each producer, and the duplicates of the four before it would be appended again after every restart.
//!
//! ```text
//! version u8 | epochs u32: epoch i32, start i64 | transactions seen u8 | transactions u32: producer i64, first
//! offset i64
//! | producers u32: id i64, epoch i16, active ms i64, timestamp i64, coordinator epoch i32 (not in version 1)
//!   | batches u8: last sequence i32, offset delta i32, last offset i64, timestamp i64
//! ```

use crate::leader_epochs::LeaderEpochs;
use crate::open_transactions::OpenTransactions;
use crate::producer_state::{KeptBatch, KeptProducer};
use bytes::{Buf, BufMut, Bytes};

const VERSION: u8 = 2;
const NO_COORDINATOR_EPOCH: i32 = -1;

/// A partition's state at its log's end.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    pub epochs: LeaderEpochs,
    pub transactions: OpenTransactions,
    pub producers: Vec<KeptProducer>,
}

pub(crate) fn encode<'a>(
    epochs: &LeaderEpochs,
    transactions: &OpenTransactions,
    producers: impl Iterator<Item = &'a KeptProducer>,
) -> Bytes {
    let mut out = vec![VERSION];
    put_all(&mut out, epochs.iter(), |out, (epoch, start_offset)| {
        out.put_i32(epoch);
        out.put_i64(start_offset);
    });
    out.put_u8(u8::from(transactions.were_seen()));
    put_all(&mut out, transactions.iter(), |out, (producer_id, first_offset)| {
        out.put_i64(producer_id);
        out.put_i64(first_offset);
    });
    put_all(&mut out, producers, |out, producer| {
        out.put_i64(producer.producer_id);
        out.put_i16(producer.epoch);
        out.put_i64(producer.active_ms);
        out.put_i64(producer.timestamp);
        out.put_i32(producer.coordinator_epoch.unwrap_or(NO_COORDINATOR_EPOCH));
        out.put_u8(producer.batches.len() as u8);
        for batch in &producer.batches {
            out.put_i32(batch.last_sequence);
            out.put_i32(batch.offset_delta);
            out.put_i64(batch.last_offset);
            out.put_i64(batch.max_timestamp);
        }
    });
    Bytes::from(out)
}

/// The count goes in front when it is known: the items are not counted beforehand.
fn put_all<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, put: impl Fn(&mut Vec<u8>, T)) {
    let (count_at, mut count) = (out.len(), 0u32);
    out.put_u32(0);
    for item in items {
        put(out, item);
        count += 1;
    }
    out[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
}

/// `None`: not what `encode` writes; then the whole log tells.
pub(crate) fn decode(mut state: &[u8]) -> Option<Snapshot> {
    let state = &mut state;
    let version = state.try_get_u8().ok()?;
    if !(1..=VERSION).contains(&version) {
        return None;
    }
    let mut snapshot = Snapshot::default();
    for _ in 0..state.try_get_u32().ok()? {
        snapshot.epochs.assign(state.try_get_i32().ok()?, state.try_get_i64().ok()?);
    }
    if state.try_get_u8().ok()? != 0 {
        snapshot.transactions.note_seen();
    }
    for _ in 0..state.try_get_u32().ok()? {
        snapshot.transactions.open(state.try_get_i64().ok()?, state.try_get_i64().ok()?);
    }
    for _ in 0..state.try_get_u32().ok()? {
        let (producer_id, epoch) = (state.try_get_i64().ok()?, state.try_get_i16().ok()?);
        let active_ms = state.try_get_i64().ok()?;
        let (timestamp, coordinator_epoch) = match version {
            1 => (active_ms, NO_COORDINATOR_EPOCH),
            _ => (state.try_get_i64().ok()?, state.try_get_i32().ok()?),
        };
        let coordinator_epoch = (coordinator_epoch != NO_COORDINATOR_EPOCH).then_some(coordinator_epoch);
        let batches: Option<Vec<_>> = (0..state.try_get_u8().ok()?).map(|_| kept_batch(state)).collect();
        let batches = batches?;
        snapshot.producers.push(KeptProducer { producer_id, epoch, active_ms, timestamp, coordinator_epoch, batches });
    }
    state.is_empty().then_some(snapshot)
}

fn kept_batch(state: &mut &[u8]) -> Option<KeptBatch> {
    Some(KeptBatch {
        last_sequence: state.try_get_i32().ok()?,
        offset_delta: state.try_get_i32().ok()?,
        last_offset: state.try_get_i64().ok()?,
        max_timestamp: state.try_get_i64().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state that is read back wrong answers a duplicate as new, or a new batch as a duplicate.
    #[test]
    fn a_state_reads_back_and_a_cut_one_is_refused() {
        let mut epochs = LeaderEpochs::default();
        epochs.assign(0, 0);
        epochs.assign(3, 1_500);
        let mut transactions = OpenTransactions::default();
        transactions.open(7, 1_200);
        let batch = |last_sequence| KeptBatch { last_sequence, offset_delta: 3, last_offset: 99, max_timestamp: 5 };
        let producer = |producer_id, coordinator_epoch, batches| KeptProducer {
            producer_id,
            epoch: 2,
            active_ms: 1_000,
            timestamp: 999,
            coordinator_epoch,
            batches,
        };
        let producers = vec![producer(7, Some(4), vec![batch(3), batch(7)]), producer(8, None, Vec::new())];
        let state = encode(&epochs, &transactions, producers.iter());

        assert_eq!(decode(&state), Some(Snapshot { epochs, transactions, producers }));
        for cut in 0..state.len() {
            assert_eq!(decode(&state[..cut]), None, "cut at {cut}");
        }
        assert_eq!(decode(&[&state[..], &[0]].concat()), None);
    }
}
