//! Adding partitions to a topic.

use crate::controller::{Decision, PARTITIONS_PER_REQUEST_MAX, Refused, decide_each, placement, refuse_repeated};
use crate::{BrokerId, Image};
use ringlane_protocol::ErrorCode;

/// One topic of a CreatePartitions request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreatePartitions {
    pub name: String,
    /// The new total.
    pub count: i32,
    /// Replicas of each added partition; `None`: the controller places them.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

/// Adds what can be added.
pub fn create_partitions(image: &Image, topics: &[CreatePartitions]) -> Decision<Vec<Result<(), Refused>>> {
    let repeated = refuse_repeated(topics.iter().map(|topic| topic.name.as_str()));
    let mut added_total = 0;
    decide_each(topics, |asked| {
        repeated(&asked.name)?;
        let topic = image.topic_by_name(&asked.name).ok_or_else(|| {
            Refused::new(ErrorCode::UnknownTopicOrPartition, format!("there is no topic named {:?}", asked.name))
        })?;
        let first = topic.partition_count();
        if asked.count <= first {
            let message = format!(
                "topic {} has {first} partition(s); {} is not more, and partitions cannot be taken away",
                topic.name, asked.count
            );
            return Err(Refused::new(ErrorCode::InvalidPartitions, message));
        }
        let added = (asked.count - first) as usize;
        added_total += added;
        if added_total > PARTITIONS_PER_REQUEST_MAX {
            let message =
                format!("more than {PARTITIONS_PER_REQUEST_MAX} new partitions in one request: add them in parts");
            return Err(Refused::new(ErrorCode::PolicyViolation, message));
        }
        let replication_factor = topic.partition(0).map_or(1, |partition| partition.replicas.len());
        let placed = match &asked.assignments {
            None => placement::place(image, topic.id, first as usize, added, replication_factor)?,
            Some(assigned) if assigned.len() != added => {
                let message = format!("{added} partition(s) are added, {} assignment(s) were given", assigned.len());
                return Err(Refused::new(ErrorCode::InvalidReplicaAssignment, message));
            }
            Some(assigned) => (first..)
                .zip(assigned)
                .map(|(partition, replicas)| {
                    placement::check_assignment(image, partition, replicas, Some(replication_factor))
                })
                .collect::<Result<_, _>>()?,
        };
        Ok((placement::partition_records(image, topic.id, first, placed).collect(), ()))
    })
}
