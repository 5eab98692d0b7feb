//! Ringlane: load harness and micro benches.
