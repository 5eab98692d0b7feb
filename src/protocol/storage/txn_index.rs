//! `OFFSET.txnindex`: the transactions that were aborted in a segment. A consumer of committed records is told of those that overlap what it
//! fetches. Kafka makes no file for a segment without an aborted transaction.
//!
//! ```text
//! version i16 = 0 | producer id i64 | first offset i64 | last offset i64 | last stable offset i64      34 bytes, in order of last offset
//! ```

use super::FileError;
use crate::{Reader, Writer};

pub const VERSION: i16 = 0;
pub const ENTRY_BYTES: usize = 34;

/// One aborted transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    /// Of its first record in the partition.
    pub first_offset: i64,
    /// Of its abort marker.
    pub last_offset: i64,
    /// The partition's last stable offset right after the marker was written.
    pub last_stable_offset: i64,
}

/// Appends the entry for `transaction` to a file.
pub fn encode_entry(transaction: &AbortedTransaction) -> [u8; ENTRY_BYTES] {
    let mut writer = Writer::with_capacity(ENTRY_BYTES);
    writer.i16(VERSION);
    writer.i64(transaction.producer_id);
    writer.i64(transaction.first_offset);
    writer.i64(transaction.last_offset);
    writer.i64(transaction.last_stable_offset);
    *writer.as_slice().first_chunk().expect("exactly the fields above")
}

/// The whole file.
pub fn encode(transactions: &[AbortedTransaction]) -> Vec<u8> {
    transactions.iter().flat_map(encode_entry).collect()
}

pub fn decode(bytes: &[u8]) -> Result<Vec<AbortedTransaction>, FileError> {
    let mut reader = Reader::new(bytes);
    let mut entries: Vec<AbortedTransaction> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    while reader.remaining() > 0 {
        let at = reader.position();
        match reader.i16()? {
            VERSION => {}
            found => return Err(FileError::Version { known: VERSION, found }),
        }
        let entry = AbortedTransaction {
            producer_id: reader.i64()?,
            first_offset: reader.i64()?,
            last_offset: reader.i64()?,
            last_stable_offset: reader.i64()?,
        };
        if entry.first_offset < 0 || entry.last_offset < entry.first_offset {
            return Err(FileError::Entry { at, what: "a transaction ends before it begins" });
        }
        if entries.last().is_some_and(|before| before.last_offset >= entry.last_offset) {
            return Err(FileError::Entry { at, what: "a transaction ends before the one that stands before it" });
        }
        entries.push(entry);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::super::bytes_of;
    use super::*;

    /// Written by Kafka 4.3.1 after five records at 1106 were aborted by the marker at 1111.
    const BY_KAFKA: &str = "00000000000000000004000000000000045200000000000004570000000000000458";

    const ABORTED: AbortedTransaction =
        AbortedTransaction { producer_id: 4, first_offset: 1106, last_offset: 1111, last_stable_offset: 1112 };

    /// A consumer that is not told of an aborted transaction shows its records.
    #[test]
    fn reads_and_writes_kafkas_bytes() {
        assert_eq!(decode(&bytes_of(BY_KAFKA)), Ok(vec![ABORTED]));
        assert_eq!(encode(&[ABORTED]), bytes_of(BY_KAFKA));
        assert_eq!(decode(&[]), Ok(vec![]));
    }

    /// A half-written last entry, or two files glued together, must not become an entry of some other transaction.
    #[test]
    fn cut_and_unordered_files_are_told() {
        let later = AbortedTransaction { last_offset: 1200, last_stable_offset: 1201, ..ABORTED };
        let good = encode(&[ABORTED, later]);
        assert_eq!(decode(&good).map(|entries| entries.len()), Ok(2));
        for cut in (0..good.len()).filter(|cut| cut % ENTRY_BYTES != 0) {
            assert!(matches!(decode(&good[..cut]), Err(FileError::Cut(_))), "cut at {cut}");
        }
        assert!(matches!(decode(&encode(&[later, ABORTED])), Err(FileError::Entry { at: ENTRY_BYTES, .. })));
        let backwards = AbortedTransaction { first_offset: 1300, ..ABORTED };
        assert!(matches!(decode(&encode(&[backwards])), Err(FileError::Entry { at: 0, .. })));
        let mut newer = good;
        newer[ENTRY_BYTES + 1] = 7;
        assert_eq!(decode(&newer), Err(FileError::Version { known: 0, found: 7 }));
    }
}
