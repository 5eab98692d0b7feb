//! What a row says about its key. Rows are constants; the tables in `broker` and `topic` are made of nothing else.

use crate::builder::ConfigError;

/// One key. Topic keys name the broker keys that give their default ([`Synonyms`]); those broker keys have no row of their own.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub kind: Kind,
    /// As a user would write it; `None` when unset means something of its own.
    pub default: Option<&'static str>,
    pub valid: Valid,
    pub importance: Importance,
    pub change: Change,
    /// Broker keys that set a topic key's default, strongest first. Empty for broker rows.
    pub synonyms: Synonyms,
    pub doc: &'static str,
}

/// Kafka's configuration types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Boolean,
    String,
    Int,
    Long,
    Double,
    List,
    Password,
}

impl Kind {
    /// The number that DescribeConfigs v3+ carries (KIP-569).
    pub fn wire_code(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::String => 2,
            Kind::Int => 3,
            Kind::Long => 5,
            Kind::Double => 6,
            Kind::List => 7,
            Kind::Password => 9,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Valid {
    Any,
    /// Both ends included.
    Range(i64, i64),
    /// Both ends included.
    Between(f64, f64),
    OneOf(&'static [&'static str]),
    /// Each element of a list.
    EachOf(&'static [&'static str]),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// When a new value counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// At once, by IncrementalAlterConfigs.
    Dynamic,
    /// With the next start.
    Restart,
}

/// Broker keys behind a topic key: name and how many of the topic key's units one unit of it is (60,000 for minutes to ms).
pub type Synonyms = &'static [(&'static str, i64)];

impl Row {
    pub fn sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    /// Whether `text` is a value of this key.
    pub fn check(&self, text: &str) -> Result<(), ConfigError> {
        let invalid = |why: String| ConfigError::Invalid { name: self.name.to_owned(), value: text.to_owned(), why };
        match self.kind {
            Kind::Int => self.check_integer(text, i64::from(i32::MIN), i64::from(i32::MAX)).map_err(invalid),
            Kind::Long => self.check_integer(text, i64::MIN, i64::MAX).map_err(invalid),
            Kind::Double => self.check_double(text).map_err(invalid),
            Kind::Boolean if !matches!(text.to_ascii_lowercase().as_str(), "true" | "false") => {
                Err(invalid("expected true or false".to_owned()))
            }
            Kind::Boolean | Kind::Password => Ok(()),
            Kind::String => self.check_word(text).map_err(invalid),
            Kind::List => crate::value::list(text).try_for_each(|word| self.check_word(word)).map_err(invalid),
        }
    }

    fn check_integer(&self, text: &str, least: i64, most: i64) -> Result<(), String> {
        let number: i64 = text.parse().map_err(|_| "expected a whole number".to_owned())?;
        let (least, most) = match self.valid {
            Valid::Range(from, to) => (from.max(least), to.min(most)),
            _ => (least, most),
        };
        match number {
            n if n < least => Err(format!("expected at least {least}")),
            n if n > most => Err(format!("expected at most {most}")),
            _ => Ok(()),
        }
    }

    fn check_double(&self, text: &str) -> Result<(), String> {
        let number: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
        match self.valid {
            Valid::Between(from, to) if !(from..=to).contains(&number) => Err(format!("expected {from} to {to}")),
            _ => Ok(()),
        }
    }

    fn check_word(&self, word: &str) -> Result<(), String> {
        match self.valid {
            Valid::OneOf(words) | Valid::EachOf(words) if !words.contains(&word) => {
                Err(format!("expected {}", words.join(", ")))
            }
            _ => Ok(()),
        }
    }
}
