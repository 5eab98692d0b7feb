//! Ringlane: bytes of the Kafka wire and log formats

pub mod compression;
pub mod records;
