//! Topics, partitions, configuration, groups, transactions and the cluster itself: what an operator asks for.

mod groups;
mod share_groups;
mod transactions;

pub use groups::{GroupDescription, GroupListing, GroupMember};
pub use share_groups::ShareOffset;
pub use transactions::{ProducerState, TransactionDescription, TransactionListing};

use crate::retry::Retry;
use crate::{BrokerInfo, Client, ClientError, Reply, TopicInfo};
use ringlane_protocol::create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic};
use ringlane_protocol::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use ringlane_protocol::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use ringlane_protocol::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use ringlane_protocol::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use ringlane_protocol::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse};
use ringlane_protocol::{ErrorCode, Request, TopicId};
use std::rc::Rc;

/// Operations on the cluster. Any broker takes them and passes on what is another's.
pub struct Admin {
    client: Client,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// `None`: the broker's default.
    pub partitions: Option<i32>,
    pub replication_factor: Option<i16>,
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    pub fn named(name: &str) -> NewTopic {
        NewTopic { name: name.to_string(), partitions: None, replication_factor: None, configs: Vec::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    pub cluster_id: String,
    pub controller: Option<i32>,
    pub brokers: Vec<BrokerInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigResource {
    Topic(String),
    Broker(i32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// `None` for a secret.
    pub value: Option<String>,
    /// Kafka's source number: 1 the topic, 2 a broker, 3 all brokers, 4 the broker's file, 5 the default.
    pub source: i8,
    pub is_read_only: bool,
    pub is_sensitive: bool,
}

impl ConfigEntry {
    pub fn is_default(&self) -> bool {
        self.source == 5
    }
}

/// Which records of a partition go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteBefore {
    /// Those before this offset, which may not be past the high watermark.
    Offset(i64),
    /// All that are committed.
    End,
}

/// DeleteRecords' word for the high watermark.
const HIGH_WATERMARK: i64 = -1;
/// Kafka's resource types.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

impl Admin {
    pub fn new(client: &Client) -> Admin {
        Admin { client: client.clone() }
    }

    /// Gives the new topic's id. `validate_only`: says whether it would work and creates nothing.
    pub async fn create_topic(&self, topic: &NewTopic, validate_only: bool) -> Result<TopicId, ClientError> {
        let config = |(name, value): &'_ (String, String)| (name.clone(), value.clone());
        let configs: Vec<(String, String)> = topic.configs.iter().map(config).collect();
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: &topic.name,
                num_partitions: topic.partitions.unwrap_or(-1),
                replication_factor: topic.replication_factor.unwrap_or(-1),
                configs: configs
                    .iter()
                    .map(|(name, value)| CreatableTopicConfig { name, value: Some(value) })
                    .collect(),
                ..Default::default()
            }],
            timeout_ms: self.timeout_ms(),
            validate_only,
        };
        let what = format!("creating topic {}", topic.name);
        self.repeat(&what, &request, |reply| {
            let response: CreateTopicsResponse = reply.body()?;
            let result = response.topics.first().ok_or_else(|| missing(&what))?;
            check(&what, result.error_code, result.error_message)?;
            Ok(result.topic_id)
        })
        .await
    }

    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        // Names stand in another field below version 6; the codec leaves out the one that a version lacks.
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(name), ..Default::default() }],
            topic_names: vec![name],
            timeout_ms: self.timeout_ms(),
        };
        let what = format!("deleting topic {name}");
        self.repeat(&what, &request, |reply| {
            let response: DeleteTopicsResponse = reply.body()?;
            let result = response.responses.first().ok_or_else(|| missing(&what))?;
            check(&what, result.error_code, result.error_message)
        })
        .await
    }

    /// `count`: partitions in all, those that there are included.
    pub async fn create_partitions(&self, topic: &str, count: i32, validate_only: bool) -> Result<(), ClientError> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name: topic, count, assignments: None }],
            timeout_ms: self.timeout_ms(),
            validate_only,
        };
        let what = format!("raising topic {topic} to {count} partitions");
        self.repeat(&what, &request, |reply| {
            let response: CreatePartitionsResponse = reply.body()?;
            let result = response.results.first().ok_or_else(|| missing(&what))?;
            check(&what, result.error_code, result.error_message)
        })
        .await
    }

    /// Deletes the oldest records of a partition; gives the offset at which it begins now. Asks the leader, again when it moved.
    pub async fn delete_records(&self, topic: &str, partition: i32, before: DeleteBefore) -> Result<i64, ClientError> {
        let offset = match before {
            DeleteBefore::Offset(offset) => offset,
            DeleteBefore::End => HIGH_WATERMARK,
        };
        let asked = DeleteRecordsPartition { partition_index: partition, offset };
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic { name: topic, partitions: vec![asked] }],
            timeout_ms: self.timeout_ms(),
        };
        let what = format!("deleting records of topic {topic} partition {partition}");
        let mut retry = Retry::within(self.client.options().api_timeout);
        let mut info = self.client.topic(topic).await?;
        loop {
            let leader = info.require(partition)?.leader;
            let outcome = async {
                let leader = leader.ok_or_else(|| ClientError::refused(&what, ErrorCode::LeaderNotAvailable, None))?;
                let reply = self.client.open(leader).await?.call(&request).await?;
                let response: DeleteRecordsResponse = reply.body()?;
                let result = response.topics.first().and_then(|topic| topic.partitions.first());
                let result = result.ok_or_else(|| missing(&what))?;
                check(&what, result.error_code, None)?;
                Ok(result.low_watermark)
            };
            match outcome.await {
                Ok(start) => return Ok(start),
                Err(error) => retry.after(&what, error).await?,
            }
            info = self.client.refresh(topic).await?;
        }
    }

    /// All topics, by name.
    pub async fn topics(&self) -> Result<Vec<Rc<TopicInfo>>, ClientError> {
        self.client.topics().await
    }

    /// One topic as it is now.
    pub async fn topic(&self, name: &str) -> Result<Rc<TopicInfo>, ClientError> {
        self.client.refresh(name).await
    }

    pub async fn describe_cluster(&self) -> Result<ClusterDescription, ClientError> {
        let what = "describing the cluster";
        let request = DescribeClusterRequest::default();
        self.repeat(what, &request, |reply| {
            let response: DescribeClusterResponse = reply.body()?;
            check(what, response.error_code, response.error_message)?;
            let broker = |b: &ringlane_protocol::describe_cluster::DescribeClusterBroker<'_>| BrokerInfo {
                id: b.broker_id,
                host: b.host.to_string(),
                port: u16::try_from(b.port).unwrap_or_default(),
                rack: b.rack.map(str::to_string),
            };
            Ok(ClusterDescription {
                cluster_id: response.cluster_id.to_string(),
                controller: Some(response.controller_id).filter(|&id| id >= 0),
                brokers: response.brokers.iter().map(broker).collect(),
            })
        })
        .await
    }

    /// Every configuration entry of a topic or broker.
    pub async fn describe_configs(&self, resource: &ConfigResource) -> Result<Vec<ConfigEntry>, ClientError> {
        let (resource_type, name) = match resource {
            ConfigResource::Topic(name) => (TOPIC, name.clone()),
            ConfigResource::Broker(id) => (BROKER, id.to_string()),
        };
        let resource = DescribeConfigsResource { resource_type, resource_name: &name, configuration_keys: None };
        let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
        let what = format!("configuration of {name}");
        self.repeat(&what, &request, |reply| {
            let response: DescribeConfigsResponse = reply.body()?;
            let result = response.results.first().ok_or_else(|| missing(&what))?;
            check(&what, result.error_code, result.error_message)?;
            let entries = result.configs.iter().map(|config| ConfigEntry {
                name: config.name.to_string(),
                value: config.value.map(str::to_string),
                source: config.config_source,
                is_read_only: config.read_only,
                is_sensitive: config.is_sensitive,
            });
            Ok(entries.collect())
        })
        .await
    }

    fn timeout_ms(&self) -> i32 {
        self.client.options().request_timeout.as_millis().try_into().unwrap_or(i32::MAX)
    }

    /// Asks until an answer is final.
    async fn repeat<'r, R: Request<'r>, T>(
        &self,
        what: &str,
        request: &R,
        read: impl Fn(&Reply) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut retry = Retry::within(self.client.options().api_timeout);
        loop {
            let outcome = async { read(&self.client.any().await?.call(request).await?) }.await;
            match outcome {
                Ok(value) => return Ok(value),
                // An unknown topic stays unknown: only who changes leaders is worth waiting for.
                Err(error @ ClientError::Refused { code: ErrorCode::UnknownTopicOrPartition, .. }) => {
                    return Err(error);
                }
                Err(error) => retry.after(what, error).await?,
            }
        }
    }
}

fn check(what: &str, code: ErrorCode, message: Option<&str>) -> Result<(), ClientError> {
    code.ok().map_err(|code| ClientError::refused(what, code, message))
}

fn missing(what: &str) -> ClientError {
    ClientError::refused(what, ErrorCode::UnknownServerError, Some("the answer names no result"))
}
