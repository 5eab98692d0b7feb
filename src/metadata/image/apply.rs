//! Records become state. The only writer of an image.

use crate::image::{Broker, Delta, Image, LogPosition, Partition, ResourceKind, Topic};
use crate::record::{BrokerRegistrationChange, PartitionChange};
use crate::{BrokerId, ConfigResource, Record, Uuid};
use imbl::Vector;
use std::sync::Arc;

/// A record that does not fit the image it is applied to. Every record was decided on that very image, so this is a damaged log or a
/// bug; the node must stop.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "metadata log entry {index} does not fit what precedes it: {what}. The log is damaged: restore `metadata/` from a copy"
)]
pub struct ApplyError {
    pub index: u64,
    pub what: String,
}

impl Image {
    /// The image after one entry. After an error the image is unusable.
    pub fn apply(&mut self, position: LogPosition, records: &[Record], delta: &mut Delta) -> Result<(), ApplyError> {
        let refused = |what| ApplyError { index: position.index, what };
        if position.index <= self.applied.index {
            return Err(refused(format!("entry {} was applied before it", self.applied.index)));
        }
        self.applied = position;
        delta.to = position;
        for record in records {
            self.apply_record(record, delta).map_err(refused)?;
        }
        Ok(())
    }

    /// The same state at another position: the empty state of a new cluster, or a snapshot's before its records.
    pub(crate) fn moved_to(&mut self, position: LogPosition) {
        self.applied = position;
    }

    /// Takes back one record of a snapshot of this position.
    pub(super) fn restore(&mut self, record: &Record) -> Result<(), ApplyError> {
        let index = self.applied.index;
        self.apply_record(record, &mut Delta::default()).map_err(|what| ApplyError { index, what })
    }

    fn apply_record(&mut self, record: &Record, delta: &mut Delta) -> Result<(), String> {
        match record {
            Record::NoOp => Ok(()),
            Record::RegisterBroker(broker) => self.register(broker, delta),
            Record::UnregisterBroker { broker, epoch } => self.unregister(*broker, *epoch, delta),
            Record::BrokerRegistrationChange(change) => self.change_registration(change, delta),
            Record::Topic { name, id } => self.add_topic(name, *id, delta),
            Record::RemoveTopic { id } => self.remove_topic(*id, delta),
            Record::Partition { topic, partition, state } => self.add_partition(*topic, *partition, state, delta),
            Record::PartitionChange(change) => self.change_partition(change, delta),
            Record::Config { resource, key, value } => {
                self.set_config(resource, key, value.as_ref(), delta);
                Ok(())
            }
            Record::ProducerIds { next, .. } => self.advance_producer_ids(*next, delta),
            Record::FeatureLevel { name, level } => {
                match level {
                    0 => self.features.remove(name),
                    _ => self.features.insert(name.clone(), *level),
                };
                delta.features = true;
                Ok(())
            }
        }
    }

    fn register(&mut self, broker: &Broker, delta: &mut Delta) -> Result<(), String> {
        let mut broker = broker.clone();
        if broker.epoch < 0 {
            broker.epoch = self.applied.index as i64;
        }
        if let Some(earlier) = self.brokers.get(&broker.id)
            && earlier.epoch >= broker.epoch
        {
            return Err(format!("broker {} registers with epoch {} after {}", broker.id, broker.epoch, earlier.epoch));
        }
        delta.brokers.insert(broker.id);
        self.brokers.insert(broker.id, Arc::new(broker));
        Ok(())
    }

    fn unregister(&mut self, id: BrokerId, epoch: i64, delta: &mut Delta) -> Result<(), String> {
        self.registered(id, epoch)?;
        self.brokers.remove(&id);
        delta.brokers.insert(id);
        Ok(())
    }

    fn change_registration(&mut self, change: &BrokerRegistrationChange, delta: &mut Delta) -> Result<(), String> {
        let mut broker = Broker::clone(self.registered(change.broker, change.epoch)?);
        broker.fenced = change.fenced.unwrap_or(broker.fenced);
        broker.in_controlled_shutdown = change.in_controlled_shutdown.unwrap_or(broker.in_controlled_shutdown);
        if let Some(directories) = &change.directories {
            broker.directories.clone_from(directories);
        }
        delta.brokers.insert(broker.id);
        self.brokers.insert(broker.id, Arc::new(broker));
        Ok(())
    }

    fn registered(&self, id: BrokerId, epoch: i64) -> Result<&Arc<Broker>, String> {
        let broker = self.brokers.get(&id).ok_or_else(|| format!("broker {id} is not registered"))?;
        if broker.epoch != epoch {
            return Err(format!("broker {id} has epoch {}, the record says {epoch}", broker.epoch));
        }
        Ok(broker)
    }

    fn add_topic(&mut self, name: &Arc<str>, id: Uuid, delta: &mut Delta) -> Result<(), String> {
        if self.topic_ids.contains_key(name) || self.topics.contains_key(&id) {
            return Err(format!("topic {name} with id {id} exists"));
        }
        self.topic_ids.insert(name.clone(), id);
        self.topics.insert(id, Arc::new(Topic { id, name: name.clone(), partitions: Vector::new() }));
        delta.created.insert(id);
        Ok(())
    }

    fn remove_topic(&mut self, id: Uuid, delta: &mut Delta) -> Result<(), String> {
        let topic = self.topics.remove(&id).ok_or_else(|| format!("there is no topic with id {id}"))?;
        self.topic_ids.remove(&topic.name);
        let resource = ConfigResource { kind: ResourceKind::Topic, name: topic.name.clone() };
        if self.configs.remove(&resource).is_some() {
            delta.configs.insert(resource);
        }
        delta.topic_deleted(topic);
        Ok(())
    }

    fn add_partition(&mut self, topic: Uuid, id: i32, state: &Partition, delta: &mut Delta) -> Result<(), String> {
        let topic = Arc::make_mut(self.topic_mut(topic)?);
        if id != topic.partition_count() {
            return Err(format!("partition {id} of topic {} follows {}", topic.name, topic.partition_count() - 1));
        }
        topic.partitions.push_back(state.clone());
        delta.partitions.insert((topic.id, id));
        Ok(())
    }

    fn change_partition(&mut self, change: &PartitionChange, delta: &mut Delta) -> Result<(), String> {
        let topic = Arc::make_mut(self.topic_mut(change.topic)?);
        let missing = || format!("topic {} has no partition {}", change.topic, change.partition);
        let index = usize::try_from(change.partition).map_err(|_| missing())?;
        let state = topic.partitions.get_mut(index).ok_or_else(missing)?;
        let set = |old: &mut Arc<[BrokerId]>, new: &Option<Arc<[BrokerId]>>| {
            if let Some(new) = new {
                old.clone_from(new);
            }
        };
        set(&mut state.replicas, &change.replicas);
        set(&mut state.isr, &change.isr);
        set(&mut state.elr, &change.elr);
        set(&mut state.last_known_elr, &change.last_known_elr);
        set(&mut state.adding, &change.adding);
        set(&mut state.removing, &change.removing);
        if let Some(directories) = &change.directories {
            state.directories.clone_from(directories);
        }
        if let Some(leader) = change.leader {
            state.leader = leader;
            state.leader_epoch += 1;
        }
        state.recovery = change.recovery.unwrap_or(state.recovery);
        state.partition_epoch += 1;
        delta.partitions.insert((change.topic, change.partition));
        Ok(())
    }

    fn topic_mut(&mut self, id: Uuid) -> Result<&mut Arc<Topic>, String> {
        self.topics.get_mut(&id).ok_or_else(|| format!("there is no topic with id {id}"))
    }

    fn set_config(&mut self, resource: &ConfigResource, key: &Arc<str>, value: Option<&Arc<str>>, delta: &mut Delta) {
        delta.configs.insert(resource.clone());
        match value {
            Some(value) => {
                self.configs.entry(resource.clone()).or_default().insert(key.clone(), value.clone());
            }
            None => {
                let Some(keys) = self.configs.get_mut(resource) else { return };
                keys.remove(key);
                if keys.is_empty() {
                    self.configs.remove(resource);
                }
            }
        }
    }

    fn advance_producer_ids(&mut self, next: i64, delta: &mut Delta) -> Result<(), String> {
        if next <= self.next_producer_id {
            return Err(format!(
                "producer ids below {} were handed out, the record says {next}",
                self.next_producer_id
            ));
        }
        self.next_producer_id = next;
        delta.producer_ids = true;
        Ok(())
    }
}
