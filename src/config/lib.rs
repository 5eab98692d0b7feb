//! Ringlane: every configuration key once
