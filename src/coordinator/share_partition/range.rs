//! Offsets in flight: neighbours of the same state are one entry, split where a request cuts it, joined again when they agree.

use super::write::WriteNumber;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordState {
    Available,
    Acquired,
    Acknowledged,
    Archived,
}

impl RecordState {
    /// Kafka's number. 3 is reserved.
    pub fn code(self) -> i8 {
        match self {
            RecordState::Available => 0,
            RecordState::Acquired => 1,
            RecordState::Acknowledged => 2,
            RecordState::Archived => 4,
        }
    }

    pub fn from_code(code: i8) -> Option<RecordState> {
        match code {
            0 => Some(RecordState::Available),
            1 => Some(RecordState::Acquired),
            2 => Some(RecordState::Acknowledged),
            4 => Some(RecordState::Archived),
            _ => None,
        }
    }

    /// No way leads out of it.
    pub fn is_terminal(self) -> bool {
        matches!(self, RecordState::Acknowledged | RecordState::Archived)
    }
}

/// A range as the share coordinator keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateBatch {
    pub first_offset: i64,
    pub last_offset: i64,
    pub state: RecordState,
    pub delivery_count: i16,
}

/// The state of neighbouring offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub last: i64,
    pub state: RecordState,
    pub delivery_count: i16,
    /// Who has acquired it.
    pub member: Option<Arc<str>>,
    /// Until when; 0 of what is not acquired.
    pub lock_until_ms: i64,
    /// Records that were first acquired together with these: what a throttled delivery halves.
    pub lot: i64,
    /// The state is what a write that is not done yet says.
    pub change: Option<Change>,
}

/// A state that the share coordinator has not confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub write: WriteNumber,
    /// Who had acquired it, and has it again if the write fails.
    pub member: Option<Arc<str>>,
}

impl Range {
    /// Offsets that nobody has a lock on.
    pub fn settled(last: i64, state: RecordState, delivery_count: i16, lot: i64) -> Range {
        Range { last, state, delivery_count, member: None, lock_until_ms: 0, lot, change: None }
    }

    pub fn acquired(last: i64, member: Arc<str>, delivery_count: i16, lock_until_ms: i64, lot: i64) -> Range {
        Range {
            last,
            state: RecordState::Acquired,
            delivery_count,
            member: Some(member),
            lock_until_ms,
            lot,
            change: None,
        }
    }

    pub fn is_available(&self) -> bool {
        self.state == RecordState::Available && self.change.is_none()
    }

    pub fn is_done(&self) -> bool {
        self.state.is_terminal() && self.change.is_none()
    }

    pub fn is_acquired_by(&self, member: &str) -> bool {
        self.state == RecordState::Acquired && self.change.is_none() && self.member.as_deref() == Some(member)
    }

    /// Nobody has it any more: it can be given out again, unless that has been tried often enough.
    pub fn let_go(&mut self, delivery_count_limit: i16) {
        let state = match self.delivery_count >= delivery_count_limit {
            true => RecordState::Archived,
            false => RecordState::Available,
        };
        self.settle(state);
    }

    pub fn settle(&mut self, state: RecordState) {
        *self = Range::settled(self.last, state, self.delivery_count, self.lot);
    }

    fn agrees_with(&self, next: &Range) -> bool {
        let same = self.state == next.state && self.delivery_count == next.delivery_count;
        same && ((self.is_done() && next.is_done())
            || (self.is_available() && next.is_available() && self.lot == next.lot))
    }
}

/// Ranges by their first offset. They do not overlap, and leave no gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<i64, Range>);

impl Ranges {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn insert(&mut self, first: i64, range: Range) {
        self.0.insert(first, range);
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, &Range)> {
        self.0.iter().map(|(first, range)| (*first, range))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (i64, &mut Range)> {
        self.0.iter_mut().map(|(first, range)| (*first, range))
    }

    pub fn first(&self) -> Option<(i64, &Range)> {
        self.0.first_key_value().map(|(first, range)| (*first, range))
    }

    pub fn pop_first(&mut self) {
        self.0.pop_first();
    }

    /// Ranges that have an offset between `first` and `last`, whole.
    pub fn within(&self, first: i64, last: i64) -> impl Iterator<Item = (i64, &Range)> {
        let from = self.0.range(..=first).next_back().map_or(first, |(from, _)| *from);
        let ranges = (from <= last).then(|| self.0.range(from..=last));
        ranges.into_iter().flatten().filter(move |(_, range)| range.last >= first).map(|(from, range)| (*from, range))
    }

    /// Cuts at both ends, and gives what lies between.
    pub fn isolate(&mut self, first: i64, last: i64) -> impl Iterator<Item = (i64, &mut Range)> {
        self.split_at(first);
        self.split_at(last.saturating_add(1));
        let ranges = (first <= last).then(|| self.0.range_mut(first..=last));
        ranges.into_iter().flatten().map(|(from, range)| (*from, range))
    }

    /// A range that has `offset` inside begins there.
    fn split_at(&mut self, offset: i64) {
        let Some((first, range)) = self.0.range_mut(..offset).next_back() else { return };
        debug_assert!(*first < offset);
        if range.last >= offset {
            let rest = range.clone();
            range.last = offset - 1;
            self.0.insert(offset, rest);
        }
    }

    /// Everything before `offset` goes.
    pub fn cut_before(&mut self, offset: i64) {
        self.split_at(offset);
        self.0 = self.0.split_off(&offset);
    }

    /// Neighbours that agree become one: records that are acknowledged one by one must not stay one entry each.
    pub fn join(&mut self) {
        let mut joined: BTreeMap<i64, Range> = BTreeMap::new();
        let mut open: Option<(i64, Range)> = None;
        for (first, range) in std::mem::take(&mut self.0) {
            match &mut open {
                Some((_, before)) if before.last + 1 == first && before.agrees_with(&range) => before.last = range.last,
                _ => joined.extend(open.replace((first, range))),
            }
        }
        joined.extend(open);
        self.0 = joined;
    }
}
