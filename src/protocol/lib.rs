//! Bytes of the Kafka wire and log formats: api keys, error codes, headers, messages, record batches, internal records.
//!
//! Owns every encoding and nothing else: no I/O, no clock, no policy. Called on every shard by whoever holds bytes. What comes off the wire is
//! decoded as views over the receive buffer; no length or count is believed before the bytes for it are there, and nothing panics on
//! bad input.
//!
//! * [`wire`]: [`Reader`], [`Writer`] and the encodings of single values.
//! * One module per api key ([`produce`], [`metadata`], ...) with its request and its response, both ways and in all versions. They are
//!   generated from `schema/` by `cargo run -p ringlane-protocol --example generate`.
//! * [`hot`]: hand-written views and writers for the messages that carry the load.
//! * [`records`] and [`compression`]: what partitions hold. [`internal`]: the records of Kafka's internal topics.
//! * [`consumer_protocol`]: what members of a classic consumer group tell each other.
//! * [`storage`]: the files that lie beside them on disk.

mod api_key;
mod error_code;
mod header;
mod message;
mod topic_id;

#[rustfmt::skip]
mod generated;

pub mod compression;
pub mod consumer_protocol;
pub mod hot;
pub mod internal;
pub mod records;
pub mod storage;
pub mod wire;

pub use api_key::{ApiKey, Listeners, Versions};
pub use error_code::ErrorCode;
pub use generated::*;
pub use header::{
    RequestHeader, decode_response_header, encode_request_frame, encode_response_frame, encode_response_header,
    response_header_version,
};
pub use message::{Message, Request, Version};
pub use topic_id::{ParseTopicIdError, TopicId};
pub use wire::{DecodeError, Reader, Writer};
