//! Ringlane: every configuration key once

/// Every setting of one broker, typed.
#[derive(Clone, Debug, Default)]
pub struct Config {}
