//! Crate `raft` logs through `slog`; this hands its lines to `tracing`. Debug and below are compiled out by `slog`'s features.

use slog::{Drain, KV, Level, Logger, OwnedKVList, Record};
use std::fmt::{Arguments, Write as _};

pub(super) fn logger() -> Logger {
    Logger::root(ToTracing, slog::o!())
}

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, context: &OwnedKVList) -> Result<(), slog::Never> {
        let mut line = Line(record.msg().to_string());
        // Writing to a string cannot fail.
        let _ = record.kv().serialize(record, &mut line);
        let _ = context.serialize(record, &mut line);
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "ringlane::raft", "{}", line.0),
            Level::Warning => tracing::warn!(target: "ringlane::raft", "{}", line.0),
            // Elections and configurations, several lines each: for those who look into them.
            Level::Info | Level::Debug | Level::Trace => tracing::debug!(target: "ringlane::raft", "{}", line.0),
        }
        Ok(())
    }
}

struct Line(String);

impl slog::Serializer for Line {
    fn emit_arguments(&mut self, key: slog::Key, value: &Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}").map_err(slog::Error::from)
    }
}
