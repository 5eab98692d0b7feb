//! A data directory that no broker has open: whose it is, what lies in it, and the lock that keeps a broker from starting meanwhile.
//!
//! Unlike [`crate::DataDir`] it changes nothing: the marker of an orderly stop stays, deleted logs stay.

use super::kind::FileKind;
use super::{OfflineError, failed};
use crate::files;
use ringlane_protocol::storage::meta_properties::{self, MetaProperties};
use ringlane_runtime::fs;
use std::io;
use std::path::{Path, PathBuf};

const RINGLANE_PROPERTIES: &str = "ringlane.properties";
const CLEAN_SHUTDOWN: &str = "clean-shutdown";
/// Java's lock on it says that Kafka runs.
const KAFKA_LOCK: &str = ".lock";
/// Other names at the top of a data directory that are in order there.
const KNOWN_NAMES: [&str; 5] = [KAFKA_LOCK, "metadata", "journal", "lost+found", meta_properties::CLEAN_SHUTDOWN];

/// Who wrote a data directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Owner {
    Ringlane,
    Kafka(MetaProperties),
    /// Nothing in it says so.
    Unknown,
}

pub struct Directory {
    path: PathBuf,
    owner: Owner,
    stopped_clean: bool,
    marker: &'static str,
    _lock: Option<fs::DirLock>,
    _kafka_lock: Option<fs::PosixLock>,
}

impl Directory {
    /// Locks `path`, a directory of Kafka's as Kafka does: refused while either broker runs on it.
    pub async fn open(path: &Path) -> Result<Directory, OfflineError> {
        let owner = owner_of(path).await?;
        let (lock, kafka_lock) = match owner {
            Owner::Kafka(_) => (None, lock_as_kafka(path).await?),
            _ => (lock(path).await?, None),
        };
        let marker = match owner {
            Owner::Kafka(_) => meta_properties::CLEAN_SHUTDOWN,
            _ => CLEAN_SHUTDOWN,
        };
        let stopped_clean = exists(&path.join(marker)).await?;
        Ok(Directory { path: path.to_owned(), owner, stopped_clean, marker, _lock: lock, _kafka_lock: kafka_lock })
    }

    /// For a single partition's folder: the data directory that it lies in, when it lies in one.
    pub async fn around(folder: &Path) -> Result<Option<Directory>, OfflineError> {
        let Some(parent) = folder.parent() else { return Ok(None) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match owner_of(parent).await? {
            Owner::Unknown => Ok(None),
            _ => Directory::open(parent).await.map(Some),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Whether the broker left its marker of an orderly stop.
    pub fn stopped_clean(&self) -> bool {
        self.stopped_clean
    }

    /// Name of that marker.
    pub fn marker(&self) -> &'static str {
        self.marker
    }

    /// The folder of `TOPIC-PARTITION`.
    pub async fn partition(&self, name: &str) -> Result<PathBuf, OfflineError> {
        let folder = self.path.join(name);
        if partition_of_folder(&folder).is_some() && exists(&folder).await? {
            return Ok(folder);
        }
        let found = format!("there is no partition {name}; partitions are named TOPIC-PARTITION, as their folders are");
        Err(OfflineError::Refused { path: self.path.clone(), found })
    }

    /// Folders of partitions, and entries that have no business here.
    pub async fn entries(&self) -> Result<(Vec<PathBuf>, Vec<PathBuf>), OfflineError> {
        let (mut partitions, mut strangers) = (Vec::new(), Vec::new());
        let entries = fs::read_dir(&self.path).await.map_err(failed(&self.path, "listing the directory"))?;
        for entry in entries {
            let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_known = KNOWN_NAMES.contains(&name) || [RINGLANE_PROPERTIES, CLEAN_SHUTDOWN].contains(&name);
            if is_known || FileKind::of(&entry) != FileKind::Unknown {
                continue;
            }
            match partition_of_folder(&entry) {
                Some(_) if fs::read_dir(&entry).await.is_ok() => partitions.push(entry),
                _ => strangers.push(entry),
            }
        }
        Ok((partitions, strangers))
    }
}

/// Topic and partition that a folder's name gives.
pub fn partition_of_folder(folder: &Path) -> Option<(&str, i32)> {
    let name = folder.file_name()?.to_str()?;
    if name.ends_with(files::DELETED_SUFFIX) {
        return None;
    }
    let (topic, partition) = name.rsplit_once('-')?;
    let is_number = !partition.is_empty() && partition.bytes().all(|byte| byte.is_ascii_digit());
    (!topic.is_empty() && is_number).then(|| partition.parse().ok().map(|partition| (topic, partition)))?
}

async fn owner_of(path: &Path) -> Result<Owner, OfflineError> {
    if exists(&path.join(RINGLANE_PROPERTIES)).await? {
        return Ok(Owner::Ringlane);
    }
    let path = path.join(meta_properties::FILE_NAME);
    match fs::read(&path).await {
        Ok(content) => match meta_properties::decode(&content) {
            Ok(properties) => Ok(Owner::Kafka(properties)),
            Err(source) => Err(OfflineError::Unreadable { path, source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Owner::Unknown),
        Err(error) => Err(failed(&path, "reading")(error)),
    }
}

async fn lock(path: &Path) -> Result<Option<fs::DirLock>, OfflineError> {
    match fs::lock_dir(path).await {
        Ok(lock) => Ok(Some(lock)),
        Err(source) if source.kind() == io::ErrorKind::WouldBlock => Err(OfflineError::InUse { source }),
        // Nobody can write there.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OfflineError::Refused {
            path: path.to_owned(),
            found: "there is no such directory; name the broker's with --data".to_owned(),
        }),
        Err(error) => Err(failed(path, "locking the data directory")(error)),
    }
}

async fn lock_as_kafka(path: &Path) -> Result<Option<fs::PosixLock>, OfflineError> {
    match fs::posix_lock(&path.join(KAFKA_LOCK)).await {
        Ok(lock) => Ok(lock),
        Err(source) if source.kind() == io::ErrorKind::WouldBlock => {
            let text = format!("{source}: a Kafka broker runs on it; stop it first");
            Err(OfflineError::InUse { source: io::Error::new(io::ErrorKind::WouldBlock, text) })
        }
        Err(error) => Err(failed(path, "locking the data directory")(error)),
    }
}

async fn exists(path: &Path) -> Result<bool, OfflineError> {
    fs::exists(path).await.map_err(failed(path, "looking for it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Topics may have dashes and digits in their names; a folder taken for another partition would be repaired in its place.
    #[test]
    fn folders_name_their_partition() {
        let of = |name: &'static str| partition_of_folder(Path::new(name));
        assert_eq!(of("data/orders-3"), Some(("orders", 3)));
        assert_eq!(of("a-b-1-0"), Some(("a-b-1", 0)));
        for other in
            ["orders", "orders-", "-3", "orders-x", "orders-3.deleted", "orders-3-delete", "orders-99999999999"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
