//! Reads topics as a member of a group (the classic protocol): the group shares out the partitions, and remembers how far each has been read.
//!
//! `membership` decides what to ask of the coordinator and what an answer means, and knows no socket; `assignor` is the leader's work;
//! `wire` reads and writes the bytes that members exchange. Here they are put to use: [`GroupConsumer::poll`] joins when it must, a task
//! sends heartbeats. Rebalances are eager: a member gives everything back before it joins again.

mod assignor;
mod coordinator;
mod membership;
pub(crate) mod wire;

use crate::retry::Retry;
use crate::{Client, ClientError, Consumer, ConsumerOptions, ConsumerRecord, StartAt};
use coordinator::Coordinator;
use membership::{Identity, Membership, Next};
use ringlane_runtime::{Instant, Task, now, sleep, spawn};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// A poll is cut into pieces so that a rebalance is noticed soon.
const POLL_SLICE: Duration = Duration::from_millis(200);
/// Before a member that was told to join again does so.
const REJOIN_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
pub struct GroupConsumerOptions {
    pub group: String,
    /// The coordinator gives the partitions to others after this long without a heartbeat.
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    /// How long a rebalance waits for this member; also the longest time between two polls of a member that is not stuck.
    pub max_poll_interval: Duration,
    /// A name that stays when the process restarts (KIP-345): no rebalance if it comes back within the session.
    pub instance_id: Option<String>,
    /// Where to begin in a partition that the group has not read from.
    pub start: StartAt,
    pub consumer: ConsumerOptions,
}

impl GroupConsumerOptions {
    /// Kafka's defaults, except that a new group begins at the start.
    pub fn of(group: &str) -> GroupConsumerOptions {
        GroupConsumerOptions {
            group: group.to_owned(),
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            instance_id: None,
            start: StartAt::Earliest,
            consumer: ConsumerOptions::default(),
        }
    }
}

/// A member of a group. What `poll` has handed out is committed by [`GroupConsumer::commit`], and by nothing else: after a rebalance or a
/// restart records come again from where the group has committed.
pub struct GroupConsumer {
    consumer: Consumer,
    shared: Rc<Shared>,
    _heartbeats: Task<()>,
}

struct Shared {
    client: Client,
    options: GroupConsumerOptions,
    coordinator: Coordinator,
    membership: RefCell<Membership>,
    /// Next offset of each partition that this member has, as far as it was handed out.
    positions: RefCell<BTreeMap<(String, i32), i64>>,
    /// Whether some of them are not committed.
    has_uncommitted: Cell<bool>,
    polled: Cell<Instant>,
}

impl GroupConsumer {
    /// Joins with the first `poll`.
    pub fn new(client: &Client, topics: &[&str], options: GroupConsumerOptions) -> GroupConsumer {
        let shared = Rc::new(Shared {
            client: client.clone(),
            coordinator: Coordinator::new(client, &options),
            membership: RefCell::new(Membership::new(topics.iter().map(|topic| topic.to_string()).collect())),
            positions: RefCell::default(),
            has_uncommitted: Cell::new(false),
            polled: Cell::new(now()),
            options,
        });
        let consumer = Consumer::new(client, shared.options.consumer.clone());
        let beating = shared.clone();
        let heartbeats = spawn("heartbeats", async move { beating.send_heartbeats().await });
        GroupConsumer { consumer, shared, _heartbeats: heartbeats }
    }

    /// The next records of the partitions that this member has; empty when there were none within `timeout`. Takes part in rebalances, which
    /// may take longer.
    pub async fn poll(&self, timeout: Duration) -> Result<Vec<ConsumerRecord>, ClientError> {
        let deadline = now() + timeout;
        loop {
            self.shared.polled.set(now());
            if self.shared.membership.borrow().next() != Next::Work {
                self.rejoin().await?;
            }
            let left = deadline.since(now());
            let records = self.consumer.poll(left.min(POLL_SLICE)).await?;
            let must_rejoin = self.shared.membership.borrow().next() != Next::Work;
            if must_rejoin {
                // Not handed out: whoever gets the partitions reads them from what is committed.
                continue;
            }
            if !records.is_empty() || now() >= deadline {
                self.note_positions(&records);
                return Ok(records);
            }
        }
    }

    /// Commits all that `poll` has handed out, if that is more than is committed already. `Err` with REBALANCE_IN_PROGRESS, ILLEGAL_GENERATION or UNKNOWN_MEMBER_ID: the partitions may be
    /// another's by now, and it begins at the last commit.
    pub async fn commit(&self) -> Result<(), ClientError> {
        let positions = self.shared.positions.borrow().clone();
        let identity = self.shared.membership.borrow().identity();
        if positions.is_empty() || !self.shared.has_uncommitted.replace(false) {
            return Ok(());
        }
        let committed = self.shared.coordinator.commit(&identity, &positions).await;
        if let Err(error) = &committed {
            self.shared.has_uncommitted.set(true);
            if !self.shared.note_error(&identity, error) {
                self.shared.coordinator.forget();
            }
        }
        committed
    }

    /// The partitions that this member has now.
    pub fn assignment(&self) -> Vec<(String, i32)> {
        self.shared.membership.borrow().assignment()
    }

    /// Leaves the group, unless it is to come back under its instance id. Commits nothing.
    pub async fn close(self) -> Result<(), ClientError> {
        let identity = self.shared.membership.borrow_mut().leave();
        if identity.member_id.is_empty() || self.shared.options.instance_id.is_some() {
            return Ok(());
        }
        self.shared.coordinator.leave(&identity).await
    }

    /// Gives everything back and joins, until this member has its part of a generation.
    async fn rejoin(&self) -> Result<(), ClientError> {
        self.give_back();
        let mut retry = Retry::within(self.shared.options.max_poll_interval);
        let what = format!("joining group {}", self.shared.options.group);
        loop {
            self.shared.polled.set(now());
            let (next, identity) = {
                let membership = self.shared.membership.borrow();
                (membership.next(), membership.identity())
            };
            let done = match next {
                Next::Join => self.shared.join().await,
                Next::Sync { is_leader } => self.shared.sync(is_leader).await,
                Next::Work => match self.take_over().await {
                    Ok(()) => return Ok(()),
                    Err(error) => Err(error),
                },
            };
            match done {
                Ok(()) => {}
                Err(error) if self.shared.note_error(&identity, &error) => sleep(REJOIN_PAUSE).await,
                Err(error) => {
                    self.shared.coordinator.forget();
                    retry.after(&what, error).await?;
                }
            }
        }
    }

    fn give_back(&self) {
        let positions = self.shared.positions.take();
        for (topic, partition) in positions.into_keys() {
            self.consumer.unassign(&topic, partition);
        }
        for (topic, partition) in self.assignment() {
            self.consumer.unassign(&topic, partition);
        }
    }

    /// Begins in each partition where the group has committed.
    async fn take_over(&self) -> Result<(), ClientError> {
        let assignment = self.assignment();
        let committed = self.shared.coordinator.committed(&assignment).await?;
        for at in assignment {
            let start = committed.get(&at).map_or(self.shared.options.start, |offset| StartAt::Offset(*offset));
            self.consumer.assign(&at.0, at.1, start).await?;
        }
        Ok(())
    }

    fn note_positions(&self, records: &[ConsumerRecord]) {
        let mut positions = self.shared.positions.borrow_mut();
        for record in records {
            positions.insert((record.topic.to_string(), record.partition), record.offset + 1);
        }
        if !records.is_empty() {
            self.shared.has_uncommitted.set(true);
        }
    }
}

impl Shared {
    async fn join(&self) -> Result<(), ClientError> {
        let (identity, topics) = {
            let membership = self.membership.borrow();
            (membership.identity(), membership.topics().to_vec())
        };
        let joined = self.coordinator.join(&identity, &topics).await?;
        self.membership.borrow_mut().joined(joined);
        Ok(())
    }

    async fn sync(&self, is_leader: bool) -> Result<(), ClientError> {
        let identity = self.membership.borrow().identity();
        let parts = match is_leader {
            true => self.share_out().await?,
            false => BTreeMap::new(),
        };
        let assignment = self.coordinator.sync(&identity, &parts).await?;
        self.membership.borrow_mut().synced(assignment);
        Ok(())
    }

    /// The leader's work.
    async fn share_out(&self) -> Result<assignor::Parts, ClientError> {
        let members = self.membership.borrow().members().clone();
        let mut partitions = BTreeMap::new();
        for topic in members.values().flatten() {
            if !partitions.contains_key(topic) {
                let count = self.client.refresh(topic).await.map_or(0, |info| info.partitions.len());
                partitions.insert(topic.clone(), count as i32);
            }
        }
        Ok(assignor::range(&members, &partitions))
    }

    async fn send_heartbeats(&self) {
        loop {
            sleep(self.options.heartbeat_interval).await;
            let identity = {
                let membership = self.membership.borrow();
                membership.is_member().then(|| membership.identity())
            };
            let Some(identity) = identity else { continue };
            if self.polled.get().elapsed() > self.options.max_poll_interval {
                // The application is stuck: others must have its partitions.
                self.membership.borrow_mut().lost();
                drop(self.coordinator.leave(&identity).await);
                continue;
            }
            if let Err(error) = self.coordinator.heartbeat(&identity).await
                && !self.note_error(&identity, &error)
            {
                self.coordinator.forget();
            }
        }
    }

    /// Whether the error is an answer about the membership of `identity`. If that is still ours, it has changed.
    fn note_error(&self, identity: &Identity, error: &ClientError) -> bool {
        let Some(code) = error.code() else { return false };
        let mut membership = self.membership.borrow_mut();
        match membership.identity() == *identity {
            true => membership.refused(code),
            // An answer to the member that this one was before.
            false => Membership::is_about_membership(code),
        }
    }
}
