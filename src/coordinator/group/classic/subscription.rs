//! The one thing that the coordinator reads in members' metadata: the topics that a consumer subscribes to. They keep offsets from expiring.

use ringlane_protocol::Reader;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The protocol type of consumers.
pub const CONSUMER: &str = "consumer";

/// Adds the topics of a `ConsumerProtocolSubscription`. Every version begins like version 0: a version, then an array of names. `None`: it is not one.
pub fn add_topics(metadata: &[u8], topics: &mut BTreeSet<Arc<str>>) -> Option<()> {
    let mut reader = Reader::new(metadata);
    let version = reader.i16().ok()?;
    if version < 0 {
        return None;
    }
    let count = reader.i32().ok()?;
    for _ in 0..count.max(0) {
        let length = reader.i16().ok()?;
        let name = reader.take(usize::try_from(length).ok()?).ok()?;
        topics.insert(std::str::from_utf8(name).ok()?.into());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without the topics, offsets of a topic that a consumer is reading would expire under it.
    #[test]
    fn topics_are_read_and_rubbish_is_not() {
        let metadata = b"\0\x01\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff";
        let mut topics = BTreeSet::new();
        assert_eq!(add_topics(metadata, &mut topics), Some(()));
        assert_eq!(topics.into_iter().collect::<Vec<_>>(), ["a".into(), "bc".into()]);
        assert_eq!(add_topics(&metadata[..9], &mut BTreeSet::new()), None);
        assert_eq!(add_topics(b"\0\0\x7f\xff\xff\xff", &mut BTreeSet::new()), None);
    }
}
