//! Adding partitions to a topic.

use crate::BrokerId;

/// One topic of a CreatePartitions request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreatePartitions {
    pub name: String,
    /// The new total.
    pub count: i32,
    /// Replicas of each added partition; `None`: the controller places them.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}
