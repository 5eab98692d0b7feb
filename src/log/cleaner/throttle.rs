//! Decides how long the cleaner waits after an I/O so that it stays below `log.cleaner.io.max.bytes.per.second`.
//!
//! Pure; one per shard, asked by `clean`.

use ringlane_runtime::Instant;
use std::time::Duration;

/// However low the rate: a round that sleeps longer at a time would not notice that its log is gone.
const WAIT_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Throttle {
    bytes_per_second: f64,
    /// When the bytes spent so far are paid for.
    paid_at: Instant,
}

impl Throttle {
    pub fn new(bytes_per_second: f64) -> Throttle {
        Throttle { bytes_per_second: bytes_per_second.max(1.0), paid_at: Instant::default() }
    }

    /// `bytes` were read or written.
    pub fn spent(&mut self, now: Instant, bytes: usize) {
        let cost = Duration::try_from_secs_f64(bytes as f64 / self.bytes_per_second).unwrap_or(Duration::MAX / 4);
        let from = if self.paid_at > now { self.paid_at } else { now };
        self.paid_at = from + cost;
    }

    /// How long to wait before the next I/O; asked again after that.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        (self.paid_at > now).then(|| self.paid_at.since(now).min(WAIT_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without it a cleaner takes what the disk has, and producers get the rest.
    #[test]
    fn the_rate_is_kept_over_time() {
        let mut now = Instant::default() + Duration::from_secs(100);
        let start = now;
        let mut throttle = Throttle::new(1_000_000.0);
        for _ in 0..50 {
            throttle.spent(now, 100_000);
            while let Some(wait) = throttle.wait(now) {
                assert!(wait <= WAIT_MAX);
                now = now + wait;
            }
        }
        assert_eq!(now.since(start), Duration::from_secs(5));
        let mut unlimited = Throttle::new(f64::MAX);
        unlimited.spent(now, usize::MAX);
        assert_eq!(unlimited.wait(now), None);
    }
}
