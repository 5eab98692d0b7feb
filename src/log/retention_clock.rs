//! Which time retention counts with: the wall clock, unless it has just leapt ahead.
//!
//! Pure; one per shard, asked at each check. A clock set years ahead by mistake would make every segment of every topic too old at once,
//! and what was deleted does not come back when the clock does. So after a leap of more than [`LEAP_MS`] between two checks, age counts
//! for nothing for [`PAUSE`]: time to see the error in the log and put the clock right. If it stays, it was right. A leap back deletes
//! nothing and is believed at once.

use ringlane_runtime::Instant;
use std::time::Duration;

/// More than any clock drifts between two checks, less than what anybody keeps records for.
const LEAP_MS: i64 = 3_600_000;
const LEAP_BACK_MS: i64 = -LEAP_MS;
const PAUSE: Duration = Duration::from_secs(3600);

#[derive(Debug, Default)]
pub struct RetentionClock {
    /// Monotonic and wall-clock time of the last check.
    last: Option<(Instant, i64)>,
    paused_until: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetentionTime {
    Now(i64),
    /// Seen first at this check: worth an error in the log.
    Leapt {
        ahead_ms: i64,
    },
    /// Still waiting whether the clock is put right.
    Paused,
}

impl RetentionTime {
    /// `None`: age counts for nothing now.
    pub fn now_ms(self) -> Option<i64> {
        match self {
            RetentionTime::Now(ms) => Some(ms),
            RetentionTime::Leapt { .. } | RetentionTime::Paused => None,
        }
    }
}

impl RetentionClock {
    pub fn check(&mut self, now: Instant, wall_ms: i64) -> RetentionTime {
        let last = self.last.replace((now, wall_ms));
        let ahead_ms = last.map_or(0, |(then, then_ms)| {
            let elapsed_ms = i64::try_from(now.since(then).as_millis()).unwrap_or(i64::MAX);
            wall_ms.saturating_sub(then_ms).saturating_sub(elapsed_ms)
        });
        match ahead_ms {
            LEAP_MS.. => {
                self.paused_until = Some(now + PAUSE);
                RetentionTime::Leapt { ahead_ms }
            }
            ..=LEAP_BACK_MS => {
                self.paused_until = None;
                RetentionTime::Now(wall_ms)
            }
            _ if self.paused_until.is_some_and(|until| now < until) => RetentionTime::Paused,
            _ => {
                self.paused_until = None;
                RetentionTime::Now(wall_ms)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_767_225_600_000;
    const YEAR_MS: i64 = 365 * 24 * 3_600_000;

    fn at(minutes: u64) -> Instant {
        Instant::default() + Duration::from_secs(60 * minutes)
    }

    fn wall(minutes: u64) -> i64 {
        START_MS + 60_000 * minutes as i64
    }

    /// A clock set to the wrong year and put right within the hour must not cost a single record.
    #[test]
    fn a_leap_ahead_is_not_believed_and_forgotten_when_it_is_undone() {
        let mut clock = RetentionClock::default();
        assert_eq!(clock.check(at(0), wall(0)), RetentionTime::Now(wall(0)));
        assert_eq!(clock.check(at(5), wall(5)), RetentionTime::Now(wall(5)));
        assert_eq!(clock.check(at(10), wall(10) + YEAR_MS), RetentionTime::Leapt { ahead_ms: YEAR_MS });
        assert_eq!(clock.check(at(15), wall(15) + YEAR_MS), RetentionTime::Paused);
        assert_eq!(clock.check(at(20), wall(20)), RetentionTime::Now(wall(20)));
    }

    /// A machine that woke up, or booted with a clock of 1970, has the right time now: retention must go on some day.
    #[test]
    fn a_leap_that_stays_is_believed_after_an_hour() {
        let mut clock = RetentionClock::default();
        clock.check(at(0), 0);
        assert!(matches!(clock.check(at(5), wall(5)), RetentionTime::Leapt { .. }));
        assert_eq!(clock.check(at(64), wall(64)).now_ms(), None);
        assert_eq!(clock.check(at(66), wall(66)).now_ms(), Some(wall(66)));
    }

    /// Checks far apart, or a clock that drifts, are no leap.
    #[test]
    fn slow_checks_are_no_leap() {
        let mut clock = RetentionClock::default();
        clock.check(at(0), wall(0));
        assert!(clock.check(at(60 * 24 * 30), wall(60 * 24 * 30) + 59 * 60_000).now_ms().is_some());
    }
}
