//! What a machine asks of its host.

/// The host's name for whoever waits for a reply. Given with a request, given back with its reply; used once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReplyTo(pub u64);

/// To whom a machine says what nobody has asked for.
pub const UNASKED: ReplyTo = ReplyTo(u64::MAX);

/// A record for the machine's own partition. The host stamps it with the time of the input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRecord {
    pub key: Vec<u8>,
    /// `None` deletes the key (tombstone).
    pub value: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply<R> {
    pub to: ReplyTo,
    pub reply: R,
}

/// All that follows from one input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effects<R> {
    /// One batch: all of them or none. Empty when nothing that must last has changed.
    pub records: Vec<NewRecord>,
    /// To be sent when these records, and all that were asked for earlier, are stable.
    pub replies: Vec<Reply<R>>,
}

impl<R> Default for Effects<R> {
    fn default() -> Effects<R> {
        Effects { records: Vec::new(), replies: Vec::new() }
    }
}

impl<R> Effects<R> {
    pub fn reply(&mut self, to: ReplyTo, reply: R) {
        self.replies.push(Reply { to, reply });
    }

    pub fn append(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.records.push(NewRecord { key, value });
    }
}
