//! What DescribeConfigs answers, without its wire form.

use crate::row::{Change, Kind, Row};
use crate::{BROKER_ROWS, Config, TOPIC_ROWS};

/// Where a value comes from; the numbers are those on the wire (KIP-226).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum Source {
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
}

/// One key of a topic or of the broker as it stands.
#[derive(Clone, Debug)]
pub struct Described {
    pub row: &'static Row,
    /// The key asked for: for what a broker says of a topic key's default, the broker's name of it.
    pub name: &'static str,
    /// `None` when unset, and always when sensitive.
    pub value: Option<String>,
    pub source: Source,
    pub read_only: bool,
    /// Every level that has a value, the strongest first: what would count if the first were removed.
    pub synonyms: Vec<Synonym>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synonym {
    pub name: &'static str,
    pub value: Option<String>,
    pub source: Source,
}

impl Described {
    pub fn kind(&self) -> Kind {
        self.row.kind
    }
    pub fn sensitive(&self) -> bool {
        self.row.sensitive()
    }
    pub fn is_default(&self) -> bool {
        self.source == Source::Default
    }
}

impl Config {
    /// Every key of a topic that has `overrides`, sorted by name.
    pub fn describe_topic<'a>(&self, overrides: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Described> {
        let overrides: std::collections::BTreeMap<&str, &str> = overrides.into_iter().collect();
        TOPIC_ROWS.iter().map(|row| self.describe_topic_key(row, overrides.get(row.name).copied())).collect()
    }

    /// Every key of the broker, sorted by name.
    pub fn describe_broker(&self) -> Vec<Described> {
        let own = BROKER_ROWS.iter().map(|row| self.describe_broker_key(row, row.name, row.default.map(str::to_owned)));
        let behind_topics = TOPIC_ROWS.iter().flat_map(|row| {
            row.synonyms.iter().enumerate().map(move |(index, (name, factor))| {
                let weakest = index + 1 == row.synonyms.len();
                self.describe_broker_key(row, name, weakest.then(|| in_units(row.default, *factor)).flatten())
            })
        });
        let mut all: Vec<Described> = own.chain(behind_topics).collect();
        all.sort_by_key(|described| described.name);
        all
    }

    fn describe_topic_key(&self, row: &'static Row, own: Option<&str>) -> Described {
        let own = own.map(|value| Synonym { name: row.name, value: Some(value.to_owned()), source: Source::Topic });
        let given = row.synonyms.iter().filter_map(|&(name, _)| self.synonym_given(name));
        let weakest = row.synonyms.last().copied().unwrap_or((row.name, 1));
        let default = Synonym { name: weakest.0, value: in_units(row.default, weakest.1), source: Source::Default };
        let synonyms: Vec<Synonym> = own.into_iter().chain(given).chain([default]).collect();
        let first = &synonyms[0];
        let value = match first.source {
            Source::Topic => first.value.clone(),
            Source::Default => row.default.map(str::to_owned),
            _ => first.value.as_ref().and_then(|value| self.in_topic_units(first.name, value)),
        };
        Described { row, name: row.name, value, source: first.source, read_only: false, synonyms }
    }

    fn describe_broker_key(&self, row: &'static Row, name: &'static str, default: Option<String>) -> Described {
        let hidden = |value: String| (!row.sensitive()).then_some(value);
        let given = self.synonym_given(name);
        let default = default.and_then(hidden);
        let synonyms: Vec<Synonym> = given
            .map(|synonym| Synonym { value: synonym.value.and_then(hidden), ..synonym })
            .into_iter()
            .chain([Synonym { name, value: default, source: Source::Default }])
            .collect();
        // Topic defaults stay as they were at the start until the broker's keys can be changed while it runs.
        let read_only = !row.synonyms.is_empty() || row.change == Change::Restart;
        Described { row, name, value: synonyms[0].value.clone(), source: synonyms[0].source, read_only, synonyms }
    }

    fn synonym_given(&self, name: &'static str) -> Option<Synonym> {
        let value = self.given(name)?.to_owned();
        Some(Synonym { name, value: Some(value), source: Source::StaticBroker })
    }

    fn in_topic_units(&self, name: &str, value: &str) -> Option<String> {
        crate::builder::converted(name, value).and_then(|(_, value)| value.ok())
    }
}

/// A topic key's default in units of a broker key that is `factor` times larger.
fn in_units(default: Option<&'static str>, factor: i64) -> Option<String> {
    match (default, factor) {
        (Some(text), 1) => Some(text.to_owned()),
        (Some(text), factor) => text.parse::<i64>().ok().map(|number| (number / factor).to_string()),
        (None, _) => None,
    }
}
