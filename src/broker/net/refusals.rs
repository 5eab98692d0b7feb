//! Logs why clients were refused, at a bounded rate: a hostile client must not be able to fill the disk with log lines.
//!
//! One per shard. What is not logged is counted, and the count is in the next line.

use super::responses::CloseReason;
use ringlane_runtime::{Instant, now};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

/// Lines of one shard in one [`WINDOW`].
const LINES_PER_WINDOW: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Refusals {
    window_began: Cell<Option<Instant>>,
    lines: Cell<u32>,
    unlogged: Cell<u64>,
}

impl Refusals {
    pub fn report(&self, peer: SocketAddr, reason: &CloseReason) {
        if self.window_began.get().is_none_or(|began| began.elapsed() > WINDOW) {
            self.window_began.set(Some(now()));
            self.lines.set(0);
        }
        if self.lines.get() >= LINES_PER_WINDOW {
            self.unlogged.set(self.unlogged.get() + 1);
            return;
        }
        self.lines.set(self.lines.get() + 1);
        let unlogged = self.unlogged.take();
        tracing::warn!(%peer, unlogged, "connection closed: {reason}");
    }
}
