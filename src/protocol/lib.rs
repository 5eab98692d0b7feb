//! Ringlane: bytes of the Kafka wire and log formats
