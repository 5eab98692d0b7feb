//! Share groups (KIP-932), as Kafka 4.3 keeps them: members read the same partitions, and the records are shared out between them.
//!
//! One [`ShareGroup`] is one group, owned by the machine of its partition of `__consumer_offsets`; it lives on that partition's home shard.
//! Epochs drive it as they drive a consumer group, but nothing has to be given back: a partition may have many readers, so a member takes its
//! new assignment at once. Only partitions whose state the share coordinator has can be assigned; the group remembers which these are, and
//! its heartbeats tell the host for which others a state is to be made.
//!
//! * [`heartbeat`](ShareGroup::heartbeat): members come, stay and go. [`assignor`]: who reads what. [`event`]: what changes a group.
//! * [`states`]: which share partitions have a state. [`offsets`]: what administrators do with them. [`describe`]: what they see.
//!
//! Nothing here waits, reads a clock or knows a socket.

mod assignor;
mod describe;
mod error;
mod event;
mod group;
mod heartbeat;
mod offsets;
mod options;
mod request;
mod states;
#[cfg(test)]
mod tests;

pub use describe::{DescribedShareGroup, DescribedShareMember};
pub use error::ShareGroupError;
pub use event::Replayed;
pub use group::ShareGroup;
pub use offsets::{AlterTopic, Altered, AlteredTopic, DeletePlan, TopicPartitions};
pub use options::{ShareContext, ShareGroupOptions};
pub use request::{LEAVE, ShareHeartbeat, ShareHeartbeatReply};
