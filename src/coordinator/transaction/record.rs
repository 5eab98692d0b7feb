//! A transactional id as a record of `__transaction_state`, and back.

use super::messages::PartitionName;
use super::state::{TransactionState, TransactionVersion};
use super::steps::{NO_EPOCH, Transaction};
use ringlane_protocol::internal::InternalRecordError;
use ringlane_protocol::internal::transaction_state::{
    TransactionTopic, TransactionValue, decode_transaction_key, encode_transaction_key,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a record says of an id.
pub(super) enum Replayed {
    Is(Arc<str>, Transaction),
    IsGone(Arc<str>),
    /// A kind of record that a later release writes.
    Unknown,
}

pub(super) fn key(transactional_id: &str) -> Vec<u8> {
    encode_transaction_key(transactional_id)
}

pub(super) fn value(transaction: &Transaction, cluster: TransactionVersion) -> Vec<u8> {
    let mut topics: Vec<TransactionTopic<'_>> = Vec::new();
    for at in &transaction.partitions {
        match topics.last_mut().filter(|last| last.topic == &*at.topic) {
            Some(topic) => topic.partitions.push(at.partition),
            None => topics.push(TransactionTopic { topic: &at.topic, partitions: vec![at.partition] }),
        }
    }
    let value = TransactionValue {
        producer_id: transaction.producer_id,
        previous_producer_id: transaction.previous_producer_id,
        next_producer_id: transaction.next_producer_id,
        producer_epoch: transaction.epoch,
        next_producer_epoch: NO_EPOCH,
        timeout_ms: transaction.timeout_ms,
        status: transaction.state.number(),
        partitions: (transaction.state != TransactionState::Empty).then_some(topics),
        last_update_ms: transaction.updated_ms,
        start_ms: transaction.start_ms,
        client_transaction_version: transaction.version.level(),
    };
    value.encode(cluster.record_version())
}

pub(super) fn replay(key: &[u8], value: Option<&[u8]>) -> Result<Replayed, InternalRecordError> {
    let Some(transactional_id) = decode_transaction_key(key)? else { return Ok(Replayed::Unknown) };
    let Some(value) = value else { return Ok(Replayed::IsGone(Arc::from(transactional_id))) };
    let value = TransactionValue::decode(value)?;
    let unknown = InternalRecordError::UnknownValue { what: "the state of a transactional id", found: value.status };
    let state = TransactionState::of_number(value.status).ok_or(unknown)?;
    let partitions = match state {
        TransactionState::Empty => BTreeSet::new(),
        _ => value.partitions.iter().flatten().flat_map(partitions_of).collect(),
    };
    let transaction = Transaction {
        state,
        producer_id: value.producer_id,
        epoch: value.producer_epoch,
        previous_producer_id: value.previous_producer_id,
        next_producer_id: value.next_producer_id,
        last_epoch: NO_EPOCH,
        timeout_ms: value.timeout_ms,
        partitions,
        start_ms: value.start_ms,
        updated_ms: value.last_update_ms,
        version: TransactionVersion::of_level(value.client_transaction_version),
    };
    Ok(Replayed::Is(Arc::from(transactional_id), transaction))
}

fn partitions_of<'a>(topic: &'a TransactionTopic<'_>) -> impl Iterator<Item = PartitionName> + 'a {
    let name: Arc<str> = Arc::from(topic.topic);
    topic.partitions.iter().map(move |&partition| PartitionName { topic: name.clone(), partition })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::state::Outcome;

    /// A coordinator that reads something else than was written resumes another transaction than the one that was decided.
    #[test]
    fn a_record_reads_back_as_what_it_was_written() {
        let begun = Transaction::unborn(7, 60_000, 1_000).initialized(None, 60_000, 1_000).unwrap();
        let added = [PartitionName::new("a", 1), PartitionName::new("a", 0), PartitionName::new("b", 3)].into();
        let ongoing = begun.with_partitions(&added, TransactionVersion::Two, 2_000);
        let ending = ongoing.ending(Outcome::Commit, TransactionVersion::Two, 9, 3_000);
        for transaction in [begun, ongoing, ending.clone(), ending.ended(Outcome::Commit, 4_000)] {
            let bytes = value(&transaction, TransactionVersion::Two);
            let Replayed::Is(id, read) = replay(&key("tx"), Some(&bytes)).unwrap() else { panic!("not read") };
            assert_eq!((&*id, read), ("tx", Transaction { last_epoch: NO_EPOCH, ..transaction }));
        }
        assert!(matches!(replay(&key("tx"), None), Ok(Replayed::IsGone(_))));
        assert!(matches!(replay(&[0, 9], None), Ok(Replayed::Unknown)));
        let mut damaged = value(&ending, TransactionVersion::Two);
        damaged[16] = 6;
        assert!(matches!(replay(&key("tx"), Some(&damaged)), Err(InternalRecordError::UnknownValue { found: 6, .. })));
    }
}
