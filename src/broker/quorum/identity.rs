//! `ringlane.properties`: which node a data directory belongs to. Written once, by the first start; never changed.

use crate::quorum::{MetaOptions, StartError};
use ringlane_metadata::{BrokerId, Uuid};
use ringlane_runtime::{fs, random_bytes};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Version of the whole directory's layout. A larger one in the file: written by a later program.
const FORMAT_VERSION: u32 = 1;
const FILE_NAME: &str = "ringlane.properties";
/// `node.id` of a directory that nobody gave one.
const DEFAULT_NODE_ID: BrokerId = 1;
/// Raft id of a cluster's first node; later ones are counted up by the cluster.
const FIRST_RAFT_ID: u64 = 1;

/// Who this broker is. Bound to the data directory on its first start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub cluster_id: Arc<str>,
    pub node_id: BrokerId,
    pub directory_id: Uuid,
    pub raft_id: u64,
}

impl Identity {
    /// For an empty directory: what was asked for, the rest drawn.
    pub(super) fn new(options: &MetaOptions) -> Identity {
        let cluster_id = options.cluster_id.clone().unwrap_or_else(|| random_uuid().to_string());
        Identity {
            cluster_id: cluster_id.into(),
            node_id: options.node_id.unwrap_or(DEFAULT_NODE_ID),
            directory_id: random_uuid(),
            raft_id: FIRST_RAFT_ID,
        }
    }

    /// What the directory says; `None` when it has not been used yet.
    pub(super) async fn load(data_dir: &Path) -> Result<Option<Identity>, StartError> {
        let path = path(data_dir);
        let unreadable = |error| StartError(format!("cannot read {}: {error}", path.display()));
        if !fs::exists(&path).await.map_err(unreadable)? {
            return Ok(None);
        }
        let bytes = fs::read(&path).await.map_err(unreadable)?;
        let identity = parse(&String::from_utf8_lossy(&bytes));
        identity.map(Some).map_err(|why| StartError(format!("{}: {why}", path.display())))
    }

    /// The id of another data directory of this broker, which gets one when it is new.
    pub async fn of_directory(&self, data_dir: &Path) -> Result<Uuid, StartError> {
        let Some(found) = Identity::load(data_dir).await? else {
            let identity = Identity { directory_id: random_uuid(), ..self.clone() };
            identity.store(data_dir).await?;
            return Ok(identity.directory_id);
        };
        if (found.node_id, &found.cluster_id) != (self.node_id, &self.cluster_id) {
            return Err(StartError(format!(
                "{} belongs to node {} of cluster {}, but the first of log.dirs to node {} of cluster {}: take it out of log.dirs",
                data_dir.display(),
                found.node_id,
                found.cluster_id,
                self.node_id,
                self.cluster_id
            )));
        }
        Ok(found.directory_id)
    }

    pub(super) async fn store(&self, data_dir: &Path) -> Result<(), StartError> {
        let path = path(data_dir);
        let content = format!(
            "# Which node this directory belongs to. Written by ringlane on the first start; not to be edited or copied.\n\
             format.version={FORMAT_VERSION}\ncluster.id={}\nnode.id={}\ndirectory.id={}\nraft.id={}\n",
            self.cluster_id, self.node_id, self.directory_id, self.raft_id
        );
        let stored = fs::write_atomic(&path, content.as_bytes()).await;
        stored.map_err(|error| StartError(format!("cannot write {}: {error}", path.display())))
    }

    /// Whether this is the node that the configuration asks for.
    pub(super) fn check(&self, options: &MetaOptions) -> Result<(), StartError> {
        let dir = options.data_dir.display();
        if let Some(asked) = options.node_id
            && asked != self.node_id
        {
            return Err(StartError(format!(
                "node.id is {asked} in the configuration, but {dir} belongs to node {}. Use node.id={}, or a data directory of its own",
                self.node_id, self.node_id
            )));
        }
        if let Some(asked) = &options.cluster_id
            && **asked != *self.cluster_id
        {
            return Err(StartError(format!(
                "cluster.id is {asked} in the configuration, but {dir} belongs to cluster {}. Use that id, or another data directory",
                self.cluster_id
            )));
        }
        Ok(())
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

fn parse(text: &str) -> Result<Identity, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let values: BTreeMap<&str, &str> =
        lines.filter_map(|line| line.split_once('=')).map(|(key, value)| (key.trim(), value.trim())).collect();
    let version: u32 = number(&values, "format.version")?;
    if version > FORMAT_VERSION {
        return Err(format!(
            "the directory has format {version}, this ringlane knows {FORMAT_VERSION}: start the newer version that wrote it"
        ));
    }
    Ok(Identity {
        cluster_id: Arc::from(value(&values, "cluster.id")?),
        node_id: number(&values, "node.id")?,
        directory_id: number(&values, "directory.id")?,
        raft_id: number(&values, "raft.id")?,
    })
}

fn value<'a>(values: &BTreeMap<&str, &'a str>, key: &str) -> Result<&'a str, String> {
    let found = values.get(key).copied().filter(|value| !value.is_empty());
    found.ok_or_else(|| format!("{key} is missing: restore the file, it is written only once"))
}

fn number<T: std::str::FromStr>(values: &BTreeMap<&str, &str>, key: &str) -> Result<T, String> {
    let text = value(values, key)?;
    text.parse().map_err(|_| format!("{key}={text} is not valid: restore the file, it is written only once"))
}

/// A random id of Kafka's kind.
pub(super) fn random_uuid() -> Uuid {
    // One in 64 draws begins with a dash and is drawn again.
    std::iter::repeat_with(|| Uuid::from_random(random_bytes())).flatten().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "# comment\nformat.version=1\ncluster.id=abc\nnode.id=3\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\nraft.id=9\n";

    /// A file that is read differently than it was meant would let a directory join as another node.
    #[test]
    fn a_file_is_read_whole_or_refused() {
        let identity = parse(GOOD).unwrap();
        assert_eq!((&*identity.cluster_id, identity.node_id, identity.raft_id), ("abc", 3, 9));
        for (from, to, expected) in [
            ("format.version=1", "format.version=2", "newer version"),
            ("format.version=1\n", "", "format.version is missing"),
            ("node.id=3", "node.id=three", "node.id=three is not valid"),
            ("directory.id=AAAAAAAAAAAAAAAAAAAAAQ", "directory.id=AAAA", "directory.id=AAAA is not valid"),
            ("cluster.id=abc", "cluster.id=", "cluster.id is missing"),
        ] {
            let message = parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
