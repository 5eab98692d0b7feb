//! Ringlane: a Kafka client
