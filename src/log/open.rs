//! Opens one log: finds its directory, reads its folder, adds what the journals have, and keeps that safe when it cannot be done.
//!
//! On the home shard, called by [`crate::ShardLogs::open`]; any number of logs at the same time. Nobody uses the log before it is done.

use crate::journal::scan::FoundEntry;
use crate::log::LogInner;
use crate::recovery::{self, Visitor, io_error};
use crate::shard::Shard;
use crate::state::LogState;
use crate::volume::Volume;
use crate::{LogFailed, LogId, LogOptions, OpenError, cleaner, deleted, files, log_start, replay};
use ringlane_runtime::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;

impl Shard {
    /// The volume that has the log's folder or, when none has, the one with the fewest logs.
    pub async fn volume_of(&self, folder: &str, is_new: bool) -> Result<Rc<Volume>, OpenError> {
        let mut healthy = Vec::new();
        let mut broken = None;
        for volume in &self.volumes {
            if let Some(failed) = volume.failure() {
                broken = Some((volume.path.clone(), failed.to_string()));
                continue;
            }
            let path = volume.path.join(folder);
            if fs::exists(&path).await.map_err(io_error(&path, "looking for the folder"))? {
                return Ok(volume.clone());
            }
            healthy.push(volume);
        }
        if let Some((path, reason)) = broken.filter(|_| !is_new) {
            return Err(OpenError::OtherDirectoryMissing { path, reason });
        }
        let emptiest = healthy.into_iter().min_by_key(|volume| volume.logs_count.get());
        emptiest.cloned().ok_or(OpenError::NoDirectory { reason: "every one of log.dirs has failed".to_owned() })
    }

    pub async fn open_with(
        self: &Rc<Shard>,
        volume: &Rc<Volume>,
        id: &LogId,
        folder: &Path,
        options: LogOptions,
        entries: &[FoundEntry],
        visitor: &mut dyn Visitor,
    ) -> Result<Rc<LogInner>, OpenError> {
        let state = self.load(volume, id, folder, options, entries, visitor).await?;
        let inner = LogInner::new(self.new_key(), id.clone(), folder.to_owned(), self.clone(), volume.clone(), state);
        self.take_in(inner.clone());
        let mut replayed = replay::replay(&inner, entries, visitor).await;
        if replayed.is_ok() {
            replayed = log_start::settle(&inner).await;
        }
        if replayed.is_err() {
            self.forget(&inner);
        }
        replayed.map(|()| inner)
    }

    /// A log that does not open now may do so when somebody has seen to it: what the journals have of it must be there then.
    pub async fn keep_unopened(&self, volume: &Volume, id: &LogId, folder: &Path, entries: &[FoundEntry]) {
        volume.checkpoints.keep(id.name());
        if let Err(error) = replay::keep(folder, volume.directory_id, entries).await {
            let source = io::Error::other(error.to_string());
            let doing = "keeping what the journal has of a log that does not open";
            volume.note_failure(LogFailed { path: folder.to_owned(), doing, position: 0, bytes: 0, source });
        }
    }

    /// The log's folder could not be looked at: whatever a journal has of it stays as it is, for the next start. So the directory takes no
    /// more writes in this one.
    pub fn hold_journals_of(&self, id: &LogId, error: OpenError) -> OpenError {
        let recovered = &self.options.recovered;
        for volume in self.volumes.iter().filter(|volume| !recovered.entries(&volume.path, id.name()).is_empty()) {
            let (path, source) = (volume.path.join(id.folder()), io::Error::other(error.to_string()));
            let doing = "reading the folder of a log that the journal has batches of";
            self.volume_failed(volume, LogFailed { path, doing, position: 0, bytes: 0, source });
        }
        error
    }

    /// The log's state from its folder, which is made when missing.
    async fn load(
        self: &Rc<Shard>,
        volume: &Volume,
        id: &LogId,
        folder: &Path,
        options: LogOptions,
        entries: &[FoundEntry],
        visitor: &mut dyn Visitor,
    ) -> Result<LogState, OpenError> {
        let metadata_path = folder.join(files::PARTITION_METADATA);
        let exists = fs::exists(folder).await.map_err(io_error(folder, "looking for the folder"))?;
        let metadata = match fs::read(&metadata_path).await {
            Ok(content) => Some(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error(&metadata_path, "reading")(error)),
        };
        if let Some(content) = &metadata {
            let found = files::decode_partition_metadata(content)
                .map_err(|found| OpenError::Unreadable { path: metadata_path.clone(), found })?;
            if found != id.topic_id {
                let (found, expected) = (found.to_string(), id.topic_id.to_string());
                return Err(OpenError::OtherTopic { path: folder.to_owned(), found, expected });
            }
        }
        if !exists {
            fs::create_dir_all(folder).await.map_err(io_error(folder, "creating the folder"))?;
        }
        let known = recovery::Known {
            record: self.options.recovered.record(&volume.path, id.name()).filter(|_| metadata.is_some()),
            entries,
            stopped_clean: volume.stopped_clean,
        };
        let log_start = log_start::read_log_start(folder).await?;
        let mut recovered = match exists {
            true => {
                // The last process may have ended, even in order, between making a name here and syncing it. What is acknowledged from now
                // on needs the name.
                fs::sync_dir(folder).await.map_err(io_error(folder, "syncing the folder"))?;
                cleaner::settle(folder).await?;
                deleted::settle(self, folder, log_start).await?;
                recovery::recover(folder, options, known, log_start, visitor).await?
            }
            false => recovery::Recovered::empty(recovery::create(folder, options, 0).await?),
        };
        recovered.state.log_start = log_start;
        if metadata.is_none() {
            // Also makes the first segment's name durable: both are in the folder that it syncs.
            let content = files::encode_partition_metadata(id.topic_id);
            let written = fs::write_atomic(&metadata_path, content.as_bytes()).await;
            written.map_err(io_error(&metadata_path, "writing"))?;
        }
        if !exists {
            let data_dir = &volume.path;
            fs::sync_dir(data_dir).await.map_err(io_error(data_dir, "syncing the data directory"))?;
        }
        self.metrics.log_recovered_bytes.add(recovered.read_bytes);
        self.metrics.log_truncated_bytes.add(recovered.cut_bytes);
        Ok(recovered.state)
    }
}
