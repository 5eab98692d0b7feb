//! Ringlane: bytes at rest
