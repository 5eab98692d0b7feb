//! The aborted transactions of a log, by the segment in which they ended: Kafka's `BASE.txnindex`, in memory until it is written.
//!
//! On the home shard. `partition` tells of each as its marker is appended, recovery as it finds one. The file is written with the segment's
//! other indexes when it is sealed, and before that by each checkpoint: a checkpoint says that nothing before it need be looked at again,
//! so what it covers must be in the files. Never on the append path. A segment without an aborted transaction has no file.

use crate::log::LogInner;
use crate::{LogFailed, ReadError, files};
use ringlane_protocol::storage::txn_index::{self, AbortedTransaction};
use ringlane_runtime::fs;
use std::io;
use std::path::Path;

/// Of one segment.
#[derive(Default, Debug)]
pub(crate) struct Aborted {
    /// All of them, in order of their markers; empty when the file tells.
    held: Vec<AbortedTransaction>,
    /// The file does not say what `held` says.
    is_dirty: bool,
    has_file: bool,
}

impl Aborted {
    /// Of a segment that is sealed: its file tells, if there is one.
    pub fn in_file(has_file: bool) -> Aborted {
        Aborted { has_file, ..Aborted::default() }
    }

    /// As read from the segment's file, without what a crash may have taken from the segment since.
    pub fn found(transactions: Vec<AbortedTransaction>, below: i64) -> Aborted {
        let count = transactions.len();
        let held: Vec<_> = transactions.into_iter().filter(|transaction| transaction.last_offset < below).collect();
        Aborted { is_dirty: held.len() < count, held, has_file: count > 0 }
    }

    /// Of a segment that was cut: whatever its file says, it is written anew.
    pub fn cut(transactions: Vec<AbortedTransaction>, below: i64) -> Aborted {
        Aborted { is_dirty: true, ..Aborted::found(transactions, below) }
    }

    /// What a scan of the whole segment found stands beside what its file says. Where they agree on how transactions ended the file stays:
    /// Kafka's may know more of one whose first records are deleted. Where nobody knows what the scan found (`is_known`), it stays, too.
    pub fn compare(&mut self, content: &[u8], is_known: bool) {
        self.has_file = true;
        let stored = txn_index::decode(content);
        let ends =
            |of: &[AbortedTransaction]| of.iter().map(|one| (one.producer_id, one.last_offset)).collect::<Vec<_>>();
        match stored {
            Ok(stored) if !is_known || ends(&stored) == ends(&self.held) => {
                (self.held, self.is_dirty) = (stored, false)
            }
            Err(_) if !is_known => self.is_dirty = false,
            _ => self.is_dirty = true,
        }
    }

    pub fn push(&mut self, transaction: AbortedTransaction) {
        let before = self.held.last().map_or(-1, |last| last.last_offset);
        assert!(before < transaction.last_offset, "markers come in offset order");
        self.held.push(transaction);
        self.is_dirty = true;
    }

    pub fn held(&self) -> &[AbortedTransaction] {
        &self.held
    }

    /// Readers need not look for a file.
    pub fn hold(&mut self, transactions: Vec<AbortedTransaction>) {
        self.held = transactions;
    }

    /// Whether the file has to be written.
    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Its content then.
    pub fn to_write(&self) -> Option<Vec<u8>> {
        self.is_dirty.then(|| txn_index::encode(&self.held))
    }

    /// The file says what `content` says.
    pub fn was_written(&mut self, content: &[u8]) {
        self.has_file = !content.is_empty();
        self.is_dirty &= txn_index::encode(&self.held) != content;
    }

    /// Nothing more comes: the file tells from now on, if it is right.
    pub fn seal(&mut self) {
        if !self.is_dirty {
            self.held = Vec::new();
        }
    }
}

/// Writes the indexes that do not say everything yet. `Err`: one was not written; it stays in memory, for the next try.
pub(crate) async fn persist(log: &LogInner) -> Result<(), LogFailed> {
    let dirty: Vec<i64> = {
        let state = log.state.borrow();
        state.segments.iter().filter(|segment| segment.aborted.is_dirty).map(|segment| segment.base_offset).collect()
    };
    for base_offset in dirty {
        persist_segment(log, base_offset).await?;
    }
    Ok(())
}

/// Writes the index of one segment, if it does not say everything yet.
pub(crate) async fn persist_segment(log: &LogInner, base_offset: i64) -> Result<(), LogFailed> {
    let _turn = log.index_files.acquire(1).await;
    let content = {
        let state = log.state.borrow();
        let segment = state.segments.iter().find(|segment| segment.base_offset == base_offset);
        match segment.and_then(|segment| segment.aborted.to_write()) {
            Some(content) => content,
            None => return Ok(()),
        }
    };
    let path = files::transaction_index_path(&log.folder, base_offset);
    let bytes = content.len();
    write(&path, &content).await.map_err(|source| LogFailed {
        path,
        doing: "writing the index of aborted transactions",
        position: 0,
        bytes,
        source,
    })?;
    let mut state = log.state.borrow_mut();
    if let Some(segment) = state.segments.iter_mut().find(|segment| segment.base_offset == base_offset) {
        segment.aborted.was_written(&content);
        if segment.is_sealed {
            segment.aborted.seal();
        }
    }
    Ok(())
}

/// An empty index is no file.
pub(crate) async fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if !content.is_empty() {
        return fs::write_atomic(path, content).await;
    }
    match fs::remove_file(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// The aborted transactions that a reader of `from..below` has to know of, by Kafka's rule (`LogSegment.collectAbortedTxns`): those that
/// ended at or behind `from` and began before `below`.
pub(crate) async fn of_range(log: &LogInner, from: i64, below: i64) -> Result<Vec<AbortedTransaction>, ReadError> {
    let mut found = Vec::new();
    let (mut next_base, generation) = {
        let state = log.state.borrow();
        (state.segments[state.segment_of(from)].base_offset, state.generation)
    };
    loop {
        let transactions = of_segment(log, next_base, generation).await?;
        for transaction in transactions {
            if transaction.last_offset >= from && transaction.first_offset < below {
                found.push(transaction);
            }
            if transaction.last_stable_offset >= below {
                return Ok(found);
            }
        }
        let state = log.state.borrow();
        let behind = state.segments.partition_point(|segment| segment.base_offset <= next_base);
        match state
            .segments
            .range(behind..)
            .find(|segment| segment.aborted.has_file || !segment.aborted.held.is_empty())
        {
            Some(segment) => next_base = segment.base_offset,
            None => return Ok(found),
        }
    }
}

/// Those that ended in one segment, from memory or from its file.
pub(crate) async fn of_segment(
    log: &LogInner,
    base_offset: i64,
    generation: u64,
) -> Result<Vec<AbortedTransaction>, ReadError> {
    {
        let state = log.state.borrow();
        let segment = state.segments.iter().find(|segment| segment.base_offset == base_offset);
        let aborted = &segment.ok_or(ReadError::Moved)?.aborted;
        if aborted.is_dirty || !aborted.has_file || !aborted.held.is_empty() {
            return Ok(aborted.held().to_vec());
        }
    }
    let path = files::transaction_index_path(&log.folder, base_offset);
    let content = fs::read(&path).await;
    // A file that is not there is no error when its segment was deleted or exchanged meanwhile.
    if log.state.borrow().generation != generation {
        return Err(ReadError::Moved);
    }
    let content = content.map_err(|source| ReadError::Io { path: path.clone(), position: 0, bytes: 0, source })?;
    txn_index::decode(&content).map_err(|error| ReadError::Corrupt { path, position: 0, found: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aborted(last_offset: i64) -> AbortedTransaction {
        AbortedTransaction { producer_id: 1, first_offset: 0, last_offset, last_stable_offset: last_offset + 1 }
    }

    /// A transaction that comes while the file is being written must be in the next one; called written, it would be lost at a restart.
    #[test]
    fn what_comes_while_the_file_is_written_stays_to_be_written() {
        let mut index = Aborted::default();
        assert_eq!(index.to_write(), None);
        index.push(aborted(5));
        let first = index.to_write().unwrap();
        index.push(aborted(9));
        index.was_written(&first);
        let second = index.to_write().unwrap();
        assert_eq!(second, txn_index::encode(&[aborted(5), aborted(9)]));
        index.seal();
        assert_eq!(index.held().len(), 2, "memory is where the second one still is");
        index.was_written(&second);
        index.seal();
        assert!(index.to_write().is_none() && index.held().is_empty());
    }

    /// A directory that comes from Kafka has its own indexes, which are right; one whose segment was cut or repaired has a wrong one.
    #[test]
    fn a_file_stays_unless_the_segment_says_otherwise() {
        let kafkas = txn_index::encode(&[AbortedTransaction { first_offset: 3, ..aborted(5) }]);
        for (found, is_known, expected) in [
            (&[aborted(5)][..], true, None),
            (&[], false, None),
            (&[], true, Some(Vec::new())),
            (&[aborted(5), aborted(9)], true, Some(txn_index::encode(&[aborted(5), aborted(9)]))),
        ] {
            let mut index = Aborted::default();
            found.iter().for_each(|transaction| index.push(*transaction));
            index.compare(&kafkas, is_known);
            assert_eq!(index.to_write(), expected, "{found:?}");
        }
    }

    /// What a crash took from the segment must leave its index, too.
    #[test]
    fn an_index_that_knows_more_than_its_segment_is_cut() {
        let found = Aborted::found(vec![aborted(5), aborted(9)], 9);
        assert_eq!((found.held(), found.to_write()), (&[aborted(5)][..], Some(txn_index::encode(&[aborted(5)]))));
        assert_eq!(Aborted::found(vec![aborted(5)], 9).to_write(), None);
        assert_eq!(Aborted::found(vec![aborted(9)], 9).to_write(), Some(Vec::new()), "the file goes");
    }
}
