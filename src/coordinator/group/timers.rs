//! Deadlines of all groups of a machine, in one ordered set.
//!
//! An alarm that is put off, as each heartbeat does, changes one number of its owner: its entry here stays where it is and is put right
//! when it comes due. So heartbeats cost nothing here, and each alarm has one entry at most: the set is bounded by the members that there
//! are.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Whose alarm it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TimerKey {
    /// Deletes offsets that nobody needs any more.
    Expiry,
    /// A group's rebalance waits no longer for members to join.
    Join(Arc<str>),
    /// A group's members had the time to fetch their assignment.
    Sync(Arc<str>),
    /// A member of a group, pending or not, has not been heard of for its session timeout.
    Session(Arc<str>, Arc<str>),
    /// A member of a consumer group (KIP-848) may be late.
    Consumers(Arc<str>),
    /// A member of a share group may be late.
    Shares(Arc<str>),
}

#[derive(Default, Debug)]
pub struct Timers {
    entries: BTreeSet<(i64, TimerKey)>,
}

/// One deadline, kept by who owns it.
#[derive(Default, Debug)]
pub struct Alarm {
    due_ms: Option<i64>,
    /// Where its entry stands: not after `due_ms`.
    entry_ms: Option<i64>,
}

impl Timers {
    pub fn set(&mut self, alarm: &mut Alarm, due_ms: i64, key: impl Fn() -> TimerKey) {
        alarm.due_ms = Some(due_ms);
        match alarm.entry_ms {
            Some(entry_ms) if entry_ms <= due_ms => return,
            Some(entry_ms) => drop(self.entries.remove(&(entry_ms, key()))),
            None => {}
        }
        alarm.entry_ms = Some(due_ms);
        self.entries.insert((due_ms, key()));
    }

    pub fn cancel(&mut self, alarm: &mut Alarm, key: impl Fn() -> TimerKey) {
        if let Some(entry_ms) = alarm.entry_ms {
            self.entries.remove(&(entry_ms, key()));
        }
        *alarm = Alarm::default();
    }

    /// When to look again. May be early, never late.
    pub fn next_ms(&self) -> Option<i64> {
        self.entries.first().map(|(ms, _)| *ms)
    }

    /// Takes out an entry that has come due; its owner then asks [`Timers::rings`].
    pub fn pop(&mut self, now_ms: i64) -> Option<TimerKey> {
        match self.next_ms() {
            Some(ms) if ms <= now_ms => self.entries.pop_first().map(|(_, key)| key),
            _ => None,
        }
    }

    /// Whether the alarm whose entry was popped is due, or was put off meanwhile.
    pub fn rings(&mut self, alarm: &mut Alarm, now_ms: i64, key: impl Fn() -> TimerKey) -> bool {
        alarm.entry_ms = None;
        match alarm.due_ms {
            Some(due_ms) if due_ms <= now_ms => {
                alarm.due_ms = None;
                true
            }
            Some(due_ms) => {
                self.set(alarm, due_ms, key);
                false
            }
            None => false,
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TimerKey {
        TimerKey::Join("g".into())
    }

    /// An alarm that rang at its first deadline would throw out every member that has sent a heartbeat since.
    #[test]
    fn an_alarm_that_was_put_off_rings_at_its_last_deadline() {
        let (mut timers, mut alarm) = (Timers::default(), Alarm::default());
        timers.set(&mut alarm, 100, key);
        timers.set(&mut alarm, 150, key);
        timers.set(&mut alarm, 190, key);
        assert_eq!(timers.pop(99), None);
        assert_eq!(timers.pop(100), Some(key()));
        assert!(!timers.rings(&mut alarm, 100, key));
        assert_eq!(timers.next_ms(), Some(190));
        assert_eq!(timers.pop(200), Some(key()));
        assert!(timers.rings(&mut alarm, 200, key));
        assert_eq!(timers.pop(i64::MAX), None);
    }

    /// Entries left behind would let clients that come and go fill the memory.
    #[test]
    fn an_alarm_has_one_entry_however_often_it_changes() {
        let (mut timers, mut alarm) = (Timers::default(), Alarm::default());
        for due_ms in [500, 300, 400, 100, 900] {
            timers.set(&mut alarm, due_ms, key);
            assert_eq!(timers.len(), 1);
        }
        timers.cancel(&mut alarm, key);
        assert_eq!(timers.len(), 0);
    }
}
