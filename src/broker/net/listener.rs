//! Accepts connections and hands each to the shard that serves the fewest.
//!
//! Lives on shard 0, one acceptor per listener. Kernel hashing (SO_REUSEPORT) leaves a third of 8 shards idle at 8 connections; a hand-off
//! by count does not. At `max.connections` it stops accepting, so the kernel's backlog holds the rest.

use super::connections::ConnectionCounts;
use ringlane_runtime::{Listener, ShardId, Socket, sleep};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How long to wait before looking again when full, or out of file descriptors: both end when some connection does.
const FULL_WAIT: Duration = Duration::from_millis(50);
/// Failed accepts in a row before the next log line.
const FAILURES_PER_LINE: u32 = 100;
/// From this many known addresses on, those without a connection are forgotten at each accept.
const ADDRESSES_SWEPT_AT: usize = 4096;

/// A connection on its way to its shard.
pub struct Accepted {
    pub socket: Socket,
    pub listener: Arc<str>,
    /// Kept while the connection is open: how connections of one address are counted.
    pub from: Arc<()>,
}

pub struct Acceptor {
    pub name: Arc<str>,
    listener: Listener,
    connections_max: usize,
    connections_per_ip_max: usize,
    /// One token per address, a clone of it with each of its connections.
    addresses: RefCell<BTreeMap<IpAddr, Arc<()>>>,
}

impl Acceptor {
    /// `limits`: `max.connections`, `max.connections.per.ip`.
    pub async fn bind(name: Arc<str>, address: SocketAddr, limits: (usize, usize)) -> io::Result<Acceptor> {
        let listener = Listener::bind(address).await?;
        let (connections_max, connections_per_ip_max) = limits;
        Ok(Acceptor { name, listener, connections_max, connections_per_ip_max, addresses: RefCell::default() })
    }

    pub fn local_address(&self) -> SocketAddr {
        self.listener.local_address()
    }

    /// Accepts for ever; `hand_off` takes each connection to its shard.
    pub async fn run<F: Future<Output = ()>>(
        &self,
        counts: ConnectionCounts,
        hand_off: impl Fn(ShardId, Accepted) -> F,
    ) {
        let mut failures = 0u32;
        loop {
            if counts.total() >= self.connections_max {
                sleep(FULL_WAIT).await;
                continue;
            }
            match self.listener.accept().await {
                Ok(socket) => {
                    failures = 0;
                    let Some(from) = self.admit(socket.peer_address().ip()) else {
                        tracing::debug!(peer = %socket.peer_address(), "closed: max.connections.per.ip");
                        continue;
                    };
                    hand_off(counts.take_least(), Accepted { socket, listener: self.name.clone(), from }).await;
                }
                Err(error) => {
                    if failures.is_multiple_of(FAILURES_PER_LINE) {
                        tracing::error!(listener = %self.name, %error, connections = counts.total(),
                            "cannot accept connections; out of file descriptors? raise `ulimit -n`");
                    }
                    failures = failures.wrapping_add(1);
                    sleep(FULL_WAIT).await;
                }
            }
        }
    }

    /// `None`: the address has as many connections as it may have.
    fn admit(&self, address: IpAddr) -> Option<Arc<()>> {
        let mut addresses = self.addresses.borrow_mut();
        if addresses.len() >= ADDRESSES_SWEPT_AT {
            addresses.retain(|_, token| Arc::strong_count(token) > 1);
        }
        let token = addresses.entry(address).or_default();
        let open = Arc::strong_count(token) - 1;
        (open < self.connections_per_ip_max).then(|| token.clone())
    }
}
