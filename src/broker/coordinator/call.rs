//! How a connection shard asks a coordinator, on whatever shard it lives.
//!
//! JoinGroup and SyncGroup may wait for minutes. A request on a lane holds a credit until its reply is received, so these two must not wait
//! there: they leave a ticket, are acknowledged at once, and their answer comes as a message of its own. Everything else waits for the
//! disk at most, as Produce does, and is answered on its lane.

use super::machine::Machine;
use super::topic::{CoordinatorTopic, partition_of};
use crate::mesh::{Reply, ShardReply, ShardRequest};
use crate::shard::Shard;
use crate::task::start;
use ringlane_coordinator::group::{GroupMachine, GroupReply, GroupRequest};
use ringlane_metadata::Topic;
use ringlane_partition::{TopicPartition, VerificationGuard};
use ringlane_protocol::ErrorCode;
use ringlane_runtime::{OneshotSender, ShardId, oneshot};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The answer to a request about a group, or what its coordinator says instead of all answers.
pub type GroupResult = Result<GroupReply, ErrorCode>;

pub struct GroupCall {
    pub at: TopicPartition,
    pub request: GroupRequest,
    pub via: ReplyVia,
    /// Of a commit within a transaction: what its home shard gave before the transaction's coordinator agreed.
    pub guard: Option<VerificationGuard>,
}

#[derive(Clone, Copy)]
pub enum ReplyVia {
    Lane,
    Ticket(Ticket),
}

/// Names a request that waits, on the shard that waits for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket {
    pub shard: ShardId,
    pub number: u64,
}

/// Who waits for answers by ticket. Bounded by the requests in progress.
#[derive(Default)]
pub struct Answers {
    next: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, OneshotSender<GroupResult>>>,
}

impl Answers {
    /// An answer has come; its connection may be gone.
    pub fn settle(&self, number: u64, result: GroupResult) {
        let waiting = self.waiting.borrow_mut().remove(&number);
        if let Some(waiting) = waiting {
            drop(waiting.send(result));
        }
    }

    fn open(&self, waiting: OneshotSender<GroupResult>) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        self.waiting.borrow_mut().insert(number, waiting);
        number
    }
}

/// Takes its entry away when the request is answered or given up.
struct Open<'a> {
    answers: &'a Answers,
    number: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.answers.waiting.borrow_mut().remove(&self.number);
    }
}

impl Shard {
    /// Asks the coordinator of `group`, if it is this broker.
    pub async fn ask_group(self: &Rc<Self>, group: &str, request: GroupRequest) -> GroupResult {
        let at = self.coordinator_of(group)?;
        self.ask_coordinator(at, request).await
    }

    /// Asks the coordinator at `at`.
    pub async fn ask_coordinator(self: &Rc<Self>, at: TopicPartition, request: GroupRequest) -> GroupResult {
        let home = self.placement.home(at.topic_id, at.partition);
        let may_wait_long = matches!(request, GroupRequest::Join(_) | GroupRequest::Sync(_));
        if !may_wait_long || home == self.id {
            return self.ask_coordinator_guarded(at, request, None).await;
        }
        let (sender, receiver) = oneshot();
        let answers = &self.coordinators.answers;
        let open = Open { answers, number: answers.open(sender) };
        let via = ReplyVia::Ticket(Ticket { shard: self.id, number: open.number });
        let taken = self.ask(home, ShardRequest::Group(GroupCall { at, request, via, guard: None })).await;
        let result = match taken {
            Some(_) => receiver.await,
            None => None,
        };
        drop(open);
        result.unwrap_or(Err(ErrorCode::NotCoordinator))
    }

    /// A request that is answered on its lane, with the guard that a commit within a transaction needs.
    pub async fn ask_coordinator_guarded(
        self: &Rc<Self>,
        at: TopicPartition,
        request: GroupRequest,
        guard: Option<VerificationGuard>,
    ) -> GroupResult {
        let home = self.placement.home(at.topic_id, at.partition);
        let call = GroupCall { at, request, via: ReplyVia::Lane, guard };
        match self.ask(home, ShardRequest::Group(call)).await {
            Some(ShardReply::Group(result)) => result,
            _ => Err(ErrorCode::NotCoordinator),
        }
    }

    /// The partition that coordinates `group`. `Err`: not here.
    pub fn coordinator_of(&self, group: &str) -> Result<TopicPartition, ErrorCode> {
        let image = self.image();
        let topic = image.topic_by_name(CoordinatorTopic::Offsets.name()).ok_or(ErrorCode::NotCoordinator)?;
        let partition = partition_of(group, topic.partitions.len());
        let is_led_here = topic.partition(partition).is_some_and(|found| found.leader == self.identity.node_id);
        match is_led_here {
            true => Ok(TopicPartition { topic_id: topic.id, partition }),
            false => Err(ErrorCode::NotCoordinator),
        }
    }

    /// All partitions whose groups this broker coordinates.
    pub fn coordinated(&self) -> Vec<TopicPartition> {
        let image = self.image();
        let led = |topic: &Topic| -> Vec<TopicPartition> {
            let partitions = (0..).zip(topic.partitions.iter());
            let led = partitions.filter(|(_, partition)| partition.leader == self.identity.node_id);
            led.map(|(partition, _)| TopicPartition { topic_id: topic.id, partition }).collect()
        };
        image.topic_by_name(CoordinatorTopic::Offsets.name()).map(|topic| led(topic)).unwrap_or_default()
    }

    /// The home shard's side: one step of the coordinator.
    pub fn serve_group(self: &Rc<Self>, call: GroupCall, reply: Reply) {
        let GroupCall { at, request, via, guard } = call;
        match via {
            ReplyVia::Lane => {
                let answer = move |result| reply.send(ShardReply::Group(result));
                // Before the coordinator decides: what it has decided must not be refused by its log.
                if let Some(stamp) = GroupMachine::producer_of(&request)
                    && let Err(error) = self.home.may_write(at, stamp.id, stamp.epoch, guard)
                {
                    return answer(Err(error));
                }
                self.coordinators.groups.request(at, request, Box::new(answer));
            }
            ReplyVia::Ticket(ticket) => {
                reply.send(ShardReply::Done);
                let shard = self.clone();
                let answer = move |result| shard.send_answer(ticket, result);
                self.coordinators.groups.request(at, request, Box::new(answer));
            }
        }
    }

    /// Sent at once while there are credits; its receiver acknowledges without waiting for anybody.
    fn send_answer(self: Rc<Self>, ticket: Ticket, result: GroupResult) {
        start("group answer", async move {
            drop(self.call(ticket.shard, ShardRequest::GroupAnswer(ticket.number, result)).await);
        });
    }
}
