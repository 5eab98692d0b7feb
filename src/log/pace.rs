//! Decides how long a small write waits for company.
//!
//! A write costs CPU by the piece more than by the byte: 16 KiB at a time 1.2 CPU-s a GiB, 1 MiB at a time 0.03 (`bench/README.md`, "log
//! writes"). So when a shard makes many small ones, waiting a little makes fewer and larger ones of them. A shard that makes few never
//! waits, and one whose producers wait for their acks before they send more finds out that waiting brings nothing. Pure; one per shard, asked
//! and told by `writer`.

use ringlane_runtime::Instant;
use std::time::Duration;

/// Writes are counted over windows of this length.
const WINDOW: Duration = Duration::from_millis(10);
/// A write of this size is large enough not to wait.
const SMALL_BYTES: usize = 64 << 10;
/// From 2,000 small writes a second on (about a tenth of a core) a small write waits ...
const BUSY_WRITES: u32 = 20;
const BUSY_WAIT: Duration = Duration::from_micros(200);
/// ... and from 6,000 a second on, longer.
const VERY_BUSY_WRITES: u32 = 60;
const VERY_BUSY_WAIT: Duration = Duration::from_micros(500);

/// After a wait that brought less than half as much again, so many small writes do not wait: the next wait is a new try.
const SKIP_AFTER_VAIN_WAIT: u32 = 200;

#[derive(Default)]
pub(crate) struct Pace {
    window_start: Instant,
    small_writes: u32,
    /// Small writes in the window before.
    small_writes_before: u32,
    skip: u32,
}

impl Pace {
    pub fn wrote(&mut self, now: Instant, bytes: usize) {
        self.turn(now);
        self.small_writes += u32::from(bytes < SMALL_BYTES);
    }

    /// How long a write of `pending_bytes` should wait before it is planned.
    pub fn wait(&mut self, now: Instant, pending_bytes: usize) -> Option<Duration> {
        self.turn(now);
        if pending_bytes >= SMALL_BYTES {
            return None;
        }
        let wait = match self.small_writes_before.max(self.small_writes) {
            ..BUSY_WRITES => return None,
            BUSY_WRITES..VERY_BUSY_WRITES => BUSY_WAIT,
            VERY_BUSY_WRITES.. => VERY_BUSY_WAIT,
        };
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        Some(wait)
    }

    /// What a wait was good for.
    pub fn waited(&mut self, pending_bytes_before: usize, pending_bytes_after: usize) {
        if pending_bytes_after < pending_bytes_before + pending_bytes_before / 2 {
            self.skip = SKIP_AFTER_VAIN_WAIT;
        }
    }

    fn turn(&mut self, now: Instant) {
        let windows = now.since(self.window_start).as_nanos() / WINDOW.as_nanos();
        if windows == 0 {
            return;
        }
        self.small_writes_before = if windows == 1 { self.small_writes } else { 0 };
        self.small_writes = 0;
        self.window_start = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(micros: u64) -> Instant {
        Instant::default() + Duration::from_micros(micros)
    }

    /// Waiting on an idle shard would add to every ack for nothing; not waiting on a busy one costs a core.
    #[test]
    fn only_many_small_writes_make_a_small_write_wait() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait(after(1_000_000), 1_000), None);
        for n in 0..100 {
            pace.wrote(after(1_000_000 + n * 150), 16 << 10);
        }
        assert_eq!(pace.wait(after(1_015_000), 1_000), Some(VERY_BUSY_WAIT));
        assert_eq!(pace.wait(after(1_015_000), SMALL_BYTES), None, "large enough already");
        pace.waited(1_000, 2_000);
        assert!(pace.wait(after(1_015_000), 1_000).is_some());
        pace.waited(1_000, 1_400);
        for _ in 0..SKIP_AFTER_VAIN_WAIT {
            assert_eq!(pace.wait(after(1_015_000), 1_000), None, "it brought nothing");
        }
        assert!(pace.wait(after(1_015_000), 1_000).is_some(), "a new try");
        assert_eq!(pace.wait(after(1_100_000), 1_000), None, "idle again");

        for n in 0..100 {
            pace.wrote(after(2_000_000 + n * 150), 1 << 20);
        }
        assert_eq!(pace.wait(after(2_015_000), 1_000), None, "large writes are no reason to wait");
    }
}
