//! Reads topics as a member of a group: partitions come and go, offsets are committed, by either protocol.
//!
//! `classic` and `modern` are the two protocols, `ownership` is what the application was told, `member` orders all of it: pure state, driven
//! without a socket in tests. `driver` performs its steps, one at a time, from [`GroupConsumer::new`] to the end of the consumer; the records
//! come through the consumer of assigned partitions. `offsets` are the requests about committed offsets.

mod assignor;
mod classic;
mod driver;
mod member;
mod modern;
pub(crate) mod offsets;
mod ownership;
mod settings;

pub use assignor::Assignor;
pub use offsets::{CommittedOffset, GroupMetadata};
pub use settings::{GroupOptions, GroupProtocol};

use crate::consumer::{Consumer, ConsumerRecord, StartAt};
use crate::coordinator::{Coordinator, CoordinatorOf};
use crate::{Client, ClientError};
use driver::Host;
use futures::future::select;
use member::Member;
use offsets::Offsets;
use ownership::{Notice, Places};
use ringlane_protocol::TopicId;
use ringlane_runtime::{Event, now, oneshot, random_bytes, sleep_until, spawn, timeout};
use settings::Settings;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// A partition by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Rc<str>,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// What a poll gives. Polling again says that it was worked on: records count as read, and revoked partitions go on to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// In offset order within each partition; empty when there were none in time.
    Records(Vec<ConsumerRecord>),
    /// These are read from now on.
    Assigned(Vec<TopicPartition>),
    /// These are read no more. What was read of them can be committed before the next poll; with automatic commits the next poll does it.
    Revoked(Vec<TopicPartition>),
    /// These are gone already: another member may be reading them, and nothing can be committed.
    Lost(Vec<TopicPartition>),
}

/// A member of a group. Dropped without [`GroupConsumer::close`] it is missed only when its session ends.
pub struct GroupConsumer {
    shared: Rc<Shared>,
}

pub(crate) struct Shared {
    host: Rc<Host>,
    consumer: Consumer,
    member: RefCell<Member>,
    reset: Option<StartAt>,
    /// Leader epochs of the last records handed out.
    epochs: RefCell<BTreeMap<TopicPartition, i32>>,
    /// Something changed that the driver should look at.
    work: Event,
    /// The application wants to leave: no request is worth waiting for.
    interrupt: Event,
}

impl GroupConsumer {
    pub fn new(client: &Client, options: GroupOptions) -> GroupConsumer {
        let settings = Settings::from(&options);
        let member = match options.protocol {
            GroupProtocol::Classic => Member::classic(settings),
            GroupProtocol::Consumer => Member::modern(settings, random_id()),
        };
        let host = Host {
            client: client.clone(),
            coordinator: Coordinator::new(client, CoordinatorOf::Group, &options.group),
            settings: Settings::from(&options),
        };
        let shared = Rc::new(Shared {
            host: Rc::new(host),
            reset: options.consumer.reset,
            consumer: Consumer::new(client, options.consumer),
            member: RefCell::new(member),
            epochs: RefCell::default(),
            work: Event::default(),
            interrupt: Event::default(),
        });
        spawn("group member", driver::run(Rc::downgrade(&shared))).detach();
        GroupConsumer { shared }
    }

    /// Reads these topics from now on, and no others. One that does not exist is read when it does.
    pub fn subscribe(&self, topics: &[&str]) {
        let topics = topics.iter().map(|&topic| Rc::from(topic)).collect();
        self.shared.member.borrow_mut().subscribe(topics, None, now());
        self.shared.work.notify_all();
    }

    /// Reads the topics whose names match an RE2 expression, which the coordinator evaluates: with the consumer protocol only (KIP-848).
    pub fn subscribe_pattern(&self, expression: &str) {
        let expression = Some(expression.to_string());
        self.shared.member.borrow_mut().subscribe(BTreeSet::new(), expression, now());
        self.shared.work.notify_all();
    }

    /// The next records or the next change of the assignment, whichever is there first.
    pub async fn poll(&self, timeout: Duration) -> Result<Polled, ClientError> {
        let deadline = now() + timeout;
        let _inside = self.shared.enter_poll();
        loop {
            let changed = self.shared.consumer.changed().listen();
            if let Some(error) = self.shared.member.borrow().failure() {
                return Err(error);
            }
            let notice = self.shared.member.borrow_mut().hand_out();
            if let Some(notice) = notice {
                return self.shared.apply(notice);
            }
            let records = self.shared.consumer.poll_now()?;
            if !records.is_empty() || now() >= deadline {
                self.shared.note_epochs(&records);
                return Ok(Polled::Records(records));
            }
            select(pin!(changed), pin!(sleep_until(deadline))).await;
        }
    }

    /// Like [`GroupConsumer::poll`] for who does not care which partitions they come from.
    pub async fn records(&self, timeout: Duration) -> Result<Vec<ConsumerRecord>, ClientError> {
        let deadline = now() + timeout;
        loop {
            if let Polled::Records(records) = self.poll(deadline.since(now())).await? {
                return Ok(records);
            }
        }
    }

    /// Commits everything that was handed out, and waits for it.
    pub async fn commit(&self) -> Result<(), ClientError> {
        self.commit_offsets(self.shared.positions()).await
    }

    /// Commits these offsets, each that of the next record to read.
    pub async fn commit_offsets(&self, offsets: BTreeMap<TopicPartition, CommittedOffset>) -> Result<(), ClientError> {
        let who = self.group_metadata();
        commit(&self.shared, who, offsets).await
    }

    /// Commits everything that was handed out in the background; the answer can be waited for, or not.
    pub fn commit_soon(&self) -> impl Future<Output = Result<(), ClientError>> + 'static {
        let (shared, who, offsets) = (self.shared.clone(), self.group_metadata(), self.shared.positions());
        let (done, receiver) = oneshot();
        let work = async move {
            // Nobody may be waiting.
            let _ = done.send(commit(&shared, who, offsets).await);
        };
        spawn("group commit", work).detach();
        async move { receiver.await.unwrap_or(Err(ClientError::Closed { what: "group consumer" })) }
    }

    /// What the group has committed; partitions without are left out.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
        let host = &self.shared.host;
        let who = self.group_metadata();
        let places = offsets::fetch(&host.client, &host.coordinator, &who, Some(partitions), false).await?;
        Ok(places.into_iter().filter_map(|(at, place)| Some((at, place?))).collect())
    }

    /// Goes on from another place in a partition of the assignment.
    pub fn seek(&self, at: &TopicPartition, start: StartAt) -> Result<(), ClientError> {
        if !self.shared.member.borrow().assignment().contains(at) {
            return Err(ClientError::Misuse { what: format!("seek: {at} is not assigned to this member") });
        }
        self.shared.epochs.borrow_mut().remove(at);
        self.shared.consumer.assign_now(at.topic.clone(), at.partition, start);
        Ok(())
    }

    /// Offset of the next record that a poll gives; `None` while it is being found out.
    pub fn position(&self, at: &TopicPartition) -> Option<i64> {
        self.shared.consumer.position(&at.topic, at.partition)
    }

    /// The end that the last answer told; `None` before one came.
    pub fn end_offset(&self, at: &TopicPartition) -> Option<i64> {
        self.shared.consumer.end_offset(&at.topic, at.partition)
    }

    /// What the group has given to this member and not taken back.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.shared.member.borrow().assignment().iter().cloned().collect()
    }

    /// Who this member is now: what a transaction needs to commit its offsets.
    pub fn group_metadata(&self) -> GroupMetadata {
        self.shared.member.borrow().metadata()
    }

    /// Commits what was handed out and polled past, if that is automatic, and leaves the group. Reads no more until the next `subscribe`.
    pub async fn unsubscribe(&self) -> Result<(), ClientError> {
        let shared = &self.shared;
        let is_automatic = shared.member.borrow().settings().auto_commit.is_some();
        // As a poll would: the application is through with what it has.
        drop(shared.enter_poll());
        let rest = shared.member.borrow().uncommitted();
        let committed = if is_automatic { self.commit_offsets(rest).await } else { Ok(()) };
        let held = {
            let mut member = shared.member.borrow_mut();
            member.leave("the consumer was closed");
            member.let_go()
        };
        held.iter().for_each(|at| shared.consumer.unassign(&at.topic, at.partition));
        shared.interrupt.notify_all();
        shared.work.notify_all();
        // The driver says goodbye; the group does not need this consumer to wait for ever.
        let gone = async {
            loop {
                let changed = shared.consumer.changed().listen();
                if !shared.member.borrow().is_leaving() {
                    return;
                }
                changed.await;
            }
        };
        let _ = timeout(shared.host.client.options().request_timeout, gone).await;
        committed
    }

    /// [`GroupConsumer::unsubscribe`] for good.
    pub async fn close(self) -> Result<(), ClientError> {
        self.unsubscribe().await
    }
}

async fn commit(shared: &Shared, who: GroupMetadata, offsets: Offsets) -> Result<(), ClientError> {
    offsets::commit(&shared.host.client, &shared.host.coordinator, &who, &offsets).await?;
    shared.member.borrow_mut().committed(&offsets);
    Ok(())
}

/// Ends a poll, also one that was dropped while it waited.
struct InsidePoll<'a>(&'a Shared);

impl Drop for InsidePoll<'_> {
    fn drop(&mut self) {
        self.0.member.borrow_mut().poll_ends(now());
        self.0.work.notify_all();
    }
}

impl Shared {
    fn enter_poll(&self) -> InsidePoll<'_> {
        let positions = self.positions();
        self.member.borrow_mut().poll_begins(positions);
        self.work.notify_all();
        InsidePoll(self)
    }

    /// Where the application stands in what it has.
    fn positions(&self) -> Offsets {
        let epochs = self.epochs.borrow();
        let place = |at: &TopicPartition| {
            let offset = self.consumer.position(&at.topic, at.partition)?;
            let leader_epoch = epochs.get(at).copied().unwrap_or(-1);
            Some((at.clone(), CommittedOffset { offset, leader_epoch, metadata: String::new() }))
        };
        self.member.borrow().assignment().iter().filter_map(place).collect()
    }

    fn note_epochs(&self, records: &[ConsumerRecord]) {
        let mut epochs = self.epochs.borrow_mut();
        for run in records.chunk_by(|a, b| a.partition == b.partition && a.topic == b.topic) {
            if let Some(last) = run.last() {
                let at = TopicPartition { topic: last.topic.clone(), partition: last.partition };
                epochs.insert(at, last.leader_epoch);
            }
        }
    }

    /// Makes a change of the assignment true for the records that come next.
    fn apply(&self, notice: Notice) -> Result<Polled, ClientError> {
        match notice {
            Notice::Assigned(places) => self.begin(places),
            Notice::Revoked(gone) => Ok(Polled::Revoked(self.stop(gone))),
            Notice::Lost(gone) => Ok(Polled::Lost(self.stop(gone))),
        }
    }

    fn begin(&self, places: Places) -> Result<Polled, ClientError> {
        for (at, place) in &places {
            let start = match place {
                Some(committed) => Some(StartAt::Offset(committed.offset)),
                None => self.reset,
            };
            let Some(start) = start else {
                let group = self.host.settings.group.clone();
                let error = ClientError::NoOffset { group, topic: at.topic.to_string(), partition: at.partition };
                self.member.borrow_mut().fail(error.clone());
                return Err(error);
            };
            self.consumer.assign_now(at.topic.clone(), at.partition, start);
        }
        Ok(Polled::Assigned(places.into_keys().collect()))
    }

    fn stop(&self, gone: BTreeSet<TopicPartition>) -> Vec<TopicPartition> {
        for at in &gone {
            self.consumer.unassign(&at.topic, at.partition);
            self.epochs.borrow_mut().remove(at);
        }
        gone.into_iter().collect()
    }
}

/// As Kafka's clients make theirs: 16 random bytes in base 64.
fn random_id() -> String {
    loop {
        // Some begin with a dash, which Kafka never gives.
        if let Some(id) = TopicId::from_random(random_bytes()) {
            return id.to_string();
        }
    }
}

#[cfg(test)]
mod tests;
