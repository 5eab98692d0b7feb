//! This broker's seat in the metadata quorum: journal, ticks, identity, and the images that the shards work with.
//!
//! Lives on shard 0. The assembly starts it before anything else and runs one task that takes [`Publications::next`] in a loop, sends each
//! publication to every other shard through the mesh and applies it on its own. Requests from clients reach [`MetaNode::request`] from
//! any shard as `ShardRequest::Controller`. Nothing here knows a connection.
//!
//! Today a quorum of one: an empty directory becomes a cluster without a format step.

use ringlane_metadata::controller::TopicRules;
use ringlane_metadata::{BrokerId, ControllerReply, ControllerRequest, Delta, Image, Uuid};
use std::path::PathBuf;
use std::sync::Arc;

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

/// Who this broker is. Bound to the data directory on its first start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub cluster_id: Arc<str>,
    pub node_id: BrokerId,
    pub directory_id: Uuid,
}

/// Why the node cannot start. The message stands alone: what was asked, what was found, how to fix it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// One step of the metadata: the image after it and what it changed. `Send`; cheap to clone.
#[derive(Clone, Debug)]
pub struct Publication {
    pub image: Arc<Image>,
    pub delta: Arc<Delta>,
}

/// The running node. Cheap to clone; bound to shard 0.
#[derive(Clone)]
pub struct MetaNode {
    _inner: (),
}

impl MetaNode {
    /// Locks and recovers the directory, becomes leader (a quorum of one does at once) and returns with the recovered image.
    pub async fn start(options: MetaOptions) -> Result<MetaNode, StartError> {
        let _ = options;
        todo!()
    }

    pub fn identity(&self) -> &Identity {
        todo!()
    }

    /// The image as last applied here. Shards use the one they were sent.
    pub fn image(&self) -> Arc<Image> {
        todo!()
    }

    /// Asks the controller. Answers when the records are committed, applied and taken to every shard (see [`Publications::next`]), so
    /// that a client that was told "created" finds the topic on whichever shard it asks next. Requests are decided in order of call.
    pub async fn request(&self, request: ControllerRequest) -> ControllerReply {
        let _ = request;
        todo!()
    }

    /// The stream of images; one reader.
    pub fn publications(&self) -> Publications {
        todo!()
    }

    /// Resolves when the node cannot go on (a failed journal write, a log that contradicts itself): the process must exit with this
    /// message.
    pub async fn failed(&self) -> String {
        todo!()
    }

    /// Orderly stop: nothing is accepted any more, what was accepted is durable.
    pub async fn close(&self) {
        todo!()
    }
}

/// The images, in order; steps that come faster than they are taken are merged into one.
pub struct Publications {
    _inner: (),
}

impl Publications {
    /// The next image. The first call yields the recovered image with a delta that names everything in it. Calling again says that every
    /// shard has the previous one, which is what controller requests wait for.
    pub async fn next(&mut self) -> Publication {
        todo!()
    }
}
