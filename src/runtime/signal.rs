//! Signals to this process (in the simulator: to this node).

use crate::context::{Backend, backend_of_shard};
use crate::{ring, sim};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop in order.
    Stop,
    /// SIGHUP: reread what can be reread.
    Reload,
    /// SIGUSR1: print the counters.
    Report,
}

/// The next signal. One waiter at a time, on shard 0.
pub async fn next_signal() -> Signal {
    match backend_of_shard("next_signal") {
        Backend::Sim => sim::signal::next_signal().await,
        _ => ring::signal::next_signal().await,
    }
}
