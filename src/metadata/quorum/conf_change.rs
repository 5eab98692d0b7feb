//! Reads the membership changes that crate `raft` writes into its entries (protocol buffers, `ConfChangeV2`), without that format's
//! library: entries come from disk and from peers (see [`super::codec`]).

use bytes::Bytes;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};

/// The change that an entry's data holds; empty data leaves a joint configuration. `None` when it is not one.
pub(super) fn decode(data: &[u8]) -> Option<ConfChangeV2> {
    let mut change = ConfChangeV2::default();
    let mut fields = Fields(data);
    while !fields.0.is_empty() {
        match fields.next()? {
            (1, Value::Number(0)) => change.set_transition(ConfChangeTransition::Auto),
            (1, Value::Number(1)) => change.set_transition(ConfChangeTransition::Implicit),
            (1, Value::Number(2)) => change.set_transition(ConfChangeTransition::Explicit),
            (2, Value::Bytes(bytes)) => change.mut_changes().push(decode_single(bytes)?),
            (3, Value::Bytes(bytes)) => change.context = Bytes::copy_from_slice(bytes),
            _ => return None,
        }
    }
    Some(change)
}

fn decode_single(data: &[u8]) -> Option<ConfChangeSingle> {
    let mut single = ConfChangeSingle::default();
    let mut fields = Fields(data);
    while !fields.0.is_empty() {
        match fields.next()? {
            (1, Value::Number(0)) => single.set_change_type(ConfChangeType::AddNode),
            (1, Value::Number(1)) => single.set_change_type(ConfChangeType::RemoveNode),
            (1, Value::Number(2)) => single.set_change_type(ConfChangeType::AddLearnerNode),
            (2, Value::Number(id)) => single.node_id = id,
            _ => return None,
        }
    }
    Some(single)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next field's number and value; only the two kinds of value that these messages have.
    fn next(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protobuf::Message as _;

    /// The library writes, this reads: a change read differently would give two nodes two memberships.
    #[test]
    fn reads_what_the_library_writes() {
        let mut change = ConfChangeV2::default();
        assert_eq!(decode(&change.write_to_bytes().unwrap()), Some(change.clone()));
        for (kind, id) in [
            (ConfChangeType::AddNode, 1),
            (ConfChangeType::RemoveNode, 300),
            (ConfChangeType::AddLearnerNode, u64::MAX),
        ] {
            let mut single = ConfChangeSingle { node_id: id, ..Default::default() };
            single.set_change_type(kind);
            change.mut_changes().push(single);
        }
        for transition in [ConfChangeTransition::Auto, ConfChangeTransition::Implicit, ConfChangeTransition::Explicit] {
            change.set_transition(transition);
            change.context = Bytes::from_static(b"id=3,dir=x");
            let bytes = change.write_to_bytes().unwrap();
            assert_eq!(decode(&bytes), Some(change.clone()));
            assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        }
    }
}
