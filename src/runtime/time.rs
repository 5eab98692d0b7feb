//! The clock and timers. Monotonic time orders things; wall-clock time is only for record timestamps and people.

use crate::context::{Backend, backend, backend_of_shard};
use crate::{ring, sim};
use futures::future::{Either, select};
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

/// Monotonic time since an arbitrary start (in the simulator: virtual time since the simulation's start).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant {
    pub(crate) nanos: u64,
}

impl Instant {
    pub fn elapsed(self) -> Duration {
        now().since(self)
    }
    /// Zero when `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
    pub fn as_nanos(self) -> u64 {
        self.nanos
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, duration: Duration) -> Instant {
        Instant { nanos: self.nanos.saturating_add(duration.as_nanos().min(u64::MAX as u128) as u64) }
    }
}

pub fn now() -> Instant {
    match backend() {
        Backend::Sim => sim::time::now(),
        Backend::Ring | Backend::None => ring::time::now(),
    }
}

/// Milliseconds since 1970, UTC: Kafka's record timestamps.
pub fn wall_clock_ms() -> i64 {
    match backend() {
        Backend::Sim => sim::time::wall_clock_ms(),
        Backend::Ring | Backend::None => ring::time::wall_clock_ms(),
    }
}

pub async fn sleep(duration: Duration) {
    sleep_until(now() + duration).await
}

pub async fn sleep_until(deadline: Instant) {
    match backend_of_shard("sleep_until") {
        Backend::Sim => sim::time::sleep_until(deadline).await,
        _ => ring::time::sleep_until(deadline).await,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("deadline passed")]
pub struct Elapsed;

/// `Err(Elapsed)` when `future` is not ready within `duration`; it is dropped then.
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    match select(pin!(future), pin!(sleep(duration))).await {
        Either::Left((value, _)) => Ok(value),
        Either::Right(((), _)) => Err(Elapsed),
    }
}
