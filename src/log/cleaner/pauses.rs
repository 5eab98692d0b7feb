//! Decides which logs the cleaner leaves alone, and for how long.
//!
//! Pure; one per shard, asked by `scheduler`. A disk that is full or answers with an error may work again: such a log is tried again, after
//! ever longer pauses, so that a bad disk does not keep the cleaner from the others. Damage does not go away by itself: that log waits for the
//! next start.

use crate::LogKey;
use ringlane_runtime::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// However often it has failed: somebody may have made room.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(600);

pub(crate) struct Pauses {
    of: BTreeMap<LogKey, Pause>,
    /// After the first failure; doubled after each one that follows.
    pause_min: Duration,
}

struct Pause {
    /// `None`: for as long as the shard runs.
    until: Option<Instant>,
    /// In a row.
    failures: u32,
}

impl Pauses {
    pub fn new(pause_min: Duration) -> Pauses {
        Pauses { of: BTreeMap::new(), pause_min: pause_min.min(PAUSE_MAX) }
    }

    pub fn is_paused(&self, log: LogKey, now: Instant) -> bool {
        self.of.get(&log).is_some_and(|pause| pause.until.is_none_or(|until| now < until))
    }

    /// There is nothing to be done yet, and no fault.
    pub fn wait(&mut self, log: LogKey, now: Instant) {
        self.of.insert(log, Pause { until: Some(now + self.pause_min), failures: 0 });
    }

    /// A round failed and may succeed later: after the pause that is answered.
    pub fn failed(&mut self, log: LogKey, now: Instant) -> Duration {
        let failures = self.of.get(&log).map_or(0, |pause| pause.failures) + 1;
        let doubled = self.pause_min.checked_mul(1 << (failures - 1).min(16)).unwrap_or(PAUSE_MAX);
        let pause = doubled.min(PAUSE_MAX);
        self.of.insert(log, Pause { until: Some(now + pause), failures });
        pause
    }

    /// It will fail again.
    pub fn give_up(&mut self, log: LogKey) {
        self.of.insert(log, Pause { until: None, failures: 1 });
    }

    pub fn succeeded(&mut self, log: LogKey) {
        self.of.remove(&log);
    }

    /// Forgets logs that are gone.
    pub fn retain(&mut self, is_open: impl Fn(&LogKey) -> bool) {
        self.of.retain(|log, _| is_open(log));
    }

    /// Logs whose last round failed.
    pub fn failing(&self) -> usize {
        self.of.values().filter(|pause| pause.failures > 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a pause a full disk is written to without end; without an end of the pause one hour of it costs compaction until a restart.
    #[test]
    fn pauses_grow_and_end() {
        let mut pauses = Pauses::new(Duration::from_secs(15));
        let (log, mut now) = (LogKey(7), Instant::default() + Duration::from_secs(1));
        let mut seen = Vec::new();
        for _ in 0..40 {
            let pause = pauses.failed(log, now);
            assert!(pauses.is_paused(log, now) && pauses.failing() == 1);
            now = now + pause;
            assert!(!pauses.is_paused(log, now), "it is tried again");
            seen.push(pause.as_secs());
        }
        assert_eq!(seen[..7], [15, 30, 60, 120, 240, 480, 600]);
        assert!(seen[7..].iter().all(|secs| *secs == PAUSE_MAX.as_secs()));
        pauses.succeeded(log);
        assert_eq!(pauses.failed(log, now), Duration::from_secs(15), "in a row only");
    }

    /// A log that waits for a transaction is no fault that somebody must look at; damage is.
    #[test]
    fn waiting_is_no_failure_and_damage_is_for_good() {
        let mut pauses = Pauses::new(Duration::from_secs(15));
        let (waiting, damaged, now) = (LogKey(1), LogKey(2), Instant::default());
        pauses.wait(waiting, now);
        pauses.give_up(damaged);
        assert_eq!(pauses.failing(), 1);
        let later = now + Duration::from_secs(1 << 30);
        assert!(pauses.is_paused(waiting, now) && !pauses.is_paused(waiting, later));
        assert!(pauses.is_paused(damaged, later));
        pauses.retain(|log| *log == waiting);
        assert_eq!(pauses.failing(), 0);
    }
}
