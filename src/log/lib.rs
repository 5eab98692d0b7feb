//! Bytes at rest: the logs of one shard, a partition each, in Kafka's segment format, written and read past the page cache.
//!
//! Lives on every shard that is home to partitions. `partition` appends, reads and truncates; `broker` opens the data directory and
//! starts and closes [`ShardLogs`]. Knows neither replicas nor clients. Nothing here blocks: appending is synchronous and touches
//! memory only, everything else is a future.
//!
//! ```text
//! append ─▶ tail (memory) ─▶ journal (one write in flight per shard) ─▶ stable ─▶ next_stable()
//!              │    └──▶ segment, at once and durable, when much is pending ─▶ stable
//!              │    └──▶ segment, later ─▶ checkpoint ─▶ the journal is released
//!              ├── plan_read: slices, no copy
//!              └── DiskRead: index, aligned direct reads
//! ```
//! *Stable* means written (survives kill -9) or durable (survives power loss), whichever the topic asks for before an ack.

mod aborted;
mod cache;
mod checkpoint;
mod chunks;
pub mod cleaner;
mod close;
mod data_dir;
mod deleted;
mod error;
mod files;
mod flusher;
mod guard;
mod handles;
mod id;
mod index;
mod journal;
mod listing;
mod log;
mod log_start;
#[cfg(not(feature = "mutants"))]
mod mutants;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod offline;
mod open;
mod options;
mod pace;
mod read;
mod recovered;
mod recovery;
mod replay;
mod retention;
mod retention_clock;
mod retention_task;
mod rewrite;
mod scan;
mod segment;
mod shard;
mod snapshots;
mod space;
mod state;
mod tail;
mod timestamps;
mod truncate;
mod visitor;
mod volume;
mod writer;

pub use data_dir::{DataDir, DataDirState};
pub use error::{AppendError, DirFull, LogFailed, OpenError, ReadError};
pub use id::{LogId, LogKey, LogName};
pub use log::{AppendBatch, Log};
pub use log_start::LogStartError;
pub use options::{LogOptions, ShardLogsOptions, StableMode, VolumeOptions};
pub use read::{DiskRead, ReadData, ReadPlan};
pub use recovered::Recovered;
pub use retention::RetentionOptions;
pub use retention_clock::{RetentionClock, RetentionTime};
pub use shard::{ProducersOf, ShardLogs, StableEvent, StableOutcome, StateOf};
pub use visitor::{EndMarker, EveryBatch, Visitor};
