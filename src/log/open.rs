//! Opens one log: finds its directory, reads its folder, adds what the journals have, and keeps that safe when it cannot be done.
//!
//! On the home shard, called by [`crate::ShardLogs::open`]; any number of logs at the same time. Nobody uses the log before it is done.

use crate::journal::scan::FoundEntry;
use crate::listing::Listing;
use crate::log::LogInner;
use crate::recovery::{self, io_error};
use crate::shard::Shard;
use crate::state::LogState;
use crate::visitor::Visitor;
use crate::volume::Volume;
use crate::{LogFailed, LogId, LogOptions, OpenError, cleaner, deleted, files, log_start, replay, snapshots};
use ringlane_runtime::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;

impl Shard {
    /// The volume that has the log's folder, and what lies in it; when none has, the one with the fewest logs.
    pub async fn volume_of(&self, folder: &str, is_new: bool) -> Result<(Rc<Volume>, Option<Listing>), OpenError> {
        let mut healthy = Vec::new();
        let mut broken = None;
        for volume in &self.volumes {
            if let Some(failed) = volume.failure() {
                broken = Some((volume.path.clone(), failed.to_string()));
                continue;
            }
            if let Some(listing) = Listing::find(&volume.path.join(folder)).await? {
                return Ok((volume.clone(), Some(listing)));
            }
            healthy.push(volume);
        }
        if let Some((path, reason)) = broken.filter(|_| !is_new) {
            return Err(OpenError::OtherDirectoryMissing { path, reason });
        }
        let emptiest = healthy.into_iter().min_by_key(|volume| volume.logs_count.get());
        emptiest
            .cloned()
            .map(|volume| (volume, None))
            .ok_or(OpenError::NoDirectory { reason: "every one of log.dirs has failed".to_owned() })
    }

    pub async fn open_with(
        self: &Rc<Shard>,
        volume: &Rc<Volume>,
        id: &LogId,
        mut listing: Option<Listing>,
        options: LogOptions,
        entries: &[FoundEntry],
        visitor: &mut dyn Visitor,
    ) -> Result<Rc<LogInner>, OpenError> {
        let folder = volume.path.join(id.folder());
        let state = self.load(volume, id, listing.as_mut(), options, entries, visitor).await?;
        let inner = LogInner::new(self.new_key(), id.clone(), folder, self.clone(), volume.clone(), state);
        self.take_in(inner.clone());
        let mut replayed = replay::replay(&inner, entries, visitor).await;
        if replayed.is_ok() {
            replayed = log_start::settle(&inner).await;
        }
        if let (Ok(()), Some(listing)) = (&replayed, &listing) {
            replayed = snapshots::settle(&inner, listing).await;
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

    /// The log's state from its folder, which is made when missing. `listing` is up to date afterwards, but for what recovery made.
    async fn load(
        self: &Rc<Shard>,
        volume: &Volume,
        id: &LogId,
        listing: Option<&mut Listing>,
        options: LogOptions,
        entries: &[FoundEntry],
        visitor: &mut dyn Visitor,
    ) -> Result<LogState, OpenError> {
        let folder = &volume.path.join(id.folder());
        let metadata_path = folder.join(files::PARTITION_METADATA);
        let has = |name| listing.as_ref().is_some_and(|listing| listing.has(name));
        let metadata = match has(files::PARTITION_METADATA) {
            true => Some(fs::read(&metadata_path).await.map_err(io_error(&metadata_path, "reading"))?),
            false => None,
        };
        if let Some(content) = &metadata {
            let found = files::decode_partition_metadata(content)
                .map_err(|found| OpenError::Unreadable { path: metadata_path.clone(), found })?;
            if found != id.topic_id {
                let (found, expected) = (found.to_string(), id.topic_id.to_string());
                return Err(OpenError::OtherTopic { path: folder.to_owned(), found, expected });
            }
        }
        if listing.is_none() {
            fs::create_dir_all(folder).await.map_err(io_error(folder, "creating the folder"))?;
        }
        let known = recovery::Known {
            record: self.options.recovered.record(&volume.path, id.name()).filter(|_| metadata.is_some()),
            entries,
            stopped_clean: volume.stopped_clean,
        };
        let log_start = if has(log_start::FILE) { log_start::read_log_start(folder).await? } else { 0 };
        let is_new = listing.is_none();
        let mut recovered = match listing {
            Some(listing) => {
                // The last process may have ended, even in order, between making a name here and syncing it. What is acknowledged from now
                // on needs the name.
                fs::sync_dir(folder).await.map_err(io_error(folder, "syncing the folder"))?;
                if cleaner::settle(folder, listing).await? {
                    listing.again().await?;
                }
                if deleted::settle(self, listing, log_start).await {
                    listing.again().await?;
                }
                recovery::recover(folder, listing, options, known, log_start, visitor).await?
            }
            None => recovery::Recovered::empty(recovery::create(folder, options, 0).await?),
        };
        recovered.state.log_start = log_start;
        if metadata.is_none() {
            // Also makes the first segment's name durable: both are in the folder that it syncs.
            let content = files::encode_partition_metadata(id.topic_id);
            let written = fs::write_atomic(&metadata_path, content.as_bytes()).await;
            written.map_err(io_error(&metadata_path, "writing"))?;
        }
        if is_new {
            let data_dir = &volume.path;
            fs::sync_dir(data_dir).await.map_err(io_error(data_dir, "syncing the data directory"))?;
        }
        self.metrics.log_recovered_bytes.add(recovered.read_bytes);
        self.metrics.log_truncated_bytes.add(recovered.cut_bytes);
        Ok(recovered.state)
    }
}
