//! The data directories at a start: opened, told whose they are, their journals read by all shards together.
//!
//! On shard 0, before anything else. The first of `log.dirs` also holds the metadata: without it the broker cannot start. Any other that
//! cannot be used is out of service, with its partitions, and the rest serves.

use crate::quorum::Identity;
use ringlane_config::Config;
use ringlane_log::{DataDir, VolumeOptions};
use std::path::PathBuf;

/// All that could be opened, locked for this process.
pub struct Directories {
    open: Vec<DataDir>,
    /// Path and reason.
    broken: Vec<(PathBuf, String)>,
}

impl Directories {
    pub async fn open(config: &Config) -> Result<Directories, String> {
        let mut directories = Directories { open: Vec::new(), broken: Vec::new() };
        for (index, path) in config.broker.log_dirs.iter().map(PathBuf::from).enumerate() {
            match DataDir::open(&path).await {
                Ok(data_dir) => directories.open.push(data_dir),
                Err(error) if index == 0 => return Err(error.to_string()),
                Err(error) => {
                    tracing::error!(directory = %path.display(), %error, "data directory out of service");
                    directories.broken.push((path, error.to_string()));
                }
            }
        }
        Ok(directories)
    }

    /// Where the metadata is.
    pub fn first(&self) -> PathBuf {
        self.open[0].path().to_owned()
    }

    /// Each directory with its id, which it gets when it is new. `identity` is what the first one says.
    pub async fn identify(&self, identity: &Identity) -> Result<Vec<VolumeOptions>, String> {
        let mut volumes = Vec::with_capacity(self.open.len() + self.broken.len());
        for (index, data_dir) in self.open.iter().enumerate() {
            let directory_id = match index {
                0 => identity.directory_id,
                _ => identity.of_directory(data_dir.path()).await.map_err(|error| error.to_string())?,
            };
            volumes.push(VolumeOptions {
                path: data_dir.path().to_owned(),
                directory_id: directory_id.0,
                stopped_clean: data_dir.stopped_clean(),
                out_of_service: None,
            });
        }
        volumes.extend(self.broken.iter().map(|(path, reason)| VolumeOptions {
            path: path.clone(),
            directory_id: [0; 16],
            stopped_clean: false,
            out_of_service: Some(reason.clone()),
        }));
        Ok(volumes)
    }

    /// Leaves the markers of an orderly stop.
    pub async fn close(self) -> Result<(), String> {
        let mut outcome = Ok(());
        for data_dir in self.open {
            outcome = outcome.and(data_dir.close().await.map_err(|error| error.to_string()));
        }
        outcome
    }
}
