//! Who is in the cluster and who leads which partition, as far as this client knows; asked again when an answer says it is wrong.

use crate::retry::Retry;
use crate::{ClientError, Connection};
use ringlane_protocol::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::{Instant, now};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// HOST:PORT of some brokers; the others are learned from them.
    pub bootstrap: Vec<String>,
    pub client_id: String,
    pub connect_timeout: Duration,
    /// A request without an answer after this closes its connection.
    pub request_timeout: Duration,
    /// How long calls that may be repeated (metadata, admin) try.
    pub api_timeout: Duration,
    /// What is known of a topic is asked for again when it is older: partitions may have been added. Kafka's `metadata.max.age.ms`.
    pub metadata_max_age: Duration,
    /// Asking for an unknown topic may create it, if the broker is so configured.
    pub allow_auto_create: bool,
}

impl ClientOptions {
    /// Kafka's defaults. `bootstrap`: HOST:PORT, several with commas between.
    pub fn to(bootstrap: &str) -> ClientOptions {
        ClientOptions {
            bootstrap: bootstrap.split(',').map(|address| address.trim().to_string()).collect(),
            client_id: "ringlane".to_string(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            api_timeout: Duration::from_secs(60),
            metadata_max_age: Duration::from_secs(300),
            allow_auto_create: false,
        }
    }

    pub fn client_id(mut self, client_id: &str) -> ClientOptions {
        self.client_id = client_id.to_string();
        self
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerInfo {
    pub id: i32,
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: String,
    /// Zero if the broker gives none (Metadata below version 10).
    pub id: TopicId,
    pub is_internal: bool,
    /// Ascending by index.
    pub partitions: Vec<PartitionInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    pub index: i32,
    pub leader: Option<i32>,
    /// -1 when unknown.
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub offline: Vec<i32>,
}

impl TopicInfo {
    pub fn partition(&self, index: i32) -> Option<&PartitionInfo> {
        self.partitions.binary_search_by_key(&index, |partition| partition.index).ok().map(|i| &self.partitions[i])
    }

    pub(crate) fn require(&self, index: i32) -> Result<&PartitionInfo, ClientError> {
        self.partition(index).ok_or_else(|| ClientError::NoSuchPartition {
            topic: self.name.clone(),
            partition: index,
            count: self.partitions.len(),
        })
    }
}

/// A cluster as one client sees it; clones share what is known. Producers and consumers open connections of their own, so that a
/// long fetch never delays another answer.
#[derive(Clone)]
pub struct Client {
    inner: Rc<Inner>,
}

struct Inner {
    options: ClientOptions,
    known: RefCell<Known>,
}

#[derive(Default)]
struct Known {
    cluster_id: Option<String>,
    controller: Option<i32>,
    brokers: BTreeMap<i32, BrokerInfo>,
    topics: BTreeMap<String, Learned>,
    /// For metadata and admin requests.
    connection: Option<Connection>,
}

struct Learned {
    topic: Rc<TopicInfo>,
    at: Instant,
}

impl Client {
    /// Reaches one of the bootstrap brokers and learns the others.
    pub async fn connect(options: ClientOptions) -> Result<Client, ClientError> {
        for address in &options.bootstrap {
            split_address(address)?;
        }
        let client = Client { inner: Rc::new(Inner { options, known: RefCell::default() }) };
        client.ask(Some(&[])).await?;
        Ok(client)
    }

    pub fn options(&self) -> &ClientOptions {
        &self.inner.options
    }
    pub fn cluster_id(&self) -> Option<String> {
        self.inner.known.borrow().cluster_id.clone()
    }
    /// The broker that takes admin requests, if one is known.
    pub fn controller(&self) -> Option<i32> {
        self.inner.known.borrow().controller
    }
    /// Ascending by id.
    pub fn brokers(&self) -> Vec<BrokerInfo> {
        self.inner.known.borrow().brokers.values().cloned().collect()
    }

    /// What is known of a topic; asks when nothing is, or when it is old. Waits for a topic that is being created, up to the api
    /// timeout.
    pub async fn topic(&self, name: &str) -> Result<Rc<TopicInfo>, ClientError> {
        let is_fresh = |learned: &Learned| learned.at.elapsed() < self.inner.options.metadata_max_age;
        let fresh = self.inner.known.borrow().topics.get(name).filter(|l| is_fresh(l)).map(|l| l.topic.clone());
        match fresh {
            Some(topic) => Ok(topic),
            None => self.refresh(name).await,
        }
    }

    /// What is known of a topic, fresh or not.
    pub fn known_topic(&self, name: &str) -> Option<Rc<TopicInfo>> {
        self.inner.known.borrow().topics.get(name).map(|learned| learned.topic.clone())
    }

    /// Every topic that is known, by name.
    pub(crate) fn known_topics(&self) -> Vec<Rc<TopicInfo>> {
        self.inner.known.borrow().topics.values().map(|learned| learned.topic.clone()).collect()
    }

    /// Asks for a topic again, because an answer said that what is known is wrong.
    pub async fn refresh(&self, name: &str) -> Result<Rc<TopicInfo>, ClientError> {
        let what = format!("metadata of topic {name}");
        let mut retry = Retry::within(self.inner.options.api_timeout);
        loop {
            let error = match self.ask(Some(&[name])).await {
                Ok(mut outcomes) => match outcomes.pop() {
                    Some((_, ErrorCode::None)) => match self.known_topic(name) {
                        Some(topic) => return Ok(topic),
                        None => ClientError::refused(&what, ErrorCode::UnknownTopicOrPartition, None),
                    },
                    // A topic that may be created by asking is worth asking for again; another is not.
                    Some((_, ErrorCode::UnknownTopicOrPartition)) if !self.inner.options.allow_auto_create => {
                        return Err(ClientError::refused(what, ErrorCode::UnknownTopicOrPartition, None));
                    }
                    Some((_, code)) => ClientError::refused(&what, code, None),
                    None => ClientError::refused(&what, ErrorCode::UnknownTopicOrPartition, None),
                },
                Err(error) => error,
            };
            retry.after(&what, error).await?;
        }
    }

    /// All topics, by name.
    pub async fn topics(&self) -> Result<Vec<Rc<TopicInfo>>, ClientError> {
        let mut retry = Retry::within(self.inner.options.api_timeout);
        while let Err(error) = self.ask(None).await {
            retry.after("metadata of all topics", error).await?;
        }
        Ok(self.inner.known.borrow().topics.values().map(|learned| learned.topic.clone()).collect())
    }

    /// A connection of the caller's own to a broker.
    pub async fn open(&self, broker: i32) -> Result<Connection, ClientError> {
        let known = self.inner.known.borrow().brokers.get(&broker).cloned();
        match known {
            Some(broker) => self.open_at(&broker.host, broker.port).await,
            None => Err(ClientError::Unreachable {
                bootstrap: format!("the cluster with id {broker}"),
                last: "no such broker in its metadata".to_string(),
            }),
        }
    }

    /// The connection for metadata and admin requests: any broker will do, it passes on what is not its own.
    pub(crate) async fn any(&self) -> Result<Connection, ClientError> {
        let open = self.inner.known.borrow().connection.clone().filter(Connection::is_open);
        if let Some(connection) = open {
            return Ok(connection);
        }
        let learned: Vec<(String, u16)> = self.brokers().into_iter().map(|broker| (broker.host, broker.port)).collect();
        let given = self.inner.options.bootstrap.iter().filter_map(|address| split_address(address).ok());
        let mut last = "no address is known".to_string();
        for (host, port) in learned.into_iter().chain(given) {
            match self.open_at(&host, port).await {
                Ok(connection) => {
                    self.inner.known.borrow_mut().connection = Some(connection.clone());
                    return Ok(connection);
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(ClientError::Unreachable { bootstrap: self.inner.options.bootstrap.join(","), last })
    }

    pub(crate) async fn open_at(&self, host: &str, port: u16) -> Result<Connection, ClientError> {
        let options = &self.inner.options;
        Connection::open(host, port, &options.client_id, options.connect_timeout, options.request_timeout).await
    }

    /// One metadata request: of these topics, or of all. Gives each topic's error.
    async fn ask(&self, names: Option<&[&str]>) -> Result<Vec<(String, ErrorCode)>, ClientError> {
        let connection = self.any().await?;
        let topic = |&name| MetadataRequestTopic { name: Some(name), ..Default::default() };
        let request = MetadataRequest {
            topics: names.map(|names| names.iter().map(topic).collect()),
            allow_auto_topic_creation: self.inner.options.allow_auto_create && names.is_some(),
            ..Default::default()
        };
        let reply = connection.call(&request).await?;
        let response: MetadataResponse = reply.body()?;
        response.error_code.ok().map_err(|code| ClientError::refused("metadata", code, None))?;
        let outcomes =
            response.topics.iter().map(|topic| (topic.name.unwrap_or_default().to_string(), topic.error_code));
        let outcomes = outcomes.collect();
        self.inner.known.borrow_mut().learn(&response, names.is_none());
        Ok(outcomes)
    }
}

impl Known {
    fn learn(&mut self, response: &MetadataResponse<'_>, all_topics: bool) {
        self.cluster_id = response.cluster_id.map(str::to_string);
        self.controller = Some(response.controller_id).filter(|&id| id >= 0);
        self.brokers = response
            .brokers
            .iter()
            .filter_map(|broker| {
                let port = u16::try_from(broker.port).ok()?;
                let rack = broker.rack.map(str::to_string);
                Some((broker.node_id, BrokerInfo { id: broker.node_id, host: broker.host.to_string(), port, rack }))
            })
            .collect();
        if all_topics {
            self.topics.clear();
        }
        for topic in &response.topics {
            let name = topic.name.unwrap_or_default();
            if topic.error_code != ErrorCode::None {
                self.topics.remove(name);
                continue;
            }
            let mut partitions: Vec<PartitionInfo> = topic
                .partitions
                .iter()
                .map(|partition| PartitionInfo {
                    index: partition.partition_index,
                    leader: Some(partition.leader_id).filter(|&id| id >= 0),
                    leader_epoch: partition.leader_epoch,
                    replicas: partition.replica_nodes.clone(),
                    isr: partition.isr_nodes.clone(),
                    offline: partition.offline_replicas.clone(),
                })
                .collect();
            partitions.sort_by_key(|partition| partition.index);
            let info =
                TopicInfo { name: name.to_string(), id: topic.topic_id, is_internal: topic.is_internal, partitions };
            self.topics.insert(name.to_string(), Learned { topic: Rc::new(info), at: now() });
        }
    }
}

/// HOST:PORT, the host maybe an IPv6 literal in brackets.
fn split_address(address: &str) -> Result<(String, u16), ClientError> {
    let refused = || ClientError::Address { address: address.to_string() };
    let (host, port) = address.rsplit_once(':').ok_or_else(refused)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match port.parse() {
        Ok(port) if !host.is_empty() => Ok((host.to_string(), port)),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port read as part of the host, or brackets kept, would only fail much later, in name resolution.
    #[test]
    fn addresses_are_split_at_the_last_colon() {
        assert_eq!(split_address("localhost:9092"), Ok(("localhost".into(), 9092)));
        assert_eq!(split_address("[::1]:19092"), Ok(("::1".into(), 19092)));
        for wrong in ["localhost", ":9092", "localhost:", "localhost:70000", "localhost:kafka"] {
            assert!(split_address(wrong).is_err(), "{wrong}");
        }
    }
}
