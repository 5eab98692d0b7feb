//! What the journals beside a partition's folder have to do with it, for `repair`: nothing may come back, and nothing be missed, that the
//! repair changed. Decides only.

use super::repair::Action;
use super::{OfflineError, failed};
use crate::checkpoint::{self, Checkpoint};
use crate::journal::{self, kept, scan};
use crate::{LogName, files};
use ringlane_runtime::fs;
use std::path::{Path, PathBuf};

/// Steps before a log's end changes: the checkpoints forget it, so that the next start reads all of it; what an earlier start kept of the
/// journals is set aside. Refused while a journal has batches of the log that no start has looked at.
pub(super) async fn let_go(folder: &Path, saved: impl Fn(&Path) -> PathBuf) -> Result<Vec<Action>, OfflineError> {
    let mut actions = Vec::new();
    if let Some(name) = name_of(folder).await?
        && let Some(data_dir) = folder.parent()
    {
        let journals = data_dir.join(journal::FOLDER);
        if fs::exists(&journals).await.map_err(failed(&journals, "looking for the journals"))? {
            for shard in fs::read_dir(&journals).await.map_err(failed(&journals, "listing the journals"))? {
                actions.extend(forget(&shard, name).await?);
            }
        }
    }
    let kept = kept::path(folder);
    if fs::exists(&kept).await.map_err(failed(&kept, "looking for it"))? {
        actions.push(Action::SetAside { to: saved(&kept), from: kept });
    }
    Ok(actions)
}

/// `None` for a folder of Kafka's, which no journal knows.
pub(super) async fn name_of(folder: &Path) -> Result<Option<LogName>, OfflineError> {
    let path = folder.join(files::PARTITION_METADATA);
    if !fs::exists(&path).await.map_err(failed(&path, "looking for it"))? {
        return Ok(None);
    }
    let content = fs::read(&path).await.map_err(failed(&path, "reading"))?;
    let topic_id = files::decode_partition_metadata(&content)
        .map_err(|found| OfflineError::Refused { path: path.clone(), found: format!("the file {found}") })?;
    Ok(super::partition_of_folder(folder).map(|(_, partition)| LogName { topic_id, partition }))
}

async fn forget(shard: &Path, log: LogName) -> Result<Option<Action>, OfflineError> {
    let refused = |error: crate::OpenError| OfflineError::Refused { path: shard.to_owned(), found: error.to_string() };
    let Some(checkpoint) = checkpoint::read(shard).await.map_err(refused)? else { return Ok(None) };
    let Checkpoint { epoch, first_sequence, mut records } = checkpoint;
    let scanned = scan::scan(shard, None, epoch, first_sequence).await.map_err(refused)?;
    if scanned.entries.iter().any(|entry| entry.head.log == log) {
        let found = "this journal has batches of the partition that are in no segment yet. Start the broker and stop it again: it takes \
                     over what it can, and keeps the rest beside the partition"
            .to_owned();
        return Err(OfflineError::Refused { path: shard.to_owned(), found });
    }
    let known = records.iter().any(|record| record.log == log);
    records.retain(|record| record.log != log);
    let content = Checkpoint { epoch, first_sequence, records }.encode();
    Ok(known.then(|| Action::Write { path: checkpoint::path(shard), content }))
}
