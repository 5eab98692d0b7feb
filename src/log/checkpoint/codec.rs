//! The bytes of a shard's checkpoint. Pure.
//!
//! ```text
//! "RLCP" | version u32 | epoch u64 | first sequence u64 | records u32 | record ... | crc32c u32 of all before
//! record  topic id 16 | partition i32 | flags u8 | end i64 | segment base i64 | position u64
//!         | first timestamp i64 | largest timestamp i64, its offset i64 | index entries u32, time entries u32 | state bytes u32, state
//! ```

use crate::LogName;
use bytes::{Buf, BufMut, Bytes};
use ringlane_protocol::TopicId;

const MAGIC: &[u8; 4] = b"RLCP";
/// Raised when an older release could not read a checkpoint any more.
const VERSION: u32 = 1;
const RECORD_BYTES: usize = 16 + 4 + 1 + 3 * 8 + 3 * 8 + 3 * 4;
const WRITTEN: u8 = 1;
const HAS_STATE: u8 = 2;
const NONE: i64 = i64::MIN;

/// What is known of the logs of one shard in one data directory, and which journal writes go beyond it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Journal writes of another epoch are of no account.
    pub epoch: u64,
    /// The first journal write that may have something that no segment has.
    pub first_sequence: u64,
    pub records: Vec<Record>,
}

/// One log at one moment: all below `end_offset` is durable in its segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub log: LogName,
    /// Recovery verifies from here on.
    pub end_offset: i64,
    /// Where `end_offset` lies: in this segment at this byte.
    pub segment_base: i64,
    pub position: u64,
    pub first_timestamp: Option<i64>,
    /// Of the segment, with the last offset of its batch.
    pub max_timestamp: Option<(i64, i64)>,
    /// So much of the segment's index files is right.
    pub index_entries: u32,
    pub time_entries: u32,
    /// Acks may have waited for written bytes only since: after a power cut the log may end earlier than it was seen to.
    pub written_mode: bool,
    /// What the partition keeps beside the log (producers, epochs, open transactions), at `end_offset`.
    pub state: Option<Bytes>,
}

impl Checkpoint {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.records.len() * (RECORD_BYTES + 64));
        out.put_slice(MAGIC);
        out.put_u32(VERSION);
        out.put_u64(self.epoch);
        out.put_u64(self.first_sequence);
        out.put_u32(self.records.len() as u32);
        self.records.iter().for_each(|record| record.encode(&mut out));
        let crc = crc32c::crc32c(&out);
        out.put_u32(crc);
        out
    }

    /// `Err`: what is wrong with it.
    pub fn decode(content: Vec<u8>) -> Result<Checkpoint, String> {
        let content = Bytes::from(content);
        let Some(body_bytes) = content.len().checked_sub(4).filter(|bytes| *bytes >= 28) else {
            return Err(format!("it has {} bytes only", content.len()));
        };
        let mut rest = content.slice(..body_bytes);
        if &rest[..4] != MAGIC || content[body_bytes..] != crc32c::crc32c(&rest).to_be_bytes() {
            return Err("it is damaged".to_owned());
        }
        rest.advance(4);
        match rest.get_u32() {
            VERSION => {}
            other => return Err(format!("it has format version {other}; this release reads version {VERSION}")),
        }
        let (epoch, first_sequence, count) = (rest.get_u64(), rest.get_u64(), rest.get_u32());
        let records: Option<Vec<_>> = (0..count).map(|_| Record::decode(&mut rest)).collect();
        match records.filter(|_| rest.is_empty()) {
            Some(records) => Ok(Checkpoint { epoch, first_sequence, records }),
            None => Err("its records do not end where it does".to_owned()),
        }
    }
}

impl Record {
    /// A log that is about to be cut somewhere behind the segment `base`, or may have been: recovery looks at all from there on.
    pub fn of_cut_log(log: LogName, base: i64, written_mode: bool) -> Record {
        Record {
            log,
            end_offset: base,
            segment_base: base,
            position: 0,
            first_timestamp: None,
            max_timestamp: None,
            index_entries: 0,
            time_entries: 0,
            written_mode,
            state: None,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_slice(&self.log.topic_id.0);
        out.put_i32(self.log.partition);
        let written = if self.written_mode { WRITTEN } else { 0 };
        out.put_u8(written | if self.state.is_some() { HAS_STATE } else { 0 });
        for offset in [self.end_offset, self.segment_base] {
            out.put_i64(offset);
        }
        out.put_u64(self.position);
        out.put_i64(self.first_timestamp.unwrap_or(NONE));
        let (timestamp, offset) = self.max_timestamp.unwrap_or((NONE, NONE));
        out.put_i64(timestamp);
        out.put_i64(offset);
        out.put_u32(self.index_entries);
        out.put_u32(self.time_entries);
        let state = self.state.as_deref().unwrap_or_default();
        out.put_u32(state.len() as u32);
        out.put_slice(state);
    }

    fn decode(rest: &mut Bytes) -> Option<Record> {
        if rest.len() < RECORD_BYTES {
            return None;
        }
        let mut topic_id = [0; 16];
        rest.copy_to_slice(&mut topic_id);
        let log = LogName { topic_id: TopicId(topic_id), partition: rest.get_i32() };
        let flags = rest.get_u8();
        let some = |value| (value != NONE).then_some(value);
        let mut record = Record {
            log,
            end_offset: rest.get_i64(),
            segment_base: rest.get_i64(),
            position: rest.get_u64(),
            first_timestamp: some(rest.get_i64()),
            max_timestamp: some(rest.get_i64()).zip(some(rest.get_i64())),
            index_entries: rest.get_u32(),
            time_entries: rest.get_u32(),
            written_mode: flags & WRITTEN != 0,
            state: None,
        };
        let state_bytes = rest.get_u32() as usize;
        if rest.len() < state_bytes {
            return None;
        }
        let state = rest.split_to(state_bytes);
        record.state = (flags & HAS_STATE != 0).then_some(state);
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(partition: i32) -> Record {
        Record {
            log: LogName { topic_id: TopicId([7; 16]), partition },
            end_offset: 500,
            segment_base: 400,
            position: 12_345,
            first_timestamp: (partition > 0).then_some(1_000),
            max_timestamp: (partition > 0).then_some((2_000, 450)),
            index_entries: 3,
            time_entries: 2,
            written_mode: partition == 1,
            state: (partition > 1).then(|| Bytes::from_static(b"producers")),
        }
    }

    /// A checkpoint that is believed though it is damaged makes recovery skip what it has to verify.
    #[test]
    fn a_checkpoint_reads_back_and_damage_is_noticed() {
        let checkpoint = Checkpoint { epoch: 3, first_sequence: 77, records: (0..3).map(record).collect() };
        let content = checkpoint.encode();
        assert_eq!(Checkpoint::decode(content.clone()), Ok(checkpoint));
        for byte in 0..content.len() {
            let mut damaged = content.clone();
            damaged[byte] ^= 0x10;
            assert!(Checkpoint::decode(damaged).is_err(), "byte {byte}");
            assert!(Checkpoint::decode(content[..byte].to_vec()).is_err(), "cut at {byte}");
        }
        assert!(Checkpoint::decode(Vec::new()).is_err());
    }
}
