//! The bytes of a journal: what one write looks like on disk. Pure.
//!
//! ```text
//! file   block 0: FileHead, padded to 4 KiB | write | write | ...      older writes of an earlier round behind the last one
//! write  head 64 | entry heads, 56 each | batches, back to back | zeros up to 4 KiB
//! head   magic u32 | crc u32 | epoch u64 | sequence u64 | durable sequence u64 | entries u32 | payload bytes u32 | zeros
//! entry  topic id 16 | partition i32 | kind u8, zeros 3 | bytes u32 | crc of the batch's first 21 bytes u32
//!        | previous end i64 | base offset i64 | next offset i64
//! ```
//! The head's CRC covers head and entry heads; batches carry their own, which leaves out their first 21 bytes (offset, length, leader epoch):
//! those are covered in the entry. So the bytes of a batch are not summed twice on the way to disk.

use crate::LogName;
use bytes::{BufMut, Bytes};
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{self, BatchHeader};
use ringlane_runtime::BLOCK_BYTES;

const FILE_MAGIC: u32 = u32::from_be_bytes(*b"RLJF");
const WRITE_MAGIC: u32 = u32::from_be_bytes(*b"RLJW");
/// Raised when an older release could not read a journal any more.
const VERSION: u32 = 1;
pub(crate) const HEAD_BYTES: usize = 64;
pub(crate) const ENTRY_HEAD_BYTES: usize = 56;
/// What a batch's own CRC leaves out.
const UNCHECKED_BYTES: usize = 21;
const CRC_FROM: usize = 8;
/// The only kind of entry so far: a batch.
const KIND_APPEND: u8 = 1;

/// First block of every journal file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileHead {
    /// Of the data directory.
    pub directory_id: [u8; 16],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WriteHead {
    /// Of the process that wrote it: a new one for each start, so that what an earlier process left behind never continues a later one.
    pub epoch: u64,
    /// Counts the writes of an epoch from 1.
    pub sequence: u64,
    /// Every write up to this one had been made durable before this one began.
    pub durable_sequence: u64,
    pub entries: u32,
    pub payload_bytes: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EntryHead {
    pub log: LogName,
    pub bytes: u32,
    /// Where the log ended before: an entry that does not continue what is there is a hole.
    pub previous_end: i64,
    pub base_offset: i64,
    pub next_offset: i64,
}

impl FileHead {
    pub fn encode_into(self, block: &mut [u8]) {
        block.fill(0);
        let mut out = &mut block[..];
        out.put_u32(FILE_MAGIC);
        out.put_u32(VERSION);
        out.put_slice(&self.directory_id);
        let crc = crc32c::crc32c(&block[..24]);
        block[24..28].copy_from_slice(&crc.to_be_bytes());
    }

    /// `None`: nothing was ever written there. `Err`: what is there instead of a journal that this release reads.
    pub fn decode(block: &[u8]) -> Result<Option<FileHead>, String> {
        if block.len() < BLOCK_BYTES || block[..28].iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if u32_at(block, 0) != FILE_MAGIC || u32_at(block, 24) != crc32c::crc32c(&block[..24]) {
            return Err("it does not begin as a journal does".to_owned());
        }
        match u32_at(block, 4) {
            VERSION => Ok(Some(FileHead { directory_id: array_at(block, 8) })),
            other => Err(format!("it has format version {other}; this release reads version {VERSION}")),
        }
    }
}

/// Bytes of a write with these entries, padding included.
pub(crate) fn write_bytes(entries: usize, payload_bytes: usize) -> usize {
    (HEAD_BYTES + entries * ENTRY_HEAD_BYTES + payload_bytes).next_multiple_of(BLOCK_BYTES)
}

/// Fills `block`, which has [`write_bytes`].
pub(crate) fn encode_write<'a>(
    block: &mut [u8],
    head: WriteHead,
    entries: impl Iterator<Item = (&'a EntryHead, &'a Bytes)>,
) {
    let heads_bytes = head.entries as usize * ENTRY_HEAD_BYTES;
    let (heads, payload) = block.split_at_mut(HEAD_BYTES + heads_bytes);
    let (mut heads_out, mut at) = (&mut heads[HEAD_BYTES..], 0);
    for (entry, bytes) in entries {
        debug_assert_eq!(entry.bytes as usize, bytes.len());
        entry.encode(&mut heads_out, bytes);
        payload[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    }
    debug_assert!(heads_out.is_empty() && at == head.payload_bytes as usize);
    payload[at..].fill(0);
    let mut out = &mut heads[..HEAD_BYTES];
    out.put_u32(WRITE_MAGIC);
    out.put_u32(0);
    out.put_u64(head.epoch);
    out.put_u64(head.sequence);
    out.put_u64(head.durable_sequence);
    out.put_u32(head.entries);
    out.put_u32(head.payload_bytes);
    out.fill(0);
    let crc = crc32c::crc32c(&heads[CRC_FROM..]);
    heads[4..8].copy_from_slice(&crc.to_be_bytes());
}

impl WriteHead {
    /// The head of a write at the start of `bytes`, if there may be one: the CRC is checked by [`decode_entries`].
    pub fn peek(bytes: &[u8]) -> Option<WriteHead> {
        let bytes = bytes.get(..HEAD_BYTES)?;
        let head = WriteHead {
            epoch: u64_at(bytes, 8),
            sequence: u64_at(bytes, 16),
            durable_sequence: u64_at(bytes, 24),
            entries: u32_at(bytes, 32),
            payload_bytes: u32_at(bytes, 36),
        };
        let plausible = u32_at(bytes, 0) == WRITE_MAGIC && head.sequence > 0 && head.durable_sequence < head.sequence;
        plausible.then_some(head)
    }

    pub fn heads_bytes(&self) -> usize {
        HEAD_BYTES + self.entries as usize * ENTRY_HEAD_BYTES
    }

    /// Padding included.
    pub fn bytes(&self) -> usize {
        write_bytes(self.entries as usize, self.payload_bytes as usize)
    }
}

/// The entry heads of a write; `bytes` begin with `head` and hold at least its heads. `None`: torn or damaged.
pub(crate) fn decode_entries(head: &WriteHead, bytes: &[u8]) -> Option<Vec<EntryHead>> {
    let heads = bytes.get(..head.heads_bytes())?;
    if u32_at(heads, 4) != crc32c::crc32c(&heads[CRC_FROM..]) {
        return None;
    }
    let entries: Option<Vec<_>> = heads[HEAD_BYTES..].chunks_exact(ENTRY_HEAD_BYTES).map(EntryHead::decode).collect();
    entries.filter(|entries| {
        entries.iter().map(|entry| entry.bytes as usize).sum::<usize>() == head.payload_bytes as usize
    })
}

/// Whether a batch in the payload is the one that was appended. `head` is its entry's encoded head.
pub(crate) fn batch_is_whole(encoded_head: &[u8], batch: &[u8]) -> bool {
    batch.len() >= records::HEADER_BYTES
        && u32_at(encoded_head, 28) == crc32c::crc32c(&batch[..UNCHECKED_BYTES])
        && BatchHeader::parse(batch)
            .is_ok_and(|header| header.size() == batch.len() && records::check_crc(&header, batch).is_ok())
}

impl EntryHead {
    fn encode(&self, out: &mut &mut [u8], batch: &[u8]) {
        out.put_slice(&self.log.topic_id.0);
        out.put_i32(self.log.partition);
        out.put_u8(KIND_APPEND);
        out.put_slice(&[0; 3]);
        out.put_u32(self.bytes);
        out.put_u32(crc32c::crc32c(&batch[..UNCHECKED_BYTES.min(batch.len())]));
        out.put_i64(self.previous_end);
        out.put_i64(self.base_offset);
        out.put_i64(self.next_offset);
    }

    fn decode(bytes: &[u8]) -> Option<EntryHead> {
        (bytes[20] == KIND_APPEND).then(|| EntryHead {
            log: LogName { topic_id: TopicId(array_at(bytes, 0)), partition: i32::from_be_bytes(array_at(bytes, 16)) },
            bytes: u32_at(bytes, 24),
            previous_end: i64::from_be_bytes(array_at(bytes, 32)),
            base_offset: i64::from_be_bytes(array_at(bytes, 40)),
            next_offset: i64::from_be_bytes(array_at(bytes, 48)),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array_at(bytes, at))
}

/// Callers have checked the length.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_protocol::records::{BatchBuilder, Compression};

    fn batch(offset: i64, value_bytes: usize) -> (EntryHead, Bytes) {
        let mut builder = BatchBuilder::new(Compression::None).base_offset(offset);
        builder.push(1_000, None, Some(&vec![offset as u8; value_bytes]), &[]);
        let bytes = Bytes::from(builder.finish().unwrap());
        let log = LogName { topic_id: TopicId([7; 16]), partition: offset as i32 };
        let head = EntryHead {
            log,
            bytes: bytes.len() as u32,
            previous_end: offset,
            base_offset: offset,
            next_offset: offset + 1,
        };
        (head, bytes)
    }

    fn encoded(entries: &[(EntryHead, Bytes)]) -> Vec<u8> {
        let payload_bytes: usize = entries.iter().map(|(_, bytes)| bytes.len()).sum();
        let head = WriteHead {
            epoch: 9,
            sequence: 5,
            durable_sequence: 4,
            entries: entries.len() as u32,
            payload_bytes: payload_bytes as u32,
        };
        let mut block = vec![0xa5; write_bytes(entries.len(), payload_bytes)];
        encode_write(&mut block, head, entries.iter().map(|(head, bytes)| (head, bytes)));
        block
    }

    /// Every bit of a write is covered by a CRC, or a torn write would be replayed as if it were whole.
    #[test]
    fn a_write_reads_back_and_any_flipped_bit_is_noticed() {
        let entries = [batch(3, 100), batch(4, 3000), batch(5, 1)];
        let block = encoded(&entries);
        let whole = |block: &[u8]| {
            let Some(head) = WriteHead::peek(block).filter(|head| head.bytes() <= block.len()) else { return false };
            let Some(found) = decode_entries(&head, block) else { return false };
            let mut at = head.heads_bytes();
            found.iter().enumerate().all(|(n, entry)| {
                let batch = &block[at..at + entry.bytes as usize];
                at += batch.len();
                batch_is_whole(&block[HEAD_BYTES + n * ENTRY_HEAD_BYTES..], batch)
            })
        };
        assert!(whole(&block));
        let head = WriteHead::peek(&block).unwrap();
        let heads: Vec<EntryHead> = entries.iter().map(|(head, _)| *head).collect();
        assert_eq!(decode_entries(&head, &block).unwrap(), heads);

        let used = head.heads_bytes() + head.payload_bytes as usize;
        for bit in (0..used * 8).step_by(3) {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!whole(&damaged), "bit {bit}");
        }
    }

    /// The journal of another data directory replayed into this one would mix two brokers' records.
    #[test]
    fn a_file_says_whose_it_is() {
        let mut block = vec![0xa5; BLOCK_BYTES];
        let head = FileHead { directory_id: [3; 16] };
        head.encode_into(&mut block);
        assert_eq!(FileHead::decode(&block), Ok(Some(head)));
        assert_eq!(FileHead::decode(&[0; BLOCK_BYTES]), Ok(None), "set aside, never used");
        block[7] = 2;
        let crc = crc32c::crc32c(&block[..24]);
        block[24..28].copy_from_slice(&crc.to_be_bytes());
        assert!(FileHead::decode(&block).unwrap_err().contains("version 2"));
        assert!(FileHead::decode(&[1; BLOCK_BYTES]).is_err());
    }
}
