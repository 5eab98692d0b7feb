//! Ringlane: cluster image, controller and raft core
