//! Bytes of raft's own structures, on disk and between brokers. Ours, not protocol buffers: crate `protobuf` 2.28 has a known flaw in
//! decoding what others wrote, so it never sees such bytes.
//!
//! Integers are big-endian and of fixed width; lists and bytes carry Kafka's compact lengths.

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Message, MessageType, Snapshot};
use ringlane_protocol::{DecodeError, Reader, Writer};

/// Why bytes are not one of raft's structures.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("{value} is not a known {field}")]
    Value { field: &'static str, value: u8 },
    #[error("{bytes} bytes are left over")]
    Trailing { bytes: usize },
}

/// Messages that go over the wire, with their numbers there. The rest are a node's own business: one that asked a peer to propose or
/// to campaign would be taken at its word.
const WIRE_TYPES: [(u8, MessageType); 12] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgSnapshot),
    (6, MessageType::MsgHeartbeat),
    (7, MessageType::MsgHeartbeatResponse),
    (8, MessageType::MsgTransferLeader),
    (9, MessageType::MsgTimeoutNow),
    (10, MessageType::MsgReadIndexResp),
    (11, MessageType::MsgRequestPreVote),
    (12, MessageType::MsgRequestPreVoteResponse),
];

/// `None` for messages that never leave their node.
pub fn encode_message(message: &Message) -> Option<Vec<u8>> {
    let (number, _) = WIRE_TYPES.iter().find(|(_, kind)| *kind == message.get_msg_type())?;
    let mut w = Writer::new();
    w.i8(*number as i8);
    for value in [
        message.to,
        message.from,
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.request_snapshot,
        message.reject_hint,
        message.priority as u64,
    ] {
        write_u64(&mut w, value);
    }
    w.bool(message.reject);
    w.bytes(Some(&message.context), true);
    w.length(Some(message.entries.len()), true);
    message.entries.iter().for_each(|entry| write_entry(&mut w, entry));
    w.bool(message.has_snapshot());
    if message.has_snapshot() {
        write_snapshot(&mut w, message.get_snapshot());
    }
    Some(w.into_bytes())
}

pub fn decode_message(bytes: &[u8]) -> Result<Message, CodecError> {
    let mut r = Reader::new(bytes);
    let number = r.i8()? as u8;
    let kind = WIRE_TYPES.iter().find(|(known, _)| *known == number).map(|(_, kind)| *kind);
    let mut message = Message::default();
    message.set_msg_type(kind.ok_or(CodecError::Value { field: "raft message type", value: number })?);
    for field in [
        &mut message.to,
        &mut message.from,
        &mut message.term,
        &mut message.log_term,
        &mut message.index,
        &mut message.commit,
        &mut message.commit_term,
        &mut message.request_snapshot,
        &mut message.reject_hint,
    ] {
        *field = read_u64(&mut r)?;
    }
    message.priority = r.i64()?;
    message.reject = r.bool()?;
    message.context = read_bytes(&mut r)?;
    message.entries = read_entries(&mut r)?.into();
    if r.bool()? {
        message.set_snapshot(read_snapshot(&mut r)?);
    }
    at_end(&r)?;
    Ok(message)
}

/// Fewest bytes of an entry: what bounds a count of them.
const ENTRY_BYTES_MIN: usize = 1 + 8 + 8 + 1 + 1;

pub(super) fn write_entry(w: &mut Writer, entry: &Entry) {
    w.i8(entry.get_entry_type() as i8);
    write_u64(w, entry.term);
    write_u64(w, entry.index);
    w.bytes(Some(&entry.data), true);
    w.bytes(Some(&entry.context), true);
}

fn read_entry(r: &mut Reader<'_>) -> Result<Entry, CodecError> {
    let mut entry = Entry::default();
    entry.set_entry_type(match r.i8()? as u8 {
        0 => EntryType::EntryNormal,
        2 => EntryType::EntryConfChangeV2,
        value => return Err(CodecError::Value { field: "raft entry type", value }),
    });
    entry.term = read_u64(r)?;
    entry.index = read_u64(r)?;
    entry.data = read_bytes(r)?;
    entry.context = read_bytes(r)?;
    Ok(entry)
}

pub(super) fn write_entries(w: &mut Writer, entries: &[Entry]) {
    w.length(Some(entries.len()), true);
    entries.iter().for_each(|entry| write_entry(w, entry));
}

pub(super) fn read_entries(r: &mut Reader<'_>) -> Result<Vec<Entry>, CodecError> {
    let count = r.count(true, ENTRY_BYTES_MIN)?.unwrap_or_default();
    (0..count).map(|_| read_entry(r)).collect()
}

pub(super) fn write_hard_state(w: &mut Writer, state: &HardState) {
    [state.term, state.vote, state.commit].into_iter().for_each(|value| write_u64(w, value));
}

pub(super) fn read_hard_state(r: &mut Reader<'_>) -> Result<HardState, CodecError> {
    let (term, vote, commit) = (read_u64(r)?, read_u64(r)?, read_u64(r)?);
    Ok(HardState { term, vote, commit, ..Default::default() })
}

pub(super) fn write_conf_state(w: &mut Writer, state: &ConfState) {
    for ids in [&state.voters, &state.learners, &state.voters_outgoing, &state.learners_next] {
        w.length(Some(ids.len()), true);
        ids.iter().for_each(|id| write_u64(w, *id));
    }
    w.bool(state.auto_leave);
}

pub(super) fn read_conf_state(r: &mut Reader<'_>) -> Result<ConfState, CodecError> {
    let mut ids = || -> Result<Vec<u64>, CodecError> {
        let count = r.count(true, 8)?.unwrap_or_default();
        (0..count).map(|_| read_u64(r)).collect()
    };
    let (voters, learners, voters_outgoing, learners_next) = (ids()?, ids()?, ids()?, ids()?);
    let auto_leave = r.bool()?;
    Ok(ConfState { voters, learners, voters_outgoing, learners_next, auto_leave, ..Default::default() })
}

fn write_snapshot(w: &mut Writer, snapshot: &Snapshot) {
    let metadata = snapshot.get_metadata();
    write_u64(w, metadata.index);
    write_u64(w, metadata.term);
    write_conf_state(w, metadata.get_conf_state());
    w.bytes(Some(&snapshot.data), true);
}

fn read_snapshot(r: &mut Reader<'_>) -> Result<Snapshot, CodecError> {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = read_u64(r)?;
    metadata.term = read_u64(r)?;
    metadata.set_conf_state(read_conf_state(r)?);
    snapshot.data = read_bytes(r)?;
    Ok(snapshot)
}

pub(super) fn write_u64(w: &mut Writer, value: u64) {
    w.raw(&value.to_be_bytes());
}

pub(super) fn read_u64(r: &mut Reader<'_>) -> Result<u64, CodecError> {
    Ok(u64::from_be_bytes(r.array()?))
}

fn read_bytes(r: &mut Reader<'_>) -> Result<Bytes, CodecError> {
    Ok(Bytes::copy_from_slice(r.bytes(true)?.unwrap_or_default()))
}

pub(super) fn at_end(r: &Reader<'_>) -> Result<(), CodecError> {
    match r.remaining() {
        0 => Ok(()),
        bytes => Err(CodecError::Trailing { bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_field_set() -> Message {
        let mut message = Message { to: 1, from: 2, term: 3, log_term: 4, index: 5, commit: 6, ..Default::default() };
        (message.commit_term, message.request_snapshot, message.reject_hint, message.priority) = (7, 8, 9, -10);
        message.reject = true;
        message.context = Bytes::from_static(b"context");
        let mut entry = Entry { term: 11, index: u64::MAX, data: Bytes::from_static(b"data"), ..Default::default() };
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry.context = Bytes::from_static(b"c");
        message.entries = vec![Entry::default(), entry].into();
        let metadata = message.mut_snapshot().mut_metadata();
        (metadata.index, metadata.term) = (12, 13);
        let state = metadata.mut_conf_state();
        (state.voters, state.learners, state.auto_leave) = (vec![1, 2], vec![3], true);
        (state.voters_outgoing, state.learners_next) = (vec![4], vec![5]);
        message.mut_snapshot().data = Bytes::from_static(b"image");
        message
    }

    /// A field forgotten here would be zero on the other side: a vote for nobody, a commit at 0.
    #[test]
    fn every_field_of_every_wire_message_comes_back() {
        for (_, kind) in WIRE_TYPES {
            let mut message = every_field_set();
            message.set_msg_type(kind);
            let bytes = encode_message(&message).unwrap();
            assert_eq!(decode_message(&bytes).unwrap(), message);
            for cut in 0..bytes.len() {
                assert!(decode_message(&bytes[..cut]).is_err(), "{kind:?} cut at {cut}");
            }
        }
    }

    /// Contract point 8: a peer could otherwise make this node campaign or propose in its name.
    #[test]
    fn local_messages_have_no_bytes() {
        use MessageType::*;
        for kind in [MsgHup, MsgBeat, MsgPropose, MsgUnreachable, MsgSnapStatus, MsgCheckQuorum, MsgReadIndex] {
            let mut message = every_field_set();
            message.set_msg_type(kind);
            assert_eq!(encode_message(&message), None);
        }
        let mut bytes = encode_message(&{
            let mut message = every_field_set();
            message.set_msg_type(MsgAppend);
            message
        })
        .unwrap();
        bytes[0] = 13;
        assert_eq!(decode_message(&bytes), Err(CodecError::Value { field: "raft message type", value: 13 }));
    }
}
