//! When a snapshot takes the place of the journal before it, and the making of it.
//!
//! Called by the driver's task after each step. The snapshot is of an immutable image, so the metadata goes on changing meanwhile; the
//! writer starts the journal anew when the file is durable.

use crate::quorum::driver::Driver;
use crate::quorum::wal;
use ringlane_metadata::quorum::MetaCore;
use ringlane_runtime::{Instant, Task, now, spawn};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// A snapshot is made after this time if anything changed, however little the journal has grown.
const SNAPSHOT_AFTER: Duration = Duration::from_secs(3600);

/// When to make a snapshot, and the one being made.
pub(super) struct Snapshots {
    dir: PathBuf,
    after_bytes: u64,
    running: Option<Task<()>>,
    /// As of the last one: when, what it holds, how large the journal was.
    began: Instant,
    index: u64,
    journal_bytes: u64,
}

impl Snapshots {
    pub fn new(dir: PathBuf, after_bytes: u64, core: &MetaCore) -> Snapshots {
        let index = core.image().applied().index;
        Snapshots { dir, after_bytes, running: None, began: now(), index, journal_bytes: 0 }
    }

    pub fn make_if_due(&mut self, driver: &Rc<Driver>) {
        if driver.snapshot_done.replace(false) {
            self.running = None;
        }
        let (journal_bytes, index) = (driver.journal_bytes.get(), driver.image().applied().index);
        // Smaller than it was: the journal has started anew.
        self.journal_bytes = self.journal_bytes.min(journal_bytes);
        let has_grown = journal_bytes - self.journal_bytes >= self.after_bytes;
        let is_old = self.began.elapsed() > SNAPSHOT_AFTER && index > self.index;
        if (has_grown || is_old) && self.running.is_none() {
            (self.began, self.index, self.journal_bytes) = (now(), index, journal_bytes);
            self.running = Some(spawn("metadata-snapshot", snapshot(driver.clone(), self.dir.clone())));
        }
    }
}

/// Writes the state as it is now to a file, then lets the journal start anew behind it.
async fn snapshot(driver: Rc<Driver>, dir: PathBuf) {
    let state = driver.core.borrow().checkpoint();
    match wal::write_snapshot(&dir, &state).await {
        Ok(()) => {
            driver.rotate_to.set(Some(state.position()));
            driver.writes.notify_all();
        }
        // Nothing is lost without it: the journal stays as it is, and the next one is tried when it has grown as much again.
        Err(error) => tracing::error!(%error, "no snapshot of the metadata was made"),
    }
    driver.snapshot_done.set(true);
    driver.work.notify_all();
}
