//! What the journals and checkpoints of all shards say, read once at a start, before the logs open.
//!
//! The shards share the reading, each takes some of the folders ([`Recovered::scan`]); merged and sent to all of them, it tells each log what
//! is known of it, whichever shard it lived on before. So the number of shards may change between starts.

use crate::checkpoint::{self, Checkpoint, Record};
use crate::error::OpenError;
use crate::journal;
use crate::journal::scan::{self, FoundEntry};
use crate::recovery::io_error;
use crate::{LogName, VolumeOptions};
use ringlane_runtime::fs;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// By volume, then by log.
#[derive(Debug, Default)]
pub struct Recovered {
    volumes: BTreeMap<PathBuf, RecoveredVolume>,
}

#[derive(Debug, Default)]
struct RecoveredVolume {
    records: BTreeMap<LogName, Record>,
    /// In the order of appending.
    entries: BTreeMap<LogName, Vec<FoundEntry>>,
    /// Shards that had a journal here.
    shards: Vec<u16>,
    journal_bytes: u64,
    /// Why the volume cannot be used.
    broken: Option<String>,
}

impl Recovered {
    /// Reads the journals whose shard's number `is_mine` accepts. A volume that cannot be read is out of service, and says why; the
    /// others go on.
    pub async fn scan(volumes: &[VolumeOptions], is_mine: impl Fn(u16) -> bool) -> Recovered {
        let mut recovered = Recovered::default();
        for volume in volumes {
            let broken = |reason| RecoveredVolume { broken: Some(reason), ..RecoveredVolume::default() };
            let scanned = match &volume.out_of_service {
                Some(reason) => broken(reason.clone()),
                None => scan_volume(volume, &is_mine).await.unwrap_or_else(|error| {
                    tracing::error!(%error, directory = %volume.path.display(), "data directory out of service");
                    broken(error.to_string())
                }),
            };
            recovered.volumes.insert(volume.path.clone(), scanned);
        }
        recovered
    }

    /// Takes what another shard read.
    pub fn merge(&mut self, other: Recovered) {
        for (path, more) in other.volumes {
            self.volumes.entry(path).or_default().merge(more);
        }
    }

    /// Bytes of journal entries that segments may lack.
    pub fn journal_bytes(&self) -> u64 {
        self.volumes.values().map(|volume| volume.journal_bytes).sum()
    }

    /// Why the data directory is out of service.
    pub fn broken(&self, volume: &Path) -> Option<&str> {
        self.volumes.get(volume)?.broken.as_deref()
    }

    pub(crate) fn record(&self, volume: &Path, log: LogName) -> Option<&Record> {
        self.volumes.get(volume)?.records.get(&log)
    }

    pub(crate) fn records(&self, volume: &Path) -> impl Iterator<Item = &Record> {
        self.volumes.get(volume).into_iter().flat_map(|volume| volume.records.values())
    }

    pub(crate) fn entries(&self, volume: &Path, log: LogName) -> &[FoundEntry] {
        self.volumes.get(volume).and_then(|volume| volume.entries.get(&log)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn shards(&self, volume: &Path) -> &[u16] {
        self.volumes.get(volume).map_or(&[], |volume| &volume.shards)
    }
}

impl RecoveredVolume {
    fn merge(&mut self, other: RecoveredVolume) {
        for record in other.records.into_values() {
            self.take_record(record);
        }
        // A log has live entries in one journal only: all of them are void before another shard writes its first.
        for (log, entries) in other.entries {
            self.entries.entry(log).or_default().extend(entries);
        }
        self.shards.extend(other.shards);
        self.journal_bytes += other.journal_bytes;
        self.broken = self.broken.take().or(other.broken);
    }

    /// After a start that a crash cut short, two shards may have a record of one log: the one that is further is the newer one.
    fn take_record(&mut self, record: Record) {
        let known = self.records.get(&record.log);
        if known.is_none_or(|known| known.end_offset <= record.end_offset) {
            self.records.insert(record.log, record);
        }
    }
}

async fn scan_volume(volume: &VolumeOptions, is_mine: &impl Fn(u16) -> bool) -> Result<RecoveredVolume, OpenError> {
    let mut recovered = RecoveredVolume::default();
    let folder = volume.path.join(journal::FOLDER);
    if !fs::exists(&folder).await.map_err(io_error(&folder, "looking for the journals"))? {
        return Ok(recovered);
    }
    for folder in fs::read_dir(&folder).await.map_err(io_error(&folder, "listing the journals"))? {
        let name = folder.file_name().and_then(|name| name.to_str());
        let Some(shard) = name.and_then(|name| name.parse::<u16>().ok()).filter(|shard| is_mine(*shard)) else {
            continue;
        };
        recovered.shards.push(shard);
        let checkpoint = checkpoint::read(&folder).await?;
        let Checkpoint { epoch, first_sequence, records } = checkpoint.clone().unwrap_or_default();
        let scanned = scan::scan(&folder, Some(volume.directory_id), epoch, first_sequence).await?;
        if checkpoint.is_none() && scanned.was_used {
            let found = "the checkpoint that says what its journals still have to give is missing".to_owned();
            return Err(OpenError::Journal { path: checkpoint::path(&folder), position: 0, found });
        }
        records.into_iter().for_each(|record| recovered.take_record(record));
        for entry in scanned.entries {
            recovered.entries.entry(entry.head.log).or_default().push(entry);
        }
        recovered.journal_bytes += scanned.bytes;
    }
    Ok(recovered)
}
