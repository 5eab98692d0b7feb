//! This broker's seat in the metadata quorum: journal, ticks, identity, and the images that the shards work with.
//!
//! Lives on shard 0. The assembly starts it before anything else and runs one task that takes [`Publications::next`] in a loop, sends each
//! publication to every other shard through the mesh and applies it on its own. Requests from clients reach [`MetaNode::request`] from
//! any shard as `ShardRequest::Controller`. Nothing here knows a connection.
//!
//! Today a quorum of one: an empty directory becomes a cluster without a format step.

mod driver;
mod identity;
mod publications;
mod wal;

#[cfg(test)]
mod tests;

pub use identity::Identity;
pub use publications::{Publication, Publications};

use driver::Driver;
use ringlane_metadata::controller::{TopicRules, features};
use ringlane_metadata::image::LogPosition;
use ringlane_metadata::quorum::{Checkpoint, CoreOptions, MetaCore};
use ringlane_metadata::{BrokerId, ControllerReply, ControllerRequest, Image};
use ringlane_runtime::{fs, random_u64};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use wal::Wal;

/// A snapshot takes the journal's place when it has grown by this much.
const SNAPSHOT_AFTER_BYTES: u64 = 16 << 20;

/// How to start a [`MetaNode`].
#[derive(Clone, Debug)]
pub struct MetaOptions {
    /// Holds `ringlane.properties` and `metadata/`; made when missing.
    pub data_dir: PathBuf,
    /// `node.id`; `None`: the directory's, or 1 in a new one.
    pub node_id: Option<BrokerId>,
    /// `cluster.id`; `None`: the directory's, or a random one in a new one.
    pub cluster_id: Option<String>,
    pub rules: TopicRules,
}

/// Why the node cannot start. The message stands alone: what was asked, what was found, how to fix it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// What tools ask about the quorum (DescribeQuorum).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuorumStatus {
    /// Raft id of the leader, when one is known.
    pub leader: Option<u64>,
    pub term: u64,
    pub committed: u64,
    pub applied: LogPosition,
}

/// The running node. Cheap to clone; bound to shard 0.
#[derive(Clone)]
pub struct MetaNode {
    identity: Rc<Identity>,
    driver: Rc<Driver>,
}

impl MetaNode {
    /// Recovers the directory, becomes leader (a quorum of one does at once) and returns with the recovered image. The caller holds the
    /// directory's lock (`ringlane_log::DataDir`) for as long as the node runs.
    pub async fn start(options: MetaOptions) -> Result<MetaNode, StartError> {
        MetaNode::start_with(options, SNAPSHOT_AFTER_BYTES).await
    }

    async fn start_with(options: MetaOptions, snapshot_after_bytes: u64) -> Result<MetaNode, StartError> {
        let (identity, wal, recovered) = open_or_create(&options).await?;
        let dir = metadata_dir(&options);
        let core_options =
            CoreOptions { raft_id: identity.raft_id, seed: random_u64(), heartbeat_ticks: 2, election_ticks: 10 };
        let core = MetaCore::open(core_options, recovered.state, recovered.items);
        let core = core.map_err(|error| StartError(format!("{}: {error}", dir.display())))?;
        let driver = Driver::start(core, wal, dir, options.rules, snapshot_after_bytes);
        driver.until_active().await.map_err(StartError)?;
        features::check(&driver.image()).map_err(StartError)?;
        Ok(MetaNode { identity: Rc::new(identity), driver })
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The image as last applied here. Shards use the one they were sent.
    pub fn image(&self) -> Arc<Image> {
        self.driver.image()
    }

    pub fn status(&self) -> QuorumStatus {
        self.driver.status()
    }

    /// Asks the controller. Answers when the records are committed, applied and taken to every shard (see [`Publications::next`]), so
    /// that a client that was told "created" finds the topic on whichever shard it asks next. Requests are decided in order of call.
    pub async fn request(&self, request: ControllerRequest) -> ControllerReply {
        self.driver.request(request).await
    }

    /// The stream of images; one reader.
    pub fn publications(&self) -> Publications {
        self.driver.publications()
    }

    /// Resolves when the node cannot go on (a failed journal write, a log that contradicts itself): the process must exit with this
    /// message.
    pub async fn failed(&self) -> String {
        self.driver.failed().await
    }

    /// Orderly stop: nothing is accepted any more, what was accepted is durable.
    pub async fn close(&self) {
        self.driver.close().await;
    }
}

fn metadata_dir(options: &MetaOptions) -> PathBuf {
    options.data_dir.join("metadata")
}

async fn open_or_create(options: &MetaOptions) -> Result<(Identity, Wal, wal::Recovered), StartError> {
    let dir = metadata_dir(options);
    let to_start_error = |error: wal::WalError| StartError(error.to_string());
    if let Some(identity) = Identity::load(&options.data_dir).await? {
        identity.check(options)?;
        let (wal, recovered) = Wal::open(&dir).await.map_err(to_start_error)?;
        return Ok((identity, wal, recovered));
    }
    // The identity is written last: without it the directory is new, or its first start was cut short.
    let identity = Identity::new(options);
    if Wal::exists(&dir).await.map_err(to_start_error)? {
        let (wal, recovered) = Wal::open(&dir).await.map_err(to_start_error)?;
        if !recovered.is_pristine {
            return Err(StartError(format!(
                "{} holds metadata, but ringlane.properties, which says whose, is gone: restore it from a copy",
                options.data_dir.display()
            )));
        }
        identity.store(&options.data_dir).await?;
        return Ok((identity, wal, recovered));
    }
    let made = fs::create_dir_all(&dir).await;
    made.map_err(|error| StartError(format!("cannot make {}: {error}. See --data", dir.display())))?;
    let (wal, recovered) = Wal::create(&dir, Checkpoint::bootstrap(identity.raft_id)).await.map_err(to_start_error)?;
    // Also makes the new folder's name durable.
    identity.store(&options.data_dir).await?;
    Ok((identity, wal, recovered))
}
