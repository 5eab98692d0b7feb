//! What a partition keeps beside its log, as bytes of a checkpoint: so that a start reads the batches since then and no others.
//!
//! Pure. Written by the home shard when the log's checkpoint asks, read when the log opens. Ours, not Kafka's `.snapshot`: that has one
//! batch of each producer, and the duplicates of the four before it would be appended again after every restart.
//!
//! ```text
//! version u8 | epochs u32: epoch i32, start i64 | open transactions u32: producer i64, first offset i64, epoch i16
//! | aborted transactions u32: producer i64, first offset i64, last offset i64, last stable offset i64
//! | producers u32: id i64, epoch i16, coordinator epoch i32, active ms i64,
//!   batches u8: last sequence i32, offset delta i32, last offset i64, timestamp i64
//! ```

use crate::aborted_index::AbortedIndex;
use crate::leader_epochs::LeaderEpochs;
use crate::open_transactions::{Open, OpenTransactions};
use crate::producer_state::{KeptBatch, KeptProducer};
use bytes::{Buf, BufMut, Bytes};
use ringlane_protocol::storage::txn_index::AbortedTransaction;

/// 1 knew no aborted transactions.
const VERSION: u8 = 2;

/// A partition's state at its log's end.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    pub epochs: LeaderEpochs,
    pub transactions: OpenTransactions,
    pub aborted: AbortedIndex,
    pub producers: Vec<KeptProducer>,
}

pub(crate) fn encode<'a>(
    epochs: &LeaderEpochs,
    transactions: &OpenTransactions,
    aborted: &AbortedIndex,
    producers: impl Iterator<Item = &'a KeptProducer>,
) -> Bytes {
    let mut out = vec![VERSION];
    put_all(&mut out, epochs.iter(), |out, (epoch, start_offset)| {
        out.put_i32(epoch);
        out.put_i64(start_offset);
    });
    put_all(&mut out, transactions.iter(), |out, (producer_id, open)| {
        out.put_i64(producer_id);
        out.put_i64(open.first_offset);
        out.put_i16(open.epoch);
    });
    put_all(&mut out, aborted.iter(), |out, aborted| {
        out.put_i64(aborted.producer_id);
        out.put_i64(aborted.first_offset);
        out.put_i64(aborted.last_offset);
        out.put_i64(aborted.last_stable_offset);
    });
    put_all(&mut out, producers, |out, producer| {
        out.put_i64(producer.producer_id);
        out.put_i16(producer.epoch);
        out.put_i32(producer.coordinator_epoch);
        out.put_i64(producer.active_ms);
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
    if state.try_get_u8().ok()? != VERSION {
        return None;
    }
    let mut snapshot = Snapshot::default();
    for _ in 0..state.try_get_u32().ok()? {
        snapshot.epochs.assign(state.try_get_i32().ok()?, state.try_get_i64().ok()?);
    }
    for _ in 0..state.try_get_u32().ok()? {
        let producer_id = state.try_get_i64().ok()?;
        let open = Open { first_offset: state.try_get_i64().ok()?, epoch: state.try_get_i16().ok()? };
        snapshot.transactions.open(producer_id, open);
    }
    for _ in 0..state.try_get_u32().ok()? {
        snapshot.aborted.push(AbortedTransaction {
            producer_id: state.try_get_i64().ok()?,
            first_offset: state.try_get_i64().ok()?,
            last_offset: state.try_get_i64().ok()?,
            last_stable_offset: state.try_get_i64().ok()?,
        });
    }
    for _ in 0..state.try_get_u32().ok()? {
        let (producer_id, epoch) = (state.try_get_i64().ok()?, state.try_get_i16().ok()?);
        let (coordinator_epoch, active_ms) = (state.try_get_i32().ok()?, state.try_get_i64().ok()?);
        let batches: Option<Vec<_>> = (0..state.try_get_u8().ok()?).map(|_| kept_batch(state)).collect();
        snapshot.producers.push(KeptProducer { producer_id, epoch, coordinator_epoch, active_ms, batches: batches? });
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
        transactions.open(7, Open { first_offset: 1_200, epoch: 2 });
        let mut aborted = AbortedIndex::default();
        for last_offset in [900, 1_000] {
            aborted.push(AbortedTransaction {
                producer_id: 6,
                first_offset: 800,
                last_offset,
                last_stable_offset: last_offset + 1,
            });
        }
        let batch = |last_sequence| KeptBatch { last_sequence, offset_delta: 3, last_offset: 99, max_timestamp: 5 };
        let producers = vec![
            KeptProducer {
                producer_id: 7,
                epoch: 2,
                coordinator_epoch: 9,
                active_ms: 1_000,
                batches: vec![batch(3), batch(7)],
            },
            KeptProducer { producer_id: 8, epoch: 0, coordinator_epoch: -1, active_ms: 2_000, batches: Vec::new() },
        ];
        let state = encode(&epochs, &transactions, &aborted, producers.iter());

        assert_eq!(decode(&state), Some(Snapshot { epochs, transactions, aborted, producers }));
        for cut in 0..state.len() {
            assert_eq!(decode(&state[..cut]), None, "cut at {cut}");
        }
        assert_eq!(decode(&[&state[..], &[0]].concat()), None);
    }
}
