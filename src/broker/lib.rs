//! Ringlane: listeners, connections, APIs, mesh routing, assembly
