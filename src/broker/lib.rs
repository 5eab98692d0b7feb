//! Ringlane: listeners, connections, APIs, mesh routing, assembly

pub mod quorum;
