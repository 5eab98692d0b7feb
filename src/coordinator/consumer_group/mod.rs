//! Consumer groups of the new protocol (KIP-848), as Kafka 4.3 keeps them: the coordinator assigns, members only say what they own.
//!
//! One [`ConsumerGroup`] is one group, owned by the machine of its partition of `__consumer_offsets`; it lives on that partition's home shard.
//! Three epochs drive it. The *group epoch* grows when members, subscriptions or topics change. The *target assignment* says what each member
//! shall own, and follows the group epoch. Each *member epoch* follows the target: a member first gives back what is no longer its own, and
//! gets a partition only when whoever had it has given it back. So a partition never has two owners.
//!
//! * [`heartbeat`](ConsumerGroup::heartbeat) is the whole protocol; [`reconcile`] moves one member one step towards its target.
//! * [`assignor`]: who shall own what. [`subscription`]: what a group subscribes to. [`regex`]: subscriptions by pattern.
//! * [`event`]: what changes a group. Every change is an event, applied and written at once, so that replay gives the same group.
//! * [`topics`]: what a group must know of the cluster. [`offsets`]: what members may do with offsets. [`describe`]: what administrators see.
//!
//! Nothing here waits, reads a clock or draws a random number; nothing is read or written but through the records of the caller.

mod assignment;
mod assignor;
mod describe;
mod error;
mod event;
mod group;
mod hash;
mod heartbeat;
mod leave;
mod member;
#[cfg(test)]
mod model;
mod offsets;
mod options;
mod reconcile;
mod regex;
mod request;
mod subscription;
mod target;
#[cfg(test)]
mod test_kit;
#[cfg(test)]
mod tests;
mod timers;
mod topics;

pub use assignment::{Owned, Target};
pub use assignor::Assignor;
pub use describe::{DescribedAssignment, DescribedConsumerGroup, DescribedConsumerMember};
pub use error::ConsumerGroupError;
pub use event::Replayed;
pub(crate) use group::bytes_of;
pub use group::{ConsumerGroup, GroupState};
pub(crate) use hash::metadata_hash;
pub use member::{Classic, Member, MemberState, Profile};
pub use offsets::CommitCheck;
pub use options::{ConsumerGroupOptions, Context};
pub use request::{ConsumerHeartbeat, ConsumerHeartbeatReply, OwnedTopic};
pub use topics::{Topic, TopicTable, Topics};
