//! All logs of one shard: opens, deletes and closes them, and tells which offsets became stable.
//!
//! One per shard, for as long as the shard. Called by `partition::HomeShard`.

use crate::{Log, LogFailed, LogId, LogKey, LogOptions, OpenError, ShardLogsOptions};
use ringlane_protocol::records::BatchHeader;
use std::rc::Rc;
use std::sync::Arc;

/// The logs whose home this shard is. Cheap to clone.
#[derive(Clone)]
pub struct ShardLogs {
    _inner: Rc<()>,
}

/// News of one log, since the last news of it.
#[derive(Clone, Debug)]
pub struct StableEvent {
    pub log: LogKey,
    pub outcome: StableOutcome,
}

#[derive(Clone, Debug)]
pub enum StableOutcome {
    /// Every offset below this one is stable.
    Stable(i64),
    /// Nothing more becomes stable; appends fail, reads go on.
    Failed(Arc<LogFailed>),
}

impl ShardLogs {
    pub async fn start(options: ShardLogsOptions) -> Result<ShardLogs, OpenError> {
        let _ = options;
        todo!()
    }
    /// Opens the log, or creates it. Reads and verifies what is there, cuts a write that a crash cut short, and calls `visit` with every
    /// batch header in offset order, so that the caller rebuilds what it keeps about producers and leader epochs.
    pub async fn open(
        &self,
        id: LogId,
        options: LogOptions,
        visit: &mut dyn FnMut(&BatchHeader),
    ) -> Result<Log, OpenError> {
        let _ = (id, options, visit);
        todo!()
    }
    /// Takes the log out of service and its folder out of sight (renamed to `.deleted`, durable when this returns); its space is freed in
    /// the background. Appends fail from now on; reads under way finish.
    pub async fn delete(&self, log: &Log) -> Result<(), OpenError> {
        let _ = log;
        todo!()
    }
    /// Waits for news; each log appears at most once. One task per shard calls this in a loop.
    pub async fn next_stable(&self) -> Vec<StableEvent> {
        todo!()
    }
    /// Orderly stop: everything appended is written and synced, files are cut to their true size. Appends fail from now on.
    pub async fn close(&self) -> Result<(), OpenError> {
        todo!()
    }
}
