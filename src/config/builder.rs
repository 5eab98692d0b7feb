//! From what a user wrote to a [`Config`]. Order of strength: `-o`, environment, properties text, defaults.

use std::collections::BTreeMap;

use crate::ignored::{is_guard, is_ignored};
use crate::nearest::nearest;
use crate::row::Row;
use crate::{BROKER_ROWS, BrokerConfig, Config, TOPIC_ROWS, TopicConfig, properties, topic};

/// Prefix of environment variables: `RINGLANE_LOG_SEGMENT_BYTES` is `log.segment.bytes`.
pub const ENVIRONMENT_PREFIX: &str = "RINGLANE_";

/// What is wrong with a key or its value. The text is fit for a user and for a client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{from}unknown key {name}{}", did_you_mean(nearest))]
    UnknownKey { from: String, name: String, nearest: Option<String> },
    #[error("unknown topic config name: {name}{}", did_you_mean(nearest))]
    UnknownTopicKey { name: String, nearest: Option<String> },
    #[error("invalid value {value} for configuration {name}: {why}")]
    Invalid { name: String, value: String, why: String },
    #[error("{0}")]
    Combination(String),
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// What a user should be told about a configuration that works.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Notes {
    /// Kafka's keys that were given and mean nothing here, sorted.
    pub ignored: Vec<String>,
    /// Those among them whose absence leaves the broker open to everybody.
    pub ignored_guards: Vec<String>,
    /// Variables with our prefix that are no key. Not an error: Kubernetes sets `RINGLANE_PORT` for a service named ringlane.
    pub unknown_variables: Vec<String>,
}

/// Collects settings from the weakest source to the strongest, and all that is wrong with them.
#[derive(Default)]
pub struct Builder {
    set: BTreeMap<&'static str, String>,
    ignored: BTreeMap<String, String>,
    unknown_variables: Vec<String>,
    errors: Vec<ConfigError>,
}

impl Builder {
    /// Text of a `server.properties`; `origin` is its name in messages.
    pub fn properties(mut self, text: &str, origin: &str) -> Builder {
        for entry in properties::parse(text) {
            self.take(&entry.key, &entry.value, &format!("{origin}:{}: ", entry.line));
        }
        self
    }

    /// Environment variables; those without the prefix are not ours.
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Builder {
        for (name, value) in variables {
            let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let key = key.to_ascii_lowercase().replace('_', ".");
            if broker_key(&key).is_some() || is_ignored(&key) {
                self.take(&key, &value, "");
            } else {
                self.unknown_variables.push(name);
            }
        }
        self
    }

    /// One `key=value` of the command line.
    pub fn setting(mut self, setting: &str) -> Builder {
        match setting.split_once('=') {
            Some((key, value)) => self.take(key.trim(), value, ""),
            None => self.errors.push(ConfigError::Combination(format!("-o {setting}: expected key=value"))),
        }
        self
    }

    /// One key, stronger than all before.
    pub fn set(mut self, key: &str, value: &str) -> Builder {
        self.take(key, value, "");
        self
    }

    pub fn build(mut self) -> Result<(Config, Notes), Vec<ConfigError>> {
        let mut config =
            Config { broker: BrokerConfig::default(), topic_defaults: TopicConfig::default(), set: self.set };
        for (name, value) in &config.set {
            let taken = match BROKER_ROWS.iter().find(|row| row.name == *name) {
                Some(row) => config.broker.set(row, value),
                None => check_synonym(name, value),
            };
            self.errors.extend(taken.err());
        }
        if self.errors.is_empty() {
            set_topic_defaults(&mut config.topic_defaults, &config.set);
            self.errors.extend(check_together(&config.broker));
        }
        if self.errors.is_empty() {
            Ok((config, notes(self.ignored, self.unknown_variables)))
        } else {
            Err(self.errors)
        }
    }

    fn take(&mut self, key: &str, value: &str, from: &str) {
        let value = value.trim();
        if let Some(name) = broker_key(key) {
            self.set.insert(name, value.to_owned());
        } else if is_ignored(key) {
            self.ignored.insert(key.to_owned(), value.to_owned());
        } else {
            let nearest = nearest(key, broker_keys());
            self.errors.push(ConfigError::UnknownKey { from: from.to_owned(), name: key.to_owned(), nearest });
        }
    }
}

/// Every key that a broker takes: its rows, and what gives topics their defaults.
fn broker_keys() -> impl Iterator<Item = &'static str> {
    let synonyms = TOPIC_ROWS.iter().flat_map(|row| row.synonyms).map(|&(name, _)| name);
    BROKER_ROWS.iter().map(|row| row.name).chain(synonyms)
}

/// The table's own name for `key`. Kafka has two names for two of its keys.
fn broker_key(key: &str) -> Option<&'static str> {
    let key = match key {
        "log.dir" => "log.dirs",
        "broker.id" => "node.id",
        key => key,
    };
    broker_keys().find(|name| *name == key)
}

/// A topic key's default given by the broker key `name`, in units of the topic key.
pub(crate) fn converted(name: &str, value: &str) -> Option<(&'static Row, Result<String, ConfigError>)> {
    let (row, _, factor) = topic::row_behind(name)?;
    if factor == 1 {
        return Some((row, Ok(value.to_owned())));
    }
    let converted = match value.parse::<i64>() {
        Ok(number) if number < 0 => Ok("-1".to_owned()),
        Ok(number) => Ok(number.saturating_mul(factor).to_string()),
        Err(_) => Err(ConfigError::Invalid {
            name: name.to_owned(),
            value: value.to_owned(),
            why: "expected a whole number".to_owned(),
        }),
    };
    Some((row, converted))
}

fn check_synonym(name: &str, value: &str) -> Result<(), ConfigError> {
    let Some((row, in_topic_units)) = converted(name, value) else { return Ok(()) };
    row.check(&in_topic_units?).map_err(|error| match error {
        ConfigError::Invalid { why, .. } => {
            ConfigError::Invalid { name: name.to_owned(), value: value.to_owned(), why }
        }
        other => other,
    })
}

/// The strongest synonym that is set wins: it is taken last. All have been checked.
fn set_topic_defaults(defaults: &mut TopicConfig, set: &BTreeMap<&'static str, String>) {
    for row in TOPIC_ROWS {
        for (synonym, _) in row.synonyms.iter().rev() {
            if let Some((_, Ok(value))) = set.get(synonym).and_then(|value| converted(synonym, value)) {
                defaults.set(row, &value).expect("checked before");
            }
        }
    }
}

/// What is right key by key and wrong together.
fn check_together(broker: &BrokerConfig) -> Vec<ConfigError> {
    let mut wrong = Vec::new();
    let mut no = |message: String| wrong.push(ConfigError::Combination(message));
    for listener in broker.listeners.iter().chain(&broker.advertised_listeners) {
        if matches!(listener.name.as_str(), "SSL" | "SASL_SSL" | "SASL_PLAINTEXT") {
            no(format!("listener {listener}: TLS and SASL are not supported; use PLAINTEXT://HOST:PORT"));
        }
    }
    if broker.listeners.is_empty() {
        no("listeners is empty: give at least one PLAINTEXT://HOST:PORT".to_owned());
    }
    for advertised in &broker.advertised_listeners {
        if advertised.host == "0.0.0.0" || advertised.host == "::" {
            no(format!(
                "clients cannot connect to {advertised}: set advertised.listeners to an address that they can reach"
            ));
        }
        if !broker.listeners.iter().any(|listener| listener.name == advertised.name) {
            no(format!("advertised.listeners names {}, which listeners does not have", advertised.name));
        }
    }
    for (index, dir) in broker.log_dirs.iter().enumerate() {
        if broker.log_dirs[..index].contains(dir) {
            no(format!("log.dirs names {dir} twice"));
        }
    }
    if broker.log_dirs.is_empty() {
        no("log.dirs is empty: give at least one directory".to_owned());
    }
    wrong
}

fn notes(ignored: BTreeMap<String, String>, unknown_variables: Vec<String>) -> Notes {
    let ignored_guards = ignored
        .iter()
        .filter(|(name, value)| is_guard(name) && !value.is_empty())
        .map(|(name, _)| name.clone())
        .collect();
    Notes { ignored: ignored.into_keys().collect(), ignored_guards, unknown_variables }
}
