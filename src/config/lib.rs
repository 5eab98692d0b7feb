//! Owns every configuration key, once: a row with Kafka's name, type, default, range, scope, dynamic or restart, and documentation.
//!
//! Properties text, the environment and `-o key=value` become typed values ([`BrokerConfig`], [`TopicConfig`]); DescribeConfigs, help and
//! the reference page come from the same rows. Built once by the command line, shared as `Arc<Config>`; lives on no shard in
//! particular. Never reads a file or the environment itself, never knows who uses a value.
//!
//! Readers take fields: `config.broker.socket_request_max_bytes`, `topic.segment_bytes`.

mod broker;
mod builder;
mod describe;
mod ignored;
mod listener;
mod nearest;
mod properties;
mod reference;
mod row;
mod table;
mod topic;
mod value;

pub use broker::{BROKER_ROWS, BrokerConfig};
pub use builder::{Builder, ConfigError, ENVIRONMENT_PREFIX, Notes};
pub use describe::{Described, Source, Synonym};
pub use listener::Endpoint;
pub use reference::reference_page;
pub use row::{Change, Importance, Kind, Row, Synonyms, Valid};
pub use topic::{TOPIC_ROWS, TopicConfig};
pub use value::{CleanupPolicy, CompressionType, TimestampType};

use std::collections::BTreeMap;

/// What this process was told, as typed values, and where each came from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Values of the broker's own keys.
    pub broker: BrokerConfig,
    /// What a topic without settings of its own gets.
    pub topic_defaults: TopicConfig,
    /// Broker keys that were set, as given (trimmed). Ignored Kafka keys are not among them.
    set: BTreeMap<&'static str, String>,
}

impl Config {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Values of a topic that has `overrides`. Errors as [`Config::check_topic`].
    pub fn topic<'a>(
        &self,
        overrides: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<TopicConfig, ConfigError> {
        let mut topic = self.topic_defaults.clone();
        for (name, value) in overrides {
            topic.set(topic::row(name)?, value)?;
        }
        Ok(topic)
    }

    /// Like [`Config::topic`] for settings that were accepted before, perhaps by another version: what is unknown or no longer
    /// valid is left out and named in the second value.
    pub fn topic_lenient<'a>(
        &self,
        overrides: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> (TopicConfig, Vec<ConfigError>) {
        let mut topic = self.topic_defaults.clone();
        let refused = overrides
            .into_iter()
            .filter_map(|(name, value)| topic::row(name).and_then(|row| topic.set(row, value)).err())
            .collect();
        (topic, refused)
    }

    /// Whether a topic may have `name` = `value`; the message is fit for a client (INVALID_CONFIG).
    pub fn check_topic(name: &str, value: &str) -> Result<(), ConfigError> {
        topic::row(name)?.check(value)
    }

    /// The broker key's value as given, when it was given.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.set.get(name).map(String::as_str)
    }
}

impl Default for Config {
    /// Nothing set: what `ringlane server` runs with when it is told nothing.
    fn default() -> Config {
        Config { broker: BrokerConfig::default(), topic_defaults: TopicConfig::default(), set: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests;
