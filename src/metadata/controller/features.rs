//! Finalized feature levels.
