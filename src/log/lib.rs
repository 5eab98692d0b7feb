//! Bytes at rest: the logs of one shard, a partition each, in Kafka's segment format, written and read past the page cache.
//!
//! Lives on every shard that is home to partitions. `partition` appends, reads and truncates; `broker` opens the data directory and
//! starts and closes [`ShardLogs`]. Knows neither replicas nor clients. Nothing here blocks: appending is synchronous and touches
//! memory only, everything else is a future.
//!
//! ```text
//! append ─▶ tail (memory) ─▶ write plan ─▶ segment (one write in flight per log) ─▶ stable ─▶ next_stable()
//!              │                                  │
//!              └── plan_read: slices, no copy     └── DiskRead: index, aligned direct reads
//! ```
//! *Stable* means written (survives kill -9) or durable (survives power loss), whichever the topic asks for before an ack.

mod cache;
mod chunks;
mod data_dir;
mod error;
mod files;
mod handles;
mod id;
mod index;
mod log;
#[cfg(not(feature = "mutants"))]
mod mutants;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod offline;
mod options;
mod pace;
mod read;
mod recovery;
mod scan;
mod segment;
mod shard;
mod space;
mod state;
mod tail;
mod timestamps;
mod truncate;
mod writer;

pub use data_dir::DataDir;
pub use error::{LogFailed, OpenError, ReadError};
pub use id::{LogId, LogKey};
pub use log::{AppendBatch, Log};
pub use options::{LogOptions, ShardLogsOptions, StableMode};
pub use read::{DiskRead, ReadData, ReadPlan};
pub use shard::{ShardLogs, StableEvent, StableOutcome};
