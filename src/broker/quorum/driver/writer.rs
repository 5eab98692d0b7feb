//! Makes durable what the core asks for. Everything that became due during one write is the next write: group commit without timers.
//!
//! One task; it alone touches the files. Of the core it reads what a new segment must hold, and lets it forget what a snapshot holds.

use crate::quorum::driver::Driver;
use crate::quorum::wal::{self, Wal, WalError};
use ringlane_runtime::now;
use std::path::PathBuf;
use std::rc::Rc;

/// Entries kept in memory behind a snapshot, for peers that lag a little.
const ENTRIES_KEPT: u64 = 10_000;

/// The writer's task: ends when the driver has ended and all is written.
pub(super) async fn write(driver: Rc<Driver>, mut wal: Wal, dir: PathBuf) -> Result<(), WalError> {
    // Items that need no sync of their own; they go in front of the next ones that do, so order holds (contract point 4).
    let mut deferred = Vec::new();
    loop {
        let due = driver.writes.listen();
        let mut batch = driver.take_due();
        let mut mark = driver.rotate_to.take();
        if batch.is_empty() && mark.is_none() {
            if !driver.writer_may_end.get() {
                due.await;
                continue;
            }
            return match deferred.is_empty() {
                true => Ok(()),
                false => wal.append(&deferred).await,
            };
        }
        driver.write_began.set(Some(now()));
        driver.warned_of_write.set(false);
        let mut seen = 0;
        while seen < batch.len() {
            let snapshots: Vec<_> = batch[seen..].iter().filter_map(|persist| persist.snapshot.clone()).collect();
            seen = batch.len();
            for state in snapshots {
                wal::write_snapshot(&dir, &state).await?;
                mark = mark.max(Some(state.position()));
            }
            batch.extend(driver.take_due());
        }
        let restart = mark.and_then(|mark| driver.core.borrow().items_after(mark));
        if let Some(items) = restart {
            // The core's memory is ahead of everything in the batch: this one write holds it all.
            deferred.clear();
            wal.rotate(&items).await?;
            let covered = mark.unwrap_or_default().index;
            driver.core.borrow_mut().compact(covered.saturating_sub(ENTRIES_KEPT));
        } else {
            batch.iter().for_each(|persist| deferred.extend_from_slice(&persist.items));
            if batch.iter().any(|persist| persist.must_sync) {
                wal.append(&deferred).await?;
                deferred.clear();
            }
        }
        driver.journal_bytes.set(wal.bytes());
        driver.written(&batch);
    }
}
