//! Ends the logs of a shard in order: all that was appended becomes stable and durable in its segment, files get their true sizes, the last
//! checkpoint leaves nothing for the journal to give back.

use crate::log::LogInner;
use crate::shard::Shard;
use crate::state::NextSegment;
use crate::{OpenError, checkpoint, files, recovery::io_error, snapshots, writer};
use ringlane_runtime::{fs, spawn};
use std::rc::Rc;

pub(crate) async fn close(shard: &Rc<Shard>) -> Result<(), OpenError> {
    let logs = shard.all_logs();
    logs.iter().for_each(|log| log.state.borrow_mut().closing = true);
    let closing: Vec<_> = logs.iter().map(|log| spawn("log-close", close_log(log.clone()))).collect();
    let mut outcome = Ok(());
    for task in closing {
        let closed = task.await.unwrap_or_else(|panicked| {
            Err(OpenError::Unreadable { path: "the logs".into(), found: panicked.to_string() })
        });
        outcome = outcome.and(closed);
    }
    for volume in shard.volumes.iter().filter(|volume| volume.failure().is_none()) {
        checkpoint::and_wait(volume).await;
    }
    for task in shard.stop_tasks() {
        // A panicked task has failed its volume.
        let _ = task.await;
    }
    logs.iter().for_each(|log| shard.forget(log));
    for volume in &shard.volumes {
        if let Some(failed) = volume.failure() {
            outcome = outcome.and(Err(OpenError::Unreadable { path: volume.path.clone(), found: failed.to_string() }));
        }
    }
    outcome
}

/// Writes what is pending, cuts the files to size and syncs them, leaves a snapshot for Kafka.
async fn close_log(log: Rc<LogInner>) -> Result<(), OpenError> {
    let end_offset = log.state.borrow().end_offset;
    writer::flush_to(&log, end_offset).await;
    log.until_quiet().await;
    if let Err(failed) = writer::flush_now(&log).await {
        log.fail(failed);
    }
    if let Some(failed) = &log.state.borrow().failed {
        return Err(OpenError::Unreadable { path: log.folder.clone(), found: failed.to_string() });
    }
    let (file, bytes, base_offset, unused) = {
        let mut state = log.state.borrow_mut();
        let unused = matches!(state.next_segment, NextSegment::Ready { .. } | NextSegment::Failed(_));
        state.next_segment = NextSegment::Missing;
        let writing = state.writing();
        (writing.file.clone(), writing.bytes, writing.base_offset, unused)
    };
    let path = files::segment_path(&log.folder, base_offset);
    if let Some(file) = file {
        let file_bytes = file.len().await.map_err(io_error(&path, "asking for the size"))?;
        if file_bytes != bytes {
            file.set_len(bytes).await.map_err(io_error(&path, "cutting the file to its size"))?;
            file.sync().await.map_err(io_error(&path, "syncing"))?;
        }
    }
    snapshots::at_close(&log).await;
    if unused {
        let path = log.folder.join(files::NEXT_SEGMENT);
        match fs::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io_error(&path, "removing the unused segment")(error));
            }
            _ => fs::sync_dir(&log.folder).await.map_err(io_error(&log.folder, "syncing the folder"))?,
        }
    }
    Ok(())
}
