//! How the share coordinator of a share partition is asked, on whatever shard it lives.
//!
//! Answered on the lane: a step waits for the disk at most.

use super::topic::{CoordinatorTopic, partition_of};
use crate::mesh::{Reply, ShardReply, ShardRequest};
use crate::shard::Shard;
use ringlane_coordinator::share_state::{ShareStateReply, ShareStateRequest};
use ringlane_partition::TopicPartition;
use ringlane_protocol::ErrorCode;
use ringlane_runtime::sleep;
use std::rc::Rc;
use std::time::Duration;

/// How often a coordinator is asked that is about to be there, and how long between the first two times: twice as long each time.
const ATTEMPTS: u32 = 8;
const RETRY_AFTER: Duration = Duration::from_millis(20);

pub type ShareStateResult = Result<ShareStateReply, ErrorCode>;

pub struct ShareStateCall {
    pub at: TopicPartition,
    pub request: ShareStateRequest,
}

impl Shard {
    /// Asks the share coordinator, if it is this broker. One that is loading is asked again for some seconds.
    pub async fn ask_share_state(self: &Rc<Self>, request: ShareStateRequest) -> ShareStateResult {
        let mut wait = RETRY_AFTER;
        for _ in 1..ATTEMPTS {
            match self.ask_share_state_once(request.clone()).await {
                Err(
                    ErrorCode::CoordinatorLoadInProgress
                    | ErrorCode::CoordinatorNotAvailable
                    | ErrorCode::NotCoordinator,
                ) => {}
                answer => return answer,
            }
            sleep(wait).await;
            wait *= 2;
        }
        self.ask_share_state_once(request).await
    }

    pub async fn ask_share_state_once(self: &Rc<Self>, request: ShareStateRequest) -> ShareStateResult {
        let key = request.key().map(|key| key.coordinator_key()).unwrap_or_default();
        let at = self.share_coordinator_of(&key)?;
        let home = self.placement.home(at.topic_id, at.partition);
        match self.ask(home, ShardRequest::ShareState(ShareStateCall { at, request })).await {
            Some(ShardReply::ShareState(result)) => result,
            _ => Err(ErrorCode::NotCoordinator),
        }
    }

    /// The partition that coordinates the share partition of that key. `Err`: not here.
    fn share_coordinator_of(&self, key: &str) -> Result<TopicPartition, ErrorCode> {
        let image = self.image();
        let topic = image.topic_by_name(CoordinatorTopic::ShareStates.name()).ok_or(ErrorCode::NotCoordinator)?;
        let partition = partition_of(key, topic.partitions.len());
        let is_led_here = topic.partition(partition).is_some_and(|found| found.leader == self.identity.node_id);
        match is_led_here {
            true => Ok(TopicPartition { topic_id: topic.id, partition }),
            false => Err(ErrorCode::NotCoordinator),
        }
    }

    /// The home shard's side: one step of the coordinator.
    pub fn serve_share_state(&self, call: ShareStateCall, reply: Reply) {
        let answer = move |result| reply.send(ShardReply::ShareState(result));
        self.coordinators.share_states.request(call.at, call.request, Box::new(answer));
    }
}
