//! The format of the quorum's journal and snapshot files. Pure: whoever owns the files passes bytes.
//!
//! ```text
//! segment  = write*, then zeros to the end of the file; the first item of the first write is a snapshot mark
//! write    = length u32 (of what follows the checksum), crc32c u32 (of the same), type u8 (1), item*
//! item     = kind u8, length u32, bytes         kinds: 1 entries, 2 hard state, 3 snapshot mark (term, index)
//! snapshot = "RLMETA01", crc32c u32 (of the rest), term u64, index u64, conf state, image (records as in a batch)
//! ```
//! One durable write is one checksum, and one write is in flight at a time. So a crash can only leave the *last* write bad: a bad
//! one with a good one behind it is damage, and is refused instead of cut off.

use crate::Image;
use crate::image::{LogPosition, SnapshotError};
use crate::quorum::codec::{self, CodecError};
use crate::quorum::core::UNCOMMITTED_BYTES_MAX;
use crate::quorum::log::Checkpoint;
use crate::record::batch::BATCH_BYTES_MAX;
use raft::eraftpb::{Entry, HardState};
use ringlane_protocol::{Reader, Writer};

/// Largest write that recovery believes. All that a leader has uncommitted fits, and all that a follower has in flight.
const WRITE_BYTES_MAX: usize = 128 << 20;
const _: () = assert!(2 * UNCOMMITTED_BYTES_MAX as usize + BATCH_BYTES_MAX < WRITE_BYTES_MAX);

const HEAD_BYTES: usize = 8;
const TYPE_WRITE: u8 = 1;
const KIND_ENTRIES: u8 = 1;
const KIND_HARD_STATE: u8 = 2;
const KIND_SNAPSHOT_MARK: u8 = 3;
const SNAPSHOT_MAGIC: &[u8; 8] = b"RLMETA01";

/// Why a journal or a snapshot cannot be used. Without path: the owner of the files adds it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JournalError {
    #[error(
        "the write at byte {at} is damaged, but the one at byte {good_at} is whole: this is not a crash's torn end. \
         Restore `metadata/` from a copy, or from the other voters"
    )]
    Damaged { at: usize, good_at: usize },
    #[error(
        "the write at byte {at} has a valid checksum, but its content is not understood ({source}): was it written by a newer version?"
    )]
    Content { at: usize, source: CodecError },
    #[error("there is no snapshot mark at its beginning")]
    NoMark,
    #[error(
        "it is not a metadata snapshot, or it is damaged: {0}. Restore `metadata/` from a copy, or from the other voters"
    )]
    Snapshot(String),
}

/// One fact of the journal.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    Entries(Vec<Entry>),
    HardState(HardState),
    /// The log starts after this position; the state up to it is in the snapshot file of that name.
    SnapshotMark(LogPosition),
}

/// A segment as far as it is whole.
#[derive(Clone, PartialEq, Debug)]
pub struct Scanned {
    pub items: Vec<Item>,
    /// Bytes of whole writes; the next one goes here.
    pub valid_bytes: usize,
    /// Whether a torn write was left out. It was never acknowledged.
    pub torn: bool,
}

impl Scanned {
    /// Where the newest snapshot stands.
    pub fn last_mark(&self) -> Result<LogPosition, JournalError> {
        let marks = self.items.iter().rev().filter_map(|item| match item {
            Item::SnapshotMark(position) => Some(*position),
            _ => None,
        });
        marks.into_iter().next().ok_or(JournalError::NoMark)
    }
}

pub(super) fn put_entries(w: &mut Writer, entries: &[Entry]) {
    if !entries.is_empty() {
        put_item(w, KIND_ENTRIES, |w| codec::write_entries(w, entries));
    }
}

pub(super) fn put_hard_state(w: &mut Writer, state: &HardState) {
    put_item(w, KIND_HARD_STATE, |w| codec::write_hard_state(w, state));
}

pub(super) fn put_snapshot_mark(w: &mut Writer, position: LogPosition) {
    put_item(w, KIND_SNAPSHOT_MARK, |w| {
        codec::write_u64(w, position.term);
        codec::write_u64(w, position.index);
    });
}

fn put_item(w: &mut Writer, kind: u8, content: impl FnOnce(&mut Writer)) {
    w.i8(kind as i8);
    let frame = w.begin_frame();
    content(w);
    w.end_frame(frame);
}

/// Appends one write that holds `items` to `out`.
pub fn put_write(out: &mut Vec<u8>, items: &[u8]) {
    assert!(items.len() < WRITE_BYTES_MAX, "a journal write of {} bytes could not be read back", items.len());
    let covered = [&[TYPE_WRITE], items];
    let crc = crc32c::crc32c_append(crc32c::crc32c(covered[0]), covered[1]);
    out.extend_from_slice(&((items.len() + 1) as u32).to_be_bytes());
    out.extend_from_slice(&crc.to_be_bytes());
    covered.into_iter().for_each(|part| out.extend_from_slice(part));
}

/// What [`put_write`] was given.
pub fn items(content: &[u8]) -> Result<Vec<Item>, JournalError> {
    let mut items = Vec::new();
    read_items(content, &mut items).map_err(|source| JournalError::Content { at: 0, source })?;
    Ok(items)
}

/// Reads a segment up to its last whole write.
pub fn scan(bytes: &[u8]) -> Result<Scanned, JournalError> {
    let mut scanned = Scanned { items: Vec::new(), valid_bytes: 0, torn: false };
    while let Some(content) = whole_write(bytes, scanned.valid_bytes) {
        let at = scanned.valid_bytes;
        read_items(content, &mut scanned.items).map_err(|source| JournalError::Content { at, source })?;
        scanned.valid_bytes += HEAD_BYTES + 1 + content.len();
    }
    let rest = &bytes[scanned.valid_bytes..];
    scanned.torn = rest.iter().any(|byte| *byte != 0);
    if scanned.torn
        && let Some(good_at) = (scanned.valid_bytes + 1..bytes.len()).find(|at| whole_write(bytes, *at).is_some())
    {
        return Err(JournalError::Damaged { at: scanned.valid_bytes, good_at });
    }
    Ok(scanned)
}

/// The items of the write at `at`, if there is a whole one.
fn whole_write(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let head = bytes.get(at..at + HEAD_BYTES)?;
    let word = |from: usize| u32::from_be_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]]);
    let (length, crc) = (word(0) as usize, word(4));
    if length == 0 || length > WRITE_BYTES_MAX {
        return None;
    }
    let covered = bytes.get(at + HEAD_BYTES..)?.get(..length)?;
    match covered.split_first() {
        Some((&TYPE_WRITE, items)) if crc32c::crc32c(covered) == crc => Some(items),
        _ => None,
    }
}

fn read_items(content: &[u8], items: &mut Vec<Item>) -> Result<(), CodecError> {
    let mut r = Reader::new(content);
    while r.remaining() > 0 {
        let kind = r.i8()? as u8;
        let length = r.u32()? as usize;
        let mut body = Reader::new(r.take(length)?);
        items.push(match kind {
            KIND_ENTRIES => Item::Entries(codec::read_entries(&mut body)?),
            KIND_HARD_STATE => Item::HardState(codec::read_hard_state(&mut body)?),
            KIND_SNAPSHOT_MARK => Item::SnapshotMark(read_position(&mut body)?),
            value => return Err(CodecError::Value { field: "journal item", value }),
        });
        codec::at_end(&body)?;
    }
    Ok(())
}

fn read_position(r: &mut Reader<'_>) -> Result<LogPosition, CodecError> {
    Ok(LogPosition { term: codec::read_u64(r)?, index: codec::read_u64(r)? })
}

/// A snapshot file's bytes around the pieces of its image ([`Image::snapshot_pieces`]), which the caller adds with pauses in between.
#[derive(Debug)]
pub struct SnapshotFile {
    bytes: Writer,
}

impl SnapshotFile {
    pub fn begin(state: &Checkpoint) -> SnapshotFile {
        let mut bytes = Writer::new();
        bytes.raw(SNAPSHOT_MAGIC);
        bytes.u32(0);
        codec::write_u64(&mut bytes, state.position().term);
        codec::write_u64(&mut bytes, state.position().index);
        codec::write_conf_state(&mut bytes, &state.conf_state);
        SnapshotFile { bytes }
    }

    pub fn push(&mut self, piece: &[u8]) {
        self.bytes.raw(piece);
    }

    pub fn finish(mut self) -> Vec<u8> {
        let covered_from = SNAPSHOT_MAGIC.len() + 4;
        let crc = crc32c::crc32c(&self.bytes.as_slice()[covered_from..]);
        self.bytes.patch_i32(SNAPSHOT_MAGIC.len(), crc as i32);
        self.bytes.into_bytes()
    }

    /// The whole file at once.
    pub fn whole(state: &Checkpoint) -> Vec<u8> {
        let mut file = SnapshotFile::begin(state);
        state.image.snapshot_pieces(usize::MAX).for_each(|piece| file.push(&piece));
        file.finish()
    }

    pub fn read(bytes: &[u8]) -> Result<Checkpoint, JournalError> {
        let damaged = |why: &dyn std::fmt::Display| JournalError::Snapshot(why.to_string());
        let mut r = Reader::new(bytes);
        let magic = r.take(SNAPSHOT_MAGIC.len()).map_err(|error| damaged(&error))?;
        if magic != SNAPSHOT_MAGIC {
            return Err(damaged(&"it begins with other bytes"));
        }
        let crc = r.u32().map_err(|error| damaged(&error))?;
        if crc32c::crc32c(&bytes[r.position()..]) != crc {
            return Err(damaged(&"its checksum is wrong"));
        }
        let position = read_position(&mut r).map_err(|error| damaged(&error))?;
        let conf_state = codec::read_conf_state(&mut r).map_err(|error| damaged(&error))?;
        let image = Image::from_snapshot(position, &bytes[r.position()..]);
        let image = image.map_err(|error: SnapshotError| damaged(&error))?;
        Ok(Checkpoint { image, conf_state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn content(n: u64) -> Vec<u8> {
        let mut w = Writer::new();
        put_snapshot_mark(&mut w, LogPosition { term: 1, index: n });
        let data = Bytes::from(vec![n as u8; 300]);
        put_entries(&mut w, &[Entry { term: 1, index: n + 1, data, ..Default::default() }]);
        put_hard_state(&mut w, &HardState { term: 1, vote: 2, commit: n, ..Default::default() });
        w.into_bytes()
    }

    fn segment(writes: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        (1..=writes).for_each(|n| put_write(&mut bytes, &content(n)));
        bytes
    }

    /// A crash tears the last write at any byte; what was acknowledged before it must all be there, and nothing of the torn one.
    #[test]
    fn a_torn_end_is_cut_at_every_byte() {
        let whole = segment(3);
        let two = segment(2).len();
        for cut in two..whole.len() {
            let mut torn = whole[..cut].to_vec();
            torn.resize(whole.len() + 100, 0);
            let scanned = scan(&torn).unwrap();
            assert_eq!((scanned.valid_bytes, scanned.items.len()), (two, 6), "cut at {cut}");
            assert_eq!(scanned.last_mark(), Ok(LogPosition { term: 1, index: 2 }));
        }
        assert_eq!(scan(&whole).unwrap().valid_bytes, whole.len());
    }

    /// Cutting at damage in the middle would drop acknowledged changes without a word.
    #[test]
    fn damage_before_a_good_write_is_refused() {
        let whole = segment(3);
        let (one, two) = (segment(1).len(), segment(2).len());
        for at in one..two {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            assert_eq!(scan(&damaged), Err(JournalError::Damaged { at: one, good_at: two }), "byte {at}");
        }
    }

    /// A snapshot is the only copy of what it replaced: any flipped bit must be noticed.
    #[test]
    fn a_damaged_snapshot_is_noticed() {
        let state = Checkpoint::bootstrap(7);
        let file = SnapshotFile::whole(&state);
        assert_eq!(SnapshotFile::read(&file), Ok(state));
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(SnapshotFile::read(&damaged).is_err(), "byte {at}");
        }
    }
}
