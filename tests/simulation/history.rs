//! The judge: what clients were promised and what they saw, and every promise that these observations break.
//!
//! Shared by all client tasks of a run (they live on one thread). Knows nothing of the broker's inside.

use crate::record::RecordId;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Formatter};
use std::ops::Range;

/// Violations reported; the first ones tell the story.
const VIOLATIONS_MAX: usize = 20;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    pub topic: &'static str,
    pub partition: i32,
}

/// What a producer does with a batch of which it does not know whether it arrived.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Promise {
    /// Idempotent: every record exactly once and in order.
    ExactlyOnceInOrder,
    /// Acknowledged records are there; others may be, more than once.
    AcknowledgedIsThere,
}

#[derive(Default)]
pub struct History {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    promises: BTreeMap<u16, Promise>,
    logs: BTreeMap<Place, Seen>,
    high_watermarks: BTreeMap<(u64, Place), i64>,
    violations: Vec<String>,
    acknowledged: u64,
    reads: u64,
}

/// One partition, as far as clients have seen it.
#[derive(Default)]
struct Seen {
    at: BTreeMap<i64, RecordId>,
    /// Offsets that a response or a read below the high watermark has promised.
    acknowledged: BTreeMap<i64, RecordId>,
    /// Acknowledged without an offset (as a duplicate of something older than the broker remembers).
    acknowledged_somewhere: BTreeSet<RecordId>,
    /// Where each record of an exactly-once producer is.
    unique: BTreeMap<RecordId, i64>,
}

impl History {
    pub fn producer(&self, producer: u16, promise: Promise) {
        self.state.borrow_mut().promises.insert(producer, promise);
    }

    /// A response said: these records are at `base_offset` and the following.
    pub fn acknowledged(&self, at: Place, base_offset: i64, producer: u16, numbers: Range<u32>) {
        for (offset, number) in (base_offset..).zip(numbers) {
            let id = RecordId { producer, number };
            self.saw(at, offset, id, "acknowledged");
            let mut state = self.state.borrow_mut();
            state.logs.entry(at).or_default().acknowledged.insert(offset, id);
            state.acknowledged += 1;
        }
    }

    /// A response said: these records are there already.
    pub fn acknowledged_somewhere(&self, at: Place, producer: u16, numbers: Range<u32>) {
        let mut state = self.state.borrow_mut();
        state.acknowledged += u64::from(numbers.end - numbers.start);
        let ids = numbers.map(|number| RecordId { producer, number });
        state.logs.entry(at).or_default().acknowledged_somewhere.extend(ids);
    }

    /// A consumer got this record, so it was below the high watermark.
    pub fn read(&self, at: Place, offset: i64, id: RecordId) {
        self.saw(at, offset, id, "read");
        self.state.borrow_mut().reads += 1;
    }

    /// Offsets are used once: whoever sees an offset, whenever, sees the same record.
    fn saw(&self, at: Place, offset: i64, id: RecordId, how: &str) {
        let mut state = self.state.borrow_mut();
        let promise = state.promises.get(&id.producer).copied();
        let seen = state.logs.entry(at).or_default();
        let before = seen.at.insert(offset, id).filter(|before| *before != id);
        let elsewhere = (promise == Some(Promise::ExactlyOnceInOrder))
            .then(|| seen.unique.insert(id, offset))
            .flatten()
            .filter(|elsewhere| *elsewhere != offset);
        drop(state);
        if let Some(before) = before {
            self.violation(format!("{at} offset {offset} was {before:?} and is now {how} as {id:?}"));
        }
        if let Some(elsewhere) = elsewhere {
            self.violation(format!("{at}: {id:?} of an idempotent producer is at {elsewhere} and {how} at {offset}"));
        }
        if promise.is_none() {
            self.violation(format!("{at} offset {offset}: {id:?} was never sent"));
        }
    }

    /// What one consumer is told only grows, over crashes too: it is told nothing that a crash could take back.
    pub fn high_watermark(&self, consumer: u64, at: Place, high_watermark: i64) {
        let before = self.state.borrow_mut().high_watermarks.insert((consumer, at), high_watermark);
        if let Some(before) = before.filter(|before| *before > high_watermark) {
            self.violation(format!("{at}: high watermark went from {before} back to {high_watermark}"));
        }
    }

    /// The whole partition was read, `0..end`, while nothing was written: `log` is all there is.
    pub fn audited(&self, at: Place, log: &[RecordId]) {
        let mut broken = Vec::new();
        {
            let state = self.state.borrow();
            let nothing = Seen::default();
            let seen = state.logs.get(&at).unwrap_or(&nothing);
            for (offset, id) in &seen.acknowledged {
                if log.get(*offset as usize) != Some(id) {
                    broken.push(format!("{at} offset {offset}: {id:?} was acknowledged and is lost"));
                }
            }
            let all: BTreeSet<RecordId> = log.iter().copied().collect();
            for lost in seen.acknowledged_somewhere.difference(&all) {
                broken.push(format!("{at}: {lost:?} was acknowledged as a duplicate and is lost"));
            }
            let mut last = BTreeMap::new();
            for (offset, id) in log.iter().enumerate() {
                if state.promises.get(&id.producer) != Some(&Promise::ExactlyOnceInOrder) {
                    continue;
                }
                if let Some(before) = last.insert(id.producer, id.number).filter(|before| *before >= id.number) {
                    broken.push(format!(
                        "{at} offset {offset}: idempotent producer {} has number {} behind number {before}",
                        id.producer, id.number
                    ));
                }
            }
        }
        broken.into_iter().for_each(|violation| self.violation(violation));
    }

    pub fn violation(&self, violation: String) {
        let mut state = self.state.borrow_mut();
        if state.violations.len() < VIOLATIONS_MAX {
            state.violations.push(violation);
        }
    }

    pub fn is_violated(&self) -> bool {
        !self.state.borrow().violations.is_empty()
    }

    pub fn violations(&self) -> Vec<String> {
        self.state.borrow().violations.clone()
    }

    /// Records acknowledged and records read, so that a run that did nothing does not pass.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state.borrow();
        (state.acknowledged, state.reads)
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Place = Place { topic: "orders", partition: 0 };
    const ONCE: u16 = 1;
    const PLAIN: u16 = 2;

    fn history() -> History {
        let history = History::default();
        history.producer(ONCE, Promise::ExactlyOnceInOrder);
        history.producer(PLAIN, Promise::AcknowledgedIsThere);
        history
    }

    fn id(producer: u16, number: u32) -> RecordId {
        RecordId { producer, number }
    }

    fn only_violation(history: &History) -> String {
        let violations = history.violations();
        assert_eq!(violations.len(), 1, "{violations:?}");
        violations[0].clone()
    }

    /// A judge that accuses a correct broker is switched off by its users: duplicates of a plain producer are allowed.
    #[test]
    fn what_is_allowed_is_no_violation() {
        let history = history();
        history.acknowledged(AT, 0, ONCE, 0..2);
        history.acknowledged(AT, 2, PLAIN, 0..1);
        history.acknowledged(AT, 3, PLAIN, 0..1);
        history.read(AT, 0, id(ONCE, 0));
        history.high_watermark(1, AT, 3);
        history.high_watermark(1, AT, 4);
        history.audited(AT, &[id(ONCE, 0), id(ONCE, 1), id(PLAIN, 0), id(PLAIN, 0), id(PLAIN, 9)]);
        assert!(!history.is_violated(), "{:?}", history.violations());
    }

    /// The promise that everything is about.
    #[test]
    fn a_lost_record_is_noticed() {
        let history = history();
        history.acknowledged(AT, 0, PLAIN, 0..2);
        history.audited(AT, &[id(PLAIN, 0)]);
        assert!(
            only_violation(&history)
                .contains("offset 1: RecordId { producer: 2, number: 1 } was acknowledged and is lost")
        );
    }

    /// After a crash that took records back which a consumer had seen, other records would take their offsets.
    #[test]
    fn an_offset_used_twice_is_noticed() {
        let history = history();
        history.read(AT, 7, id(PLAIN, 0));
        history.acknowledged(AT, 7, PLAIN, 1..2);
        assert!(only_violation(&history).contains("offset 7 was"));
    }

    /// What idempotence is for.
    #[test]
    fn a_duplicate_and_a_swap_of_an_idempotent_producer_are_noticed() {
        let duplicated = history();
        duplicated.read(AT, 3, id(ONCE, 0));
        duplicated.read(AT, 4, id(ONCE, 0));
        assert!(only_violation(&duplicated).contains("is at 3 and read at 4"));

        let swapped = history();
        swapped.audited(AT, &[id(ONCE, 1), id(ONCE, 0)]);
        assert!(only_violation(&swapped).contains("has number 0 behind number 1"));
    }

    /// A consumer that saw an offset as committed must not be told later that it is not.
    #[test]
    fn a_falling_high_watermark_is_noticed() {
        let history = history();
        history.high_watermark(1, AT, 9);
        history.high_watermark(1, AT, 8);
        assert!(only_violation(&history).contains("from 9 back to 8"));
    }
}
