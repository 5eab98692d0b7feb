//! What can go wrong between a caller and a cluster, said so that the caller knows what to do.

use ringlane_protocol::{ApiKey, DecodeError, ErrorCode};
use std::time::Duration;

/// Cheap to clone: a failed batch tells it to each of its records.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClientError {
    #[error("{address:?} is not an address: HOST:PORT was expected, such as 127.0.0.1:9092")]
    Address { address: String },
    #[error("no broker of {bootstrap} can be reached ({last}). Is one listening there? `ringlane server` starts one")]
    Unreachable { bootstrap: String, last: String },
    #[error("connection to {peer}: {reason}")]
    Connection { peer: String, reason: String },
    #[error("{peer} gave no answer to {api} within {after:?}; the connection was closed")]
    NoAnswer { peer: String, api: ApiKey, after: Duration },
    #[error("{peer} sent an answer that is not {api} version {version}: {source}")]
    Malformed { peer: String, api: ApiKey, version: i16, source: DecodeError },
    #[error("{peer} sent an answer to a request that was not asked (correlation id {found}, expected {expected})")]
    OutOfOrder { peer: String, expected: i32, found: i32 },
    #[error("{peer} announced an answer of {bytes} bytes; at most {max} are accepted. Does it speak Kafka?")]
    AnswerSize { peer: String, bytes: i64, max: usize },
    #[error("{peer} does not serve {api} in a version of this client ({ours}); it has {theirs}")]
    Unsupported { peer: String, api: ApiKey, ours: String, theirs: String },
    #[error("{what}: {code}{}", detail(message))]
    Refused { what: String, code: ErrorCode, message: Option<String> },
    #[error("{what} did not succeed within {after:?}; the last answer was: {last}")]
    TimedOut { what: String, after: Duration, last: String },
    #[error("topic {topic} has no partition {partition}: it has {count}, counted from 0")]
    NoSuchPartition { topic: String, partition: i32, count: usize },
    #[error(
        "a record of {bytes} bytes is larger than a request may be ({max} bytes): raise max_request_bytes, or send it in parts"
    )]
    RecordTooLarge { bytes: usize, max: usize },
    #[error(
        "topic={topic} partition={partition} offset={offset}: {reason}. The data was damaged on its way or on the broker's disk"
    )]
    Corrupt { topic: String, partition: i32, offset: i64, reason: String },
    #[error(
        "group {group} has committed no offset in topic {topic} partition {partition}, and where to begin then is not said \
         (auto.offset.reset=none)"
    )]
    NoOffset { group: String, topic: String, partition: i32 },
    #[error("{what}")]
    Misuse { what: String },
    #[error("the transaction was aborted before this record was sent")]
    Aborted,
    #[error("the transaction can only be aborted: {reason}")]
    Abortable { reason: Box<ClientError> },
    #[error("this producer can send no more, a new one can: {reason}")]
    Fatal { reason: Box<ClientError> },
    #[error("the {what} was closed")]
    Closed { what: &'static str },
}

fn detail(message: &Option<String>) -> String {
    message.as_ref().filter(|text| !text.is_empty()).map_or(String::new(), |text| format!(" ({text})"))
}

impl ClientError {
    pub(crate) fn refused(what: impl Into<String>, code: ErrorCode, message: Option<&str>) -> ClientError {
        ClientError::Refused { what: what.into(), code, message: message.map(str::to_string) }
    }

    /// The broker's error code, if a broker refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Refused { code, .. } => Some(*code),
            ClientError::Abortable { reason } | ClientError::Fatal { reason } => reason.code(),
            _ => None,
        }
    }

    /// Whether the same request may succeed later, maybe elsewhere.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Refused { code, .. } => code.is_retriable(),
            ClientError::Connection { .. } | ClientError::NoAnswer { .. } | ClientError::Unreachable { .. } => true,
            _ => false,
        }
    }
}
