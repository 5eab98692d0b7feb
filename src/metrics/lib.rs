//! Owns the counters, gauges and histograms of one shard: plain cells, no atomics, one table with names, units and help.
//!
//! One [`ShardMetrics`] per shard, shared there as `Rc`; every room of the shard writes its own rows. Readers on another shard get a
//! [`Snapshot`]: snapshots merge, and become Prometheus text or a report for people. No I/O, no allocation on the write side.

mod cell;
mod snapshot;
mod table;

pub use cell::{Counter, Gauge, Histogram, PerApi};
pub use snapshot::{HistogramSummary, Snapshot, prometheus_text, report};
pub use table::{API_KEYS_MAX, Kind, ROWS, Row, ShardMetrics, Unit};
