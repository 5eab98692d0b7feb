//! Signals to this process (in the simulator: to this node).

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
    todo!()
}
