//! Performs a plan, each step durable before the next one begins.

use super::{Action, RepairPlan};
use crate::offline::copy::{copy_ranges, remove_if_there, sync_parent};
use crate::offline::kind::REWRITTEN_SUFFIX;
use crate::offline::{OfflineError, failed};
use ringlane_runtime::{File, FileMode, fs};
use std::path::Path;

/// Does what `plan` says. `done` is told of each step before it begins.
pub async fn apply(plan: &RepairPlan, told: &mut dyn FnMut(&Action)) -> Result<(), OfflineError> {
    for action in &plan.actions {
        told(action);
        perform(action).await?;
    }
    Ok(())
}

async fn perform(action: &Action) -> Result<(), OfflineError> {
    match action {
        Action::Save { from, range, to } => copy_ranges(from, &[*range], to).await,
        Action::SetAside { from, to } => {
            fs::rename(from, to).await.map_err(failed(from, "setting the segment aside"))?;
            sync_parent(from).await
        }
        Action::Keep { segment, ranges } => {
            let rewritten = segment.with_added_extension(&REWRITTEN_SUFFIX[1..]);
            copy_ranges(segment, ranges, &rewritten).await?;
            fs::rename(&rewritten, segment).await.map_err(failed(segment, "replacing the segment"))?;
            sync_parent(segment).await
        }
        Action::Cut { segment, bytes } => cut(segment, *bytes).await,
        Action::Write { path, content } => fs::write_atomic(path, content).await.map_err(failed(path, "writing")),
        Action::Remove { path } => {
            remove_if_there(path).await?;
            sync_parent(path).await
        }
    }
}

async fn cut(segment: &Path, bytes: u64) -> Result<(), OfflineError> {
    let file = File::open(segment, FileMode::ReadWrite).await.map_err(failed(segment, "opening"))?;
    file.set_len(bytes).await.map_err(failed(segment, "cutting"))?;
    file.sync().await.map_err(failed(segment, "syncing"))
}
