//! Topics that come into being because a client asked for them (`auto.create.topics.enable`).

use crate::mesh::{ShardReply, ShardRequest};
use crate::shard::{CONTROLLER_SHARD, Shard};
use ringlane_metadata::controller::{CreateTopic, check_topic_name};
use ringlane_metadata::{ControllerReply, ControllerRequest};
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::random_bytes;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Kafka's rule for topic names.
pub fn check_name(name: &str) -> Result<(), ErrorCode> {
    check_topic_name(name).map_err(|_| ErrorCode::InvalidTopicException)
}

/// Creates topics with default settings; the answer names those that were refused.
pub async fn create(shard: &Rc<Shard>, names: Vec<String>) -> BTreeMap<String, ErrorCode> {
    let topics: Vec<CreateTopic> = names
        .iter()
        .map(|name| CreateTopic {
            name: name.clone(),
            id: new_topic_id(),
            partitions: -1,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: Vec::new(),
        })
        .collect();
    let request = ControllerRequest::CreateTopics { topics, validate_only: false };
    match shard.ask_controller(request).await {
        ControllerReply::CreateTopics(results) => names
            .into_iter()
            .zip(results)
            .filter_map(|(name, result)| match result {
                // Another client was faster: then it is there.
                Err(refused) if refused.code != ErrorCode::TopicAlreadyExists => Some((name, refused.code)),
                _ => None,
            })
            .collect(),
        // The client asks again.
        _ => names.into_iter().map(|name| (name, ErrorCode::UnknownTopicOrPartition)).collect(),
    }
}

pub fn new_topic_id() -> TopicId {
    loop {
        if let Some(id) = TopicId::from_random(random_bytes()) {
            return id;
        }
    }
}

impl Shard {
    /// Asks the controller, wherever it is.
    pub async fn ask_controller(self: &Rc<Self>, request: ControllerRequest) -> ControllerReply {
        match self.ask(CONTROLLER_SHARD, ShardRequest::Controller(request)).await {
            Some(ShardReply::Controller(reply)) => reply,
            _ => ControllerReply::Refused(ringlane_metadata::Refused {
                code: ErrorCode::NotController,
                message: "the broker is stopping".into(),
            }),
        }
    }
}
