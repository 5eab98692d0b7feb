//! Owns what waits for a shard's next journal write.
//!
//! Lives in the shard's journal. `log` pushes as it appends, `writer` plans and completes. Never touches a file, never waits, never fails:
//! whatever is pushed has been admitted by the shard's byte budgets already.

use super::format::{self, EntryHead, WriteHead};
use crate::LogKey;
use bytes::Bytes;
use ringlane_runtime::Buffer;
use std::collections::VecDeque;

/// Something that becomes stable with a write.
pub(crate) struct Entry {
    pub covers: Covered,
    pub head: EntryHead,
    pub bytes: Bytes,
    /// `None`: acknowledged when durable. Otherwise when written, and durable within so many milliseconds.
    pub flush_ms: Option<u64>,
}

/// What a completed write means for one log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Covered {
    pub log: LogKey,
    /// Of the log when the batch was appended: after a truncation the news is old.
    pub cuts: u64,
    pub next_offset: i64,
    pub bytes: usize,
}

/// Entries not yet handed to the device, oldest first. Single writer of the order: the shard's sequencing step.
#[derive(Default)]
pub(crate) struct Pending {
    entries: VecDeque<Entry>,
    payload_bytes: usize,
}

/// One write, decided. It owns its bytes: what is pushed while it is under way becomes the next one (group commit without a timer).
pub(crate) struct WritePlan {
    pub block: Buffer,
    pub covers: Vec<Covered>,
    /// The shortest that any of its entries allows; `None`: durable at once.
    pub flush_ms: Option<u64>,
}

impl Pending {
    pub fn push(&mut self, entry: Entry) {
        self.payload_bytes += entry.bytes.len();
        self.entries.push_back(entry);
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Decides the next write: as many whole entries as fit, at least one. `covers` is memory to use again.
    pub fn plan(&mut self, head: WriteHead, bytes_max: usize, mut covers: Vec<Covered>) -> Option<WritePlan> {
        let (entries, payload_bytes) = self.whole_entries_up_to(bytes_max);
        if entries == 0 {
            return None;
        }
        let head = WriteHead { entries: entries as u32, payload_bytes: payload_bytes as u32, ..head };
        let mut block = Buffer::take(head.bytes());
        let taken = self.entries.range(..entries);
        format::encode_write(&mut block, head, taken.map(|entry| (&entry.head, &entry.bytes)));
        let mut flush_ms = Some(u64::MAX);
        for entry in self.entries.drain(..entries) {
            flush_ms = flush_ms.zip(entry.flush_ms).map(|(one, other)| one.min(other));
            covers.push(entry.covers);
        }
        self.payload_bytes -= payload_bytes;
        Some(WritePlan { block, covers, flush_ms })
    }

    fn whole_entries_up_to(&self, bytes_max: usize) -> (usize, usize) {
        let (mut entries, mut payload_bytes) = (0, 0);
        for entry in &self.entries {
            let next = payload_bytes + entry.bytes.len();
            if entries > 0 && format::write_bytes(entries + 1, next) > bytes_max {
                break;
            }
            (entries, payload_bytes) = (entries + 1, next);
        }
        (entries, payload_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogName;
    use crate::journal::format::decode_entries;
    use ringlane_protocol::TopicId;

    fn entry(bytes: usize, flush_ms: Option<u64>) -> Entry {
        let head = EntryHead {
            log: LogName { topic_id: TopicId([1; 16]), partition: 0 },
            bytes: bytes as u32,
            previous_end: 0,
            base_offset: 0,
            next_offset: 1,
        };
        let covers = Covered { log: LogKey(1), cuts: 0, next_offset: 1, bytes };
        Entry { covers, head, bytes: Bytes::from(vec![7; bytes]), flush_ms }
    }

    const HEAD: WriteHead = WriteHead { epoch: 1, sequence: 1, durable_sequence: 0, entries: 0, payload_bytes: 0 };

    /// Without this an entry cut at 1 MiB would look, after a crash, like a torn tail, and an acknowledged record would be gone.
    #[test]
    fn a_plan_never_splits_an_entry() {
        let mut pending = Pending::default();
        for _ in 0..3 {
            pending.push(entry(400 << 10, None));
        }
        let first = pending.plan(HEAD, 1 << 20, Vec::new()).unwrap();
        let second = pending.plan(HEAD, 1 << 20, Vec::new()).unwrap();

        assert_eq!((first.covers.len(), second.covers.len()), (2, 1));
        assert!(first.block.len() <= 1 << 20 && first.block.len().is_multiple_of(4096));
        let head = WriteHead::peek(&first.block).unwrap();
        assert_eq!(decode_entries(&head, &first.block).unwrap().len(), 2);
        assert!(pending.plan(HEAD, 1 << 20, Vec::new()).is_none() && pending.payload_bytes() == 0);

        pending.push(entry(3 << 20, None));
        assert_eq!(
            pending.plan(HEAD, 1 << 20, Vec::new()).unwrap().covers.len(),
            1,
            "a large one gets a write of its own"
        );
    }

    /// One ack that waits for durable bytes makes the whole write durable; otherwise the most impatient entry sets the time.
    #[test]
    fn a_write_is_as_durable_as_its_strictest_entry_asks() {
        for (asked, expected) in
            [(vec![Some(100), Some(20), Some(50)], Some(20)), (vec![Some(100), None, Some(50)], None)]
        {
            let mut pending = Pending::default();
            asked.into_iter().for_each(|flush_ms| pending.push(entry(100, flush_ms)));
            assert_eq!(pending.plan(HEAD, 1 << 20, Vec::new()).unwrap().flush_ms, expected);
        }
    }
}
