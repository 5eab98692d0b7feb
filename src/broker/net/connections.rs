//! The connections of one shard: how many there are, which have been idle for too long, and how all of them end.

use super::connection::Connection;
use ringlane_runtime::{Budget, Instant, ShardId, now, sleep};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How often a shard looks for overdue connections: much less than the shortest useful `connections.max.idle.ms`.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// A client that has not read its answer for this long may lose its connection when others need the memory.
const UNREAD_MAX: Duration = Duration::from_secs(5);

/// How many connections each shard serves, those on their way to it included. The acceptor counts up, the serving shard counts down; read
/// to choose a shard, so a stale value costs a slightly worse choice.
#[derive(Clone)]
pub struct ConnectionCounts(Arc<[AtomicUsize]>);

impl ConnectionCounts {
    pub fn new(shards: usize) -> ConnectionCounts {
        ConnectionCounts((0..shards).map(|_| AtomicUsize::new(0)).collect())
    }
    /// Counts one more on the shard that has the fewest.
    pub fn take_least(&self) -> ShardId {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        let least = counts.enumerate().min_by_key(|&(shard, count)| (count, shard)).map_or(0, |(shard, _)| shard);
        self.0[least].fetch_add(1, Ordering::Relaxed);
        ShardId(least as u16)
    }
    pub fn give_back(&self, shard: ShardId) {
        self.0[shard.0 as usize].fetch_sub(1, Ordering::Relaxed);
    }
    pub fn total(&self) -> usize {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// The table. One per shard.
#[derive(Default)]
pub struct Connections {
    open: RefCell<Slab<Rc<Connection>>>,
    is_stopping: Cell<bool>,
}

/// A connection's entry in the table, and in all counts. Leaves them on drop, however the connection ends.
pub struct Place {
    connection: Rc<Connection>,
    key: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let shard = &self.connection.shard;
        drop(shard.connections.open.borrow_mut().remove(self.key));
        shard.counts.give_back(shard.id);
        shard.metrics.connections.decrement();
    }
}

impl Connections {
    pub fn enter(&self, connection: Rc<Connection>) -> Place {
        connection.shard.metrics.connections.increment();
        connection.shard.metrics.connections_accepted.increment();
        let key = self.open.borrow_mut().insert(connection.clone());
        Place { connection, key }
    }

    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Ends overdue connections, for as long as the shard runs; and while the shard's memory for fetched bytes is all taken, whoever has
    /// kept some of it longest without reading.
    pub async fn sweep(&self, fetched: &Budget) {
        loop {
            sleep(SWEEP_EVERY).await;
            let at = now();
            let mut closed = self.close_where(|connection| connection.is_overdue(at));
            let is_short = fetched.try_acquire(1).is_none();
            if is_short {
                closed.extend(self.close_slowest_reader(at));
            }
            closed.iter().for_each(|closed| closed.report_overdue());
        }
    }

    fn close_slowest_reader(&self, at: Instant) -> Option<Rc<Connection>> {
        let slowest = {
            let open = self.open.borrow();
            let reading = open.iter().filter_map(|(key, connection)| Some((connection.sending_since()?, key)));
            reading.min().filter(|(since, _)| at.since(*since) > UNREAD_MAX).map(|(_, key)| open[key].clone())
        };
        slowest.inspect(|connection| connection.close())
    }

    /// No request is taken any more.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    /// Takes no more requests, lets answers under way leave for at most `grace`, then closes.
    pub async fn stop(&self, grace: Duration) {
        self.is_stopping.set(true);
        let began = now();
        while began.elapsed() < grace {
            self.close_where(|connection| connection.responses.is_idle());
            if self.len() == 0 {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        self.close_where(|_| true);
    }

    fn close_where(&self, condition: impl Fn(&Connection) -> bool) -> Vec<Rc<Connection>> {
        // Copied out first: closing wakes tasks, and what they do is not our business here.
        let chosen: Vec<_> = {
            let open = self.open.borrow();
            open.iter()
                .filter(|(_, connection)| condition(connection))
                .map(|(_, connection)| connection.clone())
                .collect()
        };
        chosen.iter().for_each(|connection| connection.close());
        chosen
    }
}
