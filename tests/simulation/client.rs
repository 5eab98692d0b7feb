//! What every client task of the workload needs: the broker's address, the topics, connecting until it works.

use crate::history::{History, Place};
use crate::wire::{Connection, WireError};
use ringlane_protocol::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use ringlane_protocol::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponsePartition};
use ringlane_protocol::{ErrorCode, Message, Reader, TopicId};
use ringlane_runtime::sim::Seed;
use ringlane_runtime::{random_u64, sleep};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

pub const BROKER_HOST: &str = "node-1";
pub const BROKER_PORT: u16 = 9092;

/// Looks at a topic that was created before it counts as lost.
const LOOKS_MAX: u32 = 200;

/// A topic of the workload.
#[derive(Clone, Copy)]
pub struct Topic {
    pub name: &'static str,
    pub partitions: i32,
    pub configs: &'static [(&'static str, &'static str)],
}

/// Shared by all client tasks of a run.
pub struct Workload {
    pub history: History,
    pub topics: Vec<Topic>,
    ids: RefCell<BTreeMap<&'static str, TopicId>>,
    /// Producers still at work.
    pub producing: Cell<usize>,
    pub is_over: Cell<bool>,
    pub audits: Cell<u64>,
    /// The last error that a producer was told to try again after.
    pub last_trouble: RefCell<String>,
}

impl Workload {
    pub fn new(topics: Vec<Topic>) -> Rc<Workload> {
        Rc::new(Workload {
            history: History::default(),
            topics,
            ids: RefCell::default(),
            producing: Cell::new(0),
            is_over: Cell::new(false),
            audits: Cell::new(0),
            last_trouble: RefCell::default(),
        })
    }

    pub fn topic_id(&self, topic: &str) -> TopicId {
        self.ids.borrow()[topic]
    }

    pub fn topic_named(&self, id: TopicId) -> Option<&'static str> {
        self.ids.borrow().iter().find(|(_, own)| **own == id).map(|(name, _)| *name)
    }

    pub fn places(&self) -> Vec<Place> {
        let of_topic = |topic: &Topic| {
            let topic = *topic;
            (0..topic.partitions).map(move |partition| Place { topic: topic.name, partition })
        };
        self.topics.iter().flat_map(of_topic).collect()
    }

    /// Connects, and makes sure that the topics are what they were: created once, they keep their ids over every crash.
    pub async fn connect(&self) -> Connection {
        loop {
            match self.try_connect().await {
                Ok(connection) => return connection,
                Err(WireError::Lost) => pause(50..400).await,
                Err(WireError::Wrong(what)) => {
                    self.history.violation(what);
                    pause(50..400).await;
                }
            }
        }
    }

    async fn try_connect(&self) -> Result<Connection, WireError> {
        let mut connection = Connection::open(BROKER_HOST, BROKER_PORT).await?;
        for topic in &self.topics {
            for look in 1.. {
                let found = self.look_up(&mut connection, topic).await?;
                let known = self.ids.borrow().get(topic.name).copied();
                match (known, found) {
                    (Some(known), Some(found)) if known == found => break,
                    (Some(known), Some(found)) => {
                        return Err(WireError::Wrong(format!("topic {} was {known} and is {found}", topic.name)));
                    }
                    (Some(known), None) if look == LOOKS_MAX => {
                        return Err(WireError::Wrong(format!("topic {} was {known} and is gone", topic.name)));
                    }
                    // Right after a start it may not be served yet.
                    (Some(_), None) => pause(10..50).await,
                    (None, Some(found)) => {
                        self.ids.borrow_mut().insert(topic.name, found);
                        break;
                    }
                    (None, None) => self.create(&mut connection, topic).await?,
                }
            }
        }
        Ok(connection)
    }

    async fn look_up(&self, connection: &mut Connection, topic: &Topic) -> Result<Option<TopicId>, WireError> {
        const VERSION: i16 = 12;
        let wanted = MetadataRequestTopic { name: Some(topic.name), ..Default::default() };
        let request =
            MetadataRequest { topics: Some(vec![wanted]), allow_auto_topic_creation: false, ..Default::default() };
        let body = connection.call(VERSION, &request).await?;
        let answer = MetadataResponse::decode(&mut Reader::new(&body), VERSION)
            .map_err(|error| WireError::Wrong(format!("Metadata: {error}")))?;
        let found = answer.topics.iter().find(|found| found.name == Some(topic.name));
        let is_served = |partition: &&MetadataResponsePartition| partition.leader_id >= 0;
        Ok(found
            .filter(|found| found.error_code == ErrorCode::None)
            .filter(|found| found.partitions.iter().filter(is_served).count() as i32 == topic.partitions)
            .map(|found| found.topic_id))
    }

    async fn create(&self, connection: &mut Connection, topic: &Topic) -> Result<(), WireError> {
        const VERSION: i16 = 7;
        let configs = topic.configs.iter().map(|(name, value)| CreatableTopicConfig { name, value: Some(value) });
        let wanted = CreatableTopic {
            name: topic.name,
            num_partitions: topic.partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![wanted], timeout_ms: 5_000, ..Default::default() };
        let body = connection.call(VERSION, &request).await?;
        let answer = CreateTopicsResponse::decode(&mut Reader::new(&body), VERSION)
            .map_err(|error| WireError::Wrong(format!("CreateTopics: {error}")))?;
        let result = answer.topics.first().ok_or_else(|| WireError::Wrong("CreateTopics: no result".to_owned()))?;
        match result.error_code {
            ErrorCode::None => {
                self.ids.borrow_mut().insert(topic.name, result.topic_id);
                Ok(())
            }
            ErrorCode::TopicAlreadyExists | ErrorCode::RequestTimedOut | ErrorCode::NotController => {
                pause(10..50).await;
                Ok(())
            }
            other => Err(WireError::Wrong(format!("CreateTopics {}: {}", topic.name, other.name()))),
        }
    }
}

/// A generator for one client task.
pub fn own_seed() -> Seed {
    Seed::new(random_u64())
}

pub async fn pause(ms: std::ops::Range<u64>) {
    sleep(Duration::from_millis(own_seed().within(ms))).await;
}
