//! Performs what a member decides: one request at a time, for as long as the consumer.

use super::Shared;
use super::classic::{self, Joined};
use super::member::{Failure, Leave, Outcome, Step};
use super::modern::{self, Told};
use super::offsets;
use super::settings::Settings;
use crate::coordinator::Coordinator;
use crate::{Client, ClientError};
use futures::future::{Either, select};
use ringlane_protocol::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, RequestTopicPartitions,
};
use ringlane_protocol::consumer_protocol::PROTOCOL_TYPE;
use ringlane_protocol::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ringlane_protocol::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use ringlane_protocol::leave_group::{LeaveGroupRequest, MemberIdentity};
use ringlane_protocol::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use ringlane_protocol::{ApiKey, ErrorCode, TopicId};
use ringlane_runtime::{now, sleep_until, timeout};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// What a join or a sync may take above the time that the group gives its members.
const PATIENCE: Duration = Duration::from_secs(5);
/// To count partitions, or to learn a topic's name: heartbeats wait meanwhile.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// What the requests need; outlives the consumer by the request under way.
pub(super) struct Host {
    pub(super) client: Client,
    pub(super) coordinator: Coordinator,
    pub(super) settings: Settings,
}

pub(super) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(this) = shared.upgrade() else { return };
        let work = this.work.listen();
        let interrupted = this.interrupt.listen();
        let step = this.member.borrow_mut().step(now());
        // A notice may be waiting, or an end.
        this.consumer.changed().notify_all();
        let host = this.host.clone();
        drop(this);
        let outcome = match step {
            Step::Wait(Some(at)) => {
                select(pin!(work), pin!(sleep_until(at))).await;
                continue;
            }
            Step::Wait(None) => {
                work.await;
                continue;
            }
            // Leaving is what interrupts the others.
            Step::Leave(leave) => host.leave(leave).await,
            step => match select(pin!(host.perform(step)), pin!(interrupted)).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right(_) => {
                    host.coordinator.moved();
                    Outcome::Interrupted
                }
            },
        };
        let Some(this) = shared.upgrade() else { return };
        this.member.borrow_mut().performed(outcome, now());
    }
}

impl Host {
    async fn perform(&self, step: Step) -> Outcome {
        match step {
            Step::Classic(classic::Ask::Join(join)) => Outcome::Joined(self.join(&join).await),
            Step::Classic(classic::Ask::Count(topics)) => Outcome::Counted(self.count(topics).await),
            Step::Classic(classic::Ask::Sync(sync)) => Outcome::Synced(self.sync(&sync).await),
            Step::Classic(classic::Ask::Heartbeat(identity)) => Outcome::Beaten(self.heartbeat(&identity).await),
            Step::Modern(modern::Ask::Heartbeat(heartbeat)) => Outcome::Told(self.tell(&heartbeat).await),
            Step::Modern(modern::Ask::Resolve(ids)) => Outcome::Resolved(self.resolve(&ids).await),
            Step::Commit(who, offsets) => {
                let outcome =
                    self.once(async |connection| offsets::commit_once(&self.client, &connection, &who, &offsets).await);
                let outcome = outcome.await;
                Outcome::Committed(offsets, outcome)
            }
            Step::Place(who, partitions) => Outcome::Placed(
                self.once(async |connection| {
                    offsets::fetch_once(&self.client, &connection, &who, Some(&partitions), true).await
                })
                .await,
            ),
            Step::Watch(topics) => Outcome::Watched(self.count(topics.into_iter().collect()).await),
            Step::Leave(leave) => self.leave(leave).await,
            Step::Wait(_) => Outcome::Left,
        }
    }

    /// Asks the coordinator once; forgets where it is when the answer, or none, says so.
    async fn once<T>(
        &self,
        ask: impl AsyncFnOnce(crate::Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let outcome = match self.coordinator.connection().await {
            Ok(connection) => ask(connection).await,
            Err(error) => Err(error),
        };
        outcome.inspect_err(|error| self.coordinator.look_at(error))
    }

    fn failed(&self, error: ClientError) -> Failure {
        self.coordinator.look_at(&error);
        Failure::Unanswered(error)
    }

    fn refused(&self, code: ErrorCode) -> Failure {
        self.coordinator.look_at(&ClientError::refused("group", code, None));
        Failure::Refused(code)
    }

    async fn join(&self, join: &classic::Join) -> Result<Joined, Failure> {
        let protocols = join.protocols.iter().map(|(name, metadata)| JoinGroupRequestProtocol { name, metadata });
        let request = JoinGroupRequest {
            group_id: &self.settings.group,
            session_timeout_ms: millis(self.settings.session_timeout),
            rebalance_timeout_ms: millis(self.settings.max_poll_interval),
            member_id: &join.member_id,
            group_instance_id: self.settings.instance.as_deref(),
            protocol_type: PROTOCOL_TYPE,
            protocols: protocols.collect(),
            reason: Some(join.reason).filter(|reason| !reason.is_empty()),
        };
        let patience = self.client.options().request_timeout.max(self.settings.max_poll_interval + PATIENCE);
        let asked = async {
            let connection = self.coordinator.patient_connection().await?;
            let at_most = self.static_floor(&connection, ApiKey::JoinGroup, 5)?;
            connection.start(at_most, &request)?.wait_up_to(patience).await
        };
        let reply = asked.await.map_err(|error| self.failed(error))?;
        let response: JoinGroupResponse = reply.body().map_err(|error| self.failed(error))?;
        match response.error_code {
            ErrorCode::None => {}
            ErrorCode::MemberIdRequired => return Err(Failure::IdGiven(response.member_id.to_string())),
            code => return Err(self.refused(code)),
        }
        let member = |member: &ringlane_protocol::join_group::JoinGroupResponseMember<'_>| {
            let instance = member.group_instance_id.map(str::to_string);
            (member.member_id.to_string(), instance, member.metadata.to_vec())
        };
        Ok(Joined {
            member_id: response.member_id.to_string(),
            generation: response.generation_id,
            protocol: response.protocol_name.unwrap_or_default().to_string(),
            leader: response.leader.to_string(),
            skip_assignment: response.skip_assignment,
            members: response.members.iter().map(member).collect(),
        })
    }

    /// The version to ask in. A static member needs one that has instances: in another it would be a member like any.
    fn static_floor(&self, connection: &crate::Connection, key: ApiKey, from: i16) -> Result<i16, ClientError> {
        let version = connection.version_of(key)?;
        if self.settings.instance.is_some() && version < from {
            return Err(ClientError::Unsupported {
                peer: connection.peer().to_string(),
                api: key,
                ours: format!("{from} and later, for a static member"),
                theirs: format!("at most {version}"),
            });
        }
        Ok(version)
    }

    async fn sync(&self, sync: &classic::Sync) -> Result<Vec<u8>, Failure> {
        let assignments =
            sync.assignments.iter().map(|(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment });
        let request = SyncGroupRequest {
            group_id: &self.settings.group,
            generation_id: sync.identity.generation,
            member_id: &sync.identity.member_id,
            group_instance_id: self.settings.instance.as_deref(),
            protocol_type: Some(PROTOCOL_TYPE),
            protocol_name: Some(&sync.protocol),
            assignments: assignments.collect(),
        };
        let patience = self.client.options().request_timeout.max(self.settings.max_poll_interval + PATIENCE);
        let asked = async {
            let connection = self.coordinator.patient_connection().await?;
            connection.start(connection.version_of(ApiKey::SyncGroup)?, &request)?.wait_up_to(patience).await
        };
        let reply = asked.await.map_err(|error| self.failed(error))?;
        let response: SyncGroupResponse = reply.body().map_err(|error| self.failed(error))?;
        response.error_code.ok().map_err(|code| self.refused(code))?;
        Ok(response.assignment.to_vec())
    }

    async fn heartbeat(&self, identity: &classic::Identity) -> Result<(), Failure> {
        let request = HeartbeatRequest {
            group_id: &self.settings.group,
            generation_id: identity.generation,
            member_id: &identity.member_id,
            group_instance_id: self.settings.instance.as_deref(),
        };
        let asked = async { self.coordinator.connection().await?.call(&request).await };
        let reply = asked.await.map_err(|error| self.failed(error))?;
        let response: HeartbeatResponse = reply.body().map_err(|error| self.failed(error))?;
        response.error_code.ok().map_err(|code| self.refused(code))
    }

    async fn tell(&self, heartbeat: &modern::Heartbeat) -> Result<Told, Failure> {
        let owned = |(topic_id, partitions): (&TopicId, &Vec<i32>)| RequestTopicPartitions {
            topic_id: *topic_id,
            partitions: partitions.clone(),
        };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: &self.settings.group,
            member_id: &heartbeat.identity.member_id,
            member_epoch: heartbeat.identity.generation,
            instance_id: self.settings.instance.as_deref(),
            rack_id: self.settings.rack.as_deref().filter(|_| heartbeat.is_full),
            rebalance_timeout_ms: if heartbeat.is_full { millis(self.settings.max_poll_interval) } else { -1 },
            subscribed_topic_names: heartbeat
                .topics
                .as_ref()
                .map(|topics| topics.iter().map(|topic| &**topic).collect()),
            subscribed_topic_regex: heartbeat.pattern.as_deref(),
            server_assignor: self.settings.remote_assignor.as_deref().filter(|_| heartbeat.is_full),
            topic_partitions: heartbeat.owned.as_ref().map(|topics| topics.iter().map(owned).collect()),
        };
        let asked = async { self.coordinator.connection().await?.call(&request).await };
        let reply = asked.await.map_err(|error| self.failed(error))?;
        let response: ConsumerGroupHeartbeatResponse = reply.body().map_err(|error| self.failed(error))?;
        if let Err(code) = response.error_code.ok() {
            tracing::debug!(group = %self.settings.group, %code, message = response.error_message, "heartbeat refused");
            return Err(self.refused(code));
        }
        let assignment = response.assignment.as_ref().map(|assignment| {
            let topics = assignment.topic_partitions.iter();
            topics.map(|topic| (topic.topic_id, topic.partitions.iter().copied().collect())).collect()
        });
        Ok(Told {
            member_id: response.member_id.map(str::to_string),
            epoch: response.member_epoch,
            interval: Duration::from_millis(response.heartbeat_interval_ms.max(1) as u64),
            assignment,
        })
    }

    async fn leave(&self, leave: Leave) -> Outcome {
        let outcome = match leave {
            Leave::Modern(heartbeat) => self.tell(&heartbeat).await.map(|_| ()),
            Leave::Classic { member_id, reason } => {
                let asked = async {
                    let connection = self.coordinator.connection().await?;
                    let members =
                        vec![MemberIdentity { member_id: &member_id, group_instance_id: None, reason: Some(reason) }];
                    // Below version 3 the one who leaves stands in the request itself.
                    let group_id = &self.settings.group;
                    connection.call(&LeaveGroupRequest { group_id, member_id: &member_id, members }).await
                };
                asked.await.map(|_| ()).map_err(|error| self.failed(error))
            }
        };
        if let Err(error) = outcome {
            // The coordinator finds out when the session ends.
            tracing::debug!(group = %self.settings.group, ?error, "left without a word");
        }
        Outcome::Left
    }

    /// The partitions of each topic that there is.
    async fn count(&self, topics: BTreeSet<Rc<str>>) -> BTreeMap<Rc<str>, usize> {
        let mut counts = BTreeMap::new();
        for topic in topics {
            // What does not answer in time counts as before.
            let asked = timeout(METADATA_TIMEOUT, self.client.refresh(&topic)).await;
            let known = match asked {
                Ok(Ok(info)) => Some(info),
                Ok(Err(error)) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => None,
                _ => self.client.known_topic(&topic),
            };
            if let Some(info) = known {
                counts.insert(topic, info.partitions.len());
            }
        }
        counts
    }

    async fn resolve(&self, ids: &BTreeSet<TopicId>) -> BTreeMap<TopicId, Rc<str>> {
        // Also on a failure something may be known.
        let _ = timeout(METADATA_TIMEOUT, self.client.topics()).await;
        let known = self.client.known_topics();
        let named = known.iter().filter(|topic| ids.contains(&topic.id));
        named.map(|topic| (topic.id, topic.name.as_str().into())).collect()
    }
}

fn millis(duration: Duration) -> i32 {
    duration.as_millis().try_into().unwrap_or(i32::MAX)
}
