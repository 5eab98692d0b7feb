//! A file in a partition's folder with what the journals had of a log that could not be opened, in the journal's format.
//!
//! Written at a start, before the journals become void; the start that opens the log replays and removes it.

use super::format::{self, EntryHead, FileHead, WriteHead};
use super::scan::{self, FoundEntry};
use crate::error::OpenError;
use crate::recovery::io_error;
use bytes::Bytes;
use ringlane_runtime::{Buffer, Durability, File, FileMode, fs};
use std::path::{Path, PathBuf};

/// Ends like a journal file, so that a scan of the folder finds it.
pub(crate) const FILE: &str = "kept.journal";
const NEW_FILE: &str = "kept.journal.new";
const EPOCH: u64 = 1;

pub(crate) async fn write(
    folder: &Path,
    directory_id: [u8; 16],
    batches: Vec<(EntryHead, Bytes)>,
) -> Result<(), OpenError> {
    let new_path = folder.join(NEW_FILE);
    let failed = |doing| io_error(&new_path, doing);
    let file = File::open(&new_path, FileMode::OpenOrCreate).await.map_err(failed("making it"))?;
    file.set_len(0).await.map_err(failed("emptying it"))?;
    super::files::write_head(&file, FileHead { directory_id }).await.map_err(failed("writing"))?;
    let mut position = super::files::FIRST_WRITE_AT;
    for (sequence, (entry, bytes)) in (1..).zip(&batches) {
        let payload_bytes = bytes.len() as u32;
        let head = WriteHead { epoch: EPOCH, sequence, durable_sequence: sequence - 1, entries: 1, payload_bytes };
        let mut block = Buffer::take(head.bytes());
        format::encode_write(&mut block, head, std::iter::once((entry, bytes)));
        let block_bytes = block.len() as u64;
        file.write_at(block, position, Durability::Written).await.0.map_err(failed("writing"))?;
        position += block_bytes;
    }
    file.sync().await.map_err(failed("syncing"))?;
    fs::rename(&new_path, &folder.join(FILE)).await.map_err(failed("renaming"))?;
    fs::sync_dir(folder).await.map_err(io_error(folder, "syncing the folder"))
}

pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// What an earlier start kept: there is such a file.
pub(crate) async fn read(folder: &Path, directory_id: [u8; 16]) -> Result<Vec<FoundEntry>, OpenError> {
    Ok(scan::scan(folder, Some(directory_id), EPOCH, 1).await?.entries)
}

/// All of it is in the log.
pub(crate) async fn remove(folder: &Path) -> Result<(), OpenError> {
    let path = folder.join(FILE);
    match fs::remove_file(&path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error(&path, "removing")(error)),
        _ => Ok(()),
    }
}
