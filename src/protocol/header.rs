//! Request and response headers, whose own version follows from api key and version (protocol rule: header v2 and response header v1 with
//! flexible versions).

use crate::{ApiKey, DecodeError, Message, Reader, Writer};

/// What stands before a request's body. `key` and `version` are as received: whether they exist and are served is the broker's
/// business, because the answer differs (close, or the version list).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestHeader<'a> {
    pub key: i16,
    pub version: i16,
    pub correlation_id: i32,
    /// Bytes, not text: clients may send what they like, and it only goes into logs. Null reads as empty.
    pub client_id: &'a [u8],
}

impl<'a> RequestHeader<'a> {
    /// Reads the header and leaves `reader` at the body.
    ///
    /// Of a version that does not exist only the part common to all headers is read (an ApiVersions request of the future is answered
    /// without looking at its body, KIP-511).
    pub fn decode(reader: &mut Reader<'a>) -> Result<RequestHeader<'a>, DecodeError> {
        let key = reader.i16()?;
        let version = reader.i16()?;
        let correlation_id = reader.i32()?;
        // The client id keeps its two-byte length in header v2 too.
        let client_id = reader.short_bytes()?.unwrap_or_default();
        let known = ApiKey::from_i16(key).filter(|key| key.versions().contains(version));
        if known.is_some_and(|key| key.is_flexible(version)) {
            reader.skip_tags()?;
        }
        Ok(RequestHeader { key, version, correlation_id, client_id })
    }

    pub fn encode(&self, writer: &mut Writer) {
        writer.i16(self.key);
        writer.i16(self.version);
        writer.i32(self.correlation_id);
        writer.short_bytes(self.client_id);
        if ApiKey::from_i16(self.key).is_some_and(|key| key.is_flexible(self.version)) {
            writer.no_tags();
        }
    }

    pub fn client_id_text(&self) -> std::borrow::Cow<'a, str> {
        String::from_utf8_lossy(self.client_id)
    }
}

/// 1 (with tagged fields) for flexible versions, else 0. ApiVersions always answers with 0, so that a client which does not know the
/// broker's versions yet can read it (KIP-511).
pub const fn response_header_version(key: ApiKey, version: i16) -> i16 {
    let tagged = key.is_flexible(version) && !matches!(key, ApiKey::ApiVersions);
    tagged as i16
}

pub fn encode_response_header(writer: &mut Writer, key: ApiKey, version: i16, correlation_id: i32) {
    writer.i32(correlation_id);
    if response_header_version(key, version) == 1 {
        writer.no_tags();
    }
}

/// Reads the header and leaves `reader` at the body; gives the correlation id.
pub fn decode_response_header(reader: &mut Reader<'_>, key: ApiKey, version: i16) -> Result<i32, DecodeError> {
    let correlation_id = reader.i32()?;
    if response_header_version(key, version) == 1 {
        reader.skip_tags()?;
    }
    Ok(correlation_id)
}

/// Appends a whole request frame (length, header, body) to `writer`.
pub fn encode_request_frame<'a, M: Message<'a>>(
    writer: &mut Writer,
    version: i16,
    correlation_id: i32,
    client_id: &str,
    body: &M,
) {
    let frame = writer.begin_frame();
    let header = RequestHeader { key: M::KEY.code(), version, correlation_id, client_id: client_id.as_bytes() };
    header.encode(writer);
    body.encode(writer, version);
    writer.end_frame(frame);
}

/// Appends a whole response frame (length, header, body) to `writer`.
pub fn encode_response_frame<'a, M: Message<'a>>(writer: &mut Writer, version: i16, correlation_id: i32, body: &M) {
    let frame = writer.begin_frame();
    encode_response_header(writer, M::KEY, version, correlation_id);
    body.encode(writer, version);
    writer.end_frame(frame);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden bytes from the protocol guide: a Metadata v9 header has tagged fields, its client id still has a two-byte length.
    #[test]
    fn request_header_v2_keeps_the_short_client_id() {
        let bytes = [0, 3, 0, 9, 0, 0, 0, 7, 0, 2, b'r', b'l', 0, 0xff];
        let mut reader = Reader::new(&bytes);
        let header = RequestHeader::decode(&mut reader).unwrap();
        assert_eq!(header, RequestHeader { key: 3, version: 9, correlation_id: 7, client_id: b"rl" });
        assert_eq!(reader.remaining(), 1);

        let mut writer = Writer::new();
        header.encode(&mut writer);
        assert_eq!(writer.as_slice(), &bytes[..13]);
    }

    /// A client that speaks a later ApiVersions must get its answer: nothing after the client id may be looked at.
    #[test]
    fn a_version_of_the_future_has_a_readable_header() {
        let bytes = [0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0xee, 0xee];
        let mut reader = Reader::new(&bytes);
        let header = RequestHeader::decode(&mut reader).unwrap();
        assert_eq!((header.version, header.client_id), (99, &b""[..]));
        assert_eq!(reader.remaining(), 2);
    }

    /// A client cannot know the header version of an answer that tells it the versions.
    #[test]
    fn api_versions_always_answers_with_header_0() {
        assert_eq!(response_header_version(ApiKey::ApiVersions, 3), 0);
        assert_eq!(response_header_version(ApiKey::Metadata, 9), 1);
        assert_eq!(response_header_version(ApiKey::Metadata, 8), 0);
        assert_eq!(response_header_version(ApiKey::SaslHandshake, 1), 0);
    }
}
