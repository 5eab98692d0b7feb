//! The bytes that members exchange through their coordinator: `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`, version 0 of each,
//! which every library reads and every later version begins with.

use ringlane_protocol::{DecodeError, Reader, Writer};
use std::collections::BTreeMap;

const VERSION: i16 = 0;

pub fn subscription(topics: &[String]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.i16(VERSION);
    writer.i32(topics.len() as i32);
    topics.iter().for_each(|topic| writer.string(Some(topic), false));
    writer.bytes(None, false);
    writer.into_bytes()
}

pub fn subscribed(bytes: &[u8]) -> Result<Vec<String>, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.i16()?;
    let count = reader.count(false, 2)?.unwrap_or(0);
    (0..count).map(|_| Ok(reader.string(false)?.unwrap_or_default().to_owned())).collect()
}

pub fn assignment(partitions: &[(String, i32)]) -> Vec<u8> {
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        by_topic.entry(topic).or_default().push(*partition);
    }
    let mut writer = Writer::new();
    writer.i16(VERSION);
    writer.i32(by_topic.len() as i32);
    for (topic, partitions) in by_topic {
        writer.string(Some(topic), false);
        writer.i32(partitions.len() as i32);
        partitions.into_iter().for_each(|partition| writer.i32(partition));
    }
    writer.bytes(None, false);
    writer.into_bytes()
}

/// No bytes: no partitions.
pub fn assigned(bytes: &[u8]) -> Result<Vec<(String, i32)>, DecodeError> {
    let mut partitions = Vec::new();
    if bytes.is_empty() {
        return Ok(partitions);
    }
    let mut reader = Reader::new(bytes);
    reader.i16()?;
    for _ in 0..reader.count(false, 6)?.unwrap_or(0) {
        let topic = reader.string(false)?.unwrap_or_default();
        for _ in 0..reader.count(false, 4)?.unwrap_or(0) {
            partitions.push((topic.to_owned(), reader.i32()?));
        }
    }
    partitions.sort();
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members of other libraries read these bytes; those of Java's consumer are below.
    #[test]
    fn subscriptions_and_assignments_are_kafkas() {
        let topics = ["t".to_owned()];
        assert_eq!(subscription(&topics), b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff");
        assert_eq!(subscribed(b"\0\x03\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\0").unwrap(), topics);
        let partitions = [("t".to_owned(), 1), ("t".to_owned(), 3)];
        let bytes = assignment(&partitions);
        assert_eq!(bytes, b"\0\0\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\x01\0\0\0\x03\xff\xff\xff\xff");
        assert_eq!(assigned(&bytes).unwrap(), partitions);
        assert_eq!(assigned(b"").unwrap(), []);
        assert!(assigned(&bytes[..12]).is_err());
        assert!(assigned(b"\0\x01\x7f\xff\xff\xff").is_err() && subscribed(b"\0\0\x7f\xff\xff\xff").is_err());
    }
}
