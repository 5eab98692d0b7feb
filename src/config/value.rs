//! Text of a value to its Rust type. Called with text that its row has checked; says no only where a type is narrower than its row.

use crate::listener::Endpoint;

/// A type that a row's text becomes.
pub trait Value: Sized {
    fn parse(text: &str) -> Result<Self, String>;
}

/// Elements of a list value: separated by commas, spaces around them dropped, empty ones too.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// What happens to old records of a topic (`cleanup.policy`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

/// Codec that a topic's records are kept in (`compression.type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CompressionType {
    /// As the producer sent them.
    #[default]
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Whose clock stamps records (`message.timestamp.type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

impl Value for bool {
    fn parse(text: &str) -> Result<bool, String> {
        text.to_ascii_lowercase().parse().map_err(|_| "expected true or false".to_owned())
    }
}

/// Integers of any width: the row's range is what users see, this is the type's own end.
macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Value for $type {
            fn parse(text: &str) -> Result<$type, String> {
                text.parse().map_err(|_| format!("expected a whole number from {} to {}", <$type>::MIN, <$type>::MAX))
            }
        }
    )*};
}
integers!(u16 i32 u32 i64 u64 usize);

impl Value for f64 {
    fn parse(text: &str) -> Result<f64, String> {
        text.parse().map_err(|_| "expected a number".to_owned())
    }
}

impl Value for String {
    fn parse(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }
}

impl Value for Vec<String> {
    fn parse(text: &str) -> Result<Vec<String>, String> {
        Ok(list(text).map(str::to_owned).collect())
    }
}

impl Value for Vec<Endpoint> {
    fn parse(text: &str) -> Result<Vec<Endpoint>, String> {
        list(text).map(Endpoint::parse).collect()
    }
}

/// Empty text is no value, so that a default (`None` in the row) can be asked for by name.
impl<T: Value> Value for Option<T> {
    fn parse(text: &str) -> Result<Option<T>, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }
}

impl Value for CleanupPolicy {
    fn parse(text: &str) -> Result<CleanupPolicy, String> {
        let has = |policy| list(text).any(|word| word == policy);
        Ok(CleanupPolicy { delete: has("delete"), compact: has("compact") })
    }
}

impl Value for CompressionType {
    fn parse(text: &str) -> Result<CompressionType, String> {
        Ok(match text {
            "producer" => CompressionType::Producer,
            "uncompressed" => CompressionType::Uncompressed,
            "gzip" => CompressionType::Gzip,
            "snappy" => CompressionType::Snappy,
            "lz4" => CompressionType::Lz4,
            "zstd" => CompressionType::Zstd,
            _ => return Err("expected a compression type".to_owned()),
        })
    }
}

impl Value for TimestampType {
    fn parse(text: &str) -> Result<TimestampType, String> {
        match text {
            "CreateTime" => Ok(TimestampType::CreateTime),
            "LogAppendTime" => Ok(TimestampType::LogAppendTime),
            _ => Err("expected CreateTime or LogAppendTime".to_owned()),
        }
    }
}
