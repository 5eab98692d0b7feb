//! A Kafka client on the runtime's sockets: metadata, producer with transactions, consumer of assigned partitions or as a member of a
//! group, admin.
//!
//! Used by the command line, by tests, and as the simulated clients of the simulator; never by the broker. Everything here lives on the
//! shard that made it (`!Send`) and runs on both backends. What decides (which batch goes out next, which sequence it has, where to
//! fetch) is plain state that tests drive without a socket; what moves bytes is a thin shell around it.
//!
//! ```no_run
//! use ringlane_client::{Client, ClientOptions, Consumer, ConsumerOptions, Producer, ProducerOptions, ProducerRecord, StartAt};
//!
//! # async fn example() -> Result<(), ringlane_client::ClientError> {
//! let client = Client::connect(ClientOptions::to("127.0.0.1:9092")).await?;
//! let producer = Producer::new(&client, ProducerOptions::default());
//! let delivery = producer.send(ProducerRecord::to("orders").key("a").value("1")).await?;
//! println!("stored at offset {}", delivery.await?.offset);
//!
//! let consumer = Consumer::new(&client, ConsumerOptions::default());
//! consumer.assign("orders", 0, StartAt::Earliest).await?;
//! for record in consumer.poll(std::time::Duration::from_secs(1)).await? {
//!     println!("{} {:?}", record.offset, record.value);
//! }
//! # Ok(())
//! # }
//! ```

mod admin;
mod cluster;
mod connection;
mod consumer;
mod coordinator;
mod error;
mod group;
mod producer;
mod retry;

pub use admin::{
    Admin, ClusterDescription, ConfigEntry, ConfigResource, DeleteBefore, GroupDescription, GroupListing, GroupMember,
    NewTopic, ProducerState, ShareOffset, TransactionDescription, TransactionListing,
};
pub use cluster::{BrokerInfo, Client, ClientOptions, PartitionInfo, TopicInfo};
pub use connection::{Connection, PendingReply, Reply};
pub use consumer::{Consumer, ConsumerOptions, ConsumerRecord, IsolationLevel, StartAt};
pub use error::ClientError;
pub use group::{
    Assignor, CommittedOffset, GroupConsumer, GroupMetadata, GroupOptions, GroupProtocol, Polled, TopicPartition,
};
pub use producer::{Acks, Delivery, Producer, ProducerOptions, ProducerRecord, RecordMetadata, partition_for_key};
