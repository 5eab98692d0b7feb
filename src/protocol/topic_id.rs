//! Kafka's Uuid: names topics, log directories and members. 16 bytes on the wire, 22 characters of URL-safe base64 in text.

use std::fmt;
use std::str::FromStr;

/// A topic id (KIP-516); also serves for Kafka's other uuids (directory ids, router ids).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// "No id": what a request carries when it names the topic instead.
    pub const ZERO: TopicId = TopicId([0; 16]);
    /// Reserved by Kafka for the metadata log; never given to a topic.
    pub const METADATA: TopicId = TopicId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// A version 4 uuid from random bytes, as Kafka makes them. `None` for the few that Kafka never hands out: reserved ids, and
    /// ids whose text begins with a dash, which command lines would read as an option.
    pub fn from_random(mut bytes: [u8; 16]) -> Option<TopicId> {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let begins_with_dash = bytes[0] >> 2 == DASH;
        (!begins_with_dash).then_some(TopicId(bytes))
    }

    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const DASH: u8 = 62;
/// 128 bits in groups of six.
const TEXT_LEN: usize = 22;

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u128::from_be_bytes(self.0);
        let mut text = [0u8; TEXT_LEN];
        for (i, character) in text.iter_mut().enumerate() {
            // The last group has two bits of the id and four of padding.
            let shift = 122 - 6 * i as i32;
            let group = if shift >= 0 { number >> shift } else { number << -shift } & 63;
            *character = ALPHABET[group as usize];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id: 22 characters of URL-safe base64 were expected, such as {:?}", TopicId::METADATA)]
pub struct ParseTopicIdError {
    pub text: String,
}

impl FromStr for TopicId {
    type Err = ParseTopicIdError;
    fn from_str(text: &str) -> Result<TopicId, ParseTopicIdError> {
        let refused = || ParseTopicIdError { text: text.chars().take(64).collect() };
        // Java's encoder leaves out the padding, other tools add it.
        let bare = text.trim_end_matches('=');
        if bare.len() != TEXT_LEN {
            return Err(refused());
        }
        let mut number = 0u128;
        for (i, character) in bare.bytes().enumerate() {
            let group = ALPHABET.iter().position(|&c| c == character).ok_or_else(refused)? as u128;
            let shift = 122 - 6 * i as i32;
            number |= if shift >= 0 { group << shift } else { group >> -shift };
        }
        Ok(TopicId(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tools print and read topic ids as text; another alphabet or bit order would name another topic. Expected texts are Kafka's
    /// well-known ones (its metadata topic) and RFC 4648 arithmetic.
    #[test]
    fn text_form_is_kafkas() {
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(TopicId::METADATA.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        let id = TopicId([0xfb, 0xff, 0xbf, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(id.to_string(), "-_-_AAECAwQFBgcICQoLDA");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("-_-_AAECAwQFBgcICQoLDA==".parse(), Ok(id));
        assert!("-_-_AAECAwQFBgcICQoLD".parse::<TopicId>().is_err());
        assert!("-_-_AAECAwQFBgcICQoLD+".parse::<TopicId>().is_err());
    }

    /// `kafka-topics --topic-id -xyz` would read such an id as an option.
    #[test]
    fn a_new_id_never_begins_with_a_dash() {
        assert_eq!(TopicId::from_random([0xfb; 16]), None);
        assert_eq!(TopicId::from_random([0; 16]).unwrap().0[6], 0x40);
    }
}
