//! What a host needs of a machine. One implementation for each kind of coordinator.

use ringlane_coordinator::group::{GroupMachine, GroupReply, GroupRequest};
use ringlane_coordinator::{Effects, ReplyTo};
use ringlane_protocol::TopicId;
use ringlane_protocol::internal::InternalRecordError;
use ringlane_protocol::records::ProducerStamp;

pub trait Machine: 'static {
    type Request: 'static;
    type Reply: 'static;

    fn request(&mut self, now_ms: i64, to: ReplyTo, request: Self::Request) -> Effects<Self::Reply>;

    /// Whose transaction the records of a request belong to.
    fn producer_of(request: &Self::Request) -> Option<ProducerStamp>;

    /// When [`Self::on_time`] wants to be called. May be early.
    fn next_deadline(&self) -> Option<i64>;

    fn on_time(&mut self, now_ms: i64) -> Effects<Self::Reply>;

    /// One record of the log, in order.
    fn replay(&mut self, key: &[u8], value: Option<&[u8]>, producer_id: Option<i64>)
    -> Result<(), InternalRecordError>;

    /// One marker of the log, in order with the records.
    fn replay_marker(&mut self, producer_id: i64, is_commit: bool);

    /// The log has been replayed to its end.
    fn loaded(&mut self, now_ms: i64) -> Effects<Self::Reply>;

    fn topics_deleted(&mut self, topics: Vec<(TopicId, String)>);

    /// What the machine has said to [`UNASKED`]: the records that it was said with are stable.
    fn unasked(&self, _said: Self::Reply) {}
}

/// To whom a machine says what nobody has asked for.
pub use ringlane_coordinator::UNASKED;

impl Machine for GroupMachine {
    type Request = GroupRequest;
    type Reply = GroupReply;

    fn request(&mut self, now_ms: i64, to: ReplyTo, request: GroupRequest) -> Effects<GroupReply> {
        GroupMachine::request(self, now_ms, to, request)
    }

    fn producer_of(request: &GroupRequest) -> Option<ProducerStamp> {
        match request {
            GroupRequest::CommitTransactionalOffsets(request) => Some(ProducerStamp {
                id: request.producer_id,
                epoch: request.producer_epoch,
                base_sequence: ProducerStamp::NONE.base_sequence,
            }),
            _ => None,
        }
    }

    fn next_deadline(&self) -> Option<i64> {
        GroupMachine::next_deadline(self)
    }

    fn on_time(&mut self, now_ms: i64) -> Effects<GroupReply> {
        GroupMachine::on_time(self, now_ms)
    }

    fn replay(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        producer_id: Option<i64>,
    ) -> Result<(), InternalRecordError> {
        GroupMachine::replay(self, key, value, producer_id)
    }

    fn replay_marker(&mut self, producer_id: i64, is_commit: bool) {
        GroupMachine::replay_marker(self, producer_id, is_commit);
    }

    fn loaded(&mut self, now_ms: i64) -> Effects<GroupReply> {
        GroupMachine::loaded(self, now_ms)
    }

    fn topics_deleted(&mut self, topics: Vec<(TopicId, String)>) {
        GroupMachine::topics_deleted(self, topics);
    }
}
